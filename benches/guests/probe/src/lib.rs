//! Cryptographic operations, repeated under a stopwatch: the same code in the sealed guest and in an ordinary process.
//!
//! A [`Task`] is one operation with its key made and its input ready, so that only the operation is timed. [`calls`] has
//! the signer's operations, JSON in and JSON out.

pub mod calls;

use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, ED25519,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, VerificationAlgorithm,
};

/// Where the probe listens for requests: an operation and a number of repetitions.
pub const PORT: u32 = 9000;
/// Where it calls the signer's operations: see [`calls`].
pub const CALLS_PORT: u32 = 9001;
/// Where it echoes.
pub const ECHO_PORT: u32 = 7;
/// Where it takes data and answers with one byte for each [`CHUNK`] (RFC 863, nearly).
pub const SINK_PORT: u32 = 9;
/// How much data the sink takes for each byte of its answer.
pub const CHUNK: usize = 1 << 20;
/// Request: an exit that the kernel answers, without the VMM (a virtqueue notification).
pub const EXIT_KERNEL: u8 = 0xe0;
/// Request: the shortest exit to the VMM and back (an empty line of log).
pub const EXIT_VMM: u8 = 0xe1;
/// Request: NSM GetRandom, CBOR included.
pub const EXIT_NSM: u8 = 0xe2;
/// Request: one turn of an empty loop, to see what the stopwatch costs.
pub const NOTHING: u8 = 0xe3;

const MESSAGE: [u8; 32] = [0x5a; 32];

/// What is measured. The number is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rsa2048Sign,
    /// Its verification.
    Rsa2048Verify,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 4096 bits.
    Rsa4096Sign,
    /// Its verification.
    Rsa4096Verify,
    /// ECDSA on P-256 with SHA-256.
    P256Sign,
    /// Its verification.
    P256Verify,
    /// ECDSA on P-384 with SHA-384.
    P384Sign,
    /// Its verification.
    P384Verify,
    /// ECDSA on P-521 with SHA-512.
    P521Sign,
    /// Its verification.
    P521Verify,
    /// Ed25519.
    Ed25519Sign,
    /// Its verification.
    Ed25519Verify,
    /// AES-256-GCM over 4 KiB, tag included.
    AesGcm4k,
    /// AES-256-GCM over 16 KiB, tag included.
    AesGcm16k,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 14] = [
        Self::Rsa2048Sign,
        Self::Rsa2048Verify,
        Self::Rsa4096Sign,
        Self::Rsa4096Verify,
        Self::P256Sign,
        Self::P256Verify,
        Self::P384Sign,
        Self::P384Verify,
        Self::P521Sign,
        Self::P521Verify,
        Self::Ed25519Sign,
        Self::Ed25519Verify,
        Self::AesGcm4k,
        Self::AesGcm16k,
    ];

    /// The operation with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == number)
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048Sign => "RSA-2048 sign",
            Self::Rsa2048Verify => "RSA-2048 verify",
            Self::Rsa4096Sign => "RSA-4096 sign",
            Self::Rsa4096Verify => "RSA-4096 verify",
            Self::P256Sign => "P-256 sign",
            Self::P256Verify => "P-256 verify",
            Self::P384Sign => "P-384 sign",
            Self::P384Verify => "P-384 verify",
            Self::P521Sign => "P-521 sign",
            Self::P521Verify => "P-521 verify",
            Self::Ed25519Sign => "Ed25519 sign",
            Self::Ed25519Verify => "Ed25519 verify",
            Self::AesGcm4k => "AES-256-GCM 4 KiB",
            Self::AesGcm16k => "AES-256-GCM 16 KiB",
        }
    }
}

/// One operation, ready to be repeated.
pub struct Task(Box<dyn FnMut() -> Result<(), Unspecified>>);

impl Task {
    /// Makes the key and the input.
    pub fn new(operation: Operation) -> Result<Self, Unspecified> {
        let rsa = |size, verify| rsa(size, verify);
        Ok(Self(match operation {
            Operation::Rsa2048Sign => rsa(KeySize::Rsa2048, false)?,
            Operation::Rsa2048Verify => rsa(KeySize::Rsa2048, true)?,
            Operation::Rsa4096Sign => rsa(KeySize::Rsa4096, false)?,
            Operation::Rsa4096Verify => rsa(KeySize::Rsa4096, true)?,
            Operation::P256Sign => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, None)?,
            Operation::P256Verify => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, Some(&ECDSA_P256_SHA256_ASN1))?,
            Operation::P384Sign => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, None)?,
            Operation::P384Verify => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, Some(&ECDSA_P384_SHA384_ASN1))?,
            Operation::P521Sign => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, None)?,
            Operation::P521Verify => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, Some(&ECDSA_P521_SHA512_ASN1))?,
            Operation::Ed25519Sign => ed25519(false)?,
            Operation::Ed25519Verify => ed25519(true)?,
            Operation::AesGcm4k => aes_gcm(4 << 10)?,
            Operation::AesGcm16k => aes_gcm(16 << 10)?,
        }))
    }

    /// Nanoseconds that `count` repetitions took.
    pub fn time(&mut self, count: u32) -> Result<u64, Unspecified> {
        let start = Instant::now();
        for _ in 0..count {
            (self.0)()?;
        }
        Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

type Repeated = Box<dyn FnMut() -> Result<(), Unspecified>>;

fn rsa(size: KeySize, verify: bool) -> Result<Repeated, Unspecified> {
    let pair = RsaKeyPair::generate(size)?;
    let random = SystemRandom::new();
    let mut signature = vec![0; pair.public_modulus_len()];
    if !verify {
        return Ok(Box::new(move || pair.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut signature)));
    }
    pair.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut signature)?;
    verifier(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref(), signature)
}

fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    verify: Option<&'static dyn VerificationAlgorithm>,
) -> Result<Repeated, Unspecified> {
    let pair = EcdsaKeyPair::generate(algorithm)?;
    let random = SystemRandom::new();
    if let Some(verify) = verify {
        let signature = pair.sign(&random, &MESSAGE)?;
        return verifier(verify, pair.public_key().as_ref(), signature.as_ref().to_vec());
    }
    Ok(Box::new(move || {
        std::hint::black_box(pair.sign(&random, &MESSAGE)?);
        Ok(())
    }))
}

fn ed25519(verify: bool) -> Result<Repeated, Unspecified> {
    let pair = Ed25519KeyPair::generate()?;
    if verify {
        let signature = pair.sign(&MESSAGE);
        return verifier(&ED25519, pair.public_key().as_ref(), signature.as_ref().to_vec());
    }
    Ok(Box::new(move || {
        std::hint::black_box(pair.sign(&MESSAGE));
        Ok(())
    }))
}

/// Verifies with a key that is parsed once, as OpenSSL's benchmark does.
fn verifier(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    signature: Vec<u8>,
) -> Result<Repeated, Unspecified> {
    let public = ParsedPublicKey::new(algorithm, public).map_err(|_| Unspecified)?;
    Ok(Box::new(move || public.verify_sig(&MESSAGE, &signature)))
}

fn aes_gcm(length: usize) -> Result<Repeated, Unspecified> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32])?);
    let mut text = vec![0; length];
    let mut counter = 0_u64;
    Ok(Box::new(move || {
        counter = counter.wrapping_add(1);
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&counter.to_le_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        // The 13 bytes of a TLS record's header, as in `openssl speed -aead`.
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from([0; 13]), &mut text)?;
        drop(std::hint::black_box(tag));
        Ok(())
    }))
}
