//! X.509 certificates (RFC 5280) for P-384 keys: the platform root, and the leaf of each guest.
//!
//! | | root | leaf |
//! | --- | --- | --- |
//! | subject | O=Casemate, CN=Casemate platform root, and 16 digits of the key's identifier | O=Casemate, CN=module id |
//! | issuer | itself | the root |
//! | basicConstraints (critical) | CA, pathLen 1 | not a CA, no pathLen |
//! | keyUsage (critical) | keyCertSign, cRLSign | digitalSignature |
//! | subjectAltName | none | if the security module has the key: URI `casemate:module:` and the module's PCR0 |
//! | valid | [`ROOT_DAYS`] | [`LEAF_DAYS`], never beyond the root |
//!
//! pathLen 1 leaves room for one intermediate, a security module that certifies guests. The certificates are
//! encoded here rather than with a builder because the issuer's public key is known: a builder derives it again
//! from the private one, which costs as much as a signature.

use std::time::Duration;

use der::asn1::{BitString, OctetString, Utf8StringRef};
use der::oid::AssociatedOid;
use der::oid::db::rfc4519::{COMMON_NAME, ORGANIZATION_NAME};
use der::oid::db::rfc5912::{ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, SECP_384_R_1};
use der::{Any, Encode, Sequence};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::chain::{MODULE_URI, ModuleName};
use crate::document::CERTIFICATE_MAX;
use crate::es384::{self, PUBLIC_LEN};
use crate::hex;
use crate::pcr::Pcr;
use crate::platform::{Holder, HolderError};
use crate::signing::{self, SigningError};

/// How long a root is valid.
pub const ROOT_DAYS: u64 = 30 * 365;
/// How long a leaf is valid: a guest that runs longer must be launched again to attest.
pub const LEAF_DAYS: u64 = 366;
/// How far before its making a certificate becomes valid, for verifiers whose clock is behind.
const BACKDATE_SECONDS: u64 = 300;
/// Longest common name (RFC 5280, A.1: ub-common-name), and so the longest module id.
pub const MODULE_ID_MAX: usize = 64;

