//! What clients send.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Blob, SecretBlob, Tag};

/// Additional authenticated data, sorted by key.
pub(crate) type EncryptionContext = BTreeMap<String, String>;

/// Who gets the secret that an operation returns, in place of the caller.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RecipientInfo {
    pub(crate) key_encryption_algorithm: Option<String>,
    pub(crate) attestation_document: Option<Blob>,
}

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
    pub(crate) resource_owners: Option<Vec<String>>,
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
    pub(crate) recipient: Option<RecipientInfo>,
    pub(crate) dry_run: Option<bool>,
    pub(crate) dry_run_modifiers: Option<Vec<String>>,
}

/// ReEncrypt.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ReEncryptRequest {
    pub(crate) ciphertext_blob: Option<Blob>,
    pub(crate) source_encryption_context: Option<EncryptionContext>,
    pub(crate) source_key_id: Option<String>,
    pub(crate) destination_key_id: Option<String>,
    pub(crate) destination_encryption_context: Option<EncryptionContext>,
    pub(crate) source_encryption_algorithm: Option<String>,
    pub(crate) destination_encryption_algorithm: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) dry_run: Option<bool>,
    pub(crate) dry_run_modifiers: Option<Vec<String>>,
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
    pub(crate) recipient: Option<RecipientInfo>,
    pub(crate) dry_run: Option<bool>,
}

/// GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GenerateDataKeyPairRequest {
    pub(crate) encryption_context: Option<EncryptionContext>,
    pub(crate) key_id: Option<String>,
    pub(crate) key_pair_spec: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) recipient: Option<RecipientInfo>,
    pub(crate) dry_run: Option<bool>,
}

/// DeriveSharedSecret.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DeriveSharedSecretRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) key_agreement_algorithm: Option<String>,
    pub(crate) public_key: Option<Blob>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) dry_run: Option<bool>,
    pub(crate) recipient: Option<RecipientInfo>,
}

/// Encapsulate. The model has no `Recipient` here; this signer honours one.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EncapsulateRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) encapsulation_algorithm: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) dry_run: Option<bool>,
    pub(crate) recipient: Option<RecipientInfo>,
}

/// Decapsulate. The model has no `Recipient` here; this signer honours one.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DecapsulateRequest {
    pub(crate) key_id: Option<String>,
    pub(crate) shared_secret_ciphertext_blob: Option<Blob>,
    pub(crate) encapsulation_algorithm: Option<String>,
    pub(crate) grant_tokens: Option<Vec<String>>,
    pub(crate) dry_run: Option<bool>,
    pub(crate) recipient: Option<RecipientInfo>,
}

/// GenerateRandom.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GenerateRandomRequest {
    pub(crate) number_of_bytes: Option<i64>,
    pub(crate) custom_key_store_id: Option<String>,
    pub(crate) recipient: Option<RecipientInfo>,
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
