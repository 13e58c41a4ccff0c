//! `POST /attestation`: `{"nonce", "user_data", "public_key"}`, each base64 and optional, to `{"document"}`.
//!
//! What a caller puts in the document proves nothing about the caller, only that this guest was asked. The guest's own
//! statements (that a key lives in it, say) must be told from those, so they begin with [`RESERVED`], and no caller's
//! user data may.

use hyper::Request;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::types::Blob;
use crate::validate::Check;

use super::body;
use super::reply::Reply;

/// How the guest's own statements begin.
const RESERVED: &[u8] = b"casemate:";

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct AttestationRequest {
    nonce: Option<Blob>,
    user_data: Option<Blob>,
    public_key: Option<Blob>,
}

#[derive(Serialize)]
struct AttestationResponse {
    document: Blob,
}

pub(super) async fn attest(signer: &Signer, request: Request<Incoming>) -> Result<Reply, Reply> {
    let (_, body) = body::receive(signer, request).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let request: AttestationRequest = serde_json::from_slice(body).map_err(|error| {
        KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {error}"))
    })?;
    check(&request)?;
    let bytes = |blob: &'_ Option<Blob>| blob.as_ref().map(|blob| blob.0.clone());
    let (user_data, nonce, key) =
        (bytes(&request.user_data), bytes(&request.nonce), bytes(&request.public_key));
    let document = signer
        .platform
        .attest(user_data.as_deref(), nonce.as_deref(), key.as_deref())
        .map_err(KmsError::from)?;
    let json = serde_json::to_vec(&AttestationResponse { document: Blob(document) })
        .map_err(|_| KmsError::internal("Encoding the response"))?;
    Ok(Reply::json(json))
}

/// The limits of Nitro's attestation documents, and the reserved prefix.
fn check(request: &AttestationRequest) -> Result<(), KmsError> {
    let mut check = Check::default();
    check.blob("nonce", &request.nonce, 0, 512);
    check.blob("user_data", &request.user_data, 0, 512);
    check.blob("public_key", &request.public_key, 0, 1024);
    check.done()?;
    if request.user_data.as_ref().is_some_and(|data| data.0.starts_with(RESERVED)) {
        return Err(KmsError::validation(
            "user_data must not begin with \"casemate:\": that prefix marks statements of the guest itself.",
        ));
    }
    Ok(())
}
