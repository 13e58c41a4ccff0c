//! The guest's own statements: attestation documents whose user data begins with `casemate:`, which no caller's may.
//!
//! | request | user_data | public_key |
//! | --- | --- | --- |
//! | `POST /attestation/tls` with `{"nonce"}` (base64, optional), or `GET` | `casemate:tls:` and the SHA-256 of the TLS certificate's DER, 64 hexadecimal digits | the TLS key, SubjectPublicKeyInfo |
//!
//! The answer is `{"document", "certificate"}`: base64, and PEM. A client compares the hash with the certificate that
//! it was shown on the very connection it asked on: a document that somebody relays names another certificate.

use hyper::Request;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::types::Blob;
use crate::validate::Check;

use super::attestation::attest_error;
use super::body;
use super::reply::Reply;

/// How the statement about TLS begins.
const TLS: &str = "casemate:tls:";

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct StatementRequest {
    nonce: Option<Blob>,
}

#[derive(Serialize)]
struct TlsStatement {
    document: Blob,
    certificate: String,
}

/// States which TLS certificate is this guest's.
pub(super) async fn tls(signer: &Signer, request: Request<Incoming>) -> Result<Reply, Reply> {
    let (_, body) = body::receive(signer, request).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let request: StatementRequest = serde_json::from_slice(body).map_err(|error| {
        KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {error}"))
    })?;
    let mut check = Check::default();
    check.blob("nonce", &request.nonce, 0, 512);
    check.done()?;
    let identity = signer.tls_identity().map_err(|_| KmsError::internal("Making the TLS certificate"))?;
    let hash: String = identity.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    let document = signer
        .platform
        .attest(
            Some(format!("{TLS}{hash}").as_bytes()),
            request.nonce.as_ref().map(AsRef::as_ref),
            Some(identity.public()),
        )
        .map_err(attest_error)?;
    // Who keeps the certificate must find the guest behind it after a restart too.
    signer.state.settled().await?;
    let certificate = identity.pem().map_err(|_| KmsError::internal("Encoding the TLS certificate"))?;
    let statement = TlsStatement { document: Blob(document), certificate };
    serde_json::to_vec(&statement)
        .map(Reply::json)
        .map_err(|_| KmsError::internal("Encoding the response").into())
}
