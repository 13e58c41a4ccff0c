//! Key identifiers: random UUIDs (RFC 9562, version 4).

use std::fmt;

use crate::crypto::{self, CryptoError};

/// The identity of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A new, random one.
    pub fn random() -> Result<Self, CryptoError> {
        let mut bytes = [0; 16];
        crypto::random(&mut bytes)?;
        let [.., v, _, r, _, _, _, _, _, _, _] = &mut bytes;
        *v = (*v & 0x0f) | 0x40;
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

    /// The id in this text, which must be as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 16];
        let mut digits = text.bytes().filter(|byte| *byte != b'-');
        for byte in &mut bytes {
            let (high, low) = (hex(digits.next()?)?, hex(digits.next()?)?);
            *byte = high << 4 | low;
        }
        let id = Self(bytes);
        (id.to_string() == text).then_some(id)
    }
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => digit.checked_sub(b'0'),
        b'a'..=b'f' => digit.checked_sub(b'a' - 10),
        _ => None,
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
