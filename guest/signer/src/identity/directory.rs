//! The directory: everybody who has an identity here. Reading is free; [`super::Edit`] is the only way to change it.

use std::collections::BTreeMap;

use super::authenticate::Known;
use super::config::Config;
use super::entity::{Entity, Group, Kind, Managed, Role, User};
use super::fault::{Code, Fault};
use super::session::SessionKey;

/// The directory of users, groups, roles and managed policies.
#[derive(Default)]
pub struct Directory {
    /// Account and region; the defaults until the signer is claimed.
    pub config: Config,
    /// Seals the tokens of sessions; there is one once the signer is claimed.
    pub(super) session_key: Option<SessionKey>,
    /// By name.
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) roles: BTreeMap<String, Role>,
    /// By ARN.
    pub(super) policies: BTreeMap<String, Managed>,
    /// The account's other name.
    pub(super) alias: Option<String>,
    /// The user behind each access key.
    pub(super) owners: BTreeMap<String, String>,
    /// Access keys that were used since anything changed, with all that was found out about them.
    pub(super) known: BTreeMap<String, Known>,
}

impl Directory {
    /// Whether the signer has an owner: if so, every request must be signed.
    pub fn claimed(&self) -> bool {
        self.session_key.is_some()
    }

    /// All users, by name.
    pub(crate) fn users(&self) -> &BTreeMap<String, User> {
        &self.users
    }

    /// All groups, by name.
    pub(crate) fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// All roles, by name.
    pub(crate) fn roles(&self) -> &BTreeMap<String, Role> {
        &self.roles
    }

    /// All managed policies, by ARN.
    pub(crate) fn policies(&self) -> &BTreeMap<String, Managed> {
        &self.policies
    }

    /// The account's other name.
    pub(crate) fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The user of that name.
    pub(crate) fn user(&self, name: &str) -> Result<&User, Fault> {
        self.users.get(name).ok_or_else(|| no_such(Kind::User, name))
    }

    /// The role of that name.
    pub(crate) fn role(&self, name: &str) -> Result<&Role, Fault> {
        self.roles.get(name).ok_or_else(|| no_such(Kind::Role, name))
    }

    /// The managed policy of that ARN.
    pub(crate) fn policy(&self, arn: &str) -> Result<&Managed, Fault> {
        self.policies.get(arn).ok_or_else(|| no_such_policy(arn))
    }

    /// What the user, group or role of that name has in common with the others.
    pub(crate) fn entity(&self, kind: Kind, name: &str) -> Result<&Entity, Fault> {
        let found = match kind {
            Kind::User => self.users.get(name).map(|user| &user.entity),
            Kind::Group => self.groups.get(name).map(|group| &group.entity),
            Kind::Role => self.roles.get(name).map(|role| &role.entity),
        };
        found.ok_or_else(|| no_such(kind, name))
    }

    /// All of a kind, by name.
    pub(crate) fn entities(&self, kind: Kind) -> Vec<&Entity> {
        match kind {
            Kind::User => self.users.values().map(|user| &user.entity).collect(),
            Kind::Group => self.groups.values().map(|group| &group.entity).collect(),
            Kind::Role => self.roles.values().map(|role| &role.entity).collect(),
        }
    }

    /// The ARN under which requests about that name are authorised: that of the entity, or the one it would have.
    pub(crate) fn arn(&self, kind: Kind, name: &str) -> String {
        let path = self.entity(kind, name).map_or("/", |entity| entity.path.as_str());
        kind.arn(&self.config, path, name)
    }

    /// Whether there is one whose name differs at most in case.
    pub(crate) fn is_taken(&self, kind: Kind, name: &str) -> bool {
        self.entities(kind).iter().any(|entity| entity.name.eq_ignore_ascii_case(name))
    }

    /// The user that an access key belongs to.
    pub(crate) fn owner(&self, access_key_id: &str) -> Option<&User> {
        self.users.get(self.owners.get(access_key_id)?)
    }

    /// How many users, groups and roles a managed policy is attached to, and how many it limits.
    pub(crate) fn uses(&self, arn: &str) -> (usize, usize) {
        let all = [Kind::User, Kind::Group, Kind::Role].map(|kind| self.entities(kind));
        let all = || all.iter().flatten();
        (
            all().filter(|entity| entity.attached.contains(arn)).count(),
            all().filter(|entity| entity.boundary.as_deref() == Some(arn)).count(),
        )
    }
}

/// There is no user, group or role of that name.
pub(crate) fn no_such(kind: Kind, name: &str) -> Fault {
    Fault::new(Code::NoSuchEntity, format!("The {} with name {name} cannot be found.", kind.word()))
}

/// There is no managed policy of that ARN.
pub(crate) fn no_such_policy(arn: &str) -> Fault {
    Fault::new(Code::NoSuchEntity, format!("Policy {arn} was not found."))
}
