//! What a guest states about itself, beyond what the document has fields for: user data that begins with `casemate:`,
//! which a guest lets nobody else ask for.

use aws_lc_rs::digest::{SHA256, digest};
use der::{Decode, Encode};
use x509_cert::Certificate;

use crate::hex;
use crate::verify::Established;

/// How the statement about a TLS certificate begins; the SHA-256 of its DER follows, in hexadecimal.
pub const TLS: &str = "casemate:tls:";

/// Why a document does not speak for a TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// It says something else.
    #[error("the document states nothing about a TLS certificate")]
    Other,
    /// It speaks for another one.
    #[error(
        "the guest's certificate has SHA-256 {stated}, but this endpoint showed {shown}: somebody between here and the guest relays its document"
    )]
    OtherCertificate {
        /// In the document.
        stated: String,
        /// Of the certificate that was shown.
        shown: String,
    },
    /// The hash is right and the key is not, or there is none to compare.
    #[error("the key in the document is not the certificate's")]
    OtherKey,
}

/// SHA-256 of a certificate's DER, in hexadecimal.
pub fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(digest(&SHA256, certificate).as_ref())
}

/// Checks that a verified document speaks for this certificate (DER), which a TLS endpoint has shown and proved to hold
/// the key of. The document must be verified with a nonce that was sent on that very connection.
pub fn check_tls(established: &Established, certificate: &[u8]) -> Result<(), StatementError> {
    let data = established.user_data.as_deref().and_then(|data| std::str::from_utf8(data).ok());
    let stated = data.and_then(|data| data.strip_prefix(TLS)).ok_or(StatementError::Other)?;
    let shown = fingerprint(certificate);
    if stated != shown {
        // Escaped, because it goes to a terminal and only the guest's word stands for it.
        return Err(StatementError::OtherCertificate { stated: stated.escape_debug().to_string(), shown });
    }
    let public = Certificate::from_der(certificate)
        .and_then(|certificate| certificate.tbs_certificate().subject_public_key_info().to_der());
    match (public, &established.public_key) {
        (Ok(public), Some(stated)) if public == *stated => Ok(()),
        _ => Err(StatementError::OtherKey),
    }
}
