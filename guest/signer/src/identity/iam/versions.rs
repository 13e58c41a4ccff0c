//! Versions of managed policies: five at most, one of which counts.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::entity::{Managed, PolicyVersion};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::time;
use crate::identity::xml::Xml;

use super::managed;

const PER_POLICY: usize = 5;

pub(super) fn create(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (arn, document) = (form.arn("PolicyArn"), form.document("PolicyDocument"));
    let default = form.flag("SetAsDefault");
    form.done()?;
    managed::allowed(call, "CreatePolicyVersion", arn, Facts::NONE)?;
    if call.identity.borrow().policy(arn)?.versions.len() >= PER_POLICY {
        return Err(Fault::new(
            Code::LimitExceeded,
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing \
             version.",
        ));
    }
    managed::check(document)?;
    let now = time::seconds(call.now());
    let version = PolicyVersion { document: document.to_owned(), created: now };
    let mut edit = Edit::of(call);
    let policy = edit.policy(arn)?;
    policy.newest = policy.newest.saturating_add(1);
    let number = policy.newest;
    policy.versions.insert(number, version);
    policy.updated = now;
    if default {
        policy.default = number;
    }
    xml.element("PolicyVersion", |xml| {
        xml.text("VersionId", &format!("v{number}"));
        xml.flag("IsDefaultVersion", default);
        xml.time("CreateDate", now);
    });
    Ok(())
}

pub(super) fn get(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (arn, version) = (form.arn("PolicyArn"), form.text("VersionId", 1, 64));
    form.done()?;
    managed::allowed(call, "GetPolicyVersion", arn, Facts::NONE)?;
    let directory = call.identity.borrow();
    let policy = directory.policy(arn)?;
    let number = number(policy, arn, version)?;
    let found = policy.versions.get(&number).ok_or_else(|| no_such(arn, version))?;
    xml.element("PolicyVersion", |xml| {
        xml.policy("Document", &found.document);
        write(xml, policy, number, found);
    });
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (arn, paging) = (form.arn("PolicyArn"), form.paging());
    form.done()?;
    managed::allowed(call, "ListPolicyVersions", arn, Facts::NONE)?;
    let directory = call.identity.borrow();
    let policy = directory.policy(arn)?;
    // The newest first; what pages are sorted by counts down.
    let sorted = policy.versions.iter().rev();
    let named = sorted
        .map(|(number, version)| (format!("{:010}", u32::MAX.saturating_sub(*number)), (*number, version)));
    let (page, next) = paging.page(named);
    xml.list("Versions", page, |xml, (number, version)| write(xml, policy, number, version));
    xml.paged(next);
    Ok(())
}

pub(super) fn set_default(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let (arn, version) = (form.arn("PolicyArn"), form.text("VersionId", 1, 64));
    form.done()?;
    managed::allowed(call, "SetDefaultPolicyVersion", arn, Facts::NONE)?;
    let number = number(call.identity.borrow().policy(arn)?, arn, version)?;
    let now = time::seconds(call.now());
    let mut edit = Edit::of(call);
    let policy = edit.policy(arn)?;
    (policy.default, policy.updated) = (number, now);
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let (arn, version) = (form.arn("PolicyArn"), form.text("VersionId", 1, 64));
    form.done()?;
    managed::allowed(call, "DeletePolicyVersion", arn, Facts::NONE)?;
    let number = {
        let directory = call.identity.borrow();
        let policy = directory.policy(arn)?;
        let number = number(policy, arn, version)?;
        if number == policy.default {
            let message = "Cannot delete the default version of a policy.";
            return Err(Fault::new(Code::DeleteConflict, message));
        }
        number
    };
    Edit::of(call).policy(arn)?.versions.remove(&number);
    Ok(())
}

/// The number in `v12`, if there is such a version.
fn number(policy: &Managed, arn: &str, version: &str) -> Result<u32, Fault> {
    let number = version.strip_prefix('v').and_then(|number| number.parse().ok());
    let number = number.filter(|number| policy.versions.contains_key(number));
    number.ok_or_else(|| no_such(arn, version))
}

fn no_such(arn: &str, version: &str) -> Fault {
    let message = format!("Policy {arn} version {version} does not exist or is not attachable.");
    Fault::new(Code::NoSuchEntity, message)
}

fn write(xml: &mut Xml, policy: &Managed, number: u32, version: &PolicyVersion) {
    xml.text("VersionId", &format!("v{number}"));
    xml.flag("IsDefaultVersion", policy.default == number);
    xml.time("CreateDate", version.created);
}
