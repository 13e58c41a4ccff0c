//! Changing the directory. Whoever gets a mutable entity from here has thereby marked its record as changed, and what was
//! known about access keys is forgotten.

use std::cell::RefMut;
use std::ops::Deref;

use crate::signer::Signer;
use crate::state::State;

use super::directory::{Directory, no_such, no_such_policy};
use super::entity::{Entity, Group, Kind, Managed, Role, User};
use super::fault::Fault;
use super::record;

/// The directory, open for a change.
pub(crate) struct Edit<'a> {
    directory: RefMut<'a, Directory>,
    state: &'a State,
}

impl Deref for Edit<'_> {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl<'a> Edit<'a> {
    /// Opens the directory of `signer`; nobody else may be reading it.
    pub(crate) fn of(signer: &'a Signer) -> Self {
        let mut directory = signer.identity.borrow_mut();
        directory.known.clear();
        Self { directory, state: &signer.state }
    }

    /// The user of that name.
    pub(crate) fn user(&mut self, name: &str) -> Result<&mut User, Fault> {
        self.state.touch(record::user(name));
        self.directory.users.get_mut(name).ok_or_else(|| no_such(Kind::User, name))
    }

    /// The role of that name.
    pub(crate) fn role(&mut self, name: &str) -> Result<&mut Role, Fault> {
        self.state.touch(record::role(name));
        self.directory.roles.get_mut(name).ok_or_else(|| no_such(Kind::Role, name))
    }

    /// The managed policy of that ARN.
    pub(crate) fn policy(&mut self, arn: &str) -> Result<&mut Managed, Fault> {
        self.state.touch(record::policy(arn));
        self.directory.policies.get_mut(arn).ok_or_else(|| no_such_policy(arn))
    }

    /// What the user, group or role of that name has in common with the others.
    pub(crate) fn entity(&mut self, kind: Kind, name: &str) -> Result<&mut Entity, Fault> {
        self.state.touch(record::entity(kind, name));
        let directory = &mut *self.directory;
        let found = match kind {
            Kind::User => directory.users.get_mut(name).map(|user| &mut user.entity),
            Kind::Group => directory.groups.get_mut(name).map(|group| &mut group.entity),
            Kind::Role => directory.roles.get_mut(name).map(|role| &mut role.entity),
        };
        found.ok_or_else(|| no_such(kind, name))
    }

    /// Adds a user, or replaces the one of that name.
    pub(crate) fn put_user(&mut self, user: User) {
        self.state.touch(record::user(&user.entity.name));
        for key in &user.keys {
            self.directory.owners.insert(key.id.clone(), user.entity.name.clone());
        }
        self.directory.users.insert(user.entity.name.clone(), user);
    }

    /// Adds a role, or replaces the one of that name.
    pub(crate) fn put_role(&mut self, role: Role) {
        self.state.touch(record::role(&role.entity.name));
        self.directory.roles.insert(role.entity.name.clone(), role);
    }

    /// Adds a group, or replaces the one of that name.
    pub(crate) fn put_group(&mut self, group: Group) {
        self.state.touch(record::entity(Kind::Group, &group.entity.name));
        self.directory.groups.insert(group.entity.name.clone(), group);
    }

    /// Adds a managed policy.
    pub(crate) fn put_policy(&mut self, arn: &str, policy: Managed) {
        self.state.touch(record::policy(arn));
        self.directory.policies.insert(arn.to_owned(), policy);
    }

    /// Takes a user out, with its access keys.
    pub(crate) fn take_user(&mut self, name: &str) -> Result<User, Fault> {
        self.state.touch(record::user(name));
        let user = self.directory.users.remove(name).ok_or_else(|| no_such(Kind::User, name))?;
        for key in &user.keys {
            self.directory.owners.remove(&key.id);
        }
        Ok(user)
    }

    /// Takes a role out.
    pub(crate) fn take_role(&mut self, name: &str) -> Result<Role, Fault> {
        self.state.touch(record::role(name));
        self.directory.roles.remove(name).ok_or_else(|| no_such(Kind::Role, name))
    }

    /// Takes a group out; its members are the caller's business.
    pub(crate) fn take_group(&mut self, name: &str) -> Result<Group, Fault> {
        self.state.touch(record::entity(Kind::Group, name));
        self.directory.groups.remove(name).ok_or_else(|| no_such(Kind::Group, name))
    }

    /// Takes a managed policy out.
    pub(crate) fn take_policy(&mut self, arn: &str) -> Result<Managed, Fault> {
        self.state.touch(record::policy(arn));
        self.directory.policies.remove(arn).ok_or_else(|| no_such_policy(arn))
    }

    /// Gives the account another name, or none.
    pub(crate) fn set_alias(&mut self, alias: Option<String>) {
        self.state.touch(record::CONFIG);
        self.directory.alias = alias;
    }

    /// Sets what a claim settles. The rest of the directory is empty at that time.
    pub(super) fn settle(&mut self, config: super::Config, key: super::session::SessionKey) {
        self.state.touch(record::CONFIG);
        self.state.touch(record::SESSION_KEY);
        self.directory.config = config;
        self.directory.session_key = Some(key);
    }

    /// Forgets everything, after a claim that could not be made durable.
    pub(super) fn reset(&mut self) {
        let names: Vec<String> = record::names(&self.directory);
        names.into_iter().for_each(|name| self.state.touch(name));
        *self.directory = Directory::default();
    }
}
