//! The guest's own statements: attestation documents whose user data begins with `casemate:`, which no caller's may.
//!
//! | request | user_data | public_key |
//! | --- | --- | --- |
//! | `POST /attestation/tls` with `{"nonce"}` (base64, optional), or `GET` | `casemate:tls:` and the SHA-256 of the TLS certificate's DER, 64 hexadecimal digits | the TLS key, SubjectPublicKeyInfo |
//!
//! | `POST /attestation/volume` with `{"nonce"}` (optional) | `casemate:volume:2:` and the version of the signer's image | the X25519 key to which another signer can [grant its volume](crate::state::grant) |
//!
//! The first's answer is `{"document", "certificate", "posture"}`: base64, PEM, base64 or null. A client compares the hash with the certificate that
//! it was shown on the very connection it asked on: a document that somebody relays names another certificate.

//!
//! The posture is what the host says about itself: `POST /attestation/posture` with `{"posture"}`, on the plain port only,
//! leaves it here for verifiers that cannot ask the host. The guest does not vouch for it; PCR15 in the document does.

use hyper::Request;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::state::update::Version;
use crate::types::Blob;
use crate::validate::Check;

use super::reply::Reply;
use super::{Door, body};

/// The longest posture; the longest of today's hosts have a quarter of it.
const POSTURE_MAX: usize = 8 * 1024;
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
    posture: Option<Blob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostureRequest {
    posture: Option<Blob>,
}

/// States which TLS certificate is this guest's.
pub(super) async fn tls(signer: &Signer, request: Request<Incoming>) -> Result<Reply, Reply> {
    let (_, body) = body::receive(signer, request).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let request: StatementRequest = parse(body)?;
    let mut check = Check::default();
    check.blob("nonce", &request.nonce, 0, 512);
    check.done()?;
    // Who keeps the certificate must find the guest behind it after a restart too.
    let identity = signer
        .durably(signer.state.life(), "ReadTlsStatement", || {
            signer.tls_identity().map_err(|_| KmsError::internal("Making the TLS certificate"))
        })
        .await?;
    let hash = base16ct::lower::encode_string(&identity.fingerprint());
    let document = signer
        .platform
        .attest(
            Some(format!("{TLS}{hash}").as_bytes()),
            request.nonce.as_ref().map(AsRef::as_ref),
            Some(identity.public()),
        )
        .map_err(KmsError::from)?;
    let certificate = identity.pem().map_err(|_| KmsError::internal("Encoding the TLS certificate"))?;
    let posture = signer.posture.borrow().clone().map(Blob);
    let statement = TlsStatement { document: Blob(document), certificate, posture };
    serde_json::to_vec(&statement)
        .map(Reply::json)
        .map_err(|_| KmsError::internal("Encoding the response").into())
}

#[derive(Serialize)]
struct VolumeStatement {
    document: Blob,
}

/// States which public key is this guest's to grant volumes to.
pub(super) async fn volume(signer: &Signer, request: Request<Incoming>) -> Result<Reply, Reply> {
    let (_, body) = body::receive(signer, request).await?;
    let request: StatementRequest = parse(if body.is_empty() { b"{}" } else { &body })?;
    let mut check = Check::default();
    check.blob("nonce", &request.nonce, 0, 512);
    check.done()?;
    let nonce = request.nonce.as_ref().map(AsRef::as_ref);
    let stated = Version::of_image(signer.platform.command_line()).statement();
    let document = signer.platform.attest(Some(stated.as_bytes()), nonce, Some(&signer.grant_key()?));
    let statement = VolumeStatement { document: Blob(document.map_err(KmsError::from)?) };
    serde_json::to_vec(&statement)
        .map(Reply::json)
        .map_err(|_| KmsError::internal("Encoding the response").into())
}

/// Keeps what the host says about itself, for verifiers.
pub(super) async fn keep_posture(
    signer: &Signer,
    door: Door,
    request: Request<Incoming>,
) -> Result<Reply, Reply> {
    if door != Door::Plain {
        let message = "The posture is the host's to tell: it comes through the guest's own socket.";
        return Err(KmsError::unsupported(message).into());
    }
    let (_, body) = body::receive(signer, request).await?;
    let request: PostureRequest = parse(&body)?;
    let mut check = Check::default();
    check.blob("posture", &request.posture, 1, POSTURE_MAX);
    check.done()?;
    signer.posture.replace(request.posture.map(|posture| posture.0));
    Ok(Reply::json(b"{}".to_vec()))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, KmsError> {
    serde_json::from_slice(body).map_err(|error| {
        KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {error}"))
    })
}
