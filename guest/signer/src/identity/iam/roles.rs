//! Roles.

use casemate_policy::Kind as PolicyKind;

use crate::access::bind::{self, Bindings, Nobody};
use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::entity::{Kind, Role};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::id::prefix;
use crate::identity::xml::Xml;

use super::{About, New, ROLES_MAX, allowed_on_all, conflict, policy, quota, size, write_boundary};

/// The longest trust policy.
const TRUST_MAX: usize = 4096;
const HOUR: u64 = 3600;

pub(super) fn create(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let new = New::read(form, Kind::Role);
    let trust = form.document("AssumeRolePolicyDocument");
    let description = form.description().unwrap_or_default();
    let max_session = form.number("MaxSessionDuration", 3600, 43_200).unwrap_or(HOUR);
    form.done()?;
    let entity = new.make(call, prefix::ROLE, ROLES_MAX)?;
    let trusted = check_trust(call, trust)?;
    let (trust, description) = (trust.to_owned(), description.to_owned());
    let role = Role { entity, description, trust, trusted, max_session, last_used: None };
    xml.element("Role", |xml| write_whole(xml, call, &role));
    Edit::of(call).put_role(role);
    Ok(())
}

pub(super) fn get(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.entity(Kind::Role);
    form.done()?;
    About { operation: "GetRole", kind: Kind::Role, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let role = directory.role(name)?;
    xml.element("Role", |xml| write_whole(xml, call, role));
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (prefix, paging) = (form.path_prefix(), form.paging());
    form.done()?;
    allowed_on_all(call, "ListRoles", &format!("role{prefix}"))?;
    let directory = call.identity.borrow();
    let roles = directory.roles().values().filter(|role| role.entity.path.starts_with(prefix));
    let (page, next) = paging.page(roles.map(|role| (role.entity.name.clone(), role)));
    xml.list("Roles", page, |xml, role| write(xml, call, role));
    xml.paged(next);
    Ok(())
}

pub(super) fn update(call: &Call<'_>, form: &mut Form<'_>, _: &mut Xml) -> Result<(), Fault> {
    let name = form.entity(Kind::Role);
    let description = form.description();
    let max_session = form.number("MaxSessionDuration", 3600, 43_200);
    form.done()?;
    About { operation: "UpdateRole", kind: Kind::Role, name }.allowed(call, Facts::NONE)?;
    let mut edit = Edit::of(call);
    let role = edit.role(name)?;
    // AWS resets what is not given.
    role.description = description.unwrap_or_default().to_owned();
    role.max_session = max_session.unwrap_or(HOUR);
    Ok(())
}

pub(super) fn update_description(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.entity(Kind::Role);
    let description = form.description().unwrap_or_default();
    form.done()?;
    About { operation: "UpdateRoleDescription", kind: Kind::Role, name }.allowed(call, Facts::NONE)?;
    description.clone_into(&mut Edit::of(call).role(name)?.description);
    let directory = call.identity.borrow();
    let role = directory.role(name)?;
    xml.element("Role", |xml| write_whole(xml, call, role));
    Ok(())
}

pub(super) fn update_trust(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = form.entity(Kind::Role);
    let trust = form.document("PolicyDocument");
    form.done()?;
    About { operation: "UpdateAssumeRolePolicy", kind: Kind::Role, name }.allowed(call, Facts::NONE)?;
    call.identity.borrow().role(name)?;
    let trusted = check_trust(call, trust)?;
    let mut edit = Edit::of(call);
    let role = edit.role(name)?;
    (role.trust, role.trusted) = (trust.to_owned(), trusted);
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = form.entity(Kind::Role);
    form.done()?;
    About { operation: "DeleteRole", kind: Kind::Role, name }.allowed(call, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        let role = directory.role(name)?;
        if !role.entity.inline.is_empty() {
            return Err(conflict("delete policies"));
        }
        if !role.entity.attached.is_empty() {
            return Err(conflict("detach all policies"));
        }
    }
    Edit::of(call).take_role(name).map(drop)
}

/// There are no instances here, and no profiles for them.
pub(super) fn instance_profiles(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.entity(Kind::Role);
    let paging = form.paging();
    form.done()?;
    About { operation: "ListInstanceProfilesForRole", kind: Kind::Role, name }.allowed(call, Facts::NONE)?;
    call.identity.borrow().role(name)?;
    let (profiles, next) = paging.page(std::iter::empty::<(String, String)>());
    xml.texts("InstanceProfiles", profiles);
    xml.paged(next);
    Ok(())
}

/// Refuses what cannot be a trust policy, or names nobody; whom the names in it mean.
fn check_trust(call: &Call<'_>, trust: &str) -> Result<Bindings, Fault> {
    let document = policy(trust, PolicyKind::Trust)?;
    if size(trust) > TRUST_MAX {
        return Err(quota("ACLSizePerRole", TRUST_MAX));
    }
    bind::principals(call, &document).map_err(|Nobody(arn)| {
        let message = format!("Invalid principal in policy: \"AWS\":\"{arn}\"");
        Fault::new(Code::MalformedPolicyDocument, message)
    })
}

/// What listings say about a role.
fn write(xml: &mut Xml, call: &Call<'_>, role: &Role) {
    let (entity, config) = (&role.entity, &call.identity.borrow().config);
    xml.text("Path", &entity.path);
    xml.text("RoleName", &entity.name);
    xml.text("RoleId", &entity.id);
    xml.text("Arn", &Kind::Role.arn(config, &entity.path, &entity.name));
    xml.time("CreateDate", entity.created);
    let trust = bind::shown(call, PolicyKind::Trust, role.trust.clone(), &role.trusted);
    xml.policy("AssumeRolePolicyDocument", &trust);
    if !role.description.is_empty() {
        xml.text("Description", &role.description);
    }
    xml.number("MaxSessionDuration", role.max_session);
}

fn write_whole(xml: &mut Xml, call: &Call<'_>, role: &Role) {
    write(xml, call, role);
    write_boundary(xml, &role.entity);
    if !role.entity.tags.is_empty() {
        xml.tags(&role.entity.tags);
    }
    xml.element("RoleLastUsed", |xml| {
        if let Some(used) = &role.last_used {
            xml.time("LastUsedDate", used.at);
            xml.text("Region", &used.region);
        }
    });
}
