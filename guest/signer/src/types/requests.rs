//! What clients send.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Blob, SecretBlob};

/// Additional authenticated data, sorted by key.
pub(crate) type EncryptionContext = BTreeMap<String, String>;

/// `RecipientInfo`: only whether it is there matters, for it is refused.
pub(crate) type Recipient = IgnoredAny;

/// A tag: only whether there is one matters, for tags are refused.
pub(crate) type Tag = IgnoredAny;

/// CreateKey.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateKeyRequest {
    pub(crate) policy: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) key_usage: Option<String>,
    pub(crate) customer_master_key_spec: Option<String>,
    pub(crate) key_spec: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) custom_key_store_id: Option<String>,
    pub(crate) bypass_policy_lockout_safety_check: Option<bool>,
    pub(crate) tags: Option<Vec<Tag>>,
    pub(crate) multi_region: Option<bool>,
    pub(crate) xks_key_id: Option<String>,
}

/// EnableKey, DisableKey and CancelKeyDeletion.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct KeyIdRequest {
    pub(crate) key_id: Option<String>,
}

/// DescribeKey.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DescribeKeyRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
}

/// ListKeys.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListKeysRequest {
    pub(crate) limit: Option<i64>,
    pub(crate) marker: Option<String>,
}

/// ScheduleKeyDeletion.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ScheduleKeyDeletionRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) pending_window_in_days: Option<i64>,
}

/// GetPublicKey.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GetPublicKeyRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
}

/// Sign.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SignRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) message: Option<SecretBlob>,
    pub(crate) message_type: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) signing_algorithm: Option<String>,
    pub(crate) dry_run: Option<bool>,
}

/// Verify.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct VerifyRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) message: Option<SecretBlob>,
    pub(crate) message_type: Option<String>,
    pub(crate) signature: Option<Blob>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) signing_algorithm: Option<String>,
    pub(crate) dry_run: Option<bool>,
}

/// Encrypt.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EncryptRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) plaintext: Option<SecretBlob>,
    pub(crate) encryption_context: Option<EncryptionContext>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) encryption_algorithm: Option<String>,
    pub(crate) dry_run: Option<bool>,
}

/// Decrypt.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DecryptRequest {
    pub(crate) ciphertext_blob: Option<Blob>,
    pub(crate) encryption_context: Option<EncryptionContext>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) key_id: Option<String>,
    pub(crate) encryption_algorithm: Option<String>,
    pub(crate) recipient: Option<Recipient>,
    pub(crate) dry_run: Option<bool>,
}

/// GenerateDataKey and GenerateDataKeyWithoutPlaintext.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GenerateDataKeyRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) encryption_context: Option<EncryptionContext>,
    pub(crate) number_of_bytes: Option<i64>,
    pub(crate) key_spec: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) recipient: Option<Recipient>,
    pub(crate) dry_run: Option<bool>,
}

/// GenerateRandom.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GenerateRandomRequest {
    pub(crate) number_of_bytes: Option<i64>,
    pub(crate) custom_key_store_id: Option<String>,
    pub(crate) recipient: Option<Recipient>,
}

/// GenerateMac.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GenerateMacRequest {
    pub(crate) message: Option<SecretBlob>,
    pub(crate) key_id: Option<String>,
    pub(crate) mac_algorithm: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) dry_run: Option<bool>,
}

/// VerifyMac.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct VerifyMacRequest {
    pub(crate) message: Option<SecretBlob>,
    pub(crate) key_id: Option<String>,
    pub(crate) mac_algorithm: Option<String>,
    pub(crate) mac: Option<Blob>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) dry_run: Option<bool>,
}
