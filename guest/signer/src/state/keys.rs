//! The keys of a volume, and what is encrypted under them.
//!
//! ```text
//! sealing key ─┬─ "wrap"     the volume's key in the header
//!              ├─ "id"       what tells whose sealing key that was
//!              └─ "grant"    what other guests can grant their volume to: see [`super::grant`]
//! volume's key ─┬─ "names"   a record's name as the host sees it
//!               ├─ "records" ── name ── the record's content
//!               ├─ "root"    the root
//!               └─ "summary" what the root says about all records
//! ```
//!
//! Every arrow is HMAC-SHA-256 under the key on its left over the label on its right. Encryption is AES-256-GCM with random
//! nonces; each record has a key of its own, so that none is used often enough for nonces to repeat (NIST SP 800-38D, 8.3:
//! 2^32 times).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use casemate_volume::layout::{NONCE_LEN, Parts, RecordPrefix, Sealed};
use casemate_volume::{Name, VolumeId};
use serde_bytes::{ByteArray, ByteBuf};
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError};

use super::refusal::Refusal;

/// Bytes of every key here.
pub(super) const KEY_LEN: usize = 32;
/// Contents are padded to a multiple of this many bytes, so that the host learns less from their length.
const PADDING: usize = 256;
/// Bytes of a tag of AES-GCM.
const TAG_LEN: usize = 16;

/// 32 secret bytes, erased when dropped.
pub(super) type Secret = Zeroizing<[u8; KEY_LEN]>;

/// HMAC-SHA-256.
pub(super) fn prf(key: &[u8], label: &[u8]) -> Secret {
    let mut derived = Zeroizing::new([0; KEY_LEN]);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), label);
    derived.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    derived
}

/// AES-256-GCM under that key.
pub(super) fn aead(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, CryptoError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError::Library("encryption"))?;
    Ok(LessSafeKey::new(key))
}

/// `associated ‖ nonce ‖ ciphertext and tag` of `content`; `associated` first, as it stands in the clear.
pub(super) fn seal(key: &LessSafeKey, associated: &[u8], content: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut nonce = [0; NONCE_LEN];
    crypto::random(&mut nonce)?;
    let mut text = Zeroizing::new(content.to_vec());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut text)
        .map_err(|_| CryptoError::Library("encryption"))?;
    Ok([associated, &nonce, &text, tag.as_ref()].concat())
}

/// What [`seal`] made this of.
pub(super) fn open<P>(key: &LessSafeKey, parts: &Parts<'_, P>) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(parts.sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(parts.nonce);
    let length = key.open_in_place(nonce, Aad::from(parts.associated), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// What follows from the sealing key.
pub(super) struct SealingKeys {
    wrap: Secret,
    /// The private key that volumes can be granted to.
    pub(super) grant: Secret,
    id: ByteArray<16>,
    measurement: ByteArray<48>,
}

impl SealingKeys {
    /// The keys of a guest with this sealing key and measurement (PCR0, as documents show it).
    pub(super) fn new(sealing: &[u8; KEY_LEN], measurement: [u8; 48]) -> Self {
        let mut id = [0; 16];
        id.iter_mut()
            .zip(prf(sealing.as_slice(), b"casemate volume id 1").iter())
            .for_each(|(to, from)| *to = *from);
        Self {
            wrap: prf(sealing, b"casemate volume wrap 1"),
            grant: prf(sealing, b"casemate volume grant 1"),
            id: ByteArray::new(id),
            measurement: ByteArray::new(measurement),
        }
    }

    /// The guest's measurement.
    pub(super) fn measurement(&self) -> [u8; 48] {
        *self.measurement
    }

    /// The key of `volume` under the sealing key.
    pub(super) fn wrap(&self, volume: VolumeId, key: &Secret) -> Result<Sealed, CryptoError> {
        let (measurement, key_id) = (self.measurement, self.id);
        let key = wrap(&self.wrap, &associated(volume, &measurement), key)?;
        Ok(Sealed { measurement, key_id, key: ByteBuf::from(key) })
    }

    /// The key of `volume` that was wrapped.
    pub(super) fn unwrap(&self, volume: VolumeId, sealed: &Sealed) -> Result<Secret, Refusal> {
        if sealed.key_id != self.id {
            return Err(Refusal::OtherGuest { sealed_for: *sealed.measurement, this: *self.measurement });
        }
        unwrap(&self.wrap, &associated(volume, &sealed.measurement), &sealed.key).ok_or(Refusal::Header)
    }
}

/// Nonce, and `key` under `wrapping`.
pub(super) fn wrap(wrapping: &Secret, associated: &[u8], key: &Secret) -> Result<Vec<u8>, CryptoError> {
    let sealed = seal(&aead(wrapping)?, associated, &key[..])?;
    Ok(sealed.get(associated.len()..).unwrap_or_default().to_vec())
}

/// The key that [`wrap`] made this of.
pub(super) fn unwrap(wrapping: &Secret, associated: &[u8], wrapped: &[u8]) -> Option<Secret> {
    let (nonce, sealed) = wrapped.split_first_chunk()?;
    let parts = Parts { prefix: (), associated, nonce: *nonce, sealed };
    let key = open(&aead(wrapping).ok()?, &parts)?;
    let key: &[u8; KEY_LEN] = key.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*key))
}

