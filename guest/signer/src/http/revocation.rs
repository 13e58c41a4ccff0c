//! What everybody may ask, over HTTP in the clear (RFC 5280, 4.2.1.13 and 4.2.2.1; RFC 6960, appendix A): the answers are
//! public and signed. Nothing else is answered here, and nobody needs to prove who they are.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /…/ID.crl` | the revocation list of an authority |
//! | `GET /ca/ID.cer` | its certificate |
//! | `POST /ocsp/ID`, `GET /ocsp/ID/BASE64` | whether a certificate is revoked |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;

use crate::errors::{ErrorKind, KmsError};
use crate::pca::publish;
use crate::signer::Signer;

use super::body;
use super::reply::Reply;

/// The longest request: what asks about one certificate has a hundred bytes.
const LONGEST: u64 = 4096;
const CRL: HeaderValue = HeaderValue::from_static("application/pkix-crl");
const CERTIFICATE: HeaderValue = HeaderValue::from_static("application/pkix-cert");
const OCSP: HeaderValue = HeaderValue::from_static("application/ocsp-response");

pub(super) async fn answer(signer: &Signer, request: Request<Incoming>) -> Result<Reply, Reply> {
    signer.state.open().await?;
    signer.expire();
    let path = request.uri().path().to_owned();
    let path = path.trim_start_matches('/');
    let (reply, kind) = match (request.method(), path.split_once('/')) {
        (&Method::POST, Some(("ocsp", _)))
            if request.body().size_hint().upper().is_none_or(|most| most > LONGEST) =>
        {
            let message =
                "A request to the responder says how long it is, and is not longer than 4096 bytes.";
            return Err(Reply::error(413, &KmsError::validation(message)).closing());
        }
        (&Method::POST, Some(("ocsp", id))) => {
            let (_, body) = body::receive(signer, request).await?;
            (publish::answer(signer, id, &body), OCSP)
        }
        (&Method::GET, Some(("ocsp", rest))) => (encoded(signer, rest), OCSP),
        (&Method::GET, Some(("ca", file))) => {
            let id = file.strip_suffix(".cer");
            (id.and_then(|id| publish::certificate(signer, id)), CERTIFICATE)
        }
        (&Method::GET, _) => {
            let file = path.rsplit('/').next().and_then(|file| file.strip_suffix(".crl"));
            let list = file.map(|id| publish::list(signer, id)).transpose()?.flatten();
            (list, CRL)
        }
        _ => (None, CRL),
    };
    reply.map(|bytes| Reply::public(bytes, kind)).ok_or_else(|| {
        let message = "There is nothing of that name here.";
        Reply::error(404, &KmsError::new(ErrorKind::ResourceNotFound, message))
    })
}

/// The answer to a question in the path: RFC 6960, A.1.
fn encoded(signer: &Signer, rest: &str) -> Option<Bytes> {
    let (id, question) = rest.split_once('/')?;
    let question: Vec<u8> = percent_decode_str(question).collect();
    publish::answer(signer, id, &STANDARD.decode(question).ok()?)
}
