//! What of header, root and records lies open. The guest authenticates all of it; the host may read it to its user.
//!
//! ```text
//! record  format (1) ‖ volume (16) ‖ name (32) ‖ version (8)          ‖ nonce (12) ‖ AES-256-GCM(content)
//! root    format (1) ‖ volume (16) ‖ counter (8)                      ‖ nonce (12) ‖ AES-256-GCM(summary)
//! header  CBOR: format, volume, who can open it, the volume's key encrypted to them
//! ```
//!
//! Numbers are big-endian. What precedes the nonce is the associated data of the encryption. A record says in the open
//! which volume, name and version it is of, so that the guest can tell a record that was moved from one that was damaged.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::FORMAT;

/// Bytes of a nonce (NIST SP 800-38D, 5.2.1.1).
pub const NONCE_LEN: usize = 12;
/// Bytes of what precedes the nonce in a record.
pub const RECORD_PREFIX: usize = 1 + 16 + 32 + 8;
/// Bytes of what precedes the nonce in a root.
pub const ROOT_PREFIX: usize = 1 + 16 + 8;

/// The name of a record, as the host knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(pub ByteArray<32>);

/// The identity of a volume: random, made with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeId(pub ByteArray<16>);

impl Name {
    /// The name of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(ByteArray::new(bytes))
    }
}

impl VolumeId {
    /// The identity of these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(ByteArray::new(bytes))
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0.as_slice()).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0.as_slice()).fmt(f)
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not even the open part makes sense.
    #[error("it is damaged")]
    Damaged,
    /// Made by a version that this one does not know.
    #[error("it has format {0}, which this version does not know (it knows {FORMAT})")]
    Format(u8),
}

/// A reader that takes what it is asked for from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LayoutError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn format(&mut self) -> Result<(), LayoutError> {
        match self.take()? {
            [FORMAT] => Ok(()),
            [other] => Err(LayoutError::Format(other)),
        }
    }
}

/// The open part of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPrefix {
    /// The volume that it was written to.
    pub volume: VolumeId,
    /// The name that it was written under.
    pub name: Name,
    /// The commit that wrote it.
    pub version: u64,
}

/// A value, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a, P> {
    /// The open part.
    pub prefix: P,
    /// The same, as bytes: the associated data.
    pub associated: &'a [u8],
    /// The nonce.
    pub nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    pub sealed: &'a [u8],
}

fn parts<P>(
    bytes: &[u8],
    prefix_len: usize,
    read: impl FnOnce(&mut Reader<'_>) -> Result<P, LayoutError>,
) -> Result<Parts<'_, P>, LayoutError> {
    let (associated, rest) = bytes.split_at_checked(prefix_len).ok_or(LayoutError::Damaged)?;
    let mut reader = Reader(associated);
    reader.format()?;
    let prefix = read(&mut reader)?;
    let (nonce, sealed) = rest.split_first_chunk().ok_or(LayoutError::Damaged)?;
    Ok(Parts { prefix, associated, nonce: *nonce, sealed })
}

impl RecordPrefix {
    /// As bytes.
    pub fn to_bytes(&self) -> [u8; RECORD_PREFIX] {
        let mut bytes = [FORMAT; RECORD_PREFIX];
        let parts = self.volume.0.iter().chain(self.name.0.iter()).copied().chain(self.version.to_be_bytes());
        bytes.iter_mut().skip(1).zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Takes a record's value apart.
    pub fn split(value: &[u8]) -> Result<Parts<'_, Self>, LayoutError> {
        parts(value, RECORD_PREFIX, |reader| {
            Ok(Self {
                volume: VolumeId::new(reader.take()?),
                name: Name::new(reader.take()?),
                version: u64::from_be_bytes(reader.take()?),
            })
        })
    }
}

/// The open part of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPrefix {
    /// The volume.
    pub volume: VolumeId,
    /// The number of commits.
    pub counter: u64,
}

impl RootPrefix {
    /// As bytes.
    pub fn to_bytes(&self) -> [u8; ROOT_PREFIX] {
        let mut bytes = [FORMAT; ROOT_PREFIX];
        let parts = self.volume.0.iter().copied().chain(self.counter.to_be_bytes());
        bytes.iter_mut().skip(1).zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Takes a root apart.
    pub fn split(root: &[u8]) -> Result<Parts<'_, Self>, LayoutError> {
        parts(root, ROOT_PREFIX, |reader| {
            Ok(Self { volume: VolumeId::new(reader.take()?), counter: u64::from_be_bytes(reader.take()?) })
        })
    }
}

/// What a volume's header says: who can open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u8,
    /// The volume.
    pub volume: VolumeId,
    /// Whose sealing key opens it.
    pub sealed: Sealed,
    /// To whom the volume has been granted, once its owner wants it opened by another guest.
    pub grant: Option<Grant>,
}

/// The volume's key under a sealing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The measurement (PCR0) of the guest that sealed it, as documents show it: for messages.
    pub measurement: ByteArray<48>,
    /// What tells one sealing key from another, and nothing about it.
    pub key_id: ByteArray<16>,
    /// Nonce, and the volume's key under AES-256-GCM.
    pub key: ByteBuf,
}

/// The volume's key, encrypted to the guest that it was granted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The measurement (PCR0) of the guest that may open it.
    pub measurement: ByteArray<48>,
    /// The public key of that guest.
    pub to: ByteArray<32>,
    /// The ephemeral public key of the guest that granted it.
    pub from: ByteArray<32>,
    /// Nonce, and the volume's key under AES-256-GCM.
    pub key: ByteBuf,
    /// An attestation document of the guest that granted it, about the above.
    #[serde(default)]
    pub proof: ByteBuf,
}

impl Header {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain structures of numbers and bytes can be encoded, and a vector takes them.
        let mut bytes = Vec::new();
        if ciborium::into_writer(self, &mut bytes).is_ok() { bytes } else { Vec::new() }
    }

    /// From bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        /// The one field that every format has.
        #[derive(Deserialize)]
        struct Versioned {
            format: u8,
        }
        let value = crate::frame::value(bytes).map_err(|_| LayoutError::Damaged)?;
        let Versioned { format } = value.deserialized().map_err(|_| LayoutError::Damaged)?;
        if format != FORMAT {
            return Err(LayoutError::Format(format));
        }
        value.deserialized().map_err(|_| LayoutError::Damaged)
    }
}

/// SHA-256, for anchors.
pub fn digest(bytes: &[u8]) -> ByteArray<32> {
    use sha2::Digest as _;
    ByteArray::new(sha2::Sha256::digest(bytes).into())
}
