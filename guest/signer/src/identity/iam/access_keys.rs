//! Access keys of users: two at most, each switched on or off.

use crate::access::{Call, Facts};
use crate::identity::directory::Directory;
use crate::identity::entity::{AccessKey, Kind, User};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::id::{self, prefix};
use crate::identity::xml::Xml;
use crate::identity::{Edit, time};

use super::{About, quota, users};

const PER_USER: usize = 2;
const WORDS: [&str; 2] = ["Active", "Inactive"];

/// A new access key, switched on.
pub(in crate::identity) fn new(account: &str, now: u64) -> Result<AccessKey, Fault> {
    Ok(AccessKey {
        id: id::access_key(prefix::LASTING, account)?,
        secret: id::secret()?,
        active: true,
        created: now,
        last_used: None,
    })
}

pub(super) fn create(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = users::named(call, form)?;
    form.done()?;
    About { operation: "CreateAccessKey", kind: Kind::User, name: &name }.allowed(call, Facts::NONE)?;
    let (key, mut user) = {
        let directory = call.identity.borrow();
        let user = directory.user(&name)?;
        if user.keys.len() >= PER_USER {
            return Err(quota("AccessKeysPerUser", PER_USER));
        }
        let key = new(&directory.config.account, time::seconds(call.now()))?;
        if directory.owner(&key.id).is_some() {
            return Err(Fault::new(Code::InternalFailure, "The new key has an id that is taken. Retry."));
        }
        (key, user.clone())
    };
    xml.element("AccessKey", |xml| {
        xml.text("UserName", &name);
        xml.text("AccessKeyId", &key.id);
        xml.text("Status", status(&key));
        xml.text("SecretAccessKey", &key.secret);
        xml.time("CreateDate", key.created);
    });
    user.keys.push(key);
    Edit::of(call).put_user(user);
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = users::named(call, form)?;
    let paging = form.paging();
    form.done()?;
    About { operation: "ListAccessKeys", kind: Kind::User, name: &name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let mut keys: Vec<&AccessKey> = directory.user(&name)?.keys.iter().collect();
    keys.sort_unstable_by_key(|key| &key.id);
    let (page, next) = paging.page(keys.into_iter().map(|key| (key.id.clone(), key)));
    xml.list("AccessKeyMetadata", page, |xml, key| {
        xml.text("UserName", &name);
        xml.text("AccessKeyId", &key.id);
        xml.text("Status", status(key));
        xml.time("CreateDate", key.created);
    });
    xml.paged(next);
    Ok(())
}

pub(super) fn update(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = users::named(call, form)?;
    let id = form.name("AccessKeyId", 128);
    let status = form.word("Status", &WORDS);
    if status.is_none() {
        form.text("Status", 1, 8);
    }
    form.done()?;
    About { operation: "UpdateAccessKey", kind: Kind::User, name: &name }.allowed(call, Facts::NONE)?;
    let active = status == Some("Active");
    if !active {
        spare_the_last(&call.identity.borrow(), id)?;
    }
    let mut edit = Edit::of(call);
    let key = edit.user(&name)?.keys.iter_mut().find(|key| key.id == id);
    key.ok_or_else(|| no_such_key(id))?.active = active;
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let name = users::named(call, form)?;
    let id = form.name("AccessKeyId", 128);
    form.done()?;
    About { operation: "DeleteAccessKey", kind: Kind::User, name: &name }.allowed(call, Facts::NONE)?;
    spare_the_last(&call.identity.borrow(), id)?;
    let mut edit = Edit::of(call);
    let mut user = edit.take_user(&name)?;
    let before = user.keys.len();
    user.keys.retain(|key| key.id != id);
    let gone = user.keys.len() < before;
    edit.put_user(user);
    if gone { Ok(()) } else { Err(no_such_key(id)) }
}

pub(super) fn last_used(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let id = form.name("AccessKeyId", 128);
    form.done()?;
    let owner = call.identity.borrow().owner(id).map(|user| user.entity.name.clone());
    let name = owner.as_deref().unwrap_or("*");
    About { operation: "GetAccessKeyLastUsed", kind: Kind::User, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let user = directory.owner(id).ok_or_else(|| no_such_key(id))?;
    let key = user.keys.iter().find(|key| key.id == id).ok_or_else(|| no_such_key(id))?;
    xml.text("UserName", &user.entity.name);
    xml.element("AccessKeyLastUsed", |xml| {
        if let Some(used) = &key.last_used {
            xml.time("LastUsedDate", used.at);
        }
        let used = key.last_used.as_ref();
        xml.text("ServiceName", used.map_or("N/A", |used| used.service.as_str()));
        xml.text("Region", used.map_or("N/A", |used| used.region.as_str()));
    });
    Ok(())
}

/// On AWS, the account's owner always has the root user. Here it would be nobody's signer for ever.
fn spare_the_last(directory: &Directory, id: &str) -> Result<(), Fault> {
    let keys = directory.users().values().flat_map(|User { keys, .. }| keys);
    let mut active = keys.filter(|key| key.active);
    match (active.next(), active.next()) {
        (Some(last), None) if last.id == id => Err(Fault::new(
            // The only code of both operations that fits.
            Code::LimitExceeded,
            "This is the last active access key: without it, nobody could use this signer again.",
        )),
        _ => Ok(()),
    }
}

fn no_such_key(id: &str) -> Fault {
    Fault::new(Code::NoSuchEntity, format!("The Access Key with id {id} cannot be found."))
}

fn status(key: &AccessKey) -> &'static str {
    if key.active { "Active" } else { "Inactive" }
}