/// What binds a wrapped key to its volume and guest.
fn associated(volume: VolumeId, measurement: &ByteArray<48>) -> Vec<u8> {
    [volume.0.as_slice(), measurement.as_slice()].concat()
}

/// What follows from a volume's own key.
pub(super) struct VolumeKeys {
    /// The volume.
    pub(super) volume: VolumeId,
    /// The key itself, which the header holds encrypted.
    pub(super) key: Secret,
    names: hmac::Key,
    records: Secret,
    root: LessSafeKey,
    summary: hmac::Key,
}

/// A record, decrypted.
pub(super) struct Opened {
    /// Its name, as the signer knows it.
    pub(super) name: String,
    /// Its content.
    pub(super) content: Zeroizing<Vec<u8>>,
    /// The commit that wrote it.
    pub(super) version: u64,
}

impl VolumeKeys {
    /// A new volume.
    pub(super) fn generate() -> Result<Self, CryptoError> {
        let (mut volume, mut key) = ([0; 16], Zeroizing::new([0; KEY_LEN]));
        crypto::random(&mut volume)?;
        crypto::random(key.as_mut())?;
        Self::new(VolumeId::new(volume), key)
    }

    /// The keys of a volume whose key this is.
    pub(super) fn new(volume: VolumeId, key: Secret) -> Result<Self, CryptoError> {
        let mac = |label| hmac::Key::new(hmac::HMAC_SHA256, &prf(&key[..], label)[..]);
        Ok(Self {
            volume,
            names: mac(b"casemate volume names 1"),
            records: prf(&key[..], b"casemate volume records 1"),
            root: aead(&prf(&key[..], b"casemate volume root 1"))?,
            summary: mac(b"casemate volume summary 1"),
            key,
        })
    }

    /// The name under which the host keeps the record `name`.
    pub(super) fn name(&self, name: &str) -> Name {
        let mut bytes = [0; 32];
        let tag = hmac::sign(&self.names, name.as_bytes());
        bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Name::new(bytes)
    }

    /// What the host keeps of a record.
    pub(super) fn seal_record(
        &self,
        name: &str,
        version: u64,
        content: &[u8],
    ) -> Result<(Name, Vec<u8>), CryptoError> {
        let prefix = RecordPrefix { volume: self.volume, name: self.name(name), version };
        let value = seal(&self.record_key(&prefix.name)?, &prefix.to_bytes(), &pack(name, content)?)?;
        Ok((prefix.name, value))
    }

    /// The record that the host keeps under `stored`.
    pub(super) fn open_record(&self, stored: Name, value: &[u8]) -> Result<Opened, Refusal> {
        let parts = RecordPrefix::split(value).map_err(|_| Refusal::Record)?;
        if parts.prefix.volume != self.volume {
            return Err(Refusal::Foreign);
        }
        if parts.prefix.name != stored {
            return Err(Refusal::Moved);
        }
        let packed = open(&self.record_key(&stored)?, &parts).ok_or(Refusal::Record)?;
        let (name, content) = unpack(&packed).ok_or(Refusal::Record)?;
        if self.name(&name) != stored {
            return Err(Refusal::Record);
        }
        Ok(Opened { name, content, version: parts.prefix.version })
    }

    fn record_key(&self, name: &Name) -> Result<LessSafeKey, CryptoError> {
        aead(&prf(&self.records[..], name.0.as_slice()))
    }

    /// Encrypts a root.
    pub(super) fn seal_root(&self, prefix: &[u8], body: &[u8]) -> Result<Vec<u8>, CryptoError> {
        seal(&self.root, prefix, body)
    }

    /// Decrypts a root.
    pub(super) fn open_root<P>(&self, parts: &Parts<'_, P>) -> Option<Zeroizing<Vec<u8>>> {
        open(&self.root, parts)
    }

    /// What a record adds to the summary.
    pub(super) fn element(&self, value: &[u8]) -> [u8; 32] {
        let mut element = [0; 32];
        let tag = hmac::sign(&self.summary, value);
        element.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        element
    }
}

/// Length of the name (2 bytes), length of the content (4), both, and zeroes.
fn pack(name: &str, content: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let too_long = || CryptoError::Length("a record", content.len());
    let name_len = u16::try_from(name.len()).map_err(|_| too_long())?;
    let content_len = u32::try_from(content.len()).map_err(|_| too_long())?;
    let length = name.len().saturating_add(content.len()).saturating_add(6).next_multiple_of(PADDING);
    if length.saturating_add(casemate_volume::layout::RECORD_PREFIX + NONCE_LEN + TAG_LEN)
        > casemate_volume::VALUE_MAX
    {
        return Err(too_long());
    }
    // Reserved at once: a buffer that grows leaves copies behind.
    let mut packed = Zeroizing::new(Vec::with_capacity(length));
    packed.extend(name_len.to_be_bytes());
    packed.extend(content_len.to_be_bytes());
    packed.extend_from_slice(name.as_bytes());
    packed.extend_from_slice(content);
    packed.resize(length, 0);
    Ok(packed)
}

fn unpack(packed: &[u8]) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (name_len, rest) = packed.split_first_chunk()?;
    let (content_len, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*name_len)))?;
    let content = rest.get(..usize::try_from(u32::from_be_bytes(*content_len)).ok()?)?;
    Some((std::str::from_utf8(name).ok()?.to_owned(), Zeroizing::new(content.to_vec())))
}
