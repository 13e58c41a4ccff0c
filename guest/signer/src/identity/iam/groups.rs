//! Groups of users. Membership is kept with the user.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::config::Config;
use crate::identity::entity::{Group, Kind, User};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::id::prefix;
use crate::identity::xml::Xml;

use super::{About, GROUPS_MAX, New, allowed_on_all, conflict, quota, users};

/// The groups of a user.
const PER_USER: usize = 10;

pub(super) fn create(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let new = New::read(form, Kind::Group);
    form.done()?;
    let group = Group { entity: new.make(call, prefix::GROUP, GROUPS_MAX)? };
    xml.element("Group", |xml| write(xml, &call.identity.borrow().config, &group));
    Edit::of(call).put_group(group);
    Ok(())
}

pub(super) fn get(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.entity(Kind::Group);
    let paging = form.paging();
    form.done()?;
    About { operation: "GetGroup", kind: Kind::Group, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let group = find(&directory, name)?;
    xml.element("Group", |xml| write(xml, &directory.config, group));
    let members = directory.users().values().filter(|user| user.groups.contains(name));
    let (page, next) = paging.page(members.map(|user| (user.entity.name.clone(), user)));
    xml.list("Users", page, |xml, user| users::write(xml, &directory.config, user));
    xml.paged(next);
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (prefix, paging) = (form.path_prefix(), form.paging());
    form.done()?;
    allowed_on_all(call, "ListGroups", &format!("group{prefix}"))?;
    let directory = call.identity.borrow();
    let groups = directory.groups().values().filter(|group| group.entity.path.starts_with(prefix));
    let (page, next) = paging.page(groups.map(|group| (group.entity.name.clone(), group)));
    xml.list("Groups", page, |xml, group| write(xml, &directory.config, group));
    xml.paged(next);
    Ok(())
}

pub(super) fn of_user(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.entity(Kind::User);
    let paging = form.paging();
    form.done()?;
    About { operation: "ListGroupsForUser", kind: Kind::User, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let groups = directory.user(name)?.groups.iter();
    let groups = groups.filter_map(|name| Some((name.clone(), directory.groups().get(name)?)));
    let (page, next) = paging.page(groups);
    xml.list("Groups", page, |xml, group| write(xml, &directory.config, group));
    xml.paged(next);
    Ok(())
}

pub(super) fn update(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = form.entity(Kind::Group);
    let path = form.path("NewPath");
    let new_name = form.optional_name("NewGroupName", 1, 128);
    form.done()?;
    About { operation: "UpdateGroup", kind: Kind::Group, name }.allowed(call, Facts::NONE)?;
    let target = new_name.unwrap_or(name);
    {
        let directory = call.identity.borrow();
        let old = find(&directory, name)?;
        let arn = Kind::Group.arn(&directory.config, path.unwrap_or(&old.entity.path), target);
        call.allow("iam:UpdateGroup", &arn, &Facts::NONE)?;
        if !target.eq_ignore_ascii_case(name) && directory.is_taken(Kind::Group, target) {
            let message = format!("Group with name {target} already exists.");
            return Err(Fault::new(Code::EntityAlreadyExists, message));
        }
    }
    let mut edit = Edit::of(call);
    let mut group = edit.take_group(name)?;
    target.clone_into(&mut group.entity.name);
    if let Some(path) = path {
        path.clone_into(&mut group.entity.path);
    }
    edit.put_group(group);
    for member in members(&edit, name) {
        let user = edit.user(&member)?;
        user.groups.remove(name);
        user.groups.insert(target.to_owned());
    }
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = form.entity(Kind::Group);
    form.done()?;
    About { operation: "DeleteGroup", kind: Kind::Group, name }.allowed(call, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        let group = find(&directory, name)?;
        if !members(&directory, name).is_empty() {
            return Err(conflict("remove users from group"));
        }
        if !group.entity.inline.is_empty() {
            return Err(conflict("delete policies"));
        }
        if !group.entity.attached.is_empty() {
            return Err(conflict("detach all policies"));
        }
    }
    Edit::of(call).take_group(name).map(drop)
}

pub(super) fn add_user(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let (group, user) = (form.entity(Kind::Group), form.entity(Kind::User));
    form.done()?;
    About { operation: "AddUserToGroup", kind: Kind::Group, name: group }.allowed(call, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        find(&directory, group)?;
        let groups = &directory.user(user)?.groups;
        if groups.len() >= PER_USER && !groups.contains(group) {
            return Err(quota("GroupsPerUser", PER_USER));
        }
    }
    Edit::of(call).user(user)?.groups.insert(group.to_owned());
    Ok(())
}

pub(super) fn remove_user(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let (group, user) = (form.entity(Kind::Group), form.entity(Kind::User));
    form.done()?;
    About { operation: "RemoveUserFromGroup", kind: Kind::Group, name: group }.allowed(call, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        find(&directory, group)?;
        if !directory.user(user)?.groups.contains(group) {
            let message = format!("User {user} is not in group {group}.");
            return Err(Fault::new(Code::NoSuchEntity, message));
        }
    }
    Edit::of(call).user(user)?.groups.remove(group);
    Ok(())
}

fn find<'d>(directory: &'d crate::identity::Directory, name: &str) -> Result<&'d Group, Fault> {
    directory.groups().get(name).ok_or_else(|| crate::identity::directory::no_such(Kind::Group, name))
}

/// The names of the users in a group.
fn members(directory: &crate::identity::Directory, group: &str) -> Vec<String> {
    let users = directory.users().values().filter(|user| user.groups.contains(group));
    users.map(|User { entity, .. }| entity.name.clone()).collect()
}

fn write(xml: &mut Xml, config: &Config, group: &Group) {
    let entity = &group.entity;
    xml.text("Path", &entity.path);
    xml.text("GroupName", &entity.name);
    xml.text("GroupId", &entity.id);
    xml.text("Arn", &Kind::Group.arn(config, &entity.path, &entity.name));
    xml.time("CreateDate", entity.created);
}
