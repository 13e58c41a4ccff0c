//! From a `KeyId` member to a key that the caller may use.

use std::ops::Deref;
use std::rc::Rc;

use crate::crypto::KeyUsage;
use crate::errors::{ErrorKind, KmsError};
use crate::ops::refusal;
use crate::recipient::Recipient;
use crate::store::{KeyRecord, KeyState, Material, MaterialId};
use crate::types::EncryptionContext;

use super::{Call, Facts, decide, name};

/// What an operation wants to do with a key: the operation, the grant tokens that came with the request, and the
/// condition keys that it adds to those of the call.
pub(crate) struct Ask<'a> {
    operation: &'static str,
    tokens: &'a [String],
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
        Self { operation, tokens: &[], facts: Facts::default() }
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
        if let Some(context) = context {
            self.facts.set_all("kms:EncryptionContextKeys", context.keys().cloned().collect());
            for (name, value) in context {
                self.facts.set(format!("kms:EncryptionContext:{name}"), value);
            }
        }
        self
    }

    /// Whether two `KeyId` members name the same key, which need not exist.
    pub(crate) fn same_key(call: &Call<'_>, one: &str, other: &str) -> Result<bool, KmsError> {
        Ok(name::parse(call, one)? == name::parse(call, other)?)
    }

    /// The key, if there is one and the caller may.
    pub(crate) fn find(self, call: &Call<'_>, key_id: &str) -> Result<Rc<KeyRecord>, KmsError> {
        let id = name::parse(call, key_id)?;
        let key = call.store.borrow().find(&id).ok_or_else(|| {
            let arn = call.identity.borrow().config.arn("kms", &format!("key/{id}"));
            KmsError::new(ErrorKind::NotFound, format!("Key '{arn}' does not exist"))
        })?;
        call.key.replace(Some(key.arn().to_owned()));
        decide::on_key(call, &format!("kms:{}", self.operation), &key, &self.facts)?;
        if !self.tokens.is_empty() {
            return Err(KmsError::new(
                ErrorKind::InvalidGrantToken,
                "The grant token is not valid: this signer has issued no grants.",
            ));
        }
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
        Ok(key)
    }
}
