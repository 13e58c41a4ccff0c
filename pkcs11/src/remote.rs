//! The guest: connections to it, made once it has proved what it is, and requests over them.
//!
//! A certificate is believed because the guest that shows it has attested it under the policy of the configuration; the
//! first connection does that, and so does the first to another certificate. Connections are kept and shared by threads,
//! each request has one to itself.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use casemate_client::attested::{self, Place, Refusal as Disbelief};
use casemate_client::endpoint::Trust;
use casemate_client::{Client, ClientError};
use casemate_hsm::message::TARGET;
use casemate_hsm::{Operation, Refusal, Request, Response, ck};
use zeroize::Zeroizing;

use crate::config::{Belief, TokenConfig};
use crate::log;
use crate::rv::{Result, Rv};
use crate::sync::lock;

/// Connections that are kept for the next request.
const IDLE_MAX: usize = 32;
/// A connection that was not used for this long may have been closed by the guest.
const FRESH: Duration = Duration::from_secs(20);

/// Storage of a thread's own. Programs close their sessions at exit too (OpenSSL's provider does), when a thread has none any more,
/// which tokio does not take: then another thread asks.
struct Here;

impl Drop for Here {
    fn drop(&mut self) {}
}

thread_local! {
    static HERE: Here = const { Here };
}

/// A guest.
pub struct Remote {
    label: String,
    place: Place,
    belief: Belief,
    /// The certificate (DER) that the guest has spoken for.
    attested: Mutex<Option<Vec<u8>>>,
    idle: Mutex<Vec<(Client, Instant)>>,
}

impl Remote {
    /// A guest that is not connected to yet.
    pub fn new(config: TokenConfig) -> Self {
        let TokenConfig { label, place, belief } = config;
        Self { label, place, belief, attested: Mutex::new(None), idle: Mutex::new(Vec::new()) }
    }

    /// What it is called in the configuration.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where it is.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Sends a request and waits for what comes of it.
    pub fn call(&self, operation: Operation, request: &Request) -> Result<Response> {
        if HERE.try_with(|_| ()).is_ok() {
            return self.call_here(operation, request);
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.call_here(operation, request));
            other.join().unwrap_or(Err(Rv(ck::CKR_GENERAL_ERROR)))
        })
    }

    fn call_here(&self, operation: Operation, request: &Request) -> Result<Response> {
        let body = serde_json::to_vec(request).map(Zeroizing::new).map_err(|_| Rv(ck::CKR_GENERAL_ERROR))?;
        let kept = lock(&self.idle).pop().filter(|(_, since)| since.elapsed() < FRESH);
        if let Some((client, _)) = kept {
            match self.exchange(client, operation, &body) {
                // The guest had closed it. What is asked a second time must not be done a second time.
                Err(error) if error.was_not_sent() || is_repeatable(operation) => {
                    log::note(format_args!("{}: {}: {error}; once more", self.label, operation.name()));
                }
                other => return self.answer(operation, other),
            }
        }
        let client = self.connect()?;
        let answer = self.exchange(client, operation, &body);
        self.answer(operation, answer)
    }

    fn exchange(
        &self,
        mut client: Client,
        operation: Operation,
        body: &Zeroizing<Vec<u8>>,
    ) -> std::result::Result<(u16, Zeroizing<Vec<u8>>), ClientError> {
        let target = format!("{TARGET}{}", operation.name());
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let (status, answer) = client.post("/", &headers, body.to_vec())?;
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push((client, Instant::now()));
        }
        Ok((status, Zeroizing::new(answer.into())))
    }

    /// What an answer means.
    fn answer(
        &self,
        operation: Operation,
        answer: std::result::Result<(u16, Zeroizing<Vec<u8>>), ClientError>,
    ) -> Result<Response> {
        let failed = |why: &dyn std::fmt::Display, rv| {
            log::note(format_args!("{}: {}: {why}", self.label, operation.name()));
            Rv(rv)
        };
        let (status, body) = answer.map_err(|error| failed(&error, ck::CKR_DEVICE_REMOVED))?;
        if status == 200 {
            let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
            return serde_json::from_slice(body).map_err(|error| failed(&error, ck::CKR_DEVICE_ERROR));
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => {
                let rv = refusal.rv.filter(|rv| *rv != ck::CKR_OK).unwrap_or(ck::CKR_DEVICE_ERROR);
                Err(failed(&format_args!("{}: {}", refusal.kind, refusal.message), rv))
            }
            Err(_) => Err(failed(&format_args!("HTTP {status}"), ck::CKR_DEVICE_ERROR)),
        }
    }

    /// A new connection, to a guest that is believed.
    fn connect(&self) -> Result<Client> {
        let unreachable = |error: &dyn std::fmt::Display| {
            log::note(format_args!("{}: {}: {error}", self.label, self.place));
            Rv(ck::CKR_DEVICE_REMOVED)
        };
        let demands = match &self.belief {
            Belief::Certificate(trust) => {
                let opened = self.place.open(trust.clone());
                return opened.map(|(client, _)| client).map_err(|error| unreachable(&error));
            }
            Belief::Proof(demands) => demands,
        };
        let known = lock(&self.attested).clone();
        if let Some(known) = known {
            let (client, shown) = self.place.open(Trust::Later).map_err(|error| unreachable(&error))?;
            if shown == known {
                return Ok(client);
            }
        }
        match attested::connect(&self.place, demands) {
            Ok(attested) => {
                *lock(&self.attested) = Some(attested.certificate);
                Ok(attested.client)
            }
            Err(Disbelief::Unproved(reason)) => {
                log::warn(format_args!(
                    "{}: {} does not prove what the policy demands, so it is told nothing: {reason}",
                    self.label, self.place
                ));
                Err(Rv(ck::CKR_DEVICE_REMOVED))
            }
            Err(error) => Err(unreachable(&error)),
        }
    }
}

/// Whether it makes no difference if the guest does it twice.
const fn is_repeatable(operation: Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::DescribeToken
            | O::OpenSession
            | O::ListUsers
            | O::GetAttributes
            | O::SetAttributes
            | O::FindObjects
            | O::Sign
            | O::Verify
            | O::Encrypt
            | O::Decrypt
            | O::WrapKey
            | O::Random
            | O::Mechanisms
    )
}
