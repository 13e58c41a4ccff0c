//! CreateAlias, UpdateAlias, DeleteAlias, ListAliases.
//!
//! Whoever changes an alias needs the permission on the alias, which has no policy of its own, and on each key that it
//! leaves or comes to.

use std::rc::Rc;

use crate::access::{Ask, Call, Facts, no_alias};
use crate::crypto::KeyUsage;
use crate::errors::{ErrorKind, KmsError};
use crate::store::{Alias, KeyRecord};
use crate::types::{
    AliasListEntry, AliasRequest, DeleteAliasRequest, Empty, ListAliasesResponse, PageOfKeyRequest, Timestamp,
};
use crate::validate::{Check, NAME};

use super::{page, refusal};

/// Aliases of one key, as on AWS.
const MOST: usize = 50;

pub(super) fn create_alias(call: &Call<'_>, request: AliasRequest) -> Result<Empty, KmsError> {
    let (name, target) = members(request)?;
    let arn = arn(call, &name);
    call.allow("kms:CreateAlias", &arn, &Facts::NONE)?;
    let key = target_key(call, "CreateAlias", &target)?;
    if call.store.borrow().aliases.find(&name).is_some() {
        let message = format!("An alias with the name {arn} already exists");
        return Err(KmsError::new(ErrorKind::AlreadyExists, message));
    }
    room(call, &key, call.store.borrow().aliases.len())?;
    let now = Timestamp(call.now());
    call.store.borrow_mut().aliases.set(&name, Alias { target: key.id, created: now, updated: now });
    call.state.touch(name);
    Ok(Empty {})
}

pub(super) fn update_alias(call: &Call<'_>, request: AliasRequest) -> Result<Empty, KmsError> {
    let (name, target) = members(request)?;
    let arn = arn(call, &name);
    call.allow("kms:UpdateAlias", &arn, &Facts::NONE)?;
    let alias = call.store.borrow().aliases.find(&name).ok_or_else(|| no_alias(&arn))?;
    let old = Ask::new("UpdateAlias").find(call, &alias.target.to_string())?;
    let new = target_key(call, "UpdateAlias", &target)?;
    let is_symmetric = |key: &KeyRecord| key.usage == KeyUsage::EncryptDecrypt && !key.spec.is_key_pair();
    if old.usage != new.usage || is_symmetric(&old) != is_symmetric(&new) {
        return Err(KmsError::validation(
            "The current and the new key of an alias must be of the same type (symmetric, asymmetric or HMAC) and usage.",
        ));
    }
    if old.id != new.id {
        room(call, &new, 0)?;
    }
    let updated = Timestamp(call.now());
    call.store.borrow_mut().aliases.set(&name, Alias { target: new.id, updated, ..alias });
    call.state.touch(name);
    Ok(Empty {})
}

pub(super) fn delete_alias(call: &Call<'_>, request: DeleteAliasRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check_name(&mut check, &request.alias_name);
    check.done()?;
    let name = allowed(request.alias_name.unwrap_or_default())?;
    let arn = arn(call, &name);
    call.allow("kms:DeleteAlias", &arn, &Facts::NONE)?;
    let alias = call.store.borrow().aliases.find(&name).ok_or_else(|| no_alias(&arn))?;
    Ask::new("DeleteAlias").find(call, &alias.target.to_string())?;
    call.store.borrow_mut().aliases.remove(&name);
    call.state.touch(name);
    Ok(Empty {})
}

pub(super) fn list_aliases(
    call: &Call<'_>,
    request: PageOfKeyRequest,
) -> Result<ListAliasesResponse, KmsError> {
    let mut check = Check::default();
    check.text("keyId", request.key_id.as_deref(), 1, 2048);
    check.page(request.limit, request.marker.as_deref());
    check.done()?;
    let after = page::after(request.marker.as_deref(), |name| name.starts_with(PREFIX).then_some(name))?;
    call.allow("kms:ListAliases", "*", &Facts::NONE)?;
    let of = request.key_id.map(|key_id| Ask::exists(call, "ListAliases", &key_id)).transpose()?;
    let store = call.store.borrow();
    let all = store.aliases.after(after).filter(|(_, alias)| of.is_none_or(|key| alias.target == key));
    let page = page::take(all, request.limit, 50, |(name, _)| (*name).to_owned());
    let entry = |(name, alias): (&str, &Alias)| AliasListEntry {
        alias_name: name.to_owned(),
        alias_arn: arn(call, name),
        target_key_id: alias.target.to_string(),
        creation_date: alias.created,
        last_updated_date: alias.updated,
    };
    Ok(ListAliasesResponse {
        aliases: page.entries.into_iter().map(entry).collect(),
        next_marker: page.next_marker,
        truncated: page.truncated,
    })
}

const PREFIX: &str = "alias/";

fn members(request: AliasRequest) -> Result<(String, String), KmsError> {
    let mut check = Check::default();
    check_name(&mut check, &request.alias_name);
    check.required("targetKeyId", &request.target_key_id);
    check.text("targetKeyId", request.target_key_id.as_deref(), 1, 2048);
    check.done()?;
    Ok((allowed(request.alias_name.unwrap_or_default())?, request.target_key_id.unwrap_or_default()))
}

fn check_name(check: &mut Check, name: &Option<String>) {
    check.required("aliasName", name);
    check.text("aliasName", name.as_deref(), 1, 256);
    check.characters("aliasName", name.as_deref(), NAME);
}

/// Names begin with `alias/`, and those of AWS's own keys are not for others.
fn allowed(name: String) -> Result<String, KmsError> {
    let invalid = |message| Err(KmsError::new(ErrorKind::InvalidAliasName, message));
    match name.strip_prefix(PREFIX) {
        None | Some("") => invalid("Alias must start with the prefix \"alias/\", followed by a name."),
        Some(rest) if rest == "aws" || rest.starts_with("aws/") => {
            invalid("Aliases that begin with alias/aws/ are reserved.")
        }
        Some(_) => Ok(name),
    }
}

fn target_key(call: &Call<'_>, operation: &'static str, target: &str) -> Result<Rc<KeyRecord>, KmsError> {
    if target.starts_with(PREFIX) || target.contains(":alias/") {
        return Err(KmsError::validation("Aliases must refer to keys. Not aliases"));
    }
    let key = Ask::new(operation).find(call, target)?;
    refusal::if_pending_deletion(&key)?;
    Ok(key)
}

/// Whether there is room for one more alias of `key`, where there are `count` in all.
fn room(call: &Call<'_>, key: &KeyRecord, count: usize) -> Result<(), KmsError> {
    let full = |what: String| Err(KmsError::new(ErrorKind::LimitExceeded, what));
    let limit = call.limits.aliases;
    if count >= limit {
        return full(format!("This signer holds its limit of {limit} aliases."));
    }
    if call.store.borrow().aliases.of(key.id).count() >= MOST {
        return full(format!("{} has its limit of {MOST} aliases.", key.arn()));
    }
    Ok(())
}

fn arn(call: &Call<'_>, name: &str) -> String {
    call.identity.borrow().config.arn("kms", name)
}
