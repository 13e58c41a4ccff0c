//! IAM, API version 2010-05-08: users, access keys, groups, roles, policies, tags.
//!
//! Every operation reads its [`Form`], asks whether the caller may, and only then says what there is. Names are compared as
//! they are written; two names that differ only in case cannot exist side by side.

mod access_keys;
mod account;
mod attached;
mod boundary;
mod groups;
mod inline;
mod managed;
mod roles;
mod tags;
mod users;
mod versions;

pub(super) use access_keys::new as new_access_key;

use casemate_policy::{Kind as PolicyKind, PolicyDocument};

use crate::access::{Call, Facts};

use super::entity::{Entity, Kind};
use super::fault::{Code, Fault};
use super::form::Form;
use super::query::Operation;
use super::xml::Xml;
use super::{id, time};

/// The namespace of responses.
pub(super) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// The version that requests name.
pub(super) const VERSION: &str = "2010-05-08";

/// The tags of a user, role or policy.
const TAGS_MAX: usize = 50;
/// The managed policies that are attached to a user, group or role.
const ATTACHED_MAX: usize = 10;
/// What there may be of each kind; all of it must fit into memory.
const USERS_MAX: usize = 500;
const GROUPS_MAX: usize = 100;
const ROLES_MAX: usize = 500;
const POLICIES_MAX: usize = 200;

/// Every operation, sorted by name.
pub(super) const OPERATIONS: &[(&str, Operation)] = &[
    ("AddUserToGroup", Operation::Silent(groups::add_user)),
    ("AttachGroupPolicy", Operation::Silent(|c, f| attached::attach(c, f, Kind::Group))),
    ("AttachRolePolicy", Operation::Silent(|c, f| attached::attach(c, f, Kind::Role))),
    ("AttachUserPolicy", Operation::Silent(|c, f| attached::attach(c, f, Kind::User))),
    ("CreateAccessKey", Operation::Answers(access_keys::create)),
    ("CreateAccountAlias", Operation::Silent(account::create_alias)),
    ("CreateGroup", Operation::Answers(groups::create)),
    ("CreatePolicy", Operation::Answers(managed::create)),
    ("CreatePolicyVersion", Operation::Answers(versions::create)),
    ("CreateRole", Operation::Answers(roles::create)),
    ("CreateUser", Operation::Answers(users::create)),
    ("DeleteAccessKey", Operation::Silent(access_keys::delete)),
    ("DeleteAccountAlias", Operation::Silent(account::delete_alias)),
    ("DeleteGroup", Operation::Silent(groups::delete)),
    ("DeleteGroupPolicy", Operation::Silent(|c, f| inline::delete(c, f, Kind::Group))),
    ("DeletePolicy", Operation::Silent(managed::delete)),
    ("DeletePolicyVersion", Operation::Silent(versions::delete)),
    ("DeleteRole", Operation::Silent(roles::delete)),
    ("DeleteRolePermissionsBoundary", Operation::Silent(|c, f| boundary::delete(c, f, Kind::Role))),
    ("DeleteRolePolicy", Operation::Silent(|c, f| inline::delete(c, f, Kind::Role))),
    ("DeleteUser", Operation::Silent(users::delete)),
    ("DeleteUserPermissionsBoundary", Operation::Silent(|c, f| boundary::delete(c, f, Kind::User))),
    ("DeleteUserPolicy", Operation::Silent(|c, f| inline::delete(c, f, Kind::User))),
    ("DetachGroupPolicy", Operation::Silent(|c, f| attached::detach(c, f, Kind::Group))),
    ("DetachRolePolicy", Operation::Silent(|c, f| attached::detach(c, f, Kind::Role))),
    ("DetachUserPolicy", Operation::Silent(|c, f| attached::detach(c, f, Kind::User))),
    ("GetAccessKeyLastUsed", Operation::Answers(access_keys::last_used)),
    ("GetAccountSummary", Operation::Answers(account::summary)),
    ("GetGroup", Operation::Answers(groups::get)),
    ("GetGroupPolicy", Operation::Answers(|c, f, x| inline::get(c, f, x, Kind::Group))),
    ("GetPolicy", Operation::Answers(managed::get)),
    ("GetPolicyVersion", Operation::Answers(versions::get)),
    ("GetRole", Operation::Answers(roles::get)),
    ("GetRolePolicy", Operation::Answers(|c, f, x| inline::get(c, f, x, Kind::Role))),
    ("GetUser", Operation::Answers(users::get)),
    ("GetUserPolicy", Operation::Answers(|c, f, x| inline::get(c, f, x, Kind::User))),
    ("ListAccessKeys", Operation::Answers(access_keys::list)),
    ("ListAccountAliases", Operation::Answers(account::list_aliases)),
    ("ListAttachedGroupPolicies", Operation::Answers(|c, f, x| attached::list(c, f, x, Kind::Group))),
    ("ListAttachedRolePolicies", Operation::Answers(|c, f, x| attached::list(c, f, x, Kind::Role))),
    ("ListAttachedUserPolicies", Operation::Answers(|c, f, x| attached::list(c, f, x, Kind::User))),
    ("ListEntitiesForPolicy", Operation::Answers(attached::entities)),
    ("ListGroupPolicies", Operation::Answers(|c, f, x| inline::list(c, f, x, Kind::Group))),
    ("ListGroups", Operation::Answers(groups::list)),
    ("ListGroupsForUser", Operation::Answers(groups::of_user)),
    ("ListInstanceProfilesForRole", Operation::Answers(roles::instance_profiles)),
    ("ListMFADevices", Operation::Answers(users::mfa_devices)),
    ("ListPolicies", Operation::Answers(managed::list)),
    ("ListPolicyTags", Operation::Answers(tags::list_of_policy)),
    ("ListPolicyVersions", Operation::Answers(versions::list)),
    ("ListRolePolicies", Operation::Answers(|c, f, x| inline::list(c, f, x, Kind::Role))),
    ("ListRoleTags", Operation::Answers(|c, f, x| tags::list(c, f, x, Kind::Role))),
    ("ListRoles", Operation::Answers(roles::list)),
    ("ListUserPolicies", Operation::Answers(|c, f, x| inline::list(c, f, x, Kind::User))),
    ("ListUserTags", Operation::Answers(|c, f, x| tags::list(c, f, x, Kind::User))),
    ("ListUsers", Operation::Answers(users::list)),
    ("PutGroupPolicy", Operation::Silent(|c, f| inline::put(c, f, Kind::Group))),
    ("PutRolePermissionsBoundary", Operation::Silent(|c, f| boundary::put(c, f, Kind::Role))),
    ("PutRolePolicy", Operation::Silent(|c, f| inline::put(c, f, Kind::Role))),
    ("PutUserPermissionsBoundary", Operation::Silent(|c, f| boundary::put(c, f, Kind::User))),
    ("PutUserPolicy", Operation::Silent(|c, f| inline::put(c, f, Kind::User))),
    ("RemoveUserFromGroup", Operation::Silent(groups::remove_user)),
    ("SetDefaultPolicyVersion", Operation::Silent(versions::set_default)),
    ("TagPolicy", Operation::Silent(tags::tag_policy)),
    ("TagRole", Operation::Silent(|c, f| tags::tag(c, f, Kind::Role))),
    ("TagUser", Operation::Silent(|c, f| tags::tag(c, f, Kind::User))),
    ("UntagPolicy", Operation::Silent(tags::untag_policy)),
    ("UntagRole", Operation::Silent(|c, f| tags::untag(c, f, Kind::Role))),
    ("UntagUser", Operation::Silent(|c, f| tags::untag(c, f, Kind::User))),
    ("UpdateAccessKey", Operation::Silent(access_keys::update)),
    ("UpdateAssumeRolePolicy", Operation::Silent(roles::update_trust)),
    ("UpdateGroup", Operation::Silent(groups::update)),
    ("UpdateRole", Operation::Answers(roles::update)),
    ("UpdateRoleDescription", Operation::Answers(roles::update_description)),
    ("UpdateUser", Operation::Silent(users::update)),
];

