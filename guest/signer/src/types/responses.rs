//! What the signer answers.

use serde::Serialize;

use super::{Blob, ExpirationModel, MultiRegionConfiguration, SecretBlob, Timestamp};
use crate::crypto::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, KeySpec, KeyUsage, MacAlgorithm,
    SigningAlgorithm,
};
use crate::store::{KeyState, MaterialId, Origin};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyMetadata {
    #[serde(rename = "AWSAccountId")]
    pub(crate) account: String,
    pub(crate) key_id: String,
    pub(crate) arn: String,
    pub(crate) creation_date: Timestamp,
    pub(crate) enabled: bool,
    pub(crate) description: String,
    pub(crate) key_usage: KeyUsage,
    pub(crate) key_state: KeyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_date: Option<Timestamp>,
    pub(crate) origin: Origin,
    pub(crate) key_manager: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_master_key_spec: Option<KeySpec>,
    pub(crate) key_spec: KeySpec,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) encryption_algorithms: &'static [EncryptionAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) signing_algorithms: &'static [SigningAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) key_agreement_algorithms: &'static [KeyAgreementAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) encapsulation_algorithms: &'static [EncapsulationAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) mac_algorithms: &'static [MacAlgorithm],
    pub(crate) multi_region: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) multi_region_configuration: Option<MultiRegionConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid_to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expiration_model: Option<ExpirationModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_key_material_id: Option<MaterialId>,
}

/// CreateKey and DescribeKey.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyMetadataResponse {
    pub(crate) key_metadata: KeyMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyListEntry {
    pub(crate) key_id: String,
    pub(crate) key_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListKeysResponse {
    pub(crate) keys: Vec<KeyListEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_marker: Option<String>,
    pub(crate) truncated: bool,
}

/// EnableKey and DisableKey answer with an empty body.
#[derive(Serialize)]
pub(crate) struct Empty {}

/// CancelKeyDeletion.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyIdResponse {
    pub(crate) key_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ScheduleKeyDeletionResponse {
    pub(crate) key_id: String,
    pub(crate) deletion_date: Timestamp,
    pub(crate) key_state: KeyState,
    pub(crate) pending_window_in_days: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetPublicKeyResponse {
    pub(crate) key_id: String,
    pub(crate) public_key: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_master_key_spec: Option<KeySpec>,
    pub(crate) key_spec: KeySpec,
    pub(crate) key_usage: KeyUsage,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) encryption_algorithms: &'static [EncryptionAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) signing_algorithms: &'static [SigningAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) key_agreement_algorithms: &'static [KeyAgreementAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) encapsulation_algorithms: &'static [EncapsulationAlgorithm],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SignResponse {
    pub(crate) key_id: String,
    pub(crate) signature: Blob,
    pub(crate) signing_algorithm: SigningAlgorithm,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VerifyResponse {
    pub(crate) key_id: String,
    pub(crate) signature_valid: bool,
    pub(crate) signing_algorithm: SigningAlgorithm,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EncryptResponse {
    pub(crate) ciphertext_blob: Blob,
    pub(crate) key_id: String,
    pub(crate) encryption_algorithm: EncryptionAlgorithm,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DecryptResponse {
    pub(crate) key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plaintext: Option<SecretBlob>,
    pub(crate) encryption_algorithm: EncryptionAlgorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_material_id: Option<MaterialId>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReEncryptResponse {
    pub(crate) ciphertext_blob: Blob,
    pub(crate) source_key_id: String,
    pub(crate) key_id: String,
    pub(crate) source_encryption_algorithm: EncryptionAlgorithm,
    pub(crate) destination_encryption_algorithm: EncryptionAlgorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_key_material_id: Option<MaterialId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_key_material_id: Option<MaterialId>,
}

/// GenerateDataKey, and with no plaintext GenerateDataKeyWithoutPlaintext.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateDataKeyResponse {
    pub(crate) ciphertext_blob: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plaintext: Option<SecretBlob>,
    pub(crate) key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
    pub(crate) key_material_id: MaterialId,
}

/// GenerateDataKeyPair, and with no plaintext GenerateDataKeyPairWithoutPlaintext.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateDataKeyPairResponse {
    pub(crate) private_key_ciphertext_blob: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) private_key_plaintext: Option<SecretBlob>,
    pub(crate) public_key: Blob,
    pub(crate) key_id: String,
    pub(crate) key_pair_spec: KeySpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
    pub(crate) key_material_id: MaterialId,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeriveSharedSecretResponse {
    pub(crate) key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_secret: Option<SecretBlob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
    pub(crate) key_agreement_algorithm: KeyAgreementAlgorithm,
    pub(crate) key_origin: Origin,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EncapsulateResponse {
    pub(crate) key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_secret: Option<SecretBlob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
    pub(crate) shared_secret_ciphertext_blob: Blob,
    pub(crate) encapsulation_algorithm: EncapsulationAlgorithm,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DecapsulateResponse {
    pub(crate) key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_secret: Option<SecretBlob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
    pub(crate) encapsulation_algorithm: EncapsulationAlgorithm,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateRandomResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plaintext: Option<SecretBlob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ciphertext_for_recipient: Option<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateMacResponse {
    pub(crate) mac: Blob,
    pub(crate) mac_algorithm: MacAlgorithm,
    pub(crate) key_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VerifyMacResponse {
    pub(crate) key_id: String,
    pub(crate) mac_valid: bool,
    pub(crate) mac_algorithm: MacAlgorithm,
}
