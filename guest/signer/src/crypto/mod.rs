//! The cryptography behind the operations: keys as types, one per kind of use, each able to do only that.
//!
//! Everything is aws-lc through aws-lc-rs, but secp256k1, where k256 is eight times faster. No type here that holds a
//! secret can be printed, cloned or serialised, and each erases it when dropped: aws-lc cleanses what it frees,
//! k256's keys and our own byte strings are zeroised. Copies of secrets that aws-lc makes on the stack during an
//! operation are out of reach; sealed memory is what protects those.

pub(crate) mod aes;
mod agile;
mod agreement;
mod issuing;
mod kem;
mod lc;
mod mac;
mod material;
mod oaep;
pub(crate) mod pkey;
mod rsa_generation;
mod secp256k1;
mod signing;
mod spec;
mod symmetric;
mod verifying;
mod wrapping;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

pub use agile::{Digested, digest_of};
pub use agreement::AgreementKey;
pub use issuing::{IssuingKey, verify_message};
pub use kem::{Encapsulated, KemKey};
pub(crate) use lc::message::public_bits;
pub use lc::message::{Hash, Scheme};
pub use mac::MacKey;
pub use material::Material;
pub use oaep::OaepKey;
pub use rsa_generation::RsaStock;
pub use signing::SigningKey;
pub use spec::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, KeySpec, KeyUsage, MacAlgorithm,
    MessageLength, MessageType, SigningAlgorithm,
};
#[cfg(feature = "selftest")]
pub(crate) use symmetric::aes_256_gcm_open;
pub use symmetric::{Opened, SALT_LEN, SymmetricKey, TAG_LEN};
pub use verifying::VerifyingKey;
#[cfg(feature = "selftest")]
pub(crate) use wrapping::unwrap_padded;
pub use wrapping::{WrappingAlgorithm, WrappingKey, WrappingKeySpec};

/// Why a cryptographic step gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The library refused; with valid keys and lengths that means no memory or no entropy.
    #[error("the cryptographic library failed at {0}; retry, and restart the signer if it persists")]
    Library(&'static str),
    /// The algorithm is for another key spec.
    #[error("{0} is not an algorithm for {1}")]
    Mismatch(&'static str, &'static str),
    /// The input has a length that the algorithm cannot take.
    #[error("{0}: the input has {1} bytes, which the algorithm cannot take")]
    Length(&'static str, usize),
    /// The key bytes are not a key of that spec.
    #[error("these bytes are not a {0} key")]
    Key(&'static str),
}

/// The signature, MAC or ciphertext is not genuine. Deliberately says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not genuine")]
pub struct NotGenuine;

/// Fills `out` from the signer's only generator.
pub fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    SystemRandom::new().fill(out).map_err(|_| CryptoError::Library("random number generation"))
}
