//! AttestPublicKey, our own operation: a public key, and the guest's word for whose it is and what guards it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::access::{Ask, Call};
use crate::errors::KmsError;
use crate::types::{Blob, request};
use crate::validate::Check;

use super::keys;

/// How the statement begins.
const STATEMENT: &str = "casemate:key:";
/// The longest public key that a document has room for.
const PUBLIC_KEY_MAX: usize = 1024;

request! {
    /// AttestPublicKey.
    AttestPublicKeyRequest {
        key_id: String,
        grant_tokens: Vec<String>,
        /// The caller's nonce for the document, at most 512 bytes.
        nonce: Blob,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttestPublicKeyResponse {
    key_id: String,
    /// SubjectPublicKeyInfo.
    public_key: Blob,
    /// The key policy whose digest the statement has.
    policy: String,
    /// An attestation document with the statement as user data, and the public key where there is room for it.
    document: Blob,
}

/// The action that a policy allows or denies is that of GetPublicKey.
///
/// The statement is `casemate:key:` and, each behind a space: ARN, KeySpec, KeyUsage, Origin, the SHA-256 of the
/// SubjectPublicKeyInfo and of the key policy in hexadecimal, and `locked` if the policy can never change, else `open`.
pub(super) fn attest_public_key(
    call: &Call<'_>,
    request: AttestPublicKeyRequest,
) -> Result<AttestPublicKeyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.grant_tokens(&request.grant_tokens);
    check.blob("nonce", &request.nonce, 0, 512);
    check.done()?;
    let key = Ask::new("GetPublicKey")
        .tokens(&request.grant_tokens)
        .enabled(call, request.key_id.as_deref().unwrap_or_default())?;
    let public = keys::public_half(&key)?;
    let policy = key.policy_text(&call.identity.borrow().config.account);
    let statement = format!(
        "{STATEMENT} {} {} {} {} {} {} {}",
        key.arn(),
        key.spec,
        key.usage,
        key.origin,
        sha256(public),
        sha256(policy.as_bytes()),
        if key.policy_locked { "locked" } else { "open" },
    );
    let nonce = request.nonce.as_ref().map(AsRef::as_ref);
    let in_document = (public.len() <= PUBLIC_KEY_MAX).then_some(public);
    let document = call.platform.attest(Some(statement.as_bytes()), nonce, in_document)?;
    Ok(AttestPublicKeyResponse {
        key_id: key.arn().to_owned(),
        public_key: Blob(public.to_vec()),
        policy,
        document: Blob(document),
    })
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
