//! The owner's key: whoever holds it can claim a signer whose image names it, and nobody else can.
//!
//! The image's measured command line has `casemate.owner=` and the SHA-256 of the key's SubjectPublicKeyInfo in 64
//! hexadecimal digits. The proof is a signature over `casemate:claim`, the SHA-256 of the signer's TLS certificate (DER) and
//! a nonce: it is worth nothing to any other signer, nor on a connection to one.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::error::{Code, Failure};
use super::text;

/// What a proof signs begins with this.
const CONTEXT: &[u8] = b"casemate:claim";

/// The owner's private key.
pub(super) enum OwnerKey {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl OwnerKey {
    /// Reads a PKCS#8 PEM file, as `openssl genpkey` writes it.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bad = || {
            let message =
                format!("{} is no P-256, P-384 or Ed25519 private key in PKCS#8 PEM", path.display());
            Failure::new(Code::InvalidArgument, message)
        };
        let pem = zeroize::Zeroizing::new(text::read(path)?);
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| bad())?;
        let der = key.secret_pkcs8_der();
        for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
            if let Ok(key) = EcdsaKeyPair::from_pkcs8(algorithm, der) {
                return Ok(Self::Ecdsa(key));
            }
        }
        Ed25519KeyPair::from_pkcs8(der).map(Self::Ed25519).map_err(|_| bad())
    }

    /// The proof for the signer that shows this certificate, as the claim carries it.
    pub(super) fn prove(&self, certificate: &[u8]) -> Result<Value, Failure> {
        let failed = |_| Failure::plain("the owner's key does not sign");
        let random = SystemRandom::new();
        let mut nonce = [0; 32];
        random.fill(&mut nonce).map_err(failed)?;
        let message = [CONTEXT, digest(&SHA256, certificate).as_ref(), &nonce].concat();
        let (public, signature) = match self {
            Self::Ecdsa(key) => {
                (key.public_key().as_der().map_err(failed)?, key.sign(&random, &message).map_err(failed)?)
            }
            Self::Ed25519(key) => (key.public_key().as_der().map_err(failed)?, key.sign(&message)),
        };
        Ok(json!({
            "public_key": text::encode(public.as_ref()),
            "nonce": text::encode(&nonce),
            "signature": text::encode(signature.as_ref()),
        }))
    }
}
