//! `POST /claim`: `{"account", "region", "proof": {"public_key", "nonce", "signature"}}`, all optional, the members of the
//! proof base64, to `{"account", "region", "user_arn", "access_key_id", "secret_access_key"}`.
//!
//! Over TLS only: what is answered is the one secret that opens everything, and the certificate is what a claimant has
//! verified. What it means is in [`crate::identity::claim`].

use hyper::Request;
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::access::{Call, Caller, Facts};
use crate::audit::Outcome;
use crate::errors::{ErrorKind, KmsError};
use crate::identity::claim::{self, Claim};
use crate::signer::Signer;

use super::reply::Reply;
use super::{Done, Door, Visit, body};

/// Gives the signer its owner.
pub(super) async fn claim(
    signer: &Signer,
    visit: &Visit,
    request: Request<Incoming>,
) -> Result<Reply, Reply> {
    let (_, body) = body::receive(signer, request).await?;
    if visit.door != Door::Tls {
        let message = "A claim is made over TLS, by somebody who has verified whose certificate it is.";
        return Err(KmsError::new(ErrorKind::AccessDenied, message).into());
    }
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let malformed =
        |why: String| KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {why}"));
    // serde would take an array for a structure, member by member.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed("it is not a JSON object.".to_owned()).into());
    }
    let request: Claim = serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let mut made = false;
    let claimed = signer.durably(visit.life, "Claim", || {
        let claimed = claim::claim(signer, &request);
        made = claimed.is_ok();
        // Whoever did not become the owner is a stranger, and logged as one.
        if made {
            let facts = Facts::NONE;
            let call = Call::new(signer, &Caller::LocalOwner, &facts);
            let outcome = Outcome::Answered;
            visit.log(&call, &Done { service: "casemate", operation: "Claim", request: b"{}", outcome });
        }
        claimed
    });
    let claimed = match claimed.await {
        Ok(claimed) => claimed,
        Err(error) => {
            if made {
                claim::undo(signer);
            }
            return Err(error.into());
        }
    };
    let mut json = Zeroizing::new(Vec::with_capacity(1024));
    serde_json::to_writer(&mut *json, &claimed).map_err(|_| KmsError::internal("Encoding the response"))?;
    Ok(Reply::secret(json))
}
