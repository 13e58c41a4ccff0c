//! Documents for operations that have no `Recipient`: in a header, bound to the request.
//!
//! | header | what |
//! | --- | --- |
//! | `X-Casemate-Attestation` | an attestation document, base64 |
//! | `X-Casemate-Posture` | the facts behind its PCR15, base64; also for the document in a `Recipient` |
//!
//! A document is no secret: whoever relays a request sees it. So one in a header counts only for the request that it was
//! made for: its nonce is the SHA-256 of
//!
//! ```text
//! "casemate:request" LF X-Amz-Target LF body
//! ```
//!
//! Whoever captures it can at most repeat that request, within the age that documents may have and with credentials that
//! allow it; and a secret in the answer is encrypted to the document's own public key.

use std::rc::Rc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;

use crate::access::Facts;
use crate::errors::KmsError;
use crate::signer::Signer;

use super::Attested;

const DOCUMENT: &str = "x-casemate-attestation";
const POSTURE: &str = "x-casemate-posture";
const LABEL: &[u8] = b"casemate:request\n";

/// What came with a request in headers of our own.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The guest whose document came along.
    pub(crate) attested: Option<Rc<Attested>>,
    /// Facts behind a PCR15, not yet compared with any.
    pub(super) posture: Option<Vec<u8>>,
}

impl Evidence {
    /// Verifies what the headers hold. `target` is `X-Amz-Target`, empty where a protocol has none.
    pub(crate) fn of(
        signer: &Signer,
        headers: &HeaderMap,
        target: &str,
        body: &[u8],
    ) -> Result<Self, KmsError> {
        let posture = decoded(headers, POSTURE)?;
        let Some(document) = decoded(headers, DOCUMENT)? else {
            return Ok(Self { attested: None, posture });
        };
        let attested = Attested::verify(signer, &document, posture.as_deref())?;
        if attested.nonce() != Some(&expected_nonce(target, body)) {
            return Err(KmsError::validation(
                "The document in X-Casemate-Attestation was not made for this request: its nonce must be the SHA-256 of \
                 \"casemate:request\", the X-Amz-Target and the body, each but the last followed by a line feed.",
            ));
        }
        Ok(Self { attested: Some(Rc::new(attested)), posture })
    }

    /// The condition keys that hold for whatever the request asks for.
    pub(crate) fn facts(&self) -> Facts {
        self.attested.as_ref().map(|attested| attested.facts()).unwrap_or_default()
    }
}

fn expected_nonce(target: &str, body: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [LABEL, target.as_bytes(), b"\n", body] {
        context.update(part);
    }
    let mut nonce = [0; 32];
    for (to, from) in nonce.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    nonce
}

/// The value of a header that is there at most once.
fn decoded(headers: &HeaderMap, name: &str) -> Result<Option<Vec<u8>>, KmsError> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(name) {
            true => Err(KmsError::validation(format!("The header {name} is there more than once."))),
            false => Ok(None),
        };
    };
    STANDARD
        .decode(value)
        .map(Some)
        .map_err(|_| KmsError::validation(format!("The header {name} is not base64.")))
}
