//! Sign and Verify.

use crate::access::{Ask, Call, Ready};
use crate::crypto::{
    Digested, KeyUsage, MessageLength, MessageType, SigningAlgorithm, SigningKey, VerifyingKey, digest_of,
};
use crate::errors::{ErrorKind, KmsError};
use crate::store::Material;
use crate::types::{Blob, SecretBlob, SignRequest, SignResponse, VerifyRequest, VerifyResponse};
use crate::validate::Check;

use super::{dry_run, refusal};

pub(super) fn sign(call: &Call<'_>, request: SignRequest) -> Result<SignResponse, KmsError> {
    let members = Members {
        key_id: &request.key_id,
        message: &request.message,
        message_type: request.message_type.as_deref(),
        algorithm: &request.signing_algorithm,
        grant_tokens: &request.grant_tokens,
    };
    let (key, algorithm, input) = members.prepare(call, Check::default(), "Sign")?;
    let (private, _) = pair(&key, "Sign")?;
    dry_run(request.dry_run)?;
    let signature = private.sign(algorithm, &input)?;
    Ok(SignResponse {
        key_id: key.arn().to_owned(),
        signature: Blob(signature),
        signing_algorithm: algorithm,
    })
}

pub(super) fn verify(call: &Call<'_>, request: VerifyRequest) -> Result<VerifyResponse, KmsError> {
    let members = Members {
        key_id: &request.key_id,
        message: &request.message,
        message_type: request.message_type.as_deref(),
        algorithm: &request.signing_algorithm,
        grant_tokens: &request.grant_tokens,
    };
    let mut check = Check::default();
    check.required("signature", &request.signature);
    check.blob("signature", &request.signature, 1, 6144);
    let (key, algorithm, input) = members.prepare(call, check, "Verify")?;
    let (_, public) = pair(&key, "Verify")?;
    dry_run(request.dry_run)?;
    let signature = request.signature.as_ref().map(Blob::as_ref).unwrap_or_default();
    public.verify(algorithm, &input, signature).map_err(|_| {
        let message = "The signature is not valid for this message, key and algorithm.";
        KmsError::new(ErrorKind::InvalidSignature, message)
    })?;
    Ok(VerifyResponse { key_id: key.arn().to_owned(), signature_valid: true, signing_algorithm: algorithm })
}

/// What Sign and Verify have in common.
struct Members<'a> {
    key_id: &'a Option<String>,
    message: &'a Option<SecretBlob>,
    message_type: Option<&'a str>,
    algorithm: &'a Option<String>,
    grant_tokens: &'a Option<Vec<String>>,
}

impl<'a> Members<'a> {
    /// Checks the members and gives the key, the algorithm, and the message as the algorithm takes it.
    fn prepare(
        &self,
        call: &Call<'_>,
        mut check: Check,
        operation: &'static str,
    ) -> Result<(Ready, SigningAlgorithm, Digested<'a>), KmsError> {
        check.key_id(self.key_id);
        check.required("message", self.message);
        check.blob("message", self.message, 1, 4096);
        let message_type = check.one_of::<MessageType>("messageType", self.message_type);
        check.required("signingAlgorithm", self.algorithm);
        let algorithm = check.one_of::<SigningAlgorithm>("signingAlgorithm", self.algorithm.as_deref());
        check.grant_tokens(self.grant_tokens);
        check.done()?;
        let key_id = self.key_id.as_deref().unwrap_or_default();
        let algorithm = algorithm.ok_or_else(|| KmsError::internal("Validation"))?;
        let message_type = message_type.unwrap_or(MessageType::Raw);
        let key = Ask::new(operation)
            .tokens(self.grant_tokens)
            .fact("kms:SigningAlgorithm", algorithm.name())
            .fact("kms:MessageType", message_type.name())
            .usable(call, key_id, KeyUsage::SignVerify)?;
        if !key.spec.signing_algorithms().contains(&algorithm) {
            return Err(refusal::incompatible(&key, algorithm.name()));
        }
        let message = self.message.as_ref().map(SecretBlob::as_ref).unwrap_or_default();
        let input = message_for(algorithm, message_type, message)?;
        Ok((key, algorithm, input))
    }
}

/// The message as the algorithm takes it, or what is wrong with it.
fn message_for(
    algorithm: SigningAlgorithm,
    message_type: MessageType,
    message: &[u8],
) -> Result<Digested<'_>, KmsError> {
    match algorithm.message_length(message_type) {
        MessageLength::Never => Err(KmsError::validation(format!(
            "MessageType {message_type} is incompatible with signing algorithm {algorithm}."
        ))),
        MessageLength::Exactly(length) if length != message.len() => Err(KmsError::validation(format!(
            "Digest is invalid length for algorithm {algorithm}: it must have {length} bytes."
        ))),
        MessageLength::Exactly(_) | MessageLength::Any => Ok(digest_of(algorithm, message_type, message)?),
    }
}

fn pair<'k>(key: &'k Ready, operation: &str) -> Result<&'k (SigningKey, VerifyingKey), KmsError> {
    match &key.material {
        Material::Signing(pair) => Ok(pair),
        _ => Err(refusal::wrong_usage(key, operation)),
    }
}
