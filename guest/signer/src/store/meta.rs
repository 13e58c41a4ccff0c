//! What is known about a key beside its secret, as far as it can change.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::crypto::{KeySpec, KeyUsage};
use crate::types::Timestamp;

named! {
    /// Where a key is in its life, as clients see it (AWS KMS Developer Guide, "Key states").
    pub enum KeyState {
        /// In use.
        Enabled = "Enabled",
        /// Switched off.
        Disabled = "Disabled",
        /// Switched off, and erased when the waiting period ends.
        PendingDeletion = "PendingDeletion",
        /// Imported key material is missing: not yet imported, deleted, or expired.
        PendingImport = "PendingImport",
    }
}

named! {
    /// Where key material comes from.
    pub enum Origin {
        /// Made in the signer.
        Kms = "AWS_KMS",
        /// Imported.
        External = "EXTERNAL",
        /// A CloudHSM cluster: in the model, not offered.
        CloudHsm = "AWS_CLOUDHSM",
        /// An external key store: in the model, not offered.
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

/// What its owner wants of a key. Whether that can be had depends on its material too: see [`KeyState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Life {
    /// Switched on.
    #[default]
    Enabled,
    /// Switched off.
    Disabled,
    /// To be erased.
    Ending {
        /// When.
        date: Timestamp,
        /// The waiting period that was asked for.
        days: u32,
    },
}

/// Rotation by date.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The days between two rotations.
    pub days: u32,
    /// When the next one is due.
    pub next: Timestamp,
}

impl Schedule {
    /// The next date by the same rhythm that lies after `now`.
    pub(super) fn skip_to_after(&mut self, now: SystemTime) {
        let days = Duration::from_secs(u64::from(self.days.max(1)).saturating_mul(24 * 60 * 60));
        while self.next.0 <= now {
            match self.next.0.checked_add(days) {
                Some(next) => self.next = Timestamp(next),
                None => return,
            }
        }
    }
}

/// The latest use of a key, for GetKeyLastUsage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastUsage {
    /// The operation.
    pub operation: String,
    /// When.
    pub date: Timestamp,
}

/// What can change about a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyMeta {
    /// The owner's words.
    pub description: String,
    /// What its owner wants of it.
    pub life: Life,
    /// The key policy, as it was given.
    pub policy: String,
    /// Whom the names in it mean: unique identifiers by ARN.
    pub principals: BTreeMap<String, String>,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// Rotation by date, where it is on.
    pub rotation: Option<Schedule>,
    /// The latest use.
    pub last_usage: Option<LastUsage>,
}

/// What is settled when a key is made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settled {
    /// Its kind.
    pub spec: KeySpec,
    /// Its one use.
    pub usage: KeyUsage,
    /// When it was made.
    pub created: Timestamp,
    /// Where its material comes from.
    pub origin: Origin,
    /// Whether it is a multi-Region key.
    #[serde(default)]
    pub multi_region: bool,
    /// Whether its policy can never be changed.
    #[serde(default)]
    pub policy_locked: bool,
}