/// Why a certificate could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The module id cannot be a common name.
    #[error("the module id has {0} bytes; it must have 1 to {MODULE_ID_MAX}")]
    ModuleId(usize),
    /// The certificate would be longer than documents allow.
    #[error("the certificate has {0} bytes; documents allow {CERTIFICATE_MAX}")]
    TooLong(usize),
    /// A field does not fit into DER.
    #[error("the certificate cannot be encoded: {0}")]
    Encode(#[from] der::Error),
    /// No random serial number.
    #[error("the certificate cannot have a serial number: {0}")]
    Random(#[from] SigningError),
    /// No signature.
    #[error("the certificate cannot be signed: {0}")]
    Signing(#[from] HolderError),
}

/// Who signs a certificate.
pub(crate) struct Issuer<'a> {
    pub(crate) name: RdnSequence,
    pub(crate) public: &'a [u8; PUBLIC_LEN],
    pub(crate) key: &'a dyn Holder,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

/// TBSCertificate (RFC 5280, 4.1.2), version 3.
#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: RdnSequence,
    validity: Validity,
    subject: RdnSequence,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// Certificate (RFC 5280, 4.1).
#[derive(Sequence)]
struct Certificate {
    tbs: Tbs,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// The self-signed certificate of `key`, DER. `now` is in seconds since 1970.
pub(crate) fn root(
    key: &dyn Holder,
    public: &[u8; PUBLIC_LEN],
    now: u64,
) -> Result<Vec<u8>, CertificateError> {
    let identifier = hex::encode(&key_identifier(public));
    let name = name(&format!("Casemate platform root {}", identifier.get(..16).unwrap_or_default()))?;
    let issuer = Issuer {
        name: name.clone(),
        public,
        key,
        not_before: now.saturating_sub(BACKDATE_SECONDS),
        not_after: now.saturating_add(ROOT_DAYS * 86_400),
    };
    let constraints = BasicConstraints { ca: true, path_len_constraint: Some(1) };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    let validity = validity(issuer.not_before, issuer.not_after)?;
    sign(&issuer, name, public, validity, [extension(&constraints, true)?, extension(&usage, true)?].into())
}

/// The certificate of a guest's key, DER. `module` is PCR0 of the security module that has the key, if one has it. `now` is in
/// seconds since 1970.
pub(crate) fn leaf(
    issuer: &Issuer<'_>,
    public: &[u8; PUBLIC_LEN],
    module_id: &str,
    module: Option<&Pcr>,
    now: u64,
) -> Result<Vec<u8>, CertificateError> {
    if !(1..=MODULE_ID_MAX).contains(&module_id.len()) {
        return Err(CertificateError::ModuleId(module_id.len()));
    }
    let constraints = BasicConstraints { ca: false, path_len_constraint: None };
    let usage = KeyUsage(KeyUsages::DigitalSignature.into());
    let validity = validity(
        now.saturating_sub(BACKDATE_SECONDS).max(issuer.not_before),
        now.saturating_add(LEAF_DAYS * 86_400).min(issuer.not_after),
    )?;
    let mut extensions = vec![extension(&constraints, true)?, extension(&usage, true)?];
    if let Some(pcr0) = module {
        extensions.push(extension(&ModuleName::new(&format!("{MODULE_URI}{pcr0}"))?, false)?);
    }
    sign(issuer, name(module_id)?, public, validity, extensions)
}

fn sign(
    issuer: &Issuer<'_>,
    subject: RdnSequence,
    public: &[u8; PUBLIC_LEN],
    validity: Validity,
    mut extensions: Vec<Extension>,
) -> Result<Vec<u8>, CertificateError> {
    let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_384, parameters: None };
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(key_identifier(issuer.public))?),
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    };
    let subject_key = SubjectKeyIdentifier(OctetString::new(key_identifier(public))?);
    extensions.extend([extension(&subject_key, false)?, extension(&authority, false)?]);
    let tbs = Tbs {
        version: Version::V3,
        serial_number: serial_number()?,
        signature: algorithm.clone(),
        issuer: issuer.name.clone(),
        validity,
        subject,
        subject_public_key_info: SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: ID_EC_PUBLIC_KEY,
                parameters: Some(Any::from(SECP_384_R_1)),
            },
            subject_public_key: BitString::from_bytes(public)?,
        },
        extensions,
    };
    let signature = BitString::from_bytes(&es384::to_der(&issuer.key.sign(&tbs.to_der()?)?)?)?;
    let certificate = Certificate { tbs, signature_algorithm: algorithm, signature }.to_der()?;
    if certificate.len() > CERTIFICATE_MAX {
        return Err(CertificateError::TooLong(certificate.len()));
    }
    Ok(certificate)
}

fn extension<E: Encode + AssociatedOid>(value: &E, critical: bool) -> der::Result<Extension> {
    Ok(Extension { extn_id: E::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

fn name(common_name: &str) -> der::Result<RdnSequence> {
    let mut name = RdnSequence::default();
    for (oid, text) in [(ORGANIZATION_NAME, "Casemate"), (COMMON_NAME, common_name)] {
        let value = Any::from(Utf8StringRef::new(text)?);
        name.push(RelativeDistinguishedName::try_from(vec![AttributeTypeAndValue { oid, value }])?);
    }
    Ok(name)
}

fn validity(not_before: u64, not_after: u64) -> der::Result<Validity> {
    let time = |seconds| -> der::Result<Time> {
        Ok(Time::from(der::DateTime::from_unix_duration(Duration::from_secs(seconds))?))
    };
    Ok(Validity::new(time(not_before)?, time(not_after)?))
}

/// RFC 7093, 2, method 1: the leftmost 160 bits of the SHA-256 of the public key.
fn key_identifier(public: &[u8]) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public);
    digest.as_ref().iter().take(20).copied().collect()
}

/// 126 random bits, positive and of constant length.
fn serial_number() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0; 16];
    signing::system_random(&mut bytes)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::new(&bytes)?)
}
