//! DeriveSharedSecret.

use crate::access::{Ask, Call};
use crate::crypto::{KeyAgreementAlgorithm, KeyUsage};
use crate::errors::KmsError;
use crate::recipient::Recipient;
use crate::store::Material;
use crate::types::{Blob, DeriveSharedSecretRequest, DeriveSharedSecretResponse};
use crate::validate::Check;

use super::{dry_run, refusal};

pub(super) fn derive_shared_secret(
    call: &Call<'_>,
    request: DeriveSharedSecretRequest,
) -> Result<DeriveSharedSecretResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("keyAgreementAlgorithm", &request.key_agreement_algorithm);
    let algorithm = check
        .one_of::<KeyAgreementAlgorithm>("keyAgreementAlgorithm", request.key_agreement_algorithm.as_deref());
    check.required("publicKey", &request.public_key);
    check.blob("publicKey", &request.public_key, 1, 8192);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let algorithm = algorithm.ok_or_else(|| KmsError::internal("Validation"))?;
    let recipient = Recipient::of(call, &request.recipient)?;
    let key = Ask::new("DeriveSharedSecret")
        .tokens(&request.grant_tokens)
        .fact("kms:KeyAgreementAlgorithm", algorithm.name())
        .recipient(&recipient)
        .usable(call, request.key_id.as_deref().unwrap_or_default(), KeyUsage::KeyAgreement)?;
    let Material::Agreement(private) = &key.material else {
        return Err(refusal::wrong_usage(&key, "DeriveSharedSecret"));
    };
    let peer = request.public_key.as_ref().map(Blob::as_ref).unwrap_or_default();
    let secret = private.derive(peer).map_err(|_| {
        let spec = key.spec;
        KmsError::validation(format!(
            "PublicKey must be the DER-encoded SubjectPublicKeyInfo of a public key with key spec {spec}."
        ))
    })?;
    dry_run(request.dry_run)?;
    let delivered = recipient.deliver(secret)?;
    Ok(DeriveSharedSecretResponse {
        key_id: key.arn().to_owned(),
        shared_secret: delivered.plaintext,
        ciphertext_for_recipient: delivered.ciphertext_for_recipient,
        key_agreement_algorithm: algorithm,
        key_origin: key.origin,
    })
}
