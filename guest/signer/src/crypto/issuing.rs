//! Private keys that sign X.509: certificates, requests, revocation lists.
//!
//! A certificate names hash and key apart, so that a P-256 key may sign with SHA-512; KMS ties them together, and so does
//! [`SigningKey`](super::SigningKey).

use zeroize::Zeroizing;

use super::lc::{Key, message};
use super::{CryptoError, KeySpec, KeyUsage, Material, NotGenuine, Scheme};

/// A private key that signs messages. It is aws-lc's, which cleanses it when it is dropped.
pub struct IssuingKey {
    key: Key,
    spec: KeySpec,
    spki: Vec<u8>,
}

impl IssuingKey {
    /// The key of a signing material.
    ///
    /// # Errors
    ///
    /// Material that does not sign, or that aws-lc cannot encode.
    pub fn new(spec: KeySpec, material: &Material) -> Result<Self, CryptoError> {
        let wrong = CryptoError::Key(spec.name());
        let Material::Signing(pair) = material else { return Err(wrong) };
        let pkcs8 = material.to_bytes()?;
        let key = Key::private(&pkcs8).ok_or(wrong)?;
        Ok(Self { key, spec, spki: pair.1.spki().to_vec() })
    }

    /// The key in a PKCS #8 structure, as [`Self::to_bytes`] gives it.
    ///
    /// # Errors
    ///
    /// Bytes that are not a key of that spec.
    pub fn from_bytes(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        Self::new(spec, &Material::from_bytes(spec, KeyUsage::SignVerify, pkcs8)?)
    }

    /// The PKCS #8 structure.
    ///
    /// # Errors
    ///
    /// Only if there is no memory.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        self.key.to_pkcs8().ok_or(CryptoError::Library("private key encoding"))
    }

    /// What kind of key.
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The public half, as SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Signs.
    ///
    /// # Errors
    ///
    /// A scheme that is not one for the key.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        message::sign(&self.key, scheme, message)
    }
}

/// Whether `signature` is one over `message`, by the key in this SubjectPublicKeyInfo.
///
/// # Errors
///
/// It is not, or the key is none.
pub fn verify_message(
    spki: &[u8],
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), NotGenuine> {
    message::verify(spki, scheme, message, signature)
}
