//! Users.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::config::Config;
use crate::identity::entity::{Kind, User};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::id::prefix;
use crate::identity::xml::Xml;

use super::{About, New, USERS_MAX, allowed_on_all, conflict, write_boundary};

pub(super) fn create(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let new = New::read(form, Kind::User);
    form.done()?;
    let user = User { entity: new.make(call, prefix::USER, USERS_MAX)?, ..User::default() };
    xml.element("User", |xml| write_whole(xml, &call.identity.borrow().config, &user));
    Edit::of(call).put_user(user);
    Ok(())
}

pub(super) fn get(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = named(call, form)?;
    form.done()?;
    About { operation: "GetUser", kind: Kind::User, name: &name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let user = directory.user(&name)?;
    xml.element("User", |xml| write_whole(xml, &directory.config, user));
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (prefix, paging) = (form.path_prefix(), form.paging());
    form.done()?;
    allowed_on_all(call, "ListUsers", &format!("user{prefix}"))?;
    let directory = call.identity.borrow();
    let users = directory.users().values().filter(|user| user.entity.path.starts_with(prefix));
    let (page, next) = paging.page(users.map(|user| (user.entity.name.clone(), user)));
    xml.list("Users", page, |xml, user| write(xml, &directory.config, user));
    xml.paged(next);
    Ok(())
}

pub(super) fn update(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = form.entity(Kind::User);
    let path = form.path("NewPath");
    let new_name = form.optional_name("NewUserName", 1, 64);
    form.done()?;
    About { operation: "UpdateUser", kind: Kind::User, name }.allowed(call, Facts::NONE)?;
    let target = new_name.unwrap_or(name);
    if new_name.is_some() || path.is_some() {
        let directory = call.identity.borrow();
        let old = directory.user(name)?;
        // Who may rename a user must be allowed to have it where it goes, too.
        let arn = Kind::User.arn(&directory.config, path.unwrap_or(&old.entity.path), target);
        call.allow("iam:UpdateUser", &arn, &Facts::NONE)?;
        if !target.eq_ignore_ascii_case(name) && directory.is_taken(Kind::User, target) {
            let message = format!("User with name {target} already exists.");
            return Err(Fault::new(Code::EntityAlreadyExists, message));
        }
    }
    let mut edit = Edit::of(call);
    let mut user = edit.take_user(name)?;
    user.entity.name = target.to_owned();
    if let Some(path) = path {
        user.entity.path = path.to_owned();
    }
    edit.put_user(user);
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = form.entity(Kind::User);
    form.done()?;
    About { operation: "DeleteUser", kind: Kind::User, name }.allowed(call, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        let user = directory.user(name)?;
        if !user.keys.is_empty() {
            return Err(conflict("delete access keys"));
        }
        if !user.entity.inline.is_empty() {
            return Err(conflict("delete policies"));
        }
        if !user.entity.attached.is_empty() {
            return Err(conflict("detach all policies"));
        }
        if !user.groups.is_empty() {
            return Err(conflict("remove users from group"));
        }
    }
    Edit::of(call).take_user(name).map(drop)
}

/// Nobody has such devices here.
pub(super) fn mfa_devices(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = named(call, form)?;
    let paging = form.paging();
    form.done()?;
    About { operation: "ListMFADevices", kind: Kind::User, name: &name }.allowed(call, Facts::NONE)?;
    call.identity.borrow().user(&name)?;
    let (devices, next) = paging.page(std::iter::empty::<(String, String)>());
    xml.texts("MFADevices", devices);
    xml.paged(next);
    Ok(())
}

/// The user that the request names; without a name, the caller.
pub(super) fn named(call: &Call<'_>, form: &mut Form<'_>) -> Result<String, Fault> {
    if let Some(name) = form.optional_name("UserName", 1, 128) {
        return Ok(name.to_owned());
    }
    match call.principal().map(|principal| &principal.who) {
        Some(casemate_policy::Principal::User { arn, .. }) => Ok(arn.name().to_owned()),
        _ => Err(Fault::new(
            Code::ValidationError,
            "Must specify userName when calling with non-User credentials",
        )),
    }
}

/// What listings say about a user.
pub(super) fn write(xml: &mut Xml, config: &Config, user: &User) {
    let entity = &user.entity;
    xml.text("Path", &entity.path);
    xml.text("UserName", &entity.name);
    xml.text("UserId", &entity.id);
    xml.text("Arn", &Kind::User.arn(config, &entity.path, &entity.name));
    xml.time("CreateDate", entity.created);
}

fn write_whole(xml: &mut Xml, config: &Config, user: &User) {
    write(xml, config, user);
    write_boundary(xml, &user.entity);
    if !user.entity.tags.is_empty() {
        xml.tags(&user.entity.tags);
    }
}
