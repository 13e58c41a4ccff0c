//! A certificate that an authority has issued, as it is remembered.

use serde::{Deserialize, Serialize};

use crate::store::KeyId;
use crate::types::{Blob, Timestamp};

use super::x509::Serial;

/// The family of the records of certificates.
pub(crate) const FAMILY: &str = "certificate";

/// A certificate that was issued.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// DER.
    pub(crate) certificate: Blob,
    pub(crate) issued: Timestamp,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
    pub(crate) template: String,
    /// The idempotency token of the request.
    #[serde(default)]
    pub(crate) token: Option<String>,
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
