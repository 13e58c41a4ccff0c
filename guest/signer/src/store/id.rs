//! Key identifiers: random UUIDs (RFC 9562), and `mrk-` with 32 digits for multi-Region keys.
//!
//! Both are 16 bytes. A multi-Region key's say so by the UUID's version: 8, "custom", where others have 4, "random".

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::{self, CryptoError};

/// The identity of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A new, random one.
    pub fn random() -> Result<Self, CryptoError> {
        Self::with_version(0x40)
    }

    /// A new, random one for a multi-Region key.
    pub fn random_multi_region() -> Result<Self, CryptoError> {
        Self::with_version(0x80)
    }

    fn with_version(version: u8) -> Result<Self, CryptoError> {
        let mut bytes = [0; 16];
        crypto::random(&mut bytes)?;
        let [.., v, _, r, _, _, _, _, _, _, _] = &mut bytes;
        *v = (*v & 0x0f) | version;
        *r = (*r & 0x3f) | 0x80;
        Ok(Self(bytes))
    }

    /// The one with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn is_multi_region(&self) -> bool {
        let [.., version, _, _, _, _, _, _, _, _, _] = self.0;
        version & 0xf0 == 0x80
    }

    /// The id in this text, which must be as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String =
            text.strip_prefix("mrk-").unwrap_or(text).chars().filter(|digit| *digit != '-').collect();
        let id = Self(bytes(&digits)?);
        (id.to_string() == text).then_some(id)
    }
}

/// The bytes in a text of hexadecimal digits, lower case.
pub(super) fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut digits = text.bytes();
    for byte in &mut bytes {
        *byte = hex(digits.next()?)? << 4 | hex(digits.next()?)?;
    }
    digits.next().is_none().then_some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => digit.checked_sub(b'0'),
        b'a'..=b'f' => digit.checked_sub(b'a' - 10),
        _ => None,
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.is_multi_region();
        if plain {
            f.write_str("mrk-")?;
        }
        for (index, byte) in self.0.iter().enumerate() {
            if !plain && matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not an id of a key")
    }
}
