//! How a launch opens a guest's session in the security module.
//!
//! The security module is a sealed guest that makes and keeps the attestation keys of this user's guests. Platform and
//! module share a secret, the module's *authority*: the sealing key ([`Sealing::Module`]) that the module's own launch put into its
//! memory, and that every launch derives again from the platform key and the module's measurements. So it takes the
//! platform key to open a session, and the image that was measured to have one opened.
//!
//! ```text
//! launch                                            module
//!    │ ◄── hello: nonce, public key, measurements, tag ─┤  a fresh leaf key, authenticated with the authority
//!    ├ certifies the public key with the platform key   │
//!    ├ channel key = MAC(authority, both nonces)        │
//!    ├── open: nonce, statement, tag ─────────────────► │  the same channel key; the tag is made with it
//!    │ drops platform key, authority, channel key       │
//!    ╎ ◄─────────────────────────────────── accept: tag ┤  heard with the answer to the guest's first request
//! guest ── frames (module `channel`) ─────────────────► │  one session lives as long as its connection
//! ```
//!
//! The launch gives the channel key to the guest, in its private memory, and forgets it. Whoever is between, or takes the
//! connection over, holds no key: a session cannot be opened again from what was heard, because the module's nonce is part
//! of the channel key. Everything after `hello` travels in packets: their length in 4 bytes, little-endian, then as much.
//! A request has before its frame the host's time, 8 bytes of milliseconds since 1970: the host is who tells the time.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::channel::{KEY_LEN, ModuleEnd, TAG_LEN, first, is_tag, mac};
use super::{REQUEST_MAX, RESPONSE_MAX};
use crate::document::CERTIFICATE_MAX;
use crate::es384::PUBLIC_LEN;
use crate::pcr::{self, ImageMeasurements, Launch, Pcr};

/// Bytes in a nonce.
pub const NONCE_LEN: usize = 32;
/// Bytes of measurements: PCR0, PCR1, PCR2, whether the image is signed, PCR8.
const MEASUREMENTS_LEN: usize = 4 * pcr::LEN + 1;
/// Bytes in a hello.
pub const HELLO_LEN: usize = NONCE_LEN + PUBLIC_LEN + MEASUREMENTS_LEN + TAG_LEN;
/// Longest module id in bytes.
const MODULE_ID_MAX: usize = 64;
/// Most certificates above a leaf.
const BUNDLE_MAX: usize = 4;
/// Bytes of time before a request's frame.
pub const TIME_LEN: usize = 8;
/// Longest packet to the module in bytes: a request with everything around it, or an `open`.
pub const PACKET_MAX: usize = 2 * REQUEST_MAX;
/// Longest packet from the module in bytes.
pub const ANSWER_MAX: usize = RESPONSE_MAX + TAG_LEN;

const HELLO: &str = "casemate module 1 hello";
const CHANNEL: &str = "casemate module 1 channel";
const OPEN: &str = "open";
const ACCEPT: &str = "accept";

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The other side does not hold the secret of platform and module.
    #[error(
        "what answers is not this platform's security module: it does not prove that it holds the module's key"
    )]
    NotTheModule,
    /// It was not opened with the platform key.
    #[error("the session was not opened by a launch of this platform")]
    NotALaunch,
    /// The statement is not one.
    #[error("the launch's statement cannot be read")]
    Statement,
    /// The statement does not fit.
    #[error("the launch's statement has {0} bytes; {PACKET_MAX} are allowed")]
    TooLong(usize),
}

/// What the platform and its module share.
pub type Authority = Zeroizing<[u8; KEY_LEN]>;

/// The module's first word: a key pair that is free, and what the module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    nonce: [u8; NONCE_LEN],
    /// The public key that the guest's documents will be signed with, an uncompressed point.
    pub public: [u8; PUBLIC_LEN],
    /// What the module says it measures. Nobody else than a module of these measurements passes [`Hello::channel`].
    pub measurements: ImageMeasurements,
    tag: [u8; TAG_LEN],
}

impl Hello {
    /// The hello of a module that holds `authority`.
    pub fn new(
        authority: &Authority,
        nonce: [u8; NONCE_LEN],
        public: [u8; PUBLIC_LEN],
        measurements: ImageMeasurements,
    ) -> Self {
        let tag = first(mac(authority, HELLO, &[&nonce, &public, &measured(&measurements)]));
        Self { nonce, public, measurements, tag }
    }

    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        [&self.nonce[..], &self.public, &measured(&self.measurements), &self.tag].concat()
    }

    /// From what came. Nothing is proved before [`Hello::channel`].
    pub fn decode(bytes: &[u8; HELLO_LEN]) -> Option<Self> {
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (public, rest) = rest.split_first_chunk()?;
        let (registers, rest) = rest.split_first_chunk::<{ 3 * pcr::LEN }>()?;
        let (signed, rest) = rest.split_first()?;
        let (pcr8, rest) = rest.split_first_chunk()?;
        let [pcr0, pcr1, pcr2] = registers.as_chunks().0 else {
            return None;
        };
        let pcr8 = match signed {
            0 if *pcr8 == [0; pcr::LEN] => None,
            1 => Some(Pcr::new(*pcr8)),
            _ => return None,
        };
        let [pcr0, pcr1, pcr2] = [pcr0, pcr1, pcr2].map(|value| Pcr::new(*value));
        let measurements = ImageMeasurements { pcr0, pcr1, pcr2, pcr8 };
        Some(Self { nonce: *nonce, public: *public, measurements, tag: rest.try_into().ok()? })
    }

    /// Checks that a module of these measurements said this, and returns the key of the guest's channel. `authority` is the
    /// sealing key that belongs to the measurements, `nonce` is fresh and random. Computed on the stack alone.
    pub fn channel(
        &self,
        authority: &Authority,
        nonce: &[u8; NONCE_LEN],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, SessionError> {
        let said = mac(authority, HELLO, &[&self.nonce, &self.public, &measured(&self.measurements)]);
        if !is_tag(said, &self.tag) {
            return Err(SessionError::NotTheModule);
        }
        Ok(channel(authority, self, nonce))
    }
}

