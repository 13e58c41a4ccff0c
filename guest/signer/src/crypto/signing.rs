//! Private signing keys.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, PqdsaKeyPair, PqdsaSigningAlgorithm,
    RsaEncoding,
};
use zeroize::Zeroizing;

use super::{CryptoError, Digested, KeySpec, SigningAlgorithm, VerifyingKey, lc, secp256k1};

/// A private key that can sign and nothing else.
pub struct SigningKey {
    spec: KeySpec,
    secret: Secret,
}

/// The library's own key types: each erases itself when dropped.
enum Secret {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
    Secp256k1(secp256k1::SigningKey),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

impl SigningKey {
    /// Makes a key. For RSA this takes a second or so, and nothing else runs meanwhile.
    pub fn generate(spec: KeySpec) -> Result<Self, CryptoError> {
        let failed = |_| CryptoError::Library("key generation");
        let secret = if let Some(size) = rsa_size(spec) {
            Secret::Rsa(rsa::KeyPair::generate(size).map_err(failed)?)
        } else if let Some(algorithm) = ecdsa(spec) {
            Secret::Ecdsa(EcdsaKeyPair::generate(algorithm).map_err(failed)?)
        } else if let Some(algorithm) = ml_dsa(spec) {
            Secret::MlDsa(PqdsaKeyPair::generate(algorithm).map_err(failed)?)
        } else {
            match spec {
                KeySpec::Secp256k1 => Secret::Secp256k1(secp256k1::SigningKey::generate()?),
                KeySpec::Ed25519 => Secret::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
                _ => return Err(CryptoError::Mismatch("signing", spec.name())),
            }
        };
        Ok(Self { spec, secret })
    }

    /// The key in a PKCS #8 structure.
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let wrong = |_| CryptoError::Key(spec.name());
        let secret = if let Some(bits) = spec.rsa_bits() {
            let pair = rsa::KeyPair::from_pkcs8(pkcs8).map_err(wrong)?;
            if !has_modulus_of(bits, pair.public_key().as_ref()) {
                return Err(CryptoError::Key(spec.name()));
            }
            Secret::Rsa(pair)
        } else if let Some(algorithm) = ecdsa(spec) {
            Secret::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).map_err(wrong)?)
        } else if let Some(algorithm) = ml_dsa(spec) {
            let pair = PqdsaKeyPair::from_pkcs8(algorithm, pkcs8).map_err(wrong)?;
            // An expanded key without its seed could be used, but not written again.
            pair.to_pkcs8v1().map_err(|_| CryptoError::Key(spec.name()))?;
            Secret::MlDsa(pair)
        } else {
            match spec {
                KeySpec::Secp256k1 => Secret::Secp256k1(secp256k1::SigningKey::from_pkcs8(pkcs8)?),
                KeySpec::Ed25519 => Secret::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(wrong)?),
                _ => return Err(CryptoError::Mismatch("signing", spec.name())),
            }
        };
        Ok(Self { spec, secret })
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let failed = |_| CryptoError::Library("private key encoding");
        let owned = |der: &[u8]| Zeroizing::new(der.to_vec());
        Ok(match &self.secret {
            Secret::Rsa(key) => {
                let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
                owned(der.as_ref())
            }
            Secret::Ecdsa(key) => owned(key.to_pkcs8v1().map_err(failed)?.as_ref()),
            Secret::Ed25519(key) => owned(key.to_pkcs8v1().map_err(failed)?.as_ref()),
            Secret::MlDsa(key) => owned(key.to_pkcs8v1().map_err(failed)?.as_ref()),
            Secret::Secp256k1(key) => key.to_pkcs8()?,
        })
    }

    /// The ML-DSA key of a 32-byte seed (FIPS 204, algorithm 1), for known answers.
    #[cfg(feature = "selftest")]
    pub(crate) fn ml_dsa_from_seed(spec: KeySpec, seed: &[u8]) -> Result<Self, CryptoError> {
        let wrong = || CryptoError::Key(spec.name());
        let pair = PqdsaKeyPair::from_seed(ml_dsa(spec).ok_or_else(wrong)?, seed).map_err(|_| wrong())?;
        Ok(Self { spec, secret: Secret::MlDsa(pair) })
    }

    /// The Ed25519 key of a 32-byte seed (RFC 8032), for known answers.
    #[cfg(feature = "selftest")]
    pub(crate) fn ed25519_from_seed(seed: &[u8]) -> Result<Self, CryptoError> {
        let wrong = |_| CryptoError::Key(KeySpec::Ed25519.name());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(wrong)?;
        Ok(Self { spec: KeySpec::Ed25519, secret: Secret::Ed25519(pair) })
    }

    /// The public half, as SubjectPublicKeyInfo.
    pub fn verifying_key(&self) -> Result<VerifyingKey, CryptoError> {
        let failed = |_| CryptoError::Library("public key encoding");
        let spki = match &self.secret {
            Secret::Rsa(key) => key.public_key().as_der().map_err(failed)?.as_ref().to_vec(),
            Secret::Ecdsa(key) => key.public_key().as_der().map_err(failed)?.as_ref().to_vec(),
            Secret::Ed25519(key) => key.public_key().as_der().map_err(failed)?.as_ref().to_vec(),
            Secret::MlDsa(key) => key.public_key().as_der().map_err(failed)?.as_ref().to_vec(),
            Secret::Secp256k1(key) => key.spki()?,
        };
        VerifyingKey::from_spki(self.spec, spki)
    }

    /// Signs. The algorithm must be one of the key spec's and the input prepared for it.
    pub fn sign(&self, algorithm: SigningAlgorithm, input: &Digested<'_>) -> Result<Vec<u8>, CryptoError> {
        let failed = |_| CryptoError::Library("signing");
        let mismatch = CryptoError::Mismatch(algorithm.name(), self.spec.name());
        if !self.spec.signing_algorithms().contains(&algorithm) {
            return Err(mismatch);
        }
        match (&self.secret, input) {
            (Secret::Rsa(key), Digested::Digest(digest)) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let encoding = rsa_encoding(algorithm).ok_or(mismatch)?;
                key.sign_digest(encoding, digest, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            (Secret::Ecdsa(key), Digested::Digest(digest)) => {
                key.sign_digest(digest).map(|signature| signature.as_ref().to_vec()).map_err(failed)
            }
            (Secret::Secp256k1(key), Digested::Digest(digest)) => key.sign_digest(digest.as_ref()),
            (Secret::Ed25519(key), Digested::Whole(message)) => match algorithm {
                SigningAlgorithm::Ed25519ph => lc::ed25519ph_sign(key, message),
                _ => key.try_sign(message).map(|signature| signature.as_ref().to_vec()).map_err(failed),
            },
            (Secret::MlDsa(key), Digested::Whole(message)) => {
                let mut signature = vec![0; key.algorithm().signature_len()];
                let length = key.sign(message, &mut signature).map_err(failed)?;
                signature.truncate(length);
                Ok(signature)
            }
            (Secret::MlDsa(key), Digested::Mu(mu)) => lc::ml_dsa_sign_mu(key, mu),
            _ => Err(mismatch),
        }
    }
}

