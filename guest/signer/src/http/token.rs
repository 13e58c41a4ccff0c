//! The PKCS#11 token over HTTP: `X-Amz-Target: CasemateHsm.<Operation>`, the protocol of [`casemate_hsm`].
//!
//! Over TLS only: passwords and session tokens are not for the host. The token has users of its own, so nothing is signed
//! but what is the signer's owner's.

use casemate_hsm::{Operation, Request as Asked};
use hyper::Request;
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::access::{Call, Caller, Facts};
use crate::audit::{Outcome, Who};
use crate::errors::{ErrorKind, KmsError};
use crate::hsm::{self, Fault};
use crate::identity::sigv4::Query;
use crate::signer::Signer;

use super::reply::Reply;
use super::{Done, Door, Visit, authenticate, body};

/// The token, as logs name it.
pub(super) const SERVICE: &str = "casemate-hsm";

/// Answers an operation and logs it.
pub(super) async fn operation(
    signer: &Signer,
    visit: &Visit,
    request: Request<Incoming>,
    name: &str,
) -> Result<Reply, Reply> {
    let (head, body) = body::receive(signer, request).await?;
    let refused = |fault: Fault| Reply::token_error(&fault);
    if visit.door != Door::Tls {
        let message = "The PKCS#11 token is served over TLS only: passwords are not for this socket.";
        return Err(KmsError::new(ErrorKind::AccessDenied, message).into());
    }
    let operation = Operation::from_name(name).ok_or_else(|| {
        KmsError::new(ErrorKind::UnknownOperation, format!("The token has no operation {name:?}."))
    })?;
    // What only reads is answered while the volume is away; the names are those that tell.
    let admission = if hsm::only_reads(operation) { "Get" } else { "Put" };
    let query = Query::of(&head);
    let mut patient = true;
    loop {
        let mut lacks = None;
        let answer = signer.durably(visit.life, admission, || {
            let asked = parse(&body)?;
            let owners = operation.is_owners() || operation.may_be_owners() && asked.session_token.is_none();
            let (caller, facts) = if owners {
                authenticate::caller(signer, visit.door, &head, &query, &body, "kms")
                    .map_err(KmsError::from)?
            } else {
                (Caller::LocalOwner, Facts::default())
            };
            let summary = summary(&asked);
            let call = Call::new(signer, &caller, &facts).patient(patient);
            let answer = hsm::answer(&call, operation, asked);
            lacks = call.lacks.take();
            if lacks.is_none() {
                let outcome = match &answer.result {
                    Ok(_) => Outcome::Answered,
                    Err(fault) => Outcome::Refused(fault.name(), fault.message()),
                };
                let who = match (&answer.user, owners) {
                    (Some(user), _) => Some(Who::TokenUser(user)),
                    (None, true) => Some(Who::Proved(call.caller)),
                    // Whoever has not logged in is a stranger, and logged as one.
                    (None, false) => None,
                };
                let done = Done { service: SERVICE, operation: name, request: summary.as_bytes(), outcome };
                match who {
                    Some(who) => visit.log_as(signer, who, &done),
                    None => visit.asks(SERVICE, name),
                }
            }
            answer.result
        });
        let answer = answer.await;
        let Some(spec) = lacks else {
            let response = answer.map_err(refused)?;
            let mut json = Zeroizing::new(Vec::with_capacity(16 * 1024));
            serde_json::to_writer(&mut *json, &response)
                .map_err(|_| KmsError::internal("Encoding the response"))?;
            return Ok(Reply::kms(json));
        };
        // Others are answered meanwhile: see `super::operation`.
        patient = signer.rsa_keys.make(spec).await.is_ok();
    }
}

fn parse(body: &[u8]) -> Result<Asked, KmsError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    // serde would take an array for a structure, member by member.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(KmsError::new(
            ErrorKind::Serialization,
            "The request is malformed: it is not a JSON object.",
        ));
    }
    // The error's own words would quote what may be a password.
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        KmsError::new(ErrorKind::Serialization, format!("The request is malformed at {place}."))
    })
}

/// What the log tells of a request: whom and what it is about, and never a value.
fn summary(asked: &Asked) -> String {
    let number = |name: &str, value: Option<u64>| value.map(|value| format!("\"{name}\":{value}"));
    let members = [
        asked.user.as_ref().map(|user| format!("\"User\":{}", serde_json::json!(user))),
        number("Object", asked.object),
        number("WrappingObject", asked.wrapping_object),
        number("Mechanism", asked.mechanism.as_ref().map(|mechanism| mechanism.kind)),
    ];
    let members: Vec<String> = members.into_iter().flatten().collect();
    format!("{{{}}}", members.join(","))
}