fn channel(authority: &Authority, hello: &Hello, nonce: &[u8; NONCE_LEN]) -> Zeroizing<[u8; KEY_LEN]> {
    Zeroizing::new(first(mac(authority, CHANNEL, &[&hello.nonce, nonce, &hello.public])))
}

fn measured(image: &ImageMeasurements) -> Vec<u8> {
    let pcr8 = image.pcr8.unwrap_or(Pcr::ZERO);
    let registers = [image.pcr0, image.pcr1, image.pcr2];
    let mut bytes: Vec<u8> = registers.iter().flat_map(|pcr| *pcr.as_bytes()).collect();
    bytes.push(u8::from(image.pcr8.is_some()));
    bytes.extend_from_slice(pcr8.as_bytes());
    bytes
}

/// What a launch says of its guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The guest's name.
    pub module_id: String,
    /// Its registers.
    pub launch: Launch,
    /// The certificate of the public key in the hello, DER.
    pub certificate: ByteBuf,
    /// The certificates above it, DER, root first.
    pub cabundle: Vec<ByteBuf>,
}

impl Statement {
    /// As it travels in an `open`.
    pub fn encode(&self) -> Result<Vec<u8>, SessionError> {
        let mut bytes = Vec::new();
        coset::cbor::into_writer(self, &mut bytes).map_err(|_| SessionError::Statement)?;
        match NONCE_LEN.saturating_add(TAG_LEN).saturating_add(bytes.len()) {
            length if length > PACKET_MAX => Err(SessionError::TooLong(length)),
            _ => Ok(bytes),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, SessionError> {
        let statement: Self = serde_cbor::from_slice(bytes).map_err(|_| SessionError::Statement)?;
        let is_certificate = |der: &ByteBuf| (1..=CERTIFICATE_MAX).contains(&der.len());
        let fits = (1..=MODULE_ID_MAX).contains(&statement.module_id.len())
            && (1..=BUNDLE_MAX).contains(&statement.cabundle.len())
            && is_certificate(&statement.certificate)
            && statement.cabundle.iter().all(is_certificate);
        fits.then_some(statement).ok_or(SessionError::Statement)
    }
}

/// The launch's word for an encoded statement: the `open` packet, without its length. `channel` and `nonce` are those of
/// [`Hello::channel`]. Computed on the stack alone, but for the packet.
pub fn open(channel: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], statement: &[u8]) -> Vec<u8> {
    let tag = first(mac(channel, OPEN, &[statement]));
    [&nonce[..], &tag, statement].concat()
}

/// The module's answer to [`open`]. No secret: it proves to whoever was told it before that the module holds the channel key.
pub fn accepted(channel: &[u8; KEY_LEN]) -> [u8; TAG_LEN] {
    first(mac(channel, ACCEPT, &[]))
}

/// A session that a launch has opened, on the module's side.
pub struct Opened {
    /// What the launch says of the guest.
    pub statement: Statement,
    /// The answer to the launch.
    pub accept: [u8; TAG_LEN],
    /// The guest's line.
    pub line: ModuleEnd,
}

/// Opens the session that `hello` offered, if `packet` was made by a launch that has the platform key.
pub fn accept(authority: &Authority, hello: &Hello, packet: &[u8]) -> Result<Opened, SessionError> {
    let split = packet.split_first_chunk::<NONCE_LEN>();
    let split = split.and_then(|(nonce, rest)| Some((nonce, rest.split_first_chunk::<TAG_LEN>()?)));
    let Some((nonce, (tag, statement))) = split else {
        return Err(SessionError::NotALaunch);
    };
    let channel = channel(authority, hello, nonce);
    if !is_tag(mac(&channel, OPEN, &[statement]), tag) {
        return Err(SessionError::NotALaunch);
    }
    let statement = Statement::decode(statement)?;
    Ok(Opened { statement, accept: accepted(&channel), line: ModuleEnd::new(*channel) })
}

/// The host's time and the frame in a request's packet.
pub fn split_request(packet: &[u8]) -> Option<(u64, &[u8])> {
    let (time, frame) = packet.split_first_chunk::<TIME_LEN>()?;
    Some((u64::from_le_bytes(*time), frame))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
