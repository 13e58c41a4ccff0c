//! Managed policies of the account.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::directory::Directory;
use crate::identity::entity::{Managed, PolicyVersion};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::id::{self, prefix};
use crate::identity::time;
use crate::identity::xml::Xml;

use super::{
    POLICIES_MAX, TAGS_MAX, allowed_on_all, distinct, identity_policy, quota, request_tags, resource_tags,
    size,
};

/// The longest managed policy.
const SIZE_MAX: usize = 6144;

pub(super) fn create(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.name("PolicyName", 128);
    let path = form.path("Path").unwrap_or("/");
    let document = form.document("PolicyDocument");
    let description = form.optional("Description", 0, 1000).unwrap_or_default();
    let tags = form.tags(TAGS_MAX);
    form.done()?;
    distinct(&tags)?;
    let mut facts = Facts::default();
    request_tags(&mut facts, &tags);
    let arn = Managed::arn_of(&call.identity.borrow().config, path, name);
    allowed(call, "CreatePolicy", &arn, facts)?;
    {
        let directory = call.identity.borrow();
        if directory.policies().values().any(|policy| policy.name.eq_ignore_ascii_case(name)) {
            let message = format!("A policy called {name} already exists. Duplicate names are not allowed.");
            return Err(Fault::new(Code::EntityAlreadyExists, message));
        }
        check(document)?;
        if directory.policies().len() >= POLICIES_MAX {
            return Err(quota("PoliciesPerAccount", POLICIES_MAX));
        }
    }
    let now = time::seconds(call.now());
    let policy = Managed {
        name: name.to_owned(),
        path: path.to_owned(),
        id: id::unique(prefix::POLICY)?,
        description: description.to_owned(),
        created: now,
        updated: now,
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        versions: [(1, PolicyVersion { document: document.to_owned(), created: now })].into(),
        default: 1,
        newest: 1,
    };
    xml.element("Policy", |xml| write_whole(xml, &call.identity.borrow(), &arn, &policy));
    Edit::of(call).put_policy(&arn, policy);
    Ok(())
}

pub(super) fn get(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let arn = form.arn("PolicyArn");
    form.done()?;
    allowed(call, "GetPolicy", arn, Facts::NONE)?;
    let directory = call.identity.borrow();
    let policy = directory.policy(arn)?;
    xml.element("Policy", |xml| write_whole(xml, &directory, arn, policy));
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (prefix, paging) = (form.path_prefix(), form.paging());
    let scope = form.word("Scope", &["All", "AWS", "Local"]);
    let usage = form.word("PolicyUsageFilter", &["PermissionsPolicy", "PermissionsBoundary"]);
    let attached = form.flag("OnlyAttached");
    form.done()?;
    allowed_on_all(call, "ListPolicies", &format!("policy{prefix}"))?;
    let directory = call.identity.borrow();
    let listed = |arn: &str, policy: &Managed| {
        let (attachments, limits) = directory.uses(arn);
        let used = match usage {
            Some("PermissionsPolicy") => attachments > 0,
            Some("PermissionsBoundary") => limits > 0,
            _ => true,
        };
        scope != Some("AWS")
            && policy.path.starts_with(prefix)
            && used
            && (!attached || attachments > 0 || limits > 0)
    };
    let policies = directory.policies().iter().filter(|(arn, policy)| listed(arn, policy));
    let (page, next) = paging.page(policies.map(|policy| (policy.0.clone(), policy)));
    xml.list("Policies", page, |xml, (arn, policy)| write(xml, &directory, arn, policy));
    xml.paged(next);
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let arn = form.arn("PolicyArn");
    form.done()?;
    allowed(call, "DeletePolicy", arn, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        let policy = directory.policy(arn)?;
        if directory.uses(arn) != (0, 0) {
            let message = "Cannot delete a policy attached to entities.";
            return Err(Fault::new(Code::DeleteConflict, message));
        }
        if policy.versions.len() > 1 {
            return Err(Fault::new(
                Code::DeleteConflict,
                "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                 versions. The default version is deleted with the policy.",
            ));
        }
    }
    Edit::of(call).take_policy(arn).map(drop)
}

/// Whether the caller may do something to the managed policy of that ARN.
pub(super) fn allowed(call: &Call<'_>, operation: &str, arn: &str, mut facts: Facts) -> Result<(), Fault> {
    if let Ok(policy) = call.identity.borrow().policy(arn) {
        resource_tags(&mut facts, &policy.tags);
    }
    Ok(call.allow(&format!("iam:{operation}"), arn, &facts)?)
}

/// Refuses what cannot be a managed policy.
pub(super) fn check(document: &str) -> Result<(), Fault> {
    identity_policy(document)?;
    if size(document) > SIZE_MAX { Err(quota("PolicySize", SIZE_MAX)) } else { Ok(()) }
}

/// What listings say about a policy.
fn write(xml: &mut Xml, directory: &Directory, arn: &str, policy: &Managed) {
    let (attachments, limits) = directory.uses(arn);
    xml.text("PolicyName", &policy.name);
    xml.text("PolicyId", &policy.id);
    xml.text("Arn", arn);
    xml.text("Path", &policy.path);
    xml.text("DefaultVersionId", &format!("v{}", policy.default));
    xml.number("AttachmentCount", attachments);
    xml.number("PermissionsBoundaryUsageCount", limits);
    xml.flag("IsAttachable", true);
    xml.time("CreateDate", policy.created);
    xml.time("UpdateDate", policy.updated);
}

fn write_whole(xml: &mut Xml, directory: &Directory, arn: &str, policy: &Managed) {
    write(xml, directory, arn, policy);
    if !policy.description.is_empty() {
        xml.text("Description", &policy.description);
    }
    if !policy.tags.is_empty() {
        xml.tags(&policy.tags);
    }
}
