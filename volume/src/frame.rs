//! Frames: four bytes of length, big-endian, then that many bytes of CBOR, one message, and nothing behind it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BATCH_BYTES, HEADER_MAX, VALUE_MAX};

/// Bytes of the length in front of a message.
pub const PREFIX: usize = 4;
/// Most bytes of a message: a batch of which the last record is as long as any, a header, and what is round them.
pub const BODY_MAX: usize = BATCH_BYTES + VALUE_MAX + HEADER_MAX + (128 << 10);

/// Why a frame is not one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// More bytes than a frame may have.
    #[error("a message of {0} bytes: the longest has {BODY_MAX}")]
    TooLong(usize),
    /// The bytes are not the message.
    #[error("not a message of the volume protocol: {0}")]
    Malformed(serde_cbor::Error),
}

/// The frame of `message`.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; PREFIX];
    serde_cbor::to_writer(&mut frame, message).map_err(FrameError::Malformed)?;
    let body = frame.len().saturating_sub(PREFIX);
    let length = u32::try_from(body).ok().filter(|_| body <= BODY_MAX).ok_or(FrameError::TooLong(body))?;
    for (to, from) in frame.iter_mut().zip(length.to_be_bytes()) {
        *to = from;
    }
    Ok(frame)
}

/// How many bytes follow this prefix.
pub fn body_len(prefix: [u8; PREFIX]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > BODY_MAX { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// The message in a frame's body.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    // By way of a value: a parser for each type in a message would make the guest's image a quarter of a megabyte larger.
    let value: serde_cbor::Value = serde_cbor::from_slice(body).map_err(FrameError::Malformed)?;
    serde_cbor::value::from_value(value).map_err(FrameError::Malformed)
}
