//! Public keys that verify signatures.

use std::cell::RefCell;
use std::rc::Rc;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use super::{CryptoError, Digested, KeySpec, NotGenuine, SigningAlgorithm, lc, secp256k1};

/// A public key, kept as the SubjectPublicKeyInfo that GetPublicKey returns.
pub struct VerifyingKey {
    spec: KeySpec,
    spki: Vec<u8>,
    /// The key ready for use, by each algorithm that was asked for. Making it takes as long as verifying an RSA signature.
    ready: RefCell<Vec<(SigningAlgorithm, Rc<ParsedPublicKey>)>>,
}

impl VerifyingKey {
    /// A public key of that spec from its SubjectPublicKeyInfo.
    pub fn from_spki(spec: KeySpec, spki: Vec<u8>) -> Result<Self, CryptoError> {
        if spec.signing_algorithms().is_empty() {
            return Err(CryptoError::Mismatch("verifying", spec.name()));
        }
        Ok(Self { spec, spki, ready: RefCell::default() })
    }

    /// The SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether `signature` is one over `input` by the private half.
    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        input: &Digested<'_>,
        signature: &[u8],
    ) -> Result<(), NotGenuine> {
        if !self.spec.signing_algorithms().contains(&algorithm) {
            return Err(NotGenuine);
        }
        match (self.spec, algorithm, input) {
            (KeySpec::Secp256k1, _, Digested::Digest(digest)) => {
                secp256k1::verify_digest(&self.spki, digest.as_ref(), signature)
            }
            (_, SigningAlgorithm::Ed25519ph, Digested::Whole(message)) => {
                lc::ed25519ph_verify(&self.spki, message, signature)
            }
            (_, SigningAlgorithm::MlDsa, Digested::Mu(mu)) => lc::ml_dsa_verify_mu(&self.spki, mu, signature),
            (_, algorithm, Digested::Digest(digest)) => {
                self.ready(algorithm)?.verify_digest_sig(digest, signature).map_err(|_| NotGenuine)
            }
            (_, algorithm, Digested::Whole(message)) => {
                self.ready(algorithm)?.verify_sig(message, signature).map_err(|_| NotGenuine)
            }
            (_, _, Digested::Mu(_)) => Err(NotGenuine),
        }
    }

    /// The key for this algorithm, which is one of the spec's: so there are few of them.
    fn ready(&self, algorithm: SigningAlgorithm) -> Result<Rc<ParsedPublicKey>, NotGenuine> {
        let mut ready = self.ready.borrow_mut();
        if let Some((_, key)) = ready.iter().find(|(known, _)| *known == algorithm) {
            return Ok(Rc::clone(key));
        }
        let method = verification(self.spec, algorithm).ok_or(NotGenuine)?;
        let key = Rc::new(ParsedPublicKey::new(method, &self.spki).map_err(|_| NotGenuine)?);
        ready.push((algorithm, Rc::clone(&key)));
        Ok(key)
    }
}

fn verification(spec: KeySpec, algorithm: SigningAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    use SigningAlgorithm as A;
    Some(match (spec, algorithm) {
        (_, A::PssSha256) => &signature::RSA_PSS_2048_8192_SHA256,
        (_, A::PssSha384) => &signature::RSA_PSS_2048_8192_SHA384,
        (_, A::PssSha512) => &signature::RSA_PSS_2048_8192_SHA512,
        (_, A::Pkcs1Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (_, A::Pkcs1Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (_, A::Pkcs1Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeySpec::P256, _) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeySpec::P384, _) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeySpec::P521, _) => &signature::ECDSA_P521_SHA512_ASN1,
        (KeySpec::Ed25519, _) => &signature::ED25519,
        (KeySpec::MlDsa44, _) => &signature::ML_DSA_44,
        (KeySpec::MlDsa65, _) => &signature::ML_DSA_65,
        (KeySpec::MlDsa87, _) => &signature::ML_DSA_87,
        _ => return None,
    })
}
