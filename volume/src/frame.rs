//! Frames: four bytes of length, big-endian, then that many bytes of CBOR, one message, and nothing behind it.

use casemate_attestation::cbor::{self, Value};
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
    Malformed(String),
}

/// The frame of `message`.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; PREFIX];
    ciborium::into_writer(message, &mut frame).map_err(|error| FrameError::Malformed(error.to_string()))?;
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
    value(body)?.deserialized().map_err(|error| FrameError::Malformed(error.to_string()))
}

/// The value that these bytes are, all of them.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, FrameError> {
    cbor::read(bytes).map_err(|error| FrameError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_bytes::{ByteArray, ByteBuf};

    use super::*;
    use crate::layout::{Header, Sealed, VolumeId};
    use crate::message::{Changes, Record, Request, Response};
    use crate::{FORMAT, layout::Name};

    fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
        let frame = encode(message).expect("a frame");
        let body = serde_cbor::to_vec(message).expect("CBOR");
        assert_eq!(frame.get(PREFIX..), Some(body.as_slice()), "{message:?}");
        assert_eq!(&decode::<T>(&body).expect("the message"), message);
        assert!(decode::<T>(&[&body[..], &[0xf6]].concat()).is_err(), "something follows");
        assert!(decode::<T>(body.get(1..).unwrap_or_default()).is_err(), "something is missing");
    }

    /// Volumes outlive programs: the bytes are those that another library makes, and made before.
    #[test]
    fn messages_and_headers_are_plain_cbor() {
        let record = Record { name: Name(ByteArray::new([7; 32])), value: ByteBuf::from(vec![1; 70_000]) };
        let changes = Changes { puts: vec![record.clone()], deletes: vec![Name(ByteArray::new([0xff; 32]))] };
        same(&Request::Hello { format: FORMAT });
        same(&Request::Page { after: None });
        same(&Request::Stage(Changes::default()));
        let root = ByteBuf::from(vec![3; 300]);
        same(&Request::Commit { expected: None, root: root.clone(), header: Some(root), changes });
        same(&Request::Attached { records: 1 << 20, counter: u64::MAX });
        same(&Request::Detached);
        same(&Request::Refused { reason: "the volume is damaged: \u{e9}".to_owned() });
        same(&Response::Staged);
        same(&Response::Records { records: vec![record], more: true });
        let sealed = Sealed {
            measurement: ByteArray::new([1; 48]),
            key_id: ByteArray::new([2; 16]),
            key: ByteBuf::from(vec![3; 60]),
        };
        let header =
            Header { format: FORMAT, volume: VolumeId(ByteArray::new([4; 16])), sealed, grant: None };
        assert_eq!(header.to_bytes(), serde_cbor::to_vec(&header).expect("CBOR"));
        assert_eq!(Header::parse(&header.to_bytes()).as_ref(), Ok(&header));
    }
}
