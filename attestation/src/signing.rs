//! ES384, the one signature algorithm of attestation: ECDSA on P-384 with SHA-384 (RFC 9053, 2.1).
//!
//! Signing uses RustCrypto, because a [`SigningScalar`] is a plain 48-byte value that its holder can put where it
//! wants it (`memfd_secret`, a page of its own), and because signing needs no heap. Verification uses aws-lc,
//! which is four times faster. p384's precomputed tables stay off: a launch signs twice, and filling them takes as
//! long as eight signatures.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use der::Decode;
use der::asn1::{BitStringRef, ObjectIdentifier, OctetStringRef};
use der::oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_384_R_1};
use ecdsa::hazmat::sign_prehashed_rfc6979;
use p384::ecdsa::Signature;
use p384::elliptic_curve::PrimeField;
use p384::elliptic_curve::sec1::ToSec1Point;
use p384::pkcs8::{PrivateKeyInfoRef, SecretDocument};
use p384::{NistP384, NonZeroScalar, PublicKey};
use sha2::{Digest, Sha384};
use zeroize::{Zeroize, Zeroizing};

/// Bytes in a private scalar.
pub const SCALAR_LEN: usize = 48;
/// Bytes in a public key: an uncompressed point (SEC 1, 2.3.3).
pub const PUBLIC_LEN: usize = 97;
/// Bytes in a signature: r ‖ s.
pub const SIGNATURE_LEN: usize = 96;

/// Randomness could not be had, or the bytes given are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The random source failed.
    #[error("the random source failed; without it no key can be made")]
    Random,
    /// The bytes are not a private key.
    #[error("these 48 bytes are not a P-384 private key: zero, or not below the group order")]
    NotAKey,
    /// The file holds no such key.
    #[error("the file holds no P-384 private key in PEM (PKCS#8 or SEC 1, not encrypted)")]
    NotAKeyFile,
}

/// A P-384 private key and nothing else. It holds no pointer: the secret is exactly where the value is.
///
/// It is erased when dropped. A moved value leaves its bytes behind, so whoever holds it in special memory makes it
/// on a stack in that memory too.
pub struct SigningScalar(NonZeroScalar);

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
        let repr = Zeroizing::new(p384::FieldBytes::from(*bytes));
        Option::from(NonZeroScalar::from_repr(*repr))
            .map(Self)
            .ok_or(SigningError::NotAKey)
    }

    /// The public key as an uncompressed point.
    pub fn public(&self) -> [u8; PUBLIC_LEN] {
        let mut bytes = [0; PUBLIC_LEN];
        let point = PublicKey::from_secret_scalar(&self.0).to_sec1_point(false);
        bytes.copy_from_slice(point.as_bytes());
        bytes
    }

    /// Signs `message`: deterministic ECDSA (RFC 6979), r ‖ s. Uses no heap.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.sign_inner(message).to_bytes().into()
    }

    /// Signs `message` and returns the signature as X.509 wants it: a DER sequence of r and s.
    pub(crate) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        self.sign_inner(message).to_der().as_bytes().to_vec()
    }

    fn sign_inner(&self, message: &[u8]) -> Signature {
        // sha2 rather than aws-lc, whose digest contexts live on the heap.
        let hash = Sha384::digest(message);
        sign_prehashed_rfc6979::<NistP384, Sha384>(&self.0, &hash, &[]).0
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

    /// The scalar, big-endian.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
        let mut repr = self.0.to_repr();
        let bytes = Zeroizing::new(repr.into());
        repr.zeroize();
        bytes
    }
}

impl Drop for SigningScalar {
    fn drop(&mut self) {
        self.0.zeroize();
    }
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
            let info: PrivateKeyInfoRef<'_> = document.decode_msg().ok()?;
            info.algorithm.assert_oids(ID_EC_PUBLIC_KEY, SECP_384_R_1).ok()?;
            let inner = EcPrivateKey::from_der(info.private_key.as_bytes()).ok()?;
            inner
                .parameters
                .is_none_or(|curve| curve == SECP_384_R_1)
                .then(|| inner.read())?
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
            None => key.public(),
        };
        (self.version == 1).then_some((key, public))
    }
}

/// Whether `signature` (r ‖ s) over `message` was made by the holder of `public` (SEC 1 point).
pub fn verify_fixed(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public)
        .verify(message, signature)
        .is_ok()
}

/// Whether `signature` (DER) over `message` was made by the holder of `public` (SEC 1 point).
pub fn verify_der(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, public)
        .verify(message, signature)
        .is_ok()
}

/// Fills `buffer` from the kernel's generator. Not aws-lc's: its first use in a process measures CPU jitter for
/// some 50 ms, more than ten launches take.
pub fn system_random(buffer: &mut [u8]) -> Result<(), SigningError> {
    getrandom::fill(buffer).map_err(|_| SigningError::Random)
}
