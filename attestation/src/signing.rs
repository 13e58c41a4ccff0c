//! Making ES384 signatures ([`es384`](crate::es384)).
//!
//! Signing uses graviola (s2n-bignum's verified assembly), because it works on the stack alone: a
//! [`SigningScalar`] is 48 plain bytes that its holder can put where it wants them (`memfd_secret`, a page of its
//! own), and nothing is computed at first use. aws-lc keeps keys on the heap and measures CPU jitter for 50 ms
//! before its first random byte; RustCrypto's p384 is three times slower or fills tables for 2 ms. Verification uses
//! aws-lc. graviola needs an x86-64 CPU with AVX2, BMI2 and ADX (2014) or arm64.

use der::asn1::{BitStringRef, ObjectIdentifier, OctetStringRef};
use der::oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_384_R_1};
use der::pem::LineEnding;
use der::{Decode, SecretDocument};
use graviola::hashing::Sha384;
use graviola::hashing::hmac::Hmac;
use graviola::key_agreement::p384::StaticPrivateKey;
use graviola::signing::ecdsa::{P384, SigningKey};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::{Zeroize, Zeroizing};

use crate::es384::{PUBLIC_LEN, SIGNATURE_LEN};

/// Bytes in a private scalar.
pub const SCALAR_LEN: usize = 48;

/// Randomness could not be had, or the bytes given are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The random source failed.
    #[error("the random source failed; without it nothing can be signed")]
    Random,
    /// The bytes are not a private key.
    #[error("these 48 bytes are not a P-384 private key: zero, or not below the group order")]
    NotAKey,
    /// The file holds no such key.
    #[error("the file holds no P-384 private key in PEM (PKCS#8 or SEC 1, not encrypted)")]
    NotAKeyFile,
}

/// A P-384 private key: 48 bytes, big-endian, and nothing else. The secret is exactly where the value is.
///
/// It is erased when dropped. A moved value leaves its bytes behind, and signing leaves traces on the stack: whoever
/// holds it in special memory makes and uses it on a stack in that memory too.
pub struct SigningScalar([u8; SCALAR_LEN]);

impl SigningScalar {
    /// Makes a key from a source of random bytes.
    pub fn generate<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, SigningError> {
        let mut bytes = Zeroizing::new([0; SCALAR_LEN]);
        // The group order is within 2^-190 of 2^384: one try is enough unless the source is broken.
        for _ in 0..8 {
            fill(bytes.as_mut_slice()).map_err(|_| SigningError::Random)?;
            if let Ok(scalar) = Self::from_bytes(&bytes) {
                return Ok(scalar);
            }
        }
        Err(SigningError::Random)
    }

    /// The key with this big-endian scalar.
    pub fn from_bytes(bytes: &[u8; SCALAR_LEN]) -> Result<Self, SigningError> {
        StaticPrivateKey::from_bytes(bytes).map_err(|_| SigningError::NotAKey)?;
        Ok(Self(*bytes))
    }

    /// The public key as an uncompressed point.
    pub fn public(&self) -> Result<[u8; PUBLIC_LEN], SigningError> {
        Ok(self.key()?.private_key.public_key_uncompressed())
    }

