//! GetGrantNonce and GrantUpgrade, our own operations: let another image open this signer's volume. PutUpdatePolicy,
//! GetUpdatePolicy and DeleteUpdatePolicy: say in advance which images may.

use casemate_attestation::pcr::Pcr;
use serde::Serialize;

use crate::access::{Call, Facts};
use crate::errors::KmsError;
use crate::recipient;
use crate::state::update::{self, UpdatePolicy, Version};
use crate::types::{Blob, Empty, request};
use crate::validate::Check;

/// The action that policies allow or deny.
const ACTION: &str = "casemate:GrantUpgrade";
/// The actions about the policy.
const PUT_POLICY: &str = "casemate:PutUpdatePolicy";
const GET_POLICY: &str = "casemate:GetUpdatePolicy";
const DELETE_POLICY: &str = "casemate:DeleteUpdatePolicy";
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
        /// PCR0 of the new image, as its owner knows it: 96 hexadecimal digits. May be left out where there is an update
        /// policy.
        image_sha384: String,
        /// The new image takes over at once: until then each answer ends its connection.
        hand_over: bool,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GrantUpgradeResponse {
    volume_id: String,
    image_sha384: String,
    image_version: String,
    module_id: String,
}

/// Grants the volume to the guest of the document. It is durable when the answer comes.
pub(super) fn grant_upgrade(
    call: &Call<'_>,
    request: GrantUpgradeRequest,
) -> Result<GrantUpgradeResponse, KmsError> {
    let mut check = Check::default();
    check.required("document", &request.document);
    check.blob("document", &request.document, 1, DOCUMENT_MAX);
    check.done()?;
    call.allow(ACTION, "*", &Facts::NONE)?;
    let document = request.document.unwrap_or(Blob(Vec::new()));
    let Grantee { image, key, version, module_id } =
        grantee(call, &document.0, request.image_sha384.as_deref(), None)?;
    let vouch = |statement: &str| call.platform.attest(Some(statement.as_bytes()), None, None);
    let volume = call.state.grant(*image.as_bytes(), key, vouch)?;
    if request.hand_over == Some(true) {
        call.state.hand_over_soon(call.now());
    }
    Ok(GrantUpgradeResponse {
        volume_id: volume.to_string(),
        image_sha384: image.to_string(),
        image_version: version.to_string(),
        module_id,
    })
}

/// A guest to which something is granted.
pub(crate) struct Grantee {
    pub(crate) image: Pcr,
    /// The key that it is granted to.
    pub(crate) key: [u8; 32],
    version: Version,
    module_id: String,
}

/// The guest of a document of `POST /attestation/volume`, if it answers the last challenge and is one that may have what is
/// this signer's: of the image that is named, or that the update policy admits. `root` is that of another platform.
pub(crate) fn grantee(
    call: &Call<'_>,
    document: &[u8],
    image: Option<&str>,
    root: Option<&[u8]>,
) -> Result<Grantee, KmsError> {
    let policy = call.update_policy.borrow().clone();
    let wanted = match image {
        Some(text) => Some(text.parse::<Pcr>().map_err(|_| {
            KmsError::validation("ImageSha384 must be the PCR0 of an image: 96 hexadecimal digits.")
        })?),
        None if policy.is_some() => None,
        None => {
            return Err(KmsError::validation(
                "ImageSha384 must be given: this signer has no update policy, so each new image is named by its owner.",
            ));
        }
    };
    if call.platform.measurement() == [0; 48] {
        return Err(KmsError::unsupported(
            "This signer runs in debug mode or unsealed: what is on its volume was never secret, and is granted to nobody.",
        ));
    }
    let established = recipient::establish(call, document, None, root)?;
    let refuse =
        |reason: &str| Err(KmsError::validation(format!("The attestation document is not valid: {reason}.")));
    if !call.state.answers_challenge(established.nonce.as_deref(), call.now()) {
        return refuse("its nonce is not the one that GetGrantNonce gave last, or that was too long ago");
    }
    let Some(version) = established.user_data.as_deref().and_then(Version::stated) else {
        return refuse("it is not from POST /attestation/volume of a signer");
    };
    let Some(image) = established.pcrs.get(&0).filter(|image| !image.is_zero() && !established.debug) else {
        return refuse("its guest runs in debug mode or unsealed, where others can look in");
    };
    if wanted.is_some_and(|wanted| wanted != *image) {
        return refuse("its PCR0 is not that of the image that the request names");
    }
    if let Some(policy) = policy {
        let present = Version::of_image(call.platform.command_line());
        if let Err(reason) = policy.admits(established.pcrs.get(&8), version, present) {
            return refuse(&reason);
        }
    }
    let Some(key) = established.public_key.as_deref().and_then(|key| key.try_into().ok()) else {
        return refuse("it has no public key to grant to");
    };
    Ok(Grantee { image: *image, key, version, module_id: established.module_id.clone() })
}

request! {
    /// PutUpdatePolicy.
    PutUpdatePolicyRequest {
        /// PCR8 of images signed with the certificate that the owner means: 96 hexadecimal digits.
        signing_certificate_sha384: String,
        /// The least version, as in 1.2.3.
        minimum_version: String,
    }
}

/// From now on the volume is granted to images alone that this policy admits.
pub(super) fn put_update_policy(call: &Call<'_>, request: PutUpdatePolicyRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.required("signingCertificateSha384", &request.signing_certificate_sha384);
    check.required("minimumVersion", &request.minimum_version);
    check.done()?;
    call.allow(PUT_POLICY, "*", &Facts::NONE)?;
    let pcr8 = request.signing_certificate_sha384.unwrap_or_default();
    let policy = UpdatePolicy::new(&pcr8, &request.minimum_version.unwrap_or_default()).ok_or_else(|| {
        KmsError::validation(
            "SigningCertificateSha384 must be the PCR8 of signed images, 96 hexadecimal digits and not all zero, and \
             MinimumVersion three numbers, as in 1.2.3.",
        )
    })?;
    call.update_policy.replace(Some(policy));
    call.state.touch(update::RECORD);
    Ok(Empty {})
}

request! {
    /// GetUpdatePolicy and DeleteUpdatePolicy.
    UpdatePolicyRequest {}
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetUpdatePolicyResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_certificate_sha384: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_version: Option<String>,
    image_version: String,
}

/// The policy, if there is one, and the version of the image that runs.
pub(super) fn get_update_policy(
    call: &Call<'_>,
    _: UpdatePolicyRequest,
) -> Result<GetUpdatePolicyResponse, KmsError> {
    call.allow(GET_POLICY, "*", &Facts::NONE)?;
    let policy = call.update_policy.borrow();
    Ok(GetUpdatePolicyResponse {
        signing_certificate_sha384: policy.as_ref().map(|policy| policy.signing_certificate.to_string()),
        minimum_version: policy.as_ref().map(|policy| policy.minimum_version.to_string()),
        image_version: Version::of_image(call.platform.command_line()).to_string(),
    })
}

/// From now on each new image is named by its PCR0 again.
pub(super) fn delete_update_policy(call: &Call<'_>, _: UpdatePolicyRequest) -> Result<Empty, KmsError> {
    call.allow(DELETE_POLICY, "*", &Facts::NONE)?;
    if call.update_policy.take().is_some() {
        call.state.touch(update::RECORD);
    }
    Ok(Empty {})
}