/// Whether the modulus in an RSAPublicKey (RFC 8017, A.1.1) has that many bits, a multiple of eight: then its DER has one
/// byte more, a zero.
fn has_modulus_of(bits: usize, public: &[u8]) -> bool {
    let [.., high, low] = (bits / 8).saturating_add(1).to_be_bytes();
    public.get(4..9) == Some(&[0x02, 0x82, high, low, 0x00])
}

fn rsa_size(spec: KeySpec) -> Option<KeySize> {
    match spec {
        KeySpec::Rsa2048 => Some(KeySize::Rsa2048),
        KeySpec::Rsa3072 => Some(KeySize::Rsa3072),
        KeySpec::Rsa4096 => Some(KeySize::Rsa4096),
        _ => None,
    }
}

fn ecdsa(spec: KeySpec) -> Option<&'static EcdsaSigningAlgorithm> {
    match spec {
        KeySpec::P256 => Some(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        KeySpec::P384 => Some(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeySpec::P521 => Some(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
        _ => None,
    }
}

fn ml_dsa(spec: KeySpec) -> Option<&'static PqdsaSigningAlgorithm> {
    match spec {
        KeySpec::MlDsa44 => Some(&signature::ML_DSA_44_SIGNING),
        KeySpec::MlDsa65 => Some(&signature::ML_DSA_65_SIGNING),
        KeySpec::MlDsa87 => Some(&signature::ML_DSA_87_SIGNING),
        _ => None,
    }
}

fn rsa_encoding(algorithm: SigningAlgorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        SigningAlgorithm::PssSha256 => Some(&signature::RSA_PSS_SHA256),
        SigningAlgorithm::PssSha384 => Some(&signature::RSA_PSS_SHA384),
        SigningAlgorithm::PssSha512 => Some(&signature::RSA_PSS_SHA512),
        SigningAlgorithm::Pkcs1Sha256 => Some(&signature::RSA_PKCS1_SHA256),
        SigningAlgorithm::Pkcs1Sha384 => Some(&signature::RSA_PKCS1_SHA384),
        SigningAlgorithm::Pkcs1Sha512 => Some(&signature::RSA_PKCS1_SHA512),
        _ => None,
    }
}
