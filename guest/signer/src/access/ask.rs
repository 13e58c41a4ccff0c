//! From a `KeyId` member to a key that the caller may use.

use std::ops::Deref;
use std::rc::Rc;

use crate::crypto::KeyUsage;
use crate::errors::{ErrorKind, KmsError};
use crate::ops::refusal;
use crate::recipient::Recipient;
use crate::store::{Grant, KeyId, KeyRecord, KeyState, Material, MaterialId};
use crate::types::EncryptionContext;

use super::decide::{self, Asked};
use super::{Call, Facts, name};

/// What an operation wants to do with a key: the operation, the grant tokens that came with the request, and the
/// condition keys that it adds to those of the call.
pub(crate) struct Ask<'a> {
    operation: &'static str,
    tokens: &'a [String],
    context: Option<EncryptionContext>,
    proposed: Option<&'a Grant>,
    facts: Facts,
}

/// An enabled key that the caller may use, with the secret that is in use.
pub(crate) struct Ready {
    key: Rc<KeyRecord>,
    /// The name of the secret.
    pub(crate) material_id: MaterialId,
    /// The secret.
    pub(crate) material: Material,
}

impl Deref for Ready {
    type Target = KeyRecord;

    fn deref(&self) -> &KeyRecord {
        &self.key
    }
}

impl<'a> Ask<'a> {
    /// `operation` as in the service model; the action is `kms:` and its name.
    pub(crate) fn new(operation: &'static str) -> Self {
        Self { operation, tokens: &[], context: None, proposed: None, facts: Facts::default() }
    }

    /// Grant tokens of the request.
    pub(crate) fn tokens(mut self, tokens: &'a Option<Vec<String>>) -> Self {
        self.tokens = tokens.as_deref().unwrap_or_default();
        self
    }

    /// A condition key that the request sets, as in `kms:SigningAlgorithm`.
    pub(crate) fn fact(mut self, key: &'static str, value: &str) -> Self {
        self.facts.set(key, value);
        self
    }

    /// Who gets the secret, whose document adds condition keys.
    pub(crate) fn recipient(mut self, recipient: &Recipient) -> Self {
        self.facts.append(recipient.facts());
        self
    }

    /// The encryption context, whose members conditions and grants can demand.
    pub(crate) fn context(mut self, context: &Option<EncryptionContext>) -> Self {
        self.context = context.clone();
        self.facts.set_context(context.as_ref());
        self
    }

    /// Whether two `KeyId` members name the same key, which need not exist.
    pub(crate) fn same_key(call: &Call<'_>, one: &str, other: &str) -> Result<bool, KmsError> {
        Ok(name::parse(call, one, true)?.key == name::parse(call, other, true)?.key)
    }

    /// The key that a member names, if it exists: for operations on something else than the key, which permit the caller
    /// nothing on it.
    pub(crate) fn exists(call: &Call<'_>, operation: &'static str, key_id: &str) -> Result<KeyId, KmsError> {
        existing(call, operation, key_id).map(|key| key.id)
    }

    /// The grant that the request wants to make.
    pub(crate) fn proposing(mut self, grant: &'a Grant) -> Self {
        self.proposed = Some(grant);
        self
    }

    /// Further condition keys that the request sets.
    pub(crate) fn facts(mut self, facts: Facts) -> Self {
        self.facts.append(facts);
        self
    }

    /// The key, if there is one and the caller may.
    pub(crate) fn find(mut self, call: &Call<'_>, key_id: &str) -> Result<Rc<KeyRecord>, KmsError> {
        let named = name::parse(call, key_id, name::by_alias(self.operation))?;
        let key = record(call, named.key)?;
        if let Some(alias) = named.alias {
            self.facts.set("kms:RequestAlias", alias);
        }
        let Self { operation, context, proposed, facts, .. } = &self;
        let asked = Asked { operation, context: context.as_ref(), proposed: *proposed, facts };
        decide::on_key(call, &key, &asked)?;
        check_tokens(call, self.tokens)?;
        Ok(key)
    }

    /// The same, if the key is enabled too.
    pub(crate) fn enabled(self, call: &Call<'_>, key_id: &str) -> Result<Ready, KmsError> {
        let key = self.find(call, key_id)?;
        refusal::unless_enabled(&key)?;
        let (material_id, material) =
            key.current().ok_or_else(|| refusal::state(&key, KeyState::PendingImport))?;
        Ok(Ready { key, material_id, material })
    }

    /// The same, if the key's usage is `usage` too.
    pub(crate) fn usable(self, call: &Call<'_>, key_id: &str, usage: KeyUsage) -> Result<Ready, KmsError> {
        let operation = self.operation;
        let key = self.enabled(call, key_id)?;
        if key.usage != usage {
            return Err(refusal::wrong_usage(&key, operation));
        }
        call.used.borrow_mut().push((Rc::clone(&key.key), operation));
        Ok(key)
    }
}

/// The key that a member names, before anybody is asked.
pub(super) fn existing(call: &Call<'_>, operation: &str, key_id: &str) -> Result<Rc<KeyRecord>, KmsError> {
    record(call, name::parse(call, key_id, name::by_alias(operation))?.key)
}

fn record(call: &Call<'_>, id: KeyId) -> Result<Rc<KeyRecord>, KmsError> {
    let key = call.store.borrow().find(&id).ok_or_else(|| {
        let arn = call.identity.borrow().config.arn("kms", &format!("key/{id}"));
        KmsError::new(ErrorKind::NotFound, format!("Key '{arn}' does not exist"))
    })?;
    call.key.replace(Some(key.arn().to_owned()));
    Ok(key)
}

/// Grants hold from the moment they are made, so tokens are not needed for anything: but each must be one.
fn check_tokens(call: &Call<'_>, tokens: &[String]) -> Result<(), KmsError> {
    let store = call.store.borrow();
    match tokens.iter().all(|token| store.grants.of_token(token).is_some()) {
        true => Ok(()),
        false => Err(refusal::grant_token()),
    }
}
