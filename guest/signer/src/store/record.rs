//! A key with what is known about it.

use std::cell::Cell;
use std::time::SystemTime;

use crate::crypto::{KeySpec, KeyUsage, MacKey, OaepKey, SigningKey, SymmetricKey, VerifyingKey};

named! {
    /// Where a key is in its life (AWS KMS Developer Guide, "Key states").
    pub enum KeyState {
        /// In use.
        Enabled = "Enabled",
        /// Switched off.
        Disabled = "Disabled",
        /// Switched off, and erased when the waiting period ends.
        PendingDeletion = "PendingDeletion",
    }
}

/// The secret itself, in the type of the one use it has.
pub enum Material {
    /// AES-256-GCM.
    Symmetric(SymmetricKey),
    /// RSA decryption.
    Oaep(Box<OaepKey>),
    /// Signatures, with the public half at hand.
    Signing(Box<(SigningKey, VerifyingKey)>),
    /// HMAC.
    Mac(MacKey),
}

/// A key.
pub struct KeyRecord {
    /// Its identity.
    pub id: super::KeyId,
    arn: String,
    /// Its kind.
    pub spec: KeySpec,
    /// Its one use.
    pub usage: KeyUsage,
    /// The owner's words.
    pub description: String,
    /// When it was made.
    pub created: SystemTime,
    /// The secret.
    pub material: Material,
    state: Cell<KeyState>,
    deletion: Cell<Option<SystemTime>>,
}

impl KeyRecord {
    /// A new key, enabled.
    pub fn new(
        id: super::KeyId,
        arn: String,
        spec: KeySpec,
        usage: KeyUsage,
        description: String,
        created: SystemTime,
        material: Material,
    ) -> Self {
        let (state, deletion) = (Cell::new(KeyState::Enabled), Cell::new(None));
        Self { id, arn, spec, usage, description, created, material, state, deletion }
    }

    /// Its ARN; the account and region in it are the signer's for good once there are keys.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The name of the record that it is kept in.
    pub(crate) fn record_name(&self) -> String {
        format!("key/{}", self.id)
    }

    /// Where the key is in its life.
    pub fn state(&self) -> KeyState {
        self.state.get()
    }

    /// When it will be erased.
    pub fn deletion_date(&self) -> Option<SystemTime> {
        self.deletion.get()
    }

    /// Switches the key on or off. A key that waits for deletion stays as it is: see [`Self::cancel_deletion`].
    pub fn set_enabled(&self, enabled: bool) {
        if self.deletion.get().is_none() {
            self.state.set(if enabled { KeyState::Enabled } else { KeyState::Disabled });
        }
    }

    /// Marks the key for deletion; the store does the rest.
    pub(super) fn schedule_deletion(&self, date: SystemTime) {
        self.deletion.set(Some(date));
        self.state.set(KeyState::PendingDeletion);
    }

    /// Calls the deletion off; the key comes back disabled, as on AWS.
    pub fn cancel_deletion(&self) {
        if self.deletion.take().is_some() {
            self.state.set(KeyState::Disabled);
        }
    }
}
