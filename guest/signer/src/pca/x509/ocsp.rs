//! The Online Certificate Status Protocol (RFC 6960), in its lightweight profile (RFC 5019): one certificate in a request,
//! answers that can be used again, and no nonces.

use aws_lc_rs::digest;
use x509_cert::der::asn1::{GeneralizedTime, Int, Null, OctetString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Any, Choice, DateTime, Decode as _, Encode as _, Enumerated, Sequence};
use x509_cert::ext::Extension;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use crate::crypto::IssuingKey;

use super::crl::{Revoked, Updates};
use super::{Algorithm, Certificate, Serial, X509Error, key_identifier, signed};

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// id-pkix-ocsp-basic.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// OCSPRequest.
#[derive(Sequence)]
struct Request {
    content: RequestContent,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    signature: Option<Any>,
}

/// TBSRequest.
#[derive(Sequence)]
struct RequestContent {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", default = "Default::default")]
    version: u8,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    requestor: Option<Any>,
    requests: Vec<Single>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// Request: one certificate.
#[derive(Sequence)]
struct Single {
    certificate: CertId,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// CertID.
#[derive(Clone, Debug, Sequence)]
struct CertId {
    hash: AlgorithmIdentifierOwned,
    issuer_name: OctetString,
    issuer_key: OctetString,
    serial: Int,
}

/// OCSPResponse.
#[derive(Sequence)]
struct Response {
    status: ResponseStatus,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    bytes: Option<ResponseBytes>,
}

/// OCSPResponseStatus.
#[derive(Clone, Copy, Debug, Enumerated, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ResponseStatus {
    /// It has an answer.
    Successful = 0,
    /// The request is not one.
    Malformed = 1,
    /// The answer could not be made.
    Internal = 2,
    /// The certificate is not one of this responder's.
    Unauthorized = 6,
}

#[derive(Sequence)]
struct ResponseBytes {
    kind: ObjectIdentifier,
    content: OctetString,
}

/// ResponseData.
#[derive(Sequence)]
struct ResponseData {
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    responder_key: OctetString,
    produced: GeneralizedTime,
    responses: Vec<SingleResponse>,
}

#[derive(Sequence)]
struct SingleResponse {
    certificate: CertId,
    status: Status,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    next_update: GeneralizedTime,
}

/// CertStatus.
#[derive(Choice)]
enum Status {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
}

#[derive(Sequence)]
struct RevokedInfo {
    time: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    reason: Option<Reason>,
}

/// CRLReason, with a tag of its own rather than an integer's.
#[derive(Clone, Copy, Enumerated)]
#[repr(u8)]
enum Reason {
    KeyCompromise = 1,
    AuthorityCompromise = 2,
    AffiliationChanged = 3,
    Superseded = 4,
    CessationOfOperation = 5,
    PrivilegeWithdrawn = 9,
    AaCompromise = 10,
}

impl Reason {
    fn of(reason: u8) -> Option<Self> {
        Some(match reason {
            1 => Self::KeyCompromise,
            2 => Self::AuthorityCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            _ => return None,
        })
    }
}

/// What a client wants to know.
pub(crate) struct Question {
    certificate: CertId,
}

impl Question {
    /// The question in this structure; `None` if it is none, or several.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let Request { content, .. } = Request::from_der(der).ok()?;
        match <[Single; 1]>::try_from(content.requests) {
            Ok([Single { certificate, .. }]) => Some(Self { certificate }),
            Err(_) => None,
        }
    }

    /// The serial number, if `issuer` has issued the certificate.
    pub(crate) fn serial(&self, issuer: &Certificate) -> Option<Serial> {
        let CertId { hash, issuer_name, issuer_key, serial } = &self.certificate;
        let algorithm = match hash.oid {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA256 => &digest::SHA256,
            _ => return None,
        };
        let fits = |hash: &OctetString, of: &[u8]| hash.as_bytes() == digest::digest(algorithm, of).as_ref();
        let key = SubjectPublicKeyInfoRef::from_der(issuer.public_key()).ok()?;
        let ours = fits(issuer_name, &issuer.subject().to_der().ok()?)
            && fits(issuer_key, key.subject_public_key.raw_bytes());
        Serial::from_bytes(serial.as_bytes()).filter(|_| ours)
    }

    /// What tells this question from others: DER.
    pub(crate) fn key(&self) -> Option<Vec<u8>> {
        self.certificate.to_der().ok()
    }

    /// The answer, signed by the issuer's own key; DER.
    pub(crate) fn answer(
        self,
        key: &IssuingKey,
        algorithm: Algorithm,
        updates: Updates,
        revoked: Option<Revoked>,
    ) -> Result<Vec<u8>, X509Error> {
        let date = |seconds| {
            let date = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))?;
            Ok::<_, X509Error>(GeneralizedTime::from_date_time(date))
        };
        let status = match revoked {
            None => Status::Good(Null),
            Some(Revoked { at, reason }) => {
                Status::Revoked(RevokedInfo { time: date(at)?, reason: Reason::of(reason) })
            }
        };
        let single = SingleResponse {
            certificate: self.certificate,
            status,
            this_update: date(updates.this)?,
            next_update: date(updates.next)?,
        };
        let data = ResponseData {
            responder_key: OctetString::new(key_identifier(key.spki())?)?,
            produced: date(updates.this)?,
            responses: vec![single],
        };
        let content = OctetString::new(signed::sign(&data.to_der()?, key, algorithm)?)?;
        let bytes = Some(ResponseBytes { kind: BASIC, content });
        Ok(Response { status: ResponseStatus::Successful, bytes }.to_der()?)
    }
}

/// An answer that says why there is none; nobody signs it.
pub(crate) fn refusal(status: ResponseStatus) -> Vec<u8> {
    vec![0x30, 0x03, 0x0a, 0x01, status as u8]
}
