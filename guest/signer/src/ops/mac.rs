//! GenerateMac and VerifyMac.

use crate::access::{Ask, Call, Ready};
use crate::crypto::{KeyUsage, MacAlgorithm, MacKey};
use crate::errors::{ErrorKind, KmsError};
use crate::store::Material;
use crate::types::{
    Blob, GenerateMacRequest, GenerateMacResponse, SecretBlob, VerifyMacRequest, VerifyMacResponse,
};
use crate::validate::Check;

use super::{dry_run, refusal};

pub(super) fn generate_mac(
    call: &Call<'_>,
    request: GenerateMacRequest,
) -> Result<GenerateMacResponse, KmsError> {
    let mut check = Check::default();
    let algorithm = common(&mut check, &request.key_id, &request.message, request.mac_algorithm.as_deref());
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let (key, algorithm) = mac_key(call, &request.key_id, &request.grant_tokens, algorithm, "GenerateMac")?;
    let secret = secret(&key, "GenerateMac")?;
    dry_run(request.dry_run)?;
    let mac = secret.sign(request.message.as_ref().map(SecretBlob::as_ref).unwrap_or_default());
    Ok(GenerateMacResponse { mac: Blob(mac), mac_algorithm: algorithm, key_id: key.arn().to_owned() })
}

pub(super) fn verify_mac(call: &Call<'_>, request: VerifyMacRequest) -> Result<VerifyMacResponse, KmsError> {
    let mut check = Check::default();
    let algorithm = common(&mut check, &request.key_id, &request.message, request.mac_algorithm.as_deref());
    check.required("mac", &request.mac);
    check.blob("mac", &request.mac, 1, 6144);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let (key, algorithm) = mac_key(call, &request.key_id, &request.grant_tokens, algorithm, "VerifyMac")?;
    let secret = secret(&key, "VerifyMac")?;
    dry_run(request.dry_run)?;
    let message = request.message.as_ref().map(SecretBlob::as_ref).unwrap_or_default();
    let mac = request.mac.as_ref().map(Blob::as_ref).unwrap_or_default();
    secret.verify(message, mac).map_err(|_| {
        KmsError::new(ErrorKind::InvalidMac, "The MAC is not valid for this message, key and algorithm.")
    })?;
    Ok(VerifyMacResponse { key_id: key.arn().to_owned(), mac_valid: true, mac_algorithm: algorithm })
}

fn common(
    check: &mut Check,
    key_id: &Option<String>,
    message: &Option<SecretBlob>,
    algorithm: Option<&str>,
) -> Option<MacAlgorithm> {
    check.key_id(key_id);
    check.required("message", message);
    check.blob("message", message, 1, 4096);
    check.required("macAlgorithm", &algorithm);
    check.one_of::<MacAlgorithm>("macAlgorithm", algorithm)
}

fn mac_key(
    call: &Call<'_>,
    key_id: &Option<String>,
    tokens: &Option<Vec<String>>,
    algorithm: Option<MacAlgorithm>,
    operation: &'static str,
) -> Result<(Ready, MacAlgorithm), KmsError> {
    let algorithm = algorithm.ok_or_else(|| KmsError::internal("Validation"))?;
    let key = Ask::new(operation).tokens(tokens).fact("kms:MacAlgorithm", algorithm.name()).usable(
        call,
        key_id.as_deref().unwrap_or_default(),
        KeyUsage::GenerateVerifyMac,
    )?;
    if !key.spec.mac_algorithms().contains(&algorithm) {
        return Err(refusal::incompatible(&key, algorithm.name()));
    }
    Ok((key, algorithm))
}

fn secret<'k>(key: &'k Ready, operation: &str) -> Result<&'k MacKey, KmsError> {
    match &key.material {
        Material::Mac(secret) => Ok(secret),
        _ => Err(refusal::wrong_usage(key, operation)),
    }
}