/// What a request is about: an action on a user, group or role.
struct About<'a> {
    /// As in the service model; the action is `iam:` and its name.
    operation: &'a str,
    kind: Kind,
    name: &'a str,
}

impl About<'_> {
    /// Whether the caller may, with what the request adds to what is known.
    fn allowed(&self, call: &Call<'_>, mut facts: Facts) -> Result<(), Fault> {
        if let Ok(Entity { boundary: Some(boundary), .. }) =
            call.identity.borrow().entity(self.kind, self.name)
        {
            facts.set("iam:PermissionsBoundary", boundary);
        }
        self.allowed_to_limit(call, facts)
    }

    /// The same where `iam:PermissionsBoundary` is the boundary that the request sets.
    fn allowed_to_limit(&self, call: &Call<'_>, mut facts: Facts) -> Result<(), Fault> {
        let directory = call.identity.borrow();
        if let Ok(entity) = directory.entity(self.kind, self.name) {
            resource_tags(&mut facts, &entity.tags);
        }
        let arn = directory.arn(self.kind, self.name);
        Ok(call.allow(&format!("iam:{}", self.operation), &arn, &facts)?)
    }
}

/// Whether the caller may do something to all of a kind, or to nothing in particular.
fn allowed_on_all(call: &Call<'_>, operation: &str, resource: &str) -> Result<(), Fault> {
    let arn = match resource {
        "*" => "*".to_owned(),
        resource => call.identity.borrow().config.global_arn("iam", resource),
    };
    Ok(call.allow(&format!("iam:{operation}"), &arn, &Facts::NONE)?)
}

