//! AttachVolume and DetachVolume, our own operations: a volume comes to the running signer, or leaves it. What that means is
//! in [`crate::state`].

use casemate_volume::VolumeId;
use serde::Serialize;

use crate::access::{Call, Facts};
use crate::errors::KmsError;
use crate::http::summarise;
use crate::types::request;
use crate::validate::Check;

request! {
    /// AttachVolume and DetachVolume.
    VolumeRequest {
        /// The volume: 32 hexadecimal digits. To attach: none for an empty one. To detach: none for whichever there is.
        volume_id: String,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttachVolumeResponse {
    /// How long the host has, in seconds.
    valid_for_seconds: u64,
}

/// Lets the host attach a volume: one connection, soon.
pub(super) fn attach_volume(
    call: &Call<'_>,
    request: VolumeRequest,
) -> Result<AttachVolumeResponse, KmsError> {
    let volume = volume_id(&request)?;
    call.allow("casemate:AttachVolume", "*", &Facts::NONE)?;
    Ok(AttachVolumeResponse { valid_for_seconds: call.let_in(volume, call.request_id)? })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DetachVolumeResponse {
    volume_id: String,
}

/// Lets the volume go. When the answer comes, everything is on it, and nothing of it is here.
pub(super) fn detach_volume(
    call: &Call<'_>,
    request: VolumeRequest,
) -> Result<DetachVolumeResponse, KmsError> {
    let named = volume_id(&request)?;
    call.allow("casemate:DetachVolume", "*", &Facts::NONE)?;
    let volume = call.let_go(named)?;
    // What was only counted so far belongs to this log, not to the next.
    summarise(call, true);
    Ok(DetachVolumeResponse { volume_id: volume.to_string() })
}

fn volume_id(request: &VolumeRequest) -> Result<Option<VolumeId>, KmsError> {
    let mut id = [0; 16];
    let decodes = |text: &str, id: &mut [u8]| matches!(base16ct::lower::decode(text, id), Ok(bytes) if bytes.len() == 16);
    let mut check = Check::default();
    check.matches("volumeId", request.volume_id.as_deref(), "[0-9a-f]{32}", |text| decodes(text, &mut id));
    check.done()?;
    Ok(request.volume_id.as_ref().map(|_| VolumeId::new(id)))
}