    /// Signs `message`: RFC 6979 with added randomness (its section 3.6), r ‖ s. Uses no heap; the randomness takes a
    /// `getrandom`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], SigningError> {
        let mut signature = [0; SIGNATURE_LEN];
        self.key()?.sign::<Sha384>(&[message], &mut signature).map_err(|_| SigningError::Random)?;
        Ok(signature)
    }

    fn key(&self) -> Result<SigningKey<P384>, SigningError> {
        let private_key = StaticPrivateKey::from_bytes(&self.0).map_err(|_| SigningError::NotAKey)?;
        Ok(SigningKey { private_key })
    }

    /// HMAC-SHA-384 of `purpose` under the scalar: another secret, from which this one does not follow.
    pub(crate) fn derive(&self, purpose: &[&[u8]]) -> Zeroizing<[u8; 48]> {
        derive(&self.0, purpose)
    }

    /// The key as PKCS#8 in PEM, its public key included.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, SigningError> {
        let mut buffer = Zeroizing::new([0; 256]);
        let der = self.key()?.to_pkcs8_der(buffer.as_mut_slice()).map_err(|_| SigningError::NotAKey)?;
        let document = SecretDocument::try_from(der).map_err(|_| SigningError::NotAKey)?;
        document.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| SigningError::NotAKey)
    }

    /// The key in a PEM file, PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`) as openssl writes them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SigningError> {
        Self::pair_from_pem(pem).map(|(key, _)| key)
    }

    /// The key in a PEM file, and its public key: as stored beside it, because deriving it costs as much as a
    /// signature, or else derived.
    pub(crate) fn pair_from_pem(pem: &[u8]) -> Result<(Self, [u8; PUBLIC_LEN]), SigningError> {
        read_pem(pem).ok_or(SigningError::NotAKeyFile)
    }
}

/// HMAC-SHA-384 of `purpose`, whose parts count as one string, under a secret: another secret, from which that one does not
/// follow. Uses no heap.
pub fn derive(secret: &[u8; SCALAR_LEN], purpose: &[&[u8]]) -> Zeroizing<[u8; 48]> {
    let mut hmac = Hmac::<Sha384>::new(secret);
    purpose.iter().for_each(|part| hmac.update(part));
    let mut derived = Zeroizing::new([0; 48]);
    derived.copy_from_slice(hmac.finish().as_ref());
    derived
}

impl Drop for SigningScalar {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// OneAsymmetricKey (RFC 5958, 2) of version 1, which is what PKCS#8 files hold.
#[derive(der::Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierRef<'a>,
    private_key: &'a OctetStringRef,
}

/// ECPrivateKey (RFC 5915, 3).
#[derive(der::Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    private_key: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    parameters: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    public_key: Option<BitStringRef<'a>>,
}

fn read_pem(pem: &[u8]) -> Option<(SigningScalar, [u8; PUBLIC_LEN])> {
    // openssl puts EC PARAMETERS before a SEC 1 key.
    let pem = std::str::from_utf8(pem).ok()?;
    let start = pem.find("-----BEGIN EC PRIVATE KEY-----").unwrap_or(0);
    let (label, document) = SecretDocument::from_pem(pem.get(start..)?).ok()?;
    match label {
        "PRIVATE KEY" => {
            let info: PrivateKeyInfo<'_> = document.decode_msg().ok()?;
            info.algorithm.assert_oids(ID_EC_PUBLIC_KEY, SECP_384_R_1).ok()?;
            let inner = EcPrivateKey::from_der(info.private_key.as_bytes()).ok()?;
            inner.parameters.is_none_or(|curve| curve == SECP_384_R_1).then(|| inner.read())?
        }
        "EC PRIVATE KEY" => {
            let inner: EcPrivateKey<'_> = document.decode_msg().ok()?;
            (inner.parameters == Some(SECP_384_R_1)).then(|| inner.read())?
        }
        _ => None,
    }
}

impl EcPrivateKey<'_> {
    fn read(&self) -> Option<(SigningScalar, [u8; PUBLIC_LEN])> {
        let bytes = Zeroizing::new(<[u8; SCALAR_LEN]>::try_from(self.private_key.as_bytes()).ok()?);
        let key = SigningScalar::from_bytes(&bytes).ok()?;
        let public = match self.public_key {
            Some(point) => point.as_bytes()?.try_into().ok()?,
            None => key.public().ok()?,
        };
        (self.version == 1).then_some((key, public))
    }
}

/// Fills `buffer` from the kernel's generator. Not aws-lc's: its first use in a process measures CPU jitter for
/// some 50 ms, more than ten launches take.
pub fn system_random(buffer: &mut [u8]) -> Result<(), SigningError> {
    getrandom::fill(buffer).map_err(|_| SigningError::Random)
}
