//! GetGrantNonce and GrantUpgrade, our own operations: let another image open this signer's volume.

use casemate_attestation::pcr::Pcr;
use serde::Serialize;

use crate::access::{Call, Facts};
use crate::errors::KmsError;
use crate::recipient;
use crate::state::grant;
use crate::types::{Blob, request};
use crate::validate::Check;

/// The action that policies allow or deny.
const ACTION: &str = "casemate:GrantUpgrade";
/// The longest document there is.
const DOCUMENT_MAX: usize = 16 * 1024;

request! {
    /// GetGrantNonce.
    GetGrantNonceRequest {
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetGrantNonceResponse {
    nonce: Blob,
}

/// A nonce for the document of the next grant: good once, for five minutes.
pub(super) fn get_grant_nonce(
    call: &Call<'_>,
    _: GetGrantNonceRequest,
) -> Result<GetGrantNonceResponse, KmsError> {
    call.allow(ACTION, "*", &Facts::NONE)?;
    Ok(GetGrantNonceResponse { nonce: Blob(call.state.challenge(call.now())?.to_vec()) })
}

request! {
    /// GrantUpgrade.
    GrantUpgradeRequest {
        /// What `POST /attestation/volume` of the new guest gave.
        document: Blob,
        /// PCR0 of the new image, as its owner knows it: 96 hexadecimal digits.
        image_sha384: String,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GrantUpgradeResponse {
    volume_id: String,
    image_sha384: String,
    module_id: String,
}

/// Grants the volume to the guest of the document. It is durable when the answer comes.
pub(super) fn grant_upgrade(
    call: &Call<'_>,
    request: GrantUpgradeRequest,
) -> Result<GrantUpgradeResponse, KmsError> {
    let mut check = Check::default();
    check.required("document", &request.document);
    check.required("imageSha384", &request.image_sha384);
    check.blob("document", &request.document, 1, DOCUMENT_MAX);
    check.done()?;
    call.allow(ACTION, "*", &Facts::NONE)?;
    let wanted: Pcr = request.image_sha384.unwrap_or_default().parse().map_err(|_| {
        KmsError::validation("ImageSha384 must be the PCR0 of an image: 96 hexadecimal digits.")
    })?;
    if call.platform.measurement() == [0; 48] {
        return Err(KmsError::unsupported(
            "This signer runs in debug mode or unsealed: what is on its volume was never secret, and is granted to nobody.",
        ));
    }
    let document = request.document.unwrap_or(Blob(Vec::new()));
    let established = recipient::establish(call, &document.0, None)?;
    let refuse =
        |reason: &str| Err(KmsError::validation(format!("The attestation document is not valid: {reason}.")));
    if !call.state.answers_challenge(established.nonce.as_deref(), call.now()) {
        return refuse("its nonce is not the one that GetGrantNonce gave last, or that was too long ago");
    }
    if established.user_data.as_deref() != Some(grant::STATEMENT) {
        return refuse("it is not from POST /attestation/volume of a signer");
    }
    if established.debug || wanted.is_zero() {
        return refuse("its guest runs in debug mode or unsealed, where others can look in");
    }
    if established.pcrs.get(&0) != Some(&wanted) {
        return refuse("its PCR0 is not that of the image that the request names");
    }
    let Some(key) = established.public_key.as_deref().and_then(|key| key.try_into().ok()) else {
        return refuse("it has no public key to grant to");
    };
    let volume = call.state.grant(*wanted.as_bytes(), key)?;
    Ok(GrantUpgradeResponse {
        volume_id: volume.to_string(),
        image_sha384: wanted.to_string(),
        module_id: established.module_id.clone(),
    })
}
