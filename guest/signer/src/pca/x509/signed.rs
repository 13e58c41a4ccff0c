//! The form that certificates, requests, revocation lists and basic OCSP responses share (X.509, 8.1: SIGNED).

use x509_cert::der::asn1::BitString;
use x509_cert::der::{Any, Decode as _, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::crypto::{IssuingKey, verify_message};

use super::{Algorithm, X509Error};

/// What is signed, how, and the signature.
#[derive(Clone, Debug, Sequence)]
pub(super) struct Signed {
    content: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl Signed {
    /// The bytes that are signed.
    pub(super) fn content(&self) -> Result<Vec<u8>, X509Error> {
        Ok(self.content.to_der()?)
    }

    /// The algorithm that the outside names.
    pub(super) fn algorithm(&self) -> &AlgorithmIdentifierOwned {
        &self.algorithm
    }

    /// Whether the signature is one by the key in this SubjectPublicKeyInfo.
    pub(super) fn verify(&self, spki: &[u8]) -> Result<(), X509Error> {
        let algorithm = Algorithm::of(&self.algorithm).ok_or(X509Error::Algorithm)?;
        let signature = self.signature.as_bytes().ok_or(X509Error::Signature)?;
        verify_message(spki, algorithm.scheme(), &self.content()?, signature)
            .map_err(|_| X509Error::Signature)
    }
}

/// Signs `content`; the whole, DER. What `content` says about the algorithm must be `algorithm`.
pub(super) fn sign(content: &[u8], key: &IssuingKey, algorithm: Algorithm) -> Result<Vec<u8>, X509Error> {
    let signature = key.sign(algorithm.scheme(), content)?;
    let signed = Signed {
        content: Any::from_der(content)?,
        algorithm: algorithm.identifier(),
        signature: BitString::from_bytes(&signature)?,
    };
    Ok(signed.to_der()?)
}
