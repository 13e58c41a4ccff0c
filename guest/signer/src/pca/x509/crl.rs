//! Certificate revocation lists (RFC 5280, 5).

use x509_cert::der::asn1::{Int, OctetString};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Any, Encode as _, Sequence};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use crate::crypto::IssuingKey;

use super::{Algorithm, Certificate, Serial, X509Error, signed, time};

/// id-ce-cRLNumber.
const NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
/// id-ce-cRLReasons.
const REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");

/// TBSCertList.
#[derive(Sequence)]
struct List {
    version: u8,
    algorithm: AlgorithmIdentifierOwned,
    issuer: Any,
    this_update: Time,
    next_update: Time,
    #[asn1(optional = "true")]
    revoked: Option<Vec<Entry>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// An element of `revokedCertificates`.
#[derive(Sequence)]
struct Entry {
    serial: Int,
    date: Time,
    #[asn1(optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// A certificate that is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// CRLReason; 0 says nothing, and is not written.
    pub(crate) reason: u8,
}

/// When a list, or an answer, was made, and when there will be the next one. Seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Updates {
    pub(crate) this: u64,
    pub(crate) next: u64,
}

/// The list of `issuer`, DER.
pub(crate) fn make(
    issuer: &Certificate,
    key: &IssuingKey,
    algorithm: Algorithm,
    number: u64,
    updates: Updates,
    all: impl Iterator<Item = (Serial, Revoked)>,
) -> Result<Vec<u8>, X509Error> {
    let mut revoked = Vec::new();
    for (serial, Revoked { at, reason }) in all {
        let reason = match reason {
            0 => None,
            reason => Some(vec![extension(REASON, vec![0x0a, 0x01, reason])?]),
        };
        revoked.push(Entry { serial: Int::new(serial.as_bytes())?, date: time(at)?, extensions: reason });
    }
    let key_identifier = Some(OctetString::new(issuer.key_identifier()?)?);
    let authority = AuthorityKeyIdentifier { key_identifier, ..Default::default() };
    let list = List {
        version: 1,
        algorithm: algorithm.identifier(),
        issuer: issuer.subject().clone(),
        this_update: time(updates.this)?,
        next_update: time(updates.next)?,
        revoked: Some(revoked).filter(|all| !all.is_empty()),
        extensions: vec![
            extension(AuthorityKeyIdentifier::OID, authority.to_der()?)?,
            extension(NUMBER, number.to_der()?)?,
        ],
    };
    signed::sign(&list.to_der()?, key, algorithm)
}

fn extension(extn_id: ObjectIdentifier, content: Vec<u8>) -> Result<Extension, X509Error> {
    Ok(Extension { extn_id, critical: false, extn_value: OctetString::new(content)? })
}
