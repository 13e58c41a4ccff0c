//! GenerateMac and VerifyMac.

use std::rc::Rc;

use crate::crypto::{KeyUsage, MacAlgorithm, MacKey};
use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::store::{KeyRecord, Material};
use crate::types::{
    Blob, GenerateMacRequest, GenerateMacResponse, SecretBlob, VerifyMacRequest, VerifyMacResponse,
};
use crate::validate::Check;

use super::{dry_run, no_grants, resolve};

pub(super) fn generate_mac(
    signer: &Signer,
    request: GenerateMacRequest,
) -> Result<GenerateMacResponse, KmsError> {
    let mut check = Check::default();
    let algorithm = common(&mut check, &request.key_id, &request.message, request.mac_algorithm.as_deref());
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    no_grants(&request.grant_tokens)?;
    let (key, algorithm) = mac_key(signer, request.key_id, algorithm, "GenerateMac")?;
    let secret = secret(&key, "GenerateMac")?;
    dry_run(request.dry_run)?;
    let mac = secret.sign(request.message.as_ref().map(SecretBlob::as_ref).unwrap_or_default());
    Ok(GenerateMacResponse { mac: Blob(mac), mac_algorithm: algorithm, key_id: key.id.arn() })
}

pub(super) fn verify_mac(signer: &Signer, request: VerifyMacRequest) -> Result<VerifyMacResponse, KmsError> {
    let mut check = Check::default();
    let algorithm = common(&mut check, &request.key_id, &request.message, request.mac_algorithm.as_deref());
    check.required("mac", &request.mac);
    check.blob("mac", &request.mac, 1, 6144);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    no_grants(&request.grant_tokens)?;
    let (key, algorithm) = mac_key(signer, request.key_id, algorithm, "VerifyMac")?;
    let secret = secret(&key, "VerifyMac")?;
    dry_run(request.dry_run)?;
    let message = request.message.as_ref().map(SecretBlob::as_ref).unwrap_or_default();
    let mac = request.mac.as_ref().map(Blob::as_ref).unwrap_or_default();
    secret.verify(message, mac).map_err(|_| {
        KmsError::new(ErrorKind::InvalidMac, "The MAC is not valid for this message, key and algorithm.")
    })?;
    Ok(VerifyMacResponse { key_id: key.id.arn(), mac_valid: true, mac_algorithm: algorithm })
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
    signer: &Signer,
    key_id: Option<String>,
    algorithm: Option<MacAlgorithm>,
    operation: &str,
) -> Result<(Rc<KeyRecord>, MacAlgorithm), KmsError> {
    let algorithm = algorithm.ok_or_else(|| KmsError::internal("Validation"))?;
    let key = resolve::usable(signer, &key_id.unwrap_or_default(), KeyUsage::GenerateVerifyMac, operation)?;
    if !key.spec.mac_algorithms().contains(&algorithm) {
        return Err(resolve::incompatible(&key, algorithm.name()));
    }
    Ok((key, algorithm))
}

fn secret<'k>(key: &'k KeyRecord, operation: &str) -> Result<&'k MacKey, KmsError> {
    match &key.material {
        Material::Mac(secret) => Ok(secret),
        _ => Err(resolve::wrong_usage(key, operation)),
    }
}
