//! Tags of users, roles and managed policies.

use std::collections::BTreeMap;

use crate::access::{Call, Facts};
use crate::identity::Edit;
use crate::identity::entity::{Entity, Kind};
use crate::identity::fault::Fault;
use crate::identity::form::{Form, Paging};
use crate::identity::xml::Xml;

use super::{About, TAGS_MAX, distinct, managed, quota, request_tags};

pub(super) fn tag(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, tags) = (form.entity(kind), form.tags(TAGS_MAX));
    form.done()?;
    distinct(&tags)?;
    let mut facts = Facts::default();
    request_tags(&mut facts, &tags);
    About { operation: &format!("Tag{}", kind.title()), kind, name }.allowed(call, facts)?;
    let merged = merged(&call.identity.borrow().entity(kind, name)?.tags, &tags, kind.title())?;
    Edit::of(call).entity(kind, name)?.tags = merged;
    Ok(())
}

pub(super) fn untag(call: &Call<'_>, form: &mut Form<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, keys) = (form.entity(kind), form.tag_keys("TagKeys"));
    form.done()?;
    About { operation: &format!("Untag{}", kind.title()), kind, name }.allowed(call, key_facts(&keys))?;
    let mut edit = Edit::of(call);
    let tags = &mut edit.entity(kind, name)?.tags;
    keys.iter().for_each(|key| Entity::untag(tags, key));
    Ok(())
}

pub(super) fn list(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml, kind: Kind) -> Result<(), Fault> {
    let (name, paging) = (form.entity(kind), form.paging());
    form.done()?;
    About { operation: &format!("List{}Tags", kind.title()), kind, name }.allowed(call, Facts::NONE)?;
    write(xml, &call.identity.borrow().entity(kind, name)?.tags, &paging);
    Ok(())
}

pub(super) fn tag_policy(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let (arn, tags) = (form.arn("PolicyArn"), form.tags(TAGS_MAX));
    form.done()?;
    distinct(&tags)?;
    let mut facts = Facts::default();
    request_tags(&mut facts, &tags);
    managed::allowed(call, "TagPolicy", arn, facts)?;
    let merged = merged(&call.identity.borrow().policy(arn)?.tags, &tags, "Policy")?;
    Edit::of(call).policy(arn)?.tags = merged;
    Ok(())
}

pub(super) fn untag_policy(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let (arn, keys) = (form.arn("PolicyArn"), form.tag_keys("TagKeys"));
    form.done()?;
    managed::allowed(call, "UntagPolicy", arn, key_facts(&keys))?;
    let mut edit = Edit::of(call);
    let tags = &mut edit.policy(arn)?.tags;
    keys.iter().for_each(|key| Entity::untag(tags, key));
    Ok(())
}

pub(super) fn list_of_policy(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let (arn, paging) = (form.arn("PolicyArn"), form.paging());
    form.done()?;
    managed::allowed(call, "ListPolicyTags", arn, Facts::NONE)?;
    write(xml, &call.identity.borrow().policy(arn)?.tags, &paging);
    Ok(())
}

fn key_facts(keys: &[&str]) -> Facts {
    let mut facts = Facts::default();
    facts.set_all("aws:TagKeys", keys.iter().map(|key| (*key).to_owned()).collect());
    facts
}

fn merged(
    old: &BTreeMap<String, String>,
    new: &[(&str, &str)],
    what: &str,
) -> Result<BTreeMap<String, String>, Fault> {
    let mut tags = old.clone();
    new.iter().for_each(|(key, value)| Entity::tag(&mut tags, key, value));
    if tags.len() > TAGS_MAX { Err(quota(&format!("TagsPer{what}"), TAGS_MAX)) } else { Ok(tags) }
}

fn write(xml: &mut Xml, tags: &BTreeMap<String, String>, paging: &Paging) {
    let (page, next) = paging.page(tags.iter().map(|tag| (tag.0.clone(), tag)));
    xml.tags(page);
    xml.paged(next);
}
