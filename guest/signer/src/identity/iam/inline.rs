//! Policies that are part of a user, group or role.

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::entity::{Entity, Kind};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::xml::Xml;

use super::{About, identity_policy, size};

/// The length of all inline policies of one entity together.
fn longest(kind: Kind) -> usize {
    match kind {
        Kind::User => 2048,
        Kind::Group => 5120,
        Kind::Role => 10_240,
    }
}

pub(super) fn put(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, policy) = (form.entity(kind), form.name("PolicyName", 128));
    let document = form.document("PolicyDocument");
    form.done()?;
    About { operation: &format!("Put{}Policy", kind.title()), kind, name }.allowed(call, Facts::NONE)?;
    {
        let directory = call.identity.borrow();
        let entity = directory.entity(kind, name)?;
        identity_policy(document)?;
        let others = entity.inline.iter().filter(|(other, _)| other.as_str() != policy);
        let total = others.map(|(_, text)| size(text)).sum::<usize>().saturating_add(size(document));
        if total > longest(kind) {
            let (max, word) = (longest(kind), kind.word());
            let message = format!("Maximum policy size of {max} bytes exceeded for {word} {name}");
            return Err(Fault::new(Code::LimitExceeded, message));
        }
    }
    Edit::of(call).entity(kind, name)?.inline.insert(policy.to_owned(), document.to_owned());
    Ok(())
}

pub(super) fn get(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml, kind: Kind) -> Result<(), Fault> {
    let (name, policy) = (form.entity(kind), form.name("PolicyName", 128));
    form.done()?;
    About { operation: &format!("Get{}Policy", kind.title()), kind, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let document = find(directory.entity(kind, name)?, kind, policy)?;
    xml.text(&format!("{}Name", kind.title()), name);
    xml.text("PolicyName", policy);
    xml.policy("PolicyDocument", document);
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml, kind: Kind) -> Result<(), Fault> {
    let (name, paging) = (form.entity(kind), form.paging());
    form.done()?;
    About { operation: &format!("List{}Policies", kind.title()), kind, name }.allowed(call, Facts::NONE)?;
    let directory = call.identity.borrow();
    let names = directory.entity(kind, name)?.inline.keys();
    let (page, next) = paging.page(names.map(|name| (name.clone(), name)));
    xml.texts("PolicyNames", page);
    xml.paged(next);
    Ok(())
}

pub(super) fn delete(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, policy) = (form.entity(kind), form.name("PolicyName", 128));
    form.done()?;
    About { operation: &format!("Delete{}Policy", kind.title()), kind, name }.allowed(call, Facts::NONE)?;
    find(call.identity.borrow().entity(kind, name)?, kind, policy)?;
    Edit::of(call).entity(kind, name)?.inline.remove(policy);
    Ok(())
}

fn find<'e>(entity: &'e Entity, kind: Kind, policy: &str) -> Result<&'e str, Fault> {
    entity.inline.get(policy).map(String::as_str).ok_or_else(|| {
        let message = format!("The {} policy with name {policy} cannot be found.", kind.word());
        Fault::new(Code::NoSuchEntity, message)
    })
}
