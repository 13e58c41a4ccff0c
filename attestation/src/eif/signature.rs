//! The signature section: a certificate, and what its key signed, which is PCR0.
//!
//! CBOR as `aws-nitro-enclaves-image-format` writes it: byte strings are arrays of integers, the COSE_Sign1 is
//! untagged and signs the CBOR of `{register_index: 0, register_value: PCR0}`. Only ES384 is made and accepted.

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};
use der::asn1::ObjectIdentifier;
use der::oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_384_R_1};
use der::{DecodePem, Encode};
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;

use super::{BuildError, Builder, Eif};
use crate::es384;
use crate::pcr::Pcr;
use crate::signing::{SigningError, SigningScalar};

/// Longest signature section in bytes that is looked at.
const SECTION_MAX: usize = 64 * 1024;
/// Longest COSE_Sign1 within it.
const COSE_MAX: usize = 4096;

/// Why an image's signature does not hold, or could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The section is not what it should be.
    #[error("the signature section cannot be read: {0}")]
    Malformed(String),
    /// Not a certificate in PEM.
    #[error("the signing certificate is not a PEM certificate: {0}")]
    Certificate(String),
    /// A key of another kind.
    #[error("the signing certificate's key is not P-384; make one with `openssl ecparam -name secp384r1`")]
    Algorithm,
    /// The signature is over another image.
    #[error("the signature is not for this image's PCR0")]
    OtherImage,
    /// The signature is wrong.
    #[error("the signature was not made by the signing certificate's key")]
    Wrong,
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to the signing certificate")]
    OtherKey,
    /// The key could not sign.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The signed image could not be written.
    #[error(transparent)]
    Build(#[from] BuildError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PcrSignature {
    signing_certificate: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PcrInfo {
    register_index: i32,
    register_value: Vec<u8>,
}

/// Signs an image: returns its bytes with a new signature section. `certificate` is PEM, `key` its private key.
pub fn sign(image: &Eif<'_>, certificate: &[u8], key: &SigningScalar) -> Result<Vec<u8>, SignatureError> {
    let (_, public) = read_certificate(certificate)?;
    if public != key.public()? {
        return Err(SignatureError::OtherKey);
    }
    let pcr0 = image.measure_unsigned().pcr0;
    let info = PcrInfo { register_index: 0, register_value: pcr0.as_bytes().to_vec() };
    let cose = CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(iana::Algorithm::ES384).build())
        .payload(serde_cbor::to_vec(&info).map_err(malformed)?)
        .try_create_signature(&[], |to_be_signed| key.sign(to_be_signed).map(Vec::from))?
        .build();
    let section = [PcrSignature {
        signing_certificate: certificate.to_vec(),
        signature: cose.to_vec().map_err(malformed)?,
    }];
    let section = serde_cbor::to_vec(&section).map_err(malformed)?;
    Ok(Builder { signature: Some(&section), ..Builder::from_image(image) }.build()?)
}

/// Checks a signature section against PCR0 and returns PCR8.
pub(super) fn check(section: &[u8], pcr0: &Pcr) -> Result<Pcr, SignatureError> {
    if section.len() > SECTION_MAX {
        return Err(malformed(format!("{} bytes; {SECTION_MAX} are allowed", section.len())));
    }
    let [entry]: [PcrSignature; 1] = serde_cbor::from_slice(section).map_err(malformed)?;
    let (der, public) = read_certificate(&entry.signing_certificate)?;
    if entry.signature.len() > COSE_MAX {
        return Err(malformed("the COSE_Sign1 is too long"));
    }
    let cose = CoseSign1::from_slice(&entry.signature).map_err(malformed)?;
    let es384 = coset::RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES384);
    if cose.protected.header.alg != Some(es384) {
        return Err(SignatureError::Algorithm);
    }
    if !es384::verify_fixed(&public, &cose.tbs_data(&[]), &cose.signature) {
        return Err(SignatureError::Wrong);
    }
    let info: PcrInfo =
        serde_cbor::from_slice(cose.payload.as_deref().unwrap_or_default()).map_err(malformed)?;
    if info.register_index != 0 || info.register_value != pcr0.as_bytes() {
        return Err(SignatureError::OtherImage);
    }
    Ok(Pcr::measure(&der))
}

/// DER and public key of a certificate in PEM.
fn read_certificate(pem: &[u8]) -> Result<(Vec<u8>, Vec<u8>), SignatureError> {
    let unreadable = |error: der::Error| SignatureError::Certificate(error.to_string());
    let certificate = Certificate::from_pem(pem).map_err(unreadable)?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    let curve =
        key.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    if key.algorithm.oid != ID_EC_PUBLIC_KEY || curve != Some(SECP_384_R_1) {
        return Err(SignatureError::Algorithm);
    }
    let point = key.subject_public_key.as_bytes().filter(|point| point.len() == es384::PUBLIC_LEN);
    let point = point.ok_or(SignatureError::Algorithm)?.to_vec();
    Ok((certificate.to_der().map_err(unreadable)?, point))
}

fn malformed(error: impl std::fmt::Display) -> SignatureError {
    SignatureError::Malformed(error.to_string())
}
