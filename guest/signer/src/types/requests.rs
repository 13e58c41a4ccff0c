//! What clients send.

use std::collections::BTreeMap;

use super::{Blob, SecretBlob, Tag, request};

/// Additional authenticated data, sorted by key.
pub(crate) type EncryptionContext = BTreeMap<String, String>;

request! {
    /// Who gets the secret that an operation returns, in place of the caller.
    RecipientInfo {
        key_encryption_algorithm: String,
        attestation_document: Blob,
    }
}

request! {
    /// CreateKey.
    CreateKeyRequest {
        policy: String,
        description: String,
        key_usage: String,
        customer_master_key_spec: String,
        key_spec: String,
        origin: String,
        custom_key_store_id: String,
        bypass_policy_lockout_safety_check: bool,
        tags: Vec<Tag>,
        multi_region: bool,
        xks_key_id: String,
    }
}

request! {
    /// EnableKey, DisableKey and CancelKeyDeletion.
    KeyIdRequest {
        key_id: String,
    }
}

request! {
    /// DescribeKey.
    DescribeKeyRequest {
        key_id: String,
        grant_tokens: Vec<String>,
    }
}

request! {
    /// ListKeys.
    ListKeysRequest {
        limit: i64,
        marker: String,
        resource_owners: Vec<String>,
    }
}

request! {
    /// ScheduleKeyDeletion.
    ScheduleKeyDeletionRequest {
        key_id: String,
        pending_window_in_days: i64,
    }
}

request! {
    /// GetPublicKey.
    GetPublicKeyRequest {
        key_id: String,
        grant_tokens: Vec<String>,
    }
}

request! {
    /// Sign.
    SignRequest {
        key_id: String,
        message: SecretBlob,
        message_type: String,
        grant_tokens: Vec<String>,
        signing_algorithm: String,
        dry_run: bool,
    }
}

request! {
    /// Verify.
    VerifyRequest {
        key_id: String,
        message: SecretBlob,
        message_type: String,
        signature: Blob,
        grant_tokens: Vec<String>,
        signing_algorithm: String,
        dry_run: bool,
    }
}

request! {
    /// Encrypt.
    EncryptRequest {
        key_id: String,
        plaintext: SecretBlob,
        encryption_context: EncryptionContext,
        grant_tokens: Vec<String>,
        encryption_algorithm: String,
        dry_run: bool,
    }
}

request! {
    /// Decrypt.
    DecryptRequest {
        ciphertext_blob: Blob,
        encryption_context: EncryptionContext,
        grant_tokens: Vec<String>,
        key_id: String,
        encryption_algorithm: String,
        recipient: RecipientInfo,
        dry_run: bool,
        dry_run_modifiers: Vec<String>,
    }
}

request! {
    /// ReEncrypt.
    ReEncryptRequest {
        ciphertext_blob: Blob,
        source_encryption_context: EncryptionContext,
        source_key_id: String,
        destination_key_id: String,
        destination_encryption_context: EncryptionContext,
        source_encryption_algorithm: String,
        destination_encryption_algorithm: String,
        grant_tokens: Vec<String>,
        dry_run: bool,
        dry_run_modifiers: Vec<String>,
    }
}

request! {
    /// GenerateDataKey and GenerateDataKeyWithoutPlaintext.
    GenerateDataKeyRequest {
        key_id: String,
        encryption_context: EncryptionContext,
        number_of_bytes: i64,
        key_spec: String,
        grant_tokens: Vec<String>,
        recipient: RecipientInfo,
        dry_run: bool,
    }
}

request! {
    /// GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.
    GenerateDataKeyPairRequest {
        encryption_context: EncryptionContext,
        key_id: String,
        key_pair_spec: String,
        grant_tokens: Vec<String>,
        recipient: RecipientInfo,
        dry_run: bool,
    }
}

request! {
    /// DeriveSharedSecret.
    DeriveSharedSecretRequest {
        key_id: String,
        key_agreement_algorithm: String,
        public_key: Blob,
        grant_tokens: Vec<String>,
        dry_run: bool,
        recipient: RecipientInfo,
    }
}

request! {
    /// Encapsulate. The model has no `Recipient` here; this signer honours one.
    EncapsulateRequest {
        key_id: String,
        encapsulation_algorithm: String,
        grant_tokens: Vec<String>,
        dry_run: bool,
        recipient: RecipientInfo,
    }
}

request! {
    /// Decapsulate. The model has no `Recipient` here; this signer honours one.
    DecapsulateRequest {
        key_id: String,
        shared_secret_ciphertext_blob: Blob,
        encapsulation_algorithm: String,
        grant_tokens: Vec<String>,
        dry_run: bool,
        recipient: RecipientInfo,
    }
}

request! {
    /// GenerateRandom.
    GenerateRandomRequest {
        number_of_bytes: i64,
        custom_key_store_id: String,
        recipient: RecipientInfo,
    }
}

request! {
    /// GenerateMac.
    GenerateMacRequest {
        message: SecretBlob,
        key_id: String,
        mac_algorithm: String,
        grant_tokens: Vec<String>,
        dry_run: bool,
    }
}

request! {
    /// VerifyMac.
    VerifyMacRequest {
        message: SecretBlob,
        key_id: String,
        mac_algorithm: String,
        mac: Blob,
        grant_tokens: Vec<String>,
        dry_run: bool,
    }
}
