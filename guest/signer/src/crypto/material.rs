//! Key material: one type over all kinds, how it is made, and its bytes.
//!
//! The bytes are those in which the world exchanges such keys, and so serve three purposes: they are what a record keeps,
//! what ImportKeyMaterial unwraps, and what GenerateDataKeyPair gives away.
//!
//! | spec | bytes |
//! | --- | --- |
//! | SYMMETRIC_DEFAULT | the 32 bytes of the key |
//! | HMAC | as many bytes as the digest has |
//! | RSA | PKCS #8 (RFC 5208) of RFC 8017, A.1.2 |
//! | ECC, NIST curves and secp256k1 | PKCS #8 of RFC 5915 |
//! | Ed25519 | PKCS #8 of RFC 8410 |
//! | ML-DSA, ML-KEM | PKCS #8 of RFC 9881 and RFC 9935, the seed; a seed with the expanded key is read too |
//!
//! Reading is strict: one DER structure with nothing after it, of exactly the spec that was asked for.

use std::rc::Rc;

use k256::pkcs8::PrivateKeyInfoRef;
use zeroize::Zeroizing;

use super::{AgreementKey, CryptoError, KeySpec, KeyUsage, MacKey, OaepKey, SigningKey, SymmetricKey};
use super::{KemKey, VerifyingKey};

/// A secret, in the type of the one use it has. Cloning copies a reference, never the secret.
#[derive(Clone)]
pub enum Material {
    /// AES-256-GCM.
    Symmetric(Rc<SymmetricKey>),
    /// RSA decryption.
    Oaep(Rc<OaepKey>),
    /// Signatures, with the public half at hand.
    Signing(Rc<(SigningKey, VerifyingKey)>),
    /// HMAC.
    Mac(Rc<MacKey>),
    /// Key agreement.
    Agreement(Rc<AgreementKey>),
    /// Key encapsulation.
    Kem(Rc<KemKey>),
}

impl Material {
    /// Makes a key. For RSA this takes a second or so, and nothing else runs meanwhile: see [`RsaStock`](super::RsaStock).
    pub fn generate(spec: KeySpec, usage: KeyUsage) -> Result<Self, CryptoError> {
        check_usage(spec, usage)?;
        Ok(match (usage, spec.mac_algorithms()) {
            (KeyUsage::EncryptDecrypt, _) if spec == KeySpec::Symmetric => {
                Self::Symmetric(Rc::new(SymmetricKey::generate()?))
            }
            (KeyUsage::EncryptDecrypt, _) => Self::Oaep(Rc::new(OaepKey::generate(spec)?)),
            (KeyUsage::SignVerify, _) => Self::signing(SigningKey::generate(spec)?)?,
            (KeyUsage::GenerateVerifyMac, [algorithm]) => Self::Mac(Rc::new(MacKey::generate(*algorithm)?)),
            (KeyUsage::KeyAgreement, _) => Self::Agreement(Rc::new(AgreementKey::generate(spec)?)),
            (KeyUsage::EncapsulateDecapsulate, _) => Self::Kem(Rc::new(KemKey::generate(spec)?)),
            (KeyUsage::GenerateVerifyMac, _) => return Err(mismatch(spec, usage)),
        })
    }

    /// The key of these bytes, if they are one of that spec.
    pub fn from_bytes(spec: KeySpec, usage: KeyUsage, bytes: &[u8]) -> Result<Self, CryptoError> {
        check_usage(spec, usage)?;
        if spec.is_key_pair() {
            // aws-lc would ignore what follows the structure.
            PrivateKeyInfoRef::try_from(bytes).map_err(|_| CryptoError::Key(spec.name()))?;
        }
        Ok(match (usage, spec.mac_algorithms()) {
            (KeyUsage::EncryptDecrypt, _) if spec == KeySpec::Symmetric => {
                Self::Symmetric(Rc::new(SymmetricKey::from_bytes(bytes)?))
            }
            (KeyUsage::EncryptDecrypt, _) => Self::Oaep(Rc::new(OaepKey::from_pkcs8(spec, bytes)?)),
            (KeyUsage::SignVerify, _) => Self::signing(SigningKey::from_pkcs8(spec, bytes)?)?,
            (KeyUsage::GenerateVerifyMac, [algorithm]) => {
                Self::Mac(Rc::new(MacKey::from_bytes(*algorithm, bytes)?))
            }
            (KeyUsage::KeyAgreement, _) => Self::Agreement(Rc::new(AgreementKey::from_pkcs8(spec, bytes)?)),
            (KeyUsage::EncapsulateDecapsulate, _) => Self::Kem(Rc::new(KemKey::from_pkcs8(spec, bytes)?)),
            (KeyUsage::GenerateVerifyMac, _) => return Err(mismatch(spec, usage)),
        })
    }

    /// The bytes of the key.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        match self {
            Self::Symmetric(key) => Ok(Zeroizing::new(key.as_bytes().to_vec())),
            Self::Mac(key) => Ok(Zeroizing::new(key.as_bytes().to_vec())),
            Self::Oaep(key) => key.to_pkcs8(),
            Self::Signing(pair) => pair.0.to_pkcs8(),
            Self::Agreement(key) => key.to_pkcs8(),
            Self::Kem(key) => Ok(key.to_pkcs8()),
        }
    }

    /// The public half of a key pair, as SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    pub fn public_key(&self) -> Option<&[u8]> {
        match self {
            Self::Symmetric(_) | Self::Mac(_) => None,
            Self::Oaep(key) => Some(key.spki()),
            Self::Signing(pair) => Some(pair.1.spki()),
            Self::Agreement(key) => Some(key.spki()),
            Self::Kem(key) => Some(key.spki()),
        }
    }

    fn signing(key: SigningKey) -> Result<Self, CryptoError> {
        let public = key.verifying_key()?;
        Ok(Self::Signing(Rc::new((key, public))))
    }
}

fn mismatch(spec: KeySpec, usage: KeyUsage) -> CryptoError {
    CryptoError::Mismatch(usage.name(), spec.name())
}

fn check_usage(spec: KeySpec, usage: KeyUsage) -> Result<(), CryptoError> {
    if spec.usages().contains(&usage) { Ok(()) } else { Err(mismatch(spec, usage)) }
}
