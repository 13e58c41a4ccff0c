//! ECDSA on secp256k1 with k256: eight times faster than aws-lc's generic curve code.
//!
//! Signatures are deterministic (RFC 6979) and have a low s. Verification takes a high s as well, as ECDSA
//! (SEC 1, section 4.1.4) does and KMS must: signatures made elsewhere need not be normalised.

use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{DerSignature, Signature};
use k256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use zeroize::Zeroizing;

use super::{CryptoError, KeySpec, NotGenuine};

/// A private key on secp256k1; k256 erases it when dropped.
pub(super) struct SigningKey(k256::ecdsa::SigningKey);

impl SigningKey {
    /// A uniformly random scalar: 32 random bytes, drawn again in the 2^-128 case that they are not one.
    pub(super) fn generate() -> Result<Self, CryptoError> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        for _ in 0..8 {
            super::random(bytes.as_mut())?;
            if let Ok(key) = k256::ecdsa::SigningKey::from_slice(bytes.as_ref()) {
                return Ok(Self(key));
            }
        }
        Err(CryptoError::Library("key generation"))
    }

    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let key = k256::ecdsa::SigningKey::from_pkcs8_der(pkcs8);
        key.map(Self).map_err(|_| CryptoError::Key(KeySpec::Secp256k1.name()))
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let der = self.0.to_pkcs8_der().map_err(|_| CryptoError::Library("private key encoding"))?;
        Ok(der.to_bytes())
    }

    pub(super) fn spki(&self) -> Result<Vec<u8>, CryptoError> {
        let der = self.0.verifying_key().to_public_key_der();
        der.map(|der| der.into_vec()).map_err(|_| CryptoError::Library("public key encoding"))
    }

    pub(super) fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature: DerSignature = self
            .0
            .sign_prehash(digest)
            .map_err(|_| CryptoError::Length(KeySpec::Secp256k1.name(), digest.len()))?;
        Ok(signature.as_bytes().to_vec())
    }
}

pub(super) fn verify_digest(spki: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), NotGenuine> {
    let key = k256::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(|_| NotGenuine)?;
    let signature = Signature::from_der(signature).map_err(|_| NotGenuine)?.normalize_s();
    key.verify_prehash(digest, &signature).map_err(|_| NotGenuine)
}
