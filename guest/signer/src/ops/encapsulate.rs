//! Encapsulate and Decapsulate.

use crate::access::{Ask, Call, Ready};
use crate::crypto::{CryptoError, EncapsulationAlgorithm, KemKey, KeyUsage};
use crate::errors::{ErrorKind, KmsError};
use crate::recipient::Recipient;
use crate::store::Material;
use crate::types::{Blob, DecapsulateRequest, DecapsulateResponse, EncapsulateRequest, EncapsulateResponse};
use crate::validate::Check;

use super::{dry_run, refusal};

pub(super) fn encapsulate(
    call: &Call<'_>,
    request: EncapsulateRequest,
) -> Result<EncapsulateResponse, KmsError> {
    let mut check = Check::default();
    let algorithm = common(&mut check, &request.key_id, request.encapsulation_algorithm.as_deref());
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let recipient = Recipient::of(call, &request.recipient)?;
    let algorithm = algorithm.ok_or_else(|| KmsError::internal("Validation"))?;
    let key = Ask::new("Encapsulate")
        .tokens(&request.grant_tokens)
        .fact("kms:EncapsulationAlgorithm", algorithm.name())
        .recipient(&recipient)
        .usable(call, request.key_id.as_deref().unwrap_or_default(), KeyUsage::EncapsulateDecapsulate)?;
    let pair = pair(&key, "Encapsulate")?;
    dry_run(request.dry_run)?;
    let (ciphertext, secret) = pair.encapsulate()?;
    let delivered = recipient.deliver(secret)?;
    Ok(EncapsulateResponse {
        key_id: key.arn().to_owned(),
        shared_secret: delivered.plaintext,
        ciphertext_for_recipient: delivered.ciphertext_for_recipient,
        shared_secret_ciphertext_blob: Blob(ciphertext),
        encapsulation_algorithm: algorithm,
    })
}

pub(super) fn decapsulate(
    call: &Call<'_>,
    request: DecapsulateRequest,
) -> Result<DecapsulateResponse, KmsError> {
    let mut check = Check::default();
    let algorithm = common(&mut check, &request.key_id, request.encapsulation_algorithm.as_deref());
    check.required("sharedSecretCiphertextBlob", &request.shared_secret_ciphertext_blob);
    check.blob("sharedSecretCiphertextBlob", &request.shared_secret_ciphertext_blob, 1, 6144);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let recipient = Recipient::of(call, &request.recipient)?;
    let algorithm = algorithm.ok_or_else(|| KmsError::internal("Validation"))?;
    let key = Ask::new("Decapsulate")
        .tokens(&request.grant_tokens)
        .fact("kms:EncapsulationAlgorithm", algorithm.name())
        .recipient(&recipient)
        .usable(call, request.key_id.as_deref().unwrap_or_default(), KeyUsage::EncapsulateDecapsulate)?;
    let pair = pair(&key, "Decapsulate")?;
    let ciphertext = request.shared_secret_ciphertext_blob.as_ref().map(Blob::as_ref).unwrap_or_default();
    let secret = pair.decapsulate(ciphertext).map_err(|error| match error {
        CryptoError::Length(..) => KmsError::new(
            ErrorKind::InvalidCiphertext,
            format!("SharedSecretCiphertextBlob does not have the length of a ciphertext of {}.", key.spec),
        ),
        other => other.into(),
    })?;
    dry_run(request.dry_run)?;
    let delivered = recipient.deliver(secret)?;
    Ok(DecapsulateResponse {
        key_id: key.arn().to_owned(),
        shared_secret: delivered.plaintext,
        ciphertext_for_recipient: delivered.ciphertext_for_recipient,
        encapsulation_algorithm: algorithm,
    })
}

fn common(
    check: &mut Check,
    key_id: &Option<String>,
    algorithm: Option<&str>,
) -> Option<EncapsulationAlgorithm> {
    check.key_id(key_id);
    check.required("encapsulationAlgorithm", &algorithm);
    check.one_of::<EncapsulationAlgorithm>("encapsulationAlgorithm", algorithm)
}

fn pair<'k>(key: &'k Ready, operation: &str) -> Result<&'k KemKey, KmsError> {
    match &key.material {
        Material::Kem(pair) => Ok(pair),
        _ => Err(refusal::wrong_usage(key, operation)),
    }
}
