//! A certificate that an authority has issued, as it is remembered.

use serde::{Deserialize, Serialize};

use crate::identity::time::seconds;
use crate::store::KeyId;
use crate::types::{Blob, Timestamp};

use super::names::RevocationReason;
use super::x509::Serial;
use super::x509::crl::Revoked;

/// The family of the records of certificates.
pub(crate) const FAMILY: &str = "certificate";

/// That a certificate is revoked.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Revocation {
    pub(crate) at: Timestamp,
    pub(crate) reason: RevocationReason,
}

impl Revocation {
    /// As lists and answers have it.
    pub(super) fn written(self) -> Revoked {
        Revoked { at: seconds(self.at.0), reason: self.reason.code() }
    }
}

/// A certificate that was issued.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// DER.
    pub(crate) certificate: Blob,
    pub(crate) issued: Timestamp,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
    pub(crate) template: String,
    #[serde(default)]
    pub(crate) revoked: Option<Revocation>,
    /// The idempotency token of the request.
    #[serde(default)]
    pub(crate) token: Option<String>,
}

impl Issued {
    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.certificate.0.len().saturating_add(256)
    }
}

/// The name of its record.
pub(crate) fn record_name(authority: KeyId, serial: Serial) -> String {
    format!("{FAMILY}/{authority}/{serial}")
}

/// The authority and the serial number in the name of a record.
pub(super) fn parse_name(name: &str) -> Option<(KeyId, Serial)> {
    let (authority, serial) = name.strip_prefix(FAMILY)?.strip_prefix('/')?.split_once('/')?;
    Some((KeyId::parse(authority)?, Serial::parse(serial)?))
}
