//! The ciphertext blob of symmetric keys.
//!
//! | offset | length | what |
//! | --- | --- | --- |
//! | 0 | 1 | format version, 2 |
//! | 1 | 16 | id of the key |
//! | 17 | 32 | id of the key material: which of the secrets that the key has had |
//! | 49 | 32 | salt of the message key |
//! | 81 | n + 16 | AES-256-GCM ciphertext and tag |
//!
//! The associated data is a label, everything before the ciphertext, and the encryption context with each length
//! written out, sorted by key. So a blob cannot be moved to another key, secret or context: it opens with exactly
//! those it was made with.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError, NotGenuine, SALT_LEN, SymmetricKey, TAG_LEN};
use crate::store::{KeyId, MaterialId};

const VERSION: u8 = 2;
const HEADER_LEN: usize = 1 + 16 + MaterialId::LEN + SALT_LEN;
const LABEL: &[u8] = b"casemate ciphertext blob";

/// A blob taken apart; nothing in it has been authenticated yet.
pub(crate) struct Parsed<'a> {
    /// The key that it says it was made with.
    pub(crate) key: KeyId,
    /// The secret of that key.
    pub(crate) material: MaterialId,
    salt: [u8; SALT_LEN],
    header: &'a [u8],
    sealed: &'a [u8],
}

/// Takes a blob apart; `None` if it is not of this format.
pub(crate) fn parse(blob: &[u8]) -> Option<Parsed<'_>> {
    let (header, sealed) = blob.split_at_checked(HEADER_LEN)?;
    let (version, rest) = header.split_first()?;
    let (key, rest) = rest.split_first_chunk::<16>()?;
    let (material, rest) = rest.split_first_chunk::<{ MaterialId::LEN }>()?;
    let (salt, _) = rest.split_first_chunk::<SALT_LEN>()?;
    if *version != VERSION || sealed.len() < TAG_LEN {
        return None;
    }
    let (key, material) = (KeyId::from_bytes(*key), MaterialId::from_bytes(*material));
    Some(Parsed { key, material, salt: *salt, header, sealed })
}

/// Encrypts `plaintext` under the key and binds it to the identities of key and material, and to the context.
pub(crate) fn seal(
    key: &SymmetricKey,
    id: &KeyId,
    material: &MaterialId,
    context: &BTreeMap<String, String>,
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut salt = [0; SALT_LEN];
    crypto::random(&mut salt)?;
    let mut blob = Vec::with_capacity(HEADER_LEN.saturating_add(plaintext.len()).saturating_add(TAG_LEN));
    blob.push(VERSION);
    blob.extend_from_slice(id.as_bytes());
    blob.extend_from_slice(material.as_bytes());
    blob.extend_from_slice(&salt);
    let aad = associated_data(&blob, context);
    let mut text = Vec::with_capacity(plaintext.len().saturating_add(TAG_LEN));
    text.extend_from_slice(plaintext);
    key.seal(&salt, &aad, &mut text)?;
    blob.append(&mut text);
    Ok(blob)
}

/// Decrypts a blob; fails if any bit of it, the key or the context is not what it was.
pub(crate) fn open(
    key: &SymmetricKey,
    parsed: &Parsed<'_>,
    context: &BTreeMap<String, String>,
) -> Result<Zeroizing<Vec<u8>>, NotGenuine> {
    key.open(&parsed.salt, &associated_data(parsed.header, context), parsed.sealed)
}

fn associated_data(header: &[u8], context: &BTreeMap<String, String>) -> Vec<u8> {
    let mut aad = LABEL.to_vec();
    aad.extend_from_slice(header);
    for text in context.iter().flat_map(|(key, value)| [key, value]) {
        aad.extend_from_slice(&(text.len() as u64).to_be_bytes());
        aad.extend_from_slice(text.as_bytes());
    }
    aad
}
