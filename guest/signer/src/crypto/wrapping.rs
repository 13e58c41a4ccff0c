//! Wrapping keys: how key material travels into the signer (AWS KMS Developer Guide, "Select a wrapping algorithm").
//!
//! | algorithm | wrapped material |
//! | --- | --- |
//! | RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256 | the material, RSAES-OAEP |
//! | RSA_AES_KEY_WRAP_SHA_1, RSA_AES_KEY_WRAP_SHA_256 | a 256-bit AES key, RSAES-OAEP; then the material, AES-KWP (RFC 5649) under it |
//!
//! What comes out is bytes, for [`Material::from_bytes`](super::Material::from_bytes) to judge. Every failure is the same
//! failure: which step it was would be an oracle.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use zeroize::Zeroizing;

use super::{CryptoError, EncryptionAlgorithm, KeySpec, NotGenuine, OaepKey};

named! {
    /// The kind of wrapping key.
    pub enum WrappingKeySpec {
        /// RSA, 2048 bits.
        Rsa2048 = "RSA_2048",
        /// RSA, 3072 bits.
        Rsa3072 = "RSA_3072",
        /// RSA, 4096 bits.
        Rsa4096 = "RSA_4096",
        /// SM2: in the model, not offered.
        Sm2 = "SM2",
    }
}

named! {
    /// How key material is wrapped.
    pub enum WrappingAlgorithm {
        /// RSAES-PKCS1-v1_5: in the model, no longer offered, by AWS neither.
        RsaesPkcs1 = "RSAES_PKCS1_V1_5",
        /// RSAES-OAEP with SHA-1.
        OaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSAES-OAEP with SHA-256.
        OaepSha256 = "RSAES_OAEP_SHA_256",
        /// AES-KWP under a key that is wrapped with RSAES-OAEP and SHA-1.
        AesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
        /// AES-KWP under a key that is wrapped with RSAES-OAEP and SHA-256.
        AesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
        /// SM2PKE: in the model, not offered.
        Sm2Pke = "SM2PKE",
    }
}

impl WrappingKeySpec {
    /// The key spec of the same name, if it is offered.
    pub(crate) const fn key_spec(self) -> Option<KeySpec> {
        match self {
            Self::Rsa2048 => Some(KeySpec::Rsa2048),
            Self::Rsa3072 => Some(KeySpec::Rsa3072),
            Self::Rsa4096 => Some(KeySpec::Rsa4096),
            Self::Sm2 => None,
        }
    }

    /// Whether this signer offers keys of the spec.
    pub const fn offered(self) -> bool {
        self.key_spec().is_some()
    }
}

impl WrappingAlgorithm {
    /// The OAEP of the algorithm, and whether it is the material that it encrypts, or an AES key.
    const fn steps(self) -> Option<(EncryptionAlgorithm, bool)> {
        match self {
            Self::OaepSha1 => Some((EncryptionAlgorithm::OaepSha1, true)),
            Self::OaepSha256 => Some((EncryptionAlgorithm::OaepSha256, true)),
            Self::AesKeyWrapSha1 => Some((EncryptionAlgorithm::OaepSha1, false)),
            Self::AesKeyWrapSha256 => Some((EncryptionAlgorithm::OaepSha256, false)),
            Self::RsaesPkcs1 | Self::Sm2Pke => None,
        }
    }

    /// Whether it is the material itself that is in the RSA block, which limits its length.
    pub const fn is_direct(self) -> bool {
        matches!(self.steps(), Some((_, true)))
    }

    /// Whether this signer offers the algorithm.
    pub const fn offered(self) -> bool {
        self.steps().is_some()
    }
}

/// A key pair that unwraps key material and does nothing else.
pub struct WrappingKey(OaepKey);

impl WrappingKey {
    /// Makes a key. This takes a second or so, and nothing else runs meanwhile.
    pub fn generate(spec: WrappingKeySpec) -> Result<Self, CryptoError> {
        let spec = spec.key_spec().ok_or(CryptoError::Mismatch("wrapping", spec.name()))?;
        OaepKey::generate(spec).map(Self)
    }

    /// The key of these bytes: PKCS #8.
    pub fn from_bytes(spec: WrappingKeySpec, bytes: &[u8]) -> Result<Self, CryptoError> {
        let spec = spec.key_spec().ok_or(CryptoError::Mismatch("wrapping", spec.name()))?;
        OaepKey::from_pkcs8(spec, bytes).map(Self)
    }

    /// The bytes of the key.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        self.0.to_pkcs8()
    }

    /// The public half, as SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        self.0.spki()
    }

    /// Unwraps key material.
    pub fn unwrap(
        &self,
        algorithm: WrappingAlgorithm,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotGenuine> {
        let (oaep, direct) = algorithm.steps().ok_or(NotGenuine)?;
        if direct {
            return self.0.decrypt(oaep, wrapped);
        }
        let (key, material) = wrapped.split_at_checked(self.0.ciphertext_len()).ok_or(NotGenuine)?;
        unwrap_padded(&self.0.decrypt(oaep, key)?, material)
    }
}

/// AES-KWP with a 256-bit key.
pub(crate) fn unwrap_padded(key: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotGenuine> {
    let key = AesKek::new(&AES_256, key).map_err(|_| NotGenuine)?;
    let mut material = Zeroizing::new(vec![0; wrapped.len()]);
    let length = key.unwrap_with_padding(wrapped, &mut material).map_err(|_| NotGenuine)?.len();
    material.truncate(length);
    Ok(material)
}
