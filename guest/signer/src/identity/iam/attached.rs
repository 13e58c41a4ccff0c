//! Managed policies that are attached to users, groups and roles.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::entity::{Entity, Kind};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::xml::Xml;

use super::{ATTACHED_MAX, About, managed, quota};

pub(super) fn attach(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, arn) = (form.entity(kind), form.arn("PolicyArn"));
    form.done()?;
    About { operation: &format!("Attach{}Policy", kind.title()), kind, name }
        .allowed(call, policy_fact(arn))?;
    {
        let directory = call.identity.borrow();
        let entity = directory.entity(kind, name)?;
        directory.policy(arn).map_err(|_| {
            let message = format!("Policy {arn} does not exist or is not attachable.");
            Fault::new(Code::NoSuchEntity, message)
        })?;
        if entity.attached.len() >= ATTACHED_MAX && !entity.attached.contains(arn) {
            return Err(quota(&format!("PoliciesPer{}", kind.title()), ATTACHED_MAX));
        }
    }
    Edit::of(call).entity(kind, name)?.attached.insert(arn.to_owned());
    Ok(())
}

pub(super) fn detach(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, arn) = (form.entity(kind), form.arn("PolicyArn"));
    form.done()?;
    About { operation: &format!("Detach{}Policy", kind.title()), kind, name }
        .allowed(call, policy_fact(arn))?;
    if !call.identity.borrow().entity(kind, name)?.attached.contains(arn) {
        return Err(Fault::new(Code::NoSuchEntity, format!("Policy {arn} was not found.")));
    }
    Edit::of(call).entity(kind, name)?.attached.remove(arn);
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml, kind: Kind) -> Result<(), Fault> {
    let (name, prefix, paging) = (form.entity(kind), form.path_prefix(), form.paging());
    form.done()?;
    let operation = format!("ListAttached{}Policies", kind.title());
    About { operation: &operation, kind, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let arns = directory.entity(kind, name)?.attached.iter();
    let policies = arns.filter_map(|arn| Some((arn, directory.policies().get(arn)?)));
    let policies = policies.filter(|(_, policy)| policy.path.starts_with(prefix));
    let (page, next) = paging.page(policies.map(|policy| (policy.0.clone(), policy)));
    xml.list("AttachedPolicies", page, |xml, (arn, policy)| {
        xml.text("PolicyName", &policy.name);
        xml.text("PolicyArn", arn);
    });
    xml.paged(next);
    Ok(())
}

/// Whom a managed policy is attached to, or limits.
pub(super) fn entities(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    const FILTERS: [&str; 5] = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];
    let (arn, prefix, paging) = (form.arn("PolicyArn"), form.path_prefix(), form.paging());
    let filter = form.word("EntityFilter", &FILTERS);
    let usage = form.word("PolicyUsageFilter", &["PermissionsPolicy", "PermissionsBoundary"]);
    form.done()?;
    managed::allowed(call, "ListEntitiesForPolicy", arn, Facts::NONE)?;
    let directory = call.identity.borrow();
    directory.policy(arn)?;
    let uses = |entity: &Entity| {
        (usage != Some("PermissionsBoundary") && entity.attached.contains(arn))
            || (usage != Some("PermissionsPolicy") && entity.boundary.as_deref() == Some(arn))
    };
    let kinds = [Kind::Group, Kind::Role, Kind::User];
    let kinds = kinds.into_iter().filter(|kind| filter.is_none_or(|filter| filter == kind.title()));
    let found = kinds.flat_map(|kind| directory.entities(kind).into_iter().map(move |entity| (kind, entity)));
    let found = found.filter(|(_, entity)| entity.path.starts_with(prefix) && uses(entity));
    // One listing of all three: names of different kinds are told apart by what stands before them.
    let named = found.map(|(kind, entity)| (format!("{}/{}", kind.word(), entity.name), (kind, entity)));
    let (page, next) = paging.page(named);
    for kind in [Kind::Group, Kind::User, Kind::Role] {
        let of_kind = page.iter().filter(|(found, _)| *found == kind);
        xml.list(&format!("Policy{}s", kind.title()), of_kind, |xml, (_, entity)| {
            xml.text(&format!("{}Name", kind.title()), &entity.name);
            xml.text(&format!("{}Id", kind.title()), &entity.id);
        });
    }
    xml.paged(next);
    Ok(())
}

fn policy_fact(arn: &str) -> Facts {
    let mut facts = Facts::default();
    facts.set("iam:PolicyARN", arn);
    facts
}
