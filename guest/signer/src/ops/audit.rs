//! ReadAudit, our own operation: a part of the audit log, and the guest's word for where it ends.

use serde::Serialize;

use crate::access::{Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::http::summarise;
use crate::platform::AttestError;
use crate::types::{Blob, request};
use crate::validate::Check;

/// Most lines in one answer.
const LINES_MAX: i64 = 1000;

request! {
    /// ReadAudit.
    ReadAuditRequest {
        /// The sequence of the last line that the caller has; 0 for none.
        after: i64,
        /// Most lines to return, 1 to 1000; 1000 if nothing is said.
        limit: i64,
        /// The caller's nonce for the document, at most 512 bytes.
        nonce: Blob,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReadAuditResponse {
    /// The sequence of the first line; greater than asked for if older lines have left memory.
    first_sequence: u64,
    /// The lines, in order.
    lines: Vec<String>,
    /// The end of the whole log, `SEQUENCE:DIGEST`.
    head: String,
    /// An attestation document whose user data is `casemate:audit:` and the head; absent where nothing can be attested.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Blob>,
}

/// The action that a policy allows or denies is CloudTrail's own.
pub(super) fn read_audit(call: &Call<'_>, request: ReadAuditRequest) -> Result<ReadAuditResponse, KmsError> {
    let mut check = Check::default();
    check.number("after", request.after, 0, i64::MAX);
    check.number("limit", request.limit, 1, LINES_MAX);
    check.blob("nonce", &request.nonce, 0, 512);
    check.done()?;
    call.allow("cloudtrail:LookupEvents", "*", &Facts::NONE)?;
    summarise(call, true);
    // What is read here must not be another log's after a restart.
    if let Some(record) = call.audit.borrow().newest() {
        call.state.touch(record);
    }
    let after = request.after.and_then(|after| u64::try_from(after).ok()).unwrap_or_default();
    let limit = request.limit.unwrap_or(LINES_MAX);
    let part = call.audit.borrow().read(after, usize::try_from(limit).unwrap_or_default());
    let head = part.head.to_string();
    let statement = format!("{}{head}", casemate_audit::STATEMENT);
    let nonce = request.nonce.as_ref().map(AsRef::as_ref);
    let document = match call.platform.attest(Some(statement.as_bytes()), nonce, None) {
        Ok(document) => Some(Blob(document)),
        Err(AttestError::NotSealed) => None,
        Err(error @ AttestError::Refused(_)) => {
            return Err(KmsError::new(ErrorKind::Internal, error.to_string()));
        }
    };
    Ok(ReadAuditResponse { first_sequence: part.first, lines: part.lines, head, document })
}
