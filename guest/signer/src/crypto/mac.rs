//! HMAC keys (FIPS 198-1).

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{CryptoError, MacAlgorithm, NotGenuine};

/// An HMAC key, as long as the digest.
pub struct MacKey {
    algorithm: MacAlgorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl MacKey {
    /// Makes a key.
    pub fn generate(algorithm: MacAlgorithm) -> Result<Self, CryptoError> {
        let mut secret = Zeroizing::new(vec![0; library(algorithm).digest_algorithm().output_len()]);
        super::random(&mut secret)?;
        Ok(Self { algorithm, secret })
    }

    /// The key of these bytes, which are as many as the digest has.
    pub(super) fn from_bytes(algorithm: MacAlgorithm, secret: &[u8]) -> Result<Self, CryptoError> {
        if secret.len() != library(algorithm).digest_algorithm().output_len() {
            return Err(CryptoError::Length(algorithm.name(), secret.len()));
        }
        Ok(Self { algorithm, secret: Zeroizing::new(secret.to_vec()) })
    }

    /// A key of any length, for known answers.
    #[cfg(feature = "selftest")]
    pub(crate) fn of_any_length(algorithm: MacAlgorithm, secret: &[u8]) -> Self {
        Self { algorithm, secret: Zeroizing::new(secret.to_vec()) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.secret
    }

    /// The MAC of the message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key(), message).as_ref().to_vec()
    }

    /// Whether `mac` is the message's MAC, in full length, compared in constant time.
    pub fn verify(&self, message: &[u8], mac: &[u8]) -> Result<(), NotGenuine> {
        hmac::verify(&self.key(), message, mac).map_err(|_| NotGenuine)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(library(self.algorithm), &self.secret)
    }
}

fn library(algorithm: MacAlgorithm) -> hmac::Algorithm {
    match algorithm {
        MacAlgorithm::HmacSha224 => hmac::HMAC_SHA224,
        MacAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
        MacAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
        MacAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
    }
}
