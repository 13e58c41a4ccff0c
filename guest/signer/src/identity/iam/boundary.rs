//! Permissions boundaries: a managed policy that limits what the others allow.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::entity::Kind;
use crate::identity::fault::Fault;
use crate::identity::form::Form;

use super::About;

pub(super) fn put(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, arn) = (form.entity(kind), form.arn("PermissionsBoundary"));
    form.done()?;
    let mut facts = Facts::default();
    // The new one is what conditions speak of.
    facts.set("iam:PermissionsBoundary", arn);
    let operation = format!("Put{}PermissionsBoundary", kind.title());
    About { operation: &operation, kind, name }.allowed_to_limit(call, facts)?;
    {
        let directory = call.identity.borrow();
        directory.entity(kind, name)?;
        directory.policy(arn)?;
    }
    Edit::of(call).entity(kind, name)?.boundary = Some(arn.to_owned());
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let name = form.entity(kind);
    form.done()?;
    let operation = format!("Delete{}PermissionsBoundary", kind.title());
    About { operation: &operation, kind, name }.allowed(call, Facts::NONE)?;
    Edit::of(call).entity(kind, name)?.boundary = None;
    Ok(())
}