/// Tags of what a request is about, as conditions see them.
pub(super) fn resource_tags<'t>(facts: &mut Facts, tags: impl IntoIterator<Item = (&'t String, &'t String)>) {
    for (key, value) in tags {
        facts.set(format!("aws:ResourceTag/{key}"), value);
        facts.set(format!("iam:ResourceTag/{key}"), value);
    }
}

/// Tags that a request gives, as conditions see them.
pub(super) fn request_tags(facts: &mut Facts, tags: &[(&str, &str)]) {
    for (key, value) in tags {
        facts.set(format!("aws:RequestTag/{key}"), *value);
    }
    if !tags.is_empty() {
        facts.set_all("aws:TagKeys", tags.iter().map(|(key, _)| (*key).to_owned()).collect());
    }
}

/// Refuses tags whose names differ at most in case.
pub(super) fn distinct(tags: &[(&str, &str)]) -> Result<(), Fault> {
    let mut names: Vec<String> = tags.iter().map(|(key, _)| key.to_lowercase()).collect();
    names.sort_unstable();
    if names.is_sorted_by(|low, high| low < high) {
        return Ok(());
    }
    Err(Fault::new(
        Code::InvalidInput,
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
    ))
}

/// Refuses what is not an identity-based policy.
fn identity_policy(document: &str) -> Result<(), Fault> {
    policy(document, PolicyKind::Identity).map(drop)
}

/// Refuses what is not a policy of that kind.
pub(super) fn policy(document: &str, kind: PolicyKind) -> Result<PolicyDocument, Fault> {
    PolicyDocument::parse(document, kind)
        .map_err(|error| Fault::new(Code::MalformedPolicyDocument, error.to_string()))
}

/// The length of a policy as AWS counts it: without white space. Of that, there may be twice as much again; it is kept
/// too, and everything must fit into memory.
fn size(document: &str) -> usize {
    let counted = document.chars().filter(|c| !c.is_whitespace()).count();
    counted.max(document.len() / 3)
}

fn quota(what: &str, max: usize) -> Fault {
    Fault::new(Code::LimitExceeded, format!("Cannot exceed quota for {what}: {max}"))
}

fn conflict(first: &str) -> Fault {
    Fault::new(Code::DeleteConflict, format!("Cannot delete entity, must {first} first."))
}

/// A new user, group or role, before it is in the directory.
struct New<'a> {
    kind: Kind,
    name: &'a str,
    path: &'a str,
    tags: Vec<(&'a str, &'a str)>,
    boundary: Option<&'a str>,
}

impl<'a> New<'a> {
    /// Reads what all kinds have in common.
    fn read(form: &mut Form<'a>, kind: Kind) -> Self {
        let longest = if kind == Kind::Group { 128 } else { 64 };
        let name = form.name(&format!("{}Name", kind.title()), longest);
        let path = form.path("Path").unwrap_or("/");
        let grouped = kind == Kind::Group;
        let tags = if grouped { Vec::new() } else { form.tags(TAGS_MAX) };
        let boundary = if grouped { None } else { form.optional("PermissionsBoundary", 20, 2048) };
        Self { kind, name, path, tags, boundary }
    }

    /// The entity, if the caller may make it and nothing is in its way.
    fn make(&self, call: &Call<'_>, prefix: &str, max: usize) -> Result<Entity, Fault> {
        distinct(&self.tags)?;
        let (kind, name) = (self.kind, self.name);
        let mut facts = Facts::default();
        request_tags(&mut facts, &self.tags);
        if let Some(boundary) = self.boundary {
            facts.set("iam:PermissionsBoundary", boundary);
        }
        let directory = call.identity.borrow();
        let arn = kind.arn(&directory.config, self.path, name);
        call.allow(&format!("iam:Create{}", kind.title()), &arn, &facts)?;
        if directory.is_taken(kind, name) {
            let message = format!("{} with name {name} already exists.", kind.title());
            return Err(Fault::new(Code::EntityAlreadyExists, message));
        }
        if let Some(boundary) = self.boundary {
            directory.policy(boundary)?;
        }
        if directory.entities(kind).len() >= max {
            return Err(quota(&format!("{}sPerAccount", kind.title()), max));
        }
        Ok(Entity {
            name: name.to_owned(),
            path: self.path.to_owned(),
            id: id::unique(prefix)?,
            created: time::seconds(call.now()),
            tags: self.tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            boundary: self.boundary.map(str::to_owned),
            ..Entity::default()
        })
    }
}

/// The limiting policy in a response.
fn write_boundary(xml: &mut Xml, entity: &Entity) {
    if let Some(boundary) = &entity.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "PermissionsBoundaryPolicy");
            xml.text("PermissionsBoundaryArn", boundary);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_sorted_so_that_they_are_found() {
        assert!(OPERATIONS.is_sorted_by(|(low, _), (high, _)| low < high));
    }

    #[test]
    fn policies_are_measured_without_white_space() {
        assert_eq!(size("{ \"A\": \n\t1 }"), 7);
        assert_eq!(size(&format!("1{}", " ".repeat(299))), 100);
    }
}
