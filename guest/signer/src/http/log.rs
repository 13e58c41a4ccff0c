//! Every request leaves a line in the audit log, or is counted in one: see [`crate::audit`].
//!
//! Who handles a request writes its line as soon as it knows whose it is ([`Visit::log`]). Whatever was answered without
//! that, by whoever and however far it got, is a stranger's, and logged at the end ([`Visit::end`]).

use std::cell::{Cell, RefCell};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};

use crate::access::Call;
use crate::audit::{Event, Outcome, Summary, Who, read_only};
use crate::identity::sigv4;
use crate::signer::Signer;
use crate::state::Life;

use super::reply::Reply;
use super::{Door, rpc, target};

/// How connections are counted that are no HTTP, or too large.
const MALFORMED: &str = "MalformedHttp";
/// The service of what is not AWS's.
const OWN: &str = "casemate";

/// A request, with what its line needs once its head and body are used up.
pub(super) struct Visit {
    pub(super) door: Door,
    /// The signer's life when its connection came.
    pub(super) life: Life,
    /// Its id, for the answer and the log.
    pub(super) id: String,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
    /// The operation that is named in the head.
    pub(super) target: Option<String>,
    /// It is named, and the bodies are, as [`rpc`] says.
    pub(super) rpc: bool,
    /// Service and operation, where they are not in the head.
    asked: RefCell<Option<(&'static str, String)>>,
    logged: Cell<bool>,
}

/// What was asked by somebody who is known, and how it ended.
pub(super) struct Done<'a> {
    pub(super) service: &'a str,
    pub(super) operation: &'a str,
    /// The request, JSON.
    pub(super) request: &'a [u8],
    pub(super) outcome: Outcome<'a>,
}

impl Visit {
    pub(super) fn new(door: Door, life: Life, id: String, request: &Request<Incoming>) -> Self {
        let header = |value: Option<&HeaderValue>| value.cloned();
        let headers = request.headers();
        let rpc = rpc::target(request);
        let named = || Some(headers.get("x-amz-target")?.to_str().ok()?.to_owned());
        Self {
            door,
            life,
            id,
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: header(headers.get(USER_AGENT)),
            authorization: header(headers.get(AUTHORIZATION)),
            rpc: rpc.is_some(),
            target: rpc.or_else(named),
            asked: RefCell::default(),
            logged: Cell::new(false),
        }
    }

    /// Remembers what is asked for, in case that nobody finds out who asks.
    pub(super) fn asks(&self, service: &'static str, operation: &str) {
        self.asked.replace(Some((service, operation.chars().take(64).collect())));
    }

    /// Writes the line of a request whose sender is known.
    pub(super) fn log(&self, call: &Call<'_>, done: &Done<'_>) {
        self.write(
            call,
            &Line { who: Who::Proved(call.caller), key: call.key.borrow().as_deref(), ..Line::of(done) },
        );
    }

    /// The same for somebody whom the token knows, in a request that is not about a KMS key.
    pub(super) fn log_as(&self, signer: &Signer, who: Who<'_>, done: &Done<'_>) {
        self.write(signer, &Line { who, ..Line::of(done) });
    }

    /// The request is about to be answered with this. If it has no line yet, it gets one, or is counted.
    pub(super) fn end(&self, signer: &Signer, reply: &Reply) {
        if self.logged.get() {
            return;
        }
        let (refusal, route) = (reply.refusal(), route(&self.method, self.uri.path()));
        let (open, now) = (signer.state.is_open(), Instant::now());
        if open {
            summarise(signer, false);
        }
        // What only reads, and says nothing but what everybody may know, is worth no line.
        let public = refusal.is_none() && (route.is_some_and(read_only) || self.door == Door::Public);
        let mut strangers = signer.strangers.borrow_mut();
        if public || !open || !strangers.may_write(now) {
            let what = refusal.map(|refusal| refusal.code).or(route).unwrap_or("Others");
            strangers.count(what, now, signer.now());
            return;
        }
        drop(strangers);
        let outcome = match refusal {
            Some(refusal) => Outcome::Refused(refusal.code, &refusal.message),
            None => Outcome::Answered,
        };
        let (service, operation) = self.asked.take().unwrap_or_else(|| self.in_head());
        let query = self.uri.query().unwrap_or_default();
        let authorization = self.authorization.as_ref().and_then(|value| value.to_str().ok());
        let claimed = sigv4::claimed(authorization, query);
        let done = Done { service, operation: &operation, request: b"", outcome };
        self.write(signer, &Line { who: Who::Stranger(claimed.as_deref()), ..Line::of(&done) });
    }

    /// Service and operation, as far as the head tells.
    fn in_head(&self) -> (&'static str, String) {
        if let Some(route) = route(&self.method, self.uri.path()) {
            return (OWN, route.to_owned());
        }
        let target = self.target.as_deref().unwrap_or_default();
        let (service, name) =
            target::parse(target).map_or((OWN, target), |target| (target.service, target.operation));
        match name {
            "" => (OWN, format!("{} {}", self.method, self.uri.path()).chars().take(64).collect()),
            name => (service, name.chars().take(64).collect()),
        }
    }

    fn write(&self, signer: &Signer, line: &Line<'_>) {
        self.logged.set(true);
        summarise(signer, false);
        let user_agent = self.user_agent.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let identity = signer.identity.borrow();
        let changed = signer.audit.borrow_mut().write(&Event {
            service: line.done.service,
            operation: line.done.operation,
            who: line.who,
            account: &identity.config.account,
            region: &identity.config.region,
            request_id: &self.id,
            user_agent,
            tls: self.door == Door::Tls,
            request: line.done.request,
            key: line.key,
            outcome: line.done.outcome,
            now: signer.now(),
        });
        changed.into_iter().for_each(|record| signer.state.touch_lazily(record));
    }
}

/// What is in a line beside what every line has.
struct Line<'a> {
    who: Who<'a>,
    key: Option<&'a str>,
    done: &'a Done<'a>,
}

impl<'a> Line<'a> {
    fn of(done: &'a Done<'a>) -> Self {
        Self { who: Who::Stranger(None), key: None, done }
    }
}

/// Counts a connection that ended because what came was no request that could be answered but by closing.
pub(super) fn malformed(signer: &Signer) {
    signer.strangers.borrow_mut().count(MALFORMED, Instant::now(), signer.now());
}

/// Writes the line for what was only counted, if it is time, or somebody wants to know now.
pub(crate) fn summarise(signer: &Signer, now: bool) {
    let mut strangers = signer.strangers.borrow_mut();
    let counted = if now { strangers.take() } else { strangers.overdue(Instant::now()) };
    let Some(counted) = counted else { return };
    let config = &signer.identity.borrow().config;
    let summary = Summary { counted, account: &config.account, region: &config.region, now: signer.now() };
    let changed = signer.audit.borrow_mut().write(&summary);
    changed.into_iter().for_each(|record| signer.state.touch_lazily(record));
}

/// The name under which a request is logged that is not an operation of AWS's.
fn route(method: &Method, path: &str) -> Option<&'static str> {
    Some(match (method, path) {
        (&Method::POST, "/claim") => "Claim",
        (&Method::POST, "/attestation") => "Attest",
        (&Method::POST | &Method::GET, "/attestation/tls") => "AttestTls",
        (&Method::POST, "/attestation/posture") => "SetPosture",
        (&Method::POST, "/attestation/volume") => "AttestVolume",
        (&Method::POST, "/names") => "SetNames",
        (&Method::GET, "/health") => "GetHealth",
        (&Method::POST, "/selftest") => "GetSelfTest",
        _ => return None,
    })
}
