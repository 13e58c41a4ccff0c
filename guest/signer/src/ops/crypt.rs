//! Encrypt and Decrypt.

use crate::access::{Ask, Call};
use crate::ciphertext::{self, Parsed};
use crate::crypto::{EncryptionAlgorithm, KeyUsage};
use crate::errors::{ErrorKind, KmsError};
use crate::store::{KeyRecord, Material};
use crate::types::{
    Blob, DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, EncryptionContext, SecretBlob,
};
use crate::validate::Check;

use super::{dry_run, no_recipient, refusal};

pub(super) fn encrypt(call: &Call<'_>, request: EncryptRequest) -> Result<EncryptResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("plaintext", &request.plaintext);
    check.blob("plaintext", &request.plaintext, 1, 4096);
    check.context(&request.encryption_context);
    check.grant_tokens(&request.grant_tokens);
    let algorithm =
        check.one_of::<EncryptionAlgorithm>("encryptionAlgorithm", request.encryption_algorithm.as_deref());
    check.done()?;
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::Symmetric);
    let key_id = request.key_id.unwrap_or_default();
    let key = Ask::new("Encrypt")
        .tokens(&request.grant_tokens)
        .fact("kms:EncryptionAlgorithm", algorithm.name())
        .context(&request.encryption_context)
        .usable(call, &key_id, KeyUsage::EncryptDecrypt)?;
    suits(&key, algorithm, &request.encryption_context)?;
    let plaintext = request.plaintext.as_ref().map(SecretBlob::as_ref).unwrap_or_default();
    let ciphertext = match &key.material {
        Material::Symmetric(secret) => {
            dry_run(request.dry_run)?;
            let context = request.encryption_context.unwrap_or_default();
            ciphertext::seal(secret, &key.id, &key.material_id, &context, plaintext)?
        }
        Material::Oaep(secret) => {
            let longest = secret.longest_plaintext(algorithm).unwrap_or_default();
            if plaintext.len() > longest {
                return Err(KmsError::validation(format!(
                    "Algorithm {algorithm} and key spec {} cannot encrypt data larger than {longest} bytes.",
                    key.spec
                )));
            }
            dry_run(request.dry_run)?;
            secret.encrypt(algorithm, plaintext)?
        }
        _ => return Err(refusal::wrong_usage(&key, "Encrypt")),
    };
    Ok(EncryptResponse {
        ciphertext_blob: Blob(ciphertext),
        key_id: key.arn().to_owned(),
        encryption_algorithm: algorithm,
    })
}

/// The algorithm is one of the key's, and a context comes only with the algorithm that authenticates it.
fn suits(
    key: &KeyRecord,
    algorithm: EncryptionAlgorithm,
    context: &Option<EncryptionContext>,
) -> Result<(), KmsError> {
    if !key.spec.encryption_algorithms().contains(&algorithm) {
        return Err(refusal::incompatible(key, algorithm.name()));
    }
    if algorithm != EncryptionAlgorithm::Symmetric
        && context.as_ref().is_some_and(|context| !context.is_empty())
    {
        return Err(KmsError::validation(format!(
            "EncryptionContext is not supported with algorithm {algorithm}."
        )));
    }
    Ok(())
}

pub(super) fn decrypt(call: &Call<'_>, request: DecryptRequest) -> Result<DecryptResponse, KmsError> {
    let mut check = Check::default();
    check.required("ciphertextBlob", &request.ciphertext_blob);
    check.blob("ciphertextBlob", &request.ciphertext_blob, 1, 6144);
    check.context(&request.encryption_context);
    check.grant_tokens(&request.grant_tokens);
    check.text("keyId", request.key_id.as_deref(), 1, 2048);
    let algorithm =
        check.one_of::<EncryptionAlgorithm>("encryptionAlgorithm", request.encryption_algorithm.as_deref());
    check.done()?;
    no_recipient(&request.recipient)?;
    let blob = request.ciphertext_blob.as_ref().map(Blob::as_ref).unwrap_or_default();
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::Symmetric);
    let parsed = match algorithm {
        EncryptionAlgorithm::Symmetric => Some(ciphertext::parse(blob)),
        _ => None,
    };
    let key_id = named_key(request.key_id.as_deref(), parsed.as_ref())?;
    let key = Ask::new("Decrypt")
        .tokens(&request.grant_tokens)
        .fact("kms:EncryptionAlgorithm", algorithm.name())
        .context(&request.encryption_context)
        .usable(call, &key_id, KeyUsage::EncryptDecrypt)?;
    suits(&key, algorithm, &request.encryption_context)?;
    let invalid = || {
        KmsError::new(ErrorKind::InvalidCiphertext, "The ciphertext or its encryption context is not valid.")
    };
    let plaintext = match (&key.material, parsed) {
        (Material::Symmetric(_), Some(parsed)) => {
            let parsed = parsed.ok_or_else(invalid)?;
            if parsed.key != key.id {
                return Err(KmsError::new(
                    ErrorKind::IncorrectKey,
                    "The key ID in the request does not identify a CMK that can perform this operation.",
                ));
            }
            let context = request.encryption_context.unwrap_or_default();
            // The secret that the blob was made with: the one in use, or one before it.
            let Some(Material::Symmetric(secret)) = key.used_material(&parsed.material) else {
                return Err(invalid());
            };
            ciphertext::open(&secret, &parsed, &context).map_err(|_| invalid())?
        }
        (Material::Oaep(secret), None) => secret.decrypt(algorithm, blob).map_err(|_| invalid())?,
        _ => return Err(refusal::wrong_usage(&key, "Decrypt")),
    };
    dry_run(request.dry_run)?;
    Ok(DecryptResponse {
        key_id: key.arn().to_owned(),
        plaintext: SecretBlob(plaintext),
        encryption_algorithm: algorithm,
    })
}

/// The key to decrypt with: the one named, or else the one that a symmetric blob names.
fn named_key(key_id: Option<&str>, parsed: Option<&Option<Parsed<'_>>>) -> Result<String, KmsError> {
    match (key_id, parsed) {
        (Some(key_id), _) => Ok(key_id.to_owned()),
        (None, Some(Some(parsed))) => Ok(parsed.key.to_string()),
        (None, Some(None)) => {
            Err(KmsError::new(ErrorKind::InvalidCiphertext, "The ciphertext is not one of this signer's."))
        }
        (None, None) => {
            Err(KmsError::validation("KeyId is required to decrypt with an asymmetric encryption algorithm."))
        }
    }
}
