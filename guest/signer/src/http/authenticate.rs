//! Whose request it is, and what every policy may know about it.
//!
//! | the signer is | over plain HTTP | over TLS |
//! | --- | --- | --- |
//! | unclaimed | the local owner, whoever may open the socket; credentials are not looked at | nobody |
//! | claimed | the owner of the access key that signed the request | the same |

use hyper::header::{REFERER, USER_AGENT};
use hyper::http::request::Parts;

use crate::access::{Caller, Facts, Principal};
use crate::identity::sigv4::{self, AuthError, Query};
use crate::identity::time;
use crate::signer::Signer;

use super::Door;

/// The caller of a request to `service`, as its signature proves.
pub(super) fn caller(
    signer: &Signer,
    door: Door,
    head: &Parts,
    query: &Query,
    body: &[u8],
    service: &str,
) -> Result<(Caller, Facts), AuthError> {
    let now = time::seconds(signer.now());
    let mut facts = request_facts(signer, door, head, now);
    if !signer.identity.borrow().claimed() {
        return match door {
            Door::Plain => Ok((Caller::LocalOwner, facts)),
            Door::Tls | Door::Public => Err(AuthError::Missing),
        };
    }
    let (method, path) = (head.method.as_str(), head.uri.path());
    let request = sigv4::Request { method, path, query, headers: &head.headers, body };
    let mut directory = signer.identity.borrow_mut();
    let principal = sigv4::verify(request, service, now, |id, token| directory.find(id, token, now))?;
    if let Some(record) = directory.used(&principal, service, now) {
        signer.state.touch_lazily(record);
    }
    session_facts(&mut facts, &principal);
    Ok((Caller::Principal(principal), facts))
}

/// What is known without knowing the caller (IAM user guide, "AWS global condition context keys").
fn request_facts(signer: &Signer, door: Door, head: &Parts, now: u64) -> Facts {
    let mut facts = Facts::default();
    facts.set("aws:SecureTransport", if door == Door::Tls { "true" } else { "false" });
    facts.set("aws:CurrentTime", time::iso(now));
    facts.set("aws:EpochTime", now.to_string());
    facts.set("aws:RequestedRegion", signer.identity.borrow().config.region.as_str());
    facts.set("aws:ViaAWSService", "false");
    for (key, header) in [("aws:UserAgent", USER_AGENT), ("aws:Referer", REFERER)] {
        if let Some(value) = head.headers.get(header).and_then(|value| value.to_str().ok()) {
            facts.set(key, value);
        }
    }
    facts
}

/// What is known of a session.
fn session_facts(facts: &mut Facts, principal: &Principal) {
    let Some(session) = principal.issued.as_deref() else { return };
    facts.set("aws:TokenIssueTime", time::iso(session.issued));
    facts.set("aws:MultiFactorAuthPresent", "false");
    if let Some(identity) = &session.source_identity {
        facts.set("aws:SourceIdentity", identity.as_str());
    }
}
