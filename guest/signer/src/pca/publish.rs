//! What everybody may have: an authority's certificate, its revocation list, and answers about its certificates. All of it
//! is public, and signed by the authority's key; nothing else is done for those who did not prove who they are.
//!
//! Strangers should not make the key work much: a list, and the answer about a certificate, is made once and given again
//! until half of its time is over or something was revoked; of answers, the newest 128 KiB are kept.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::errors::KmsError;
use crate::identity::time::seconds;
use crate::signer::Signer;
use crate::store::KeyId;
use crate::types::Timestamp;

use super::authority::Authority;
use super::broken;
use super::names::Status;
use super::revocation::{enabled_crl, enabled_ocsp};
use super::x509::crl::{self, Updates};
use super::x509::ocsp::{self, Question, ResponseStatus};
use super::x509::{Algorithm, Serial};

/// For how long an answer about a certificate is good, in seconds.
const ANSWER: u64 = 86_400;
/// The bytes of answers that an authority keeps ready.
const ANSWERS: usize = 128 << 10;

/// What was made already, each with the time from which on it is made anew.
#[derive(Default)]
pub(super) struct Published {
    list: Option<(u64, Bytes)>,
    answers: BTreeMap<Vec<u8>, (u64, Bytes)>,
}

impl Published {
    /// Something was revoked.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The authority of that id, if it has a certificate and is not deleted.
fn authority(signer: &Signer, id: &str) -> Option<std::rc::Rc<Authority>> {
    let authority = signer.pca.borrow().find(KeyId::parse(id)?)?;
    match authority.status(Timestamp(signer.now())) {
        Status::Active | Status::Disabled | Status::Expired => Some(authority),
        _ => None,
    }
}

/// The certificate of an authority, DER.
pub(crate) fn certificate(signer: &Signer, id: &str) -> Option<Bytes> {
    let certificate = authority(signer, id)?.certificate()?;
    Some(Bytes::copy_from_slice(certificate.der()))
}

/// The revocation list of an authority, DER; `None` if it has none.
pub(crate) fn list(signer: &Signer, id: &str) -> Result<Option<Bytes>, KmsError> {
    let Some(authority) = authority(signer, id) else { return Ok(None) };
    let days = match enabled_crl(&authority.meta().revocation) {
        Some(crl) => crl.expiration_in_days.and_then(|days| u64::try_from(days).ok()).unwrap_or(7),
        None => return Ok(None),
    };
    let Some(issuer) = authority.certificate() else { return Ok(None) };
    let now = seconds(signer.now());
    if let Some((until, list)) = &authority.published.borrow().list
        && now < *until
    {
        return Ok(Some(list.clone()));
    }
    let span = days.saturating_mul(86_400);
    let updates = Updates { this: now, next: now.saturating_add(span) };
    // The time, unless the clock was put back: so it grows even if the last number was never written.
    let number = authority.meta().crl_number.saturating_add(1).max(now);
    let pca = signer.pca.borrow();
    // One whose time is over is still in one list (RFC 5280, 3.3).
    let recent = now.saturating_sub(span);
    let revoked = pca.issued_by(authority.id).filter(|(_, issued)| issued.not_after >= recent);
    let revoked = revoked.filter_map(|(serial, issued)| Some((serial, issued.revoked?.written())));
    let list = crl::make(&issuer, &authority.key, algorithm(&authority)?, number, updates, revoked);
    let list = Bytes::from(list.map_err(broken)?);
    authority.meta_mut().crl_number = number;
    signer.state.touch_lazily(authority.record_name());
    authority.published.borrow_mut().list = Some((now.saturating_add(span / 2), list.clone()));
    Ok(Some(list))
}

/// The answer to an OCSP request, DER; `None` if there is no such responder.
pub(crate) fn answer(signer: &Signer, id: &str, request: &[u8]) -> Option<Bytes> {
    let authority = authority(signer, id)?;
    enabled_ocsp(&authority.meta().revocation)?;
    let answer = Question::parse(request)
        .ok_or(ResponseStatus::Malformed)
        .and_then(|question| answered(signer, &authority, question));
    Some(answer.unwrap_or_else(|status| Bytes::from(ocsp::refusal(status))))
}

fn answered(signer: &Signer, authority: &Authority, question: Question) -> Result<Bytes, ResponseStatus> {
    let failed = ResponseStatus::Internal;
    let issuer = authority.certificate().ok_or(ResponseStatus::Unauthorized)?;
    let serial: Option<Serial> = question.serial(&issuer);
    let issued = serial.and_then(|serial| signer.pca.borrow().certificate(authority.id, serial));
    let issued = issued.ok_or(ResponseStatus::Unauthorized)?;
    let now = seconds(signer.now());
    let key = question.key().ok_or(failed)?;
    if let Some((until, answer)) = authority.published.borrow().answers.get(&key)
        && now < *until
    {
        return Ok(answer.clone());
    }
    let updates = Updates { this: now, next: now.saturating_add(ANSWER) };
    let revoked = issued.revoked.map(|revocation| revocation.written());
    let algorithm = algorithm(authority).map_err(|_| failed)?;
    let answer = question.answer(&authority.key, algorithm, updates, revoked).map_err(|_| failed)?;
    let answer = Bytes::from(answer);
    let answers = &mut authority.published.borrow_mut().answers;
    if answers.values().map(|(_, answer)| answer.len()).sum::<usize>() > ANSWERS {
        answers.clear();
    }
    answers.insert(key, (now.saturating_add(ANSWER / 2), answer.clone()));
    Ok(answer)
}

/// What an authority signs its own lists and answers with.
fn algorithm(authority: &Authority) -> Result<Algorithm, KmsError> {
    authority.settled.signing_algorithm.algorithm().ok_or_else(|| KmsError::internal("Signing"))
}
