//! Client of the Nitro Security Module, over the mailbox in the shared region.
//!
//! Requests and responses are those of the `aws-nitro-enclaves-nsm-api` crate, so code written for a Nitro enclave
//! moves over by replacing `driver::nsm_process_request(fd, request)` with [`request`]. The mailbox is memory that
//! the host can change at any time: the response's length is read once and bounded, and the response is copied
//! once, before anything looks into it.
//!
//! Where the NSM is a guest of its own, the host only carries messages to it: each is authenticated with a key that this
//! guest and the security module share (`casemate_attestation::nsm::channel`), and an answer that the module did not give
//! is none.

use std::sync::{Mutex, PoisonError};

use casemate_abi::{Doorbell, shared};
use casemate_attestation::nsm::api;
pub use casemate_attestation::nsm::api::{Digest, ErrorCode, Malformed, Request, Response};
use casemate_attestation::nsm::channel::GuestEnd;

/// Why the NSM gave no answer, or none that fits the request.
#[derive(Debug, thiserror::Error)]
pub enum NsmError {
    /// The request is longer than the mailbox.
    #[error("NSM request of {0} bytes, longest is {max}: send less user data", max = shared::NSM_REQUEST_MAX)]
    RequestTooLong(usize),
    /// The VMM claims a response that is longer than the mailbox.
    #[error("NSM response of {0} bytes, longest is {max}: the VMM misbehaves", max = shared::NSM_RESPONSE_MAX)]
    ResponseLength(u64),
    /// No answer came. A session in the security module ends with the module, and is not opened again.
    #[error(
        "the security module does not answer: it is gone, and a guest that is launched again gets another"
    )]
    Gone,
    /// Something answered that is not the security module, or not to this request.
    #[error("an answer that the security module did not give: somebody on the host is in between")]
    Forged,
    /// The response is not what nsm-api describes.
    #[error("NSM response does not decode: {0}")]
    Decode(#[from] Malformed),
    /// The NSM refused the request.
    #[error("the NSM refuses: {0:?}")]
    Refused(ErrorCode),
    /// A response to some other request.
    #[error("the NSM answered another request than {0}")]
    Unexpected(&'static str),
    /// There is no NSM outside a guest.
    #[error("no NSM here: this is not a sealed guest")]
    NotAGuest,
}

/// Held from writing the request until the response is copied. In it, the channel to the security module, if there is one.
static MAILBOX: Mutex<Option<GuestEnd>> = Mutex::new(None);

/// Authenticates every request from now on, and believes no other answers; all zero: there is no security module.
#[cfg(casemate_guest)]
pub(crate) fn open_channel(key: &[u8; casemate_abi::CHANNEL_KEY_LEN]) {
    if *key != [0; casemate_abi::CHANNEL_KEY_LEN] {
        *MAILBOX.lock().unwrap_or_else(PoisonError::into_inner) = Some(GuestEnd::new(*key));
    }
}

/// Sends `request` and returns what the NSM answers, an error response included.
pub fn request(request: &Request) -> Result<Response, NsmError> {
    let request = api::encode_request(request);
    if request.len() > shared::NSM_REQUEST_MAX as usize {
        return Err(NsmError::RequestTooLong(request.len()));
    }
    if !cfg!(casemate_guest) {
        return Err(NsmError::NotAGuest);
    }
    let mut mailbox = MAILBOX.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(channel) = mailbox.as_mut() else {
        return Ok(api::decode_response(&exchange(&request)?)?);
    };
    let (frame, expected) = channel.seal(&request).ok_or(NsmError::Gone)?;
    let answer = exchange(&frame)?;
    Ok(api::decode_response(channel.open(expected, &answer).ok_or(NsmError::Forged)?)?)
}

/// Puts a message into the mailbox, rings, and copies the answer out. It is no longer than the mailbox, which the caller
/// holds.
fn exchange(request: &[u8]) -> Result<Vec<u8>, NsmError> {
    // SAFETY: the mailbox lies in the shared region, mapped read-write; `request` is no longer than its request
    // part and lies in private memory. No reference to the mailbox exists.
    unsafe {
        core::ptr::copy_nonoverlapping(request.as_ptr(), shared::NSM_REQUEST as *mut u8, request.len())
    };
    crate::doorbell::request(Doorbell::Nsm, request.len() as u64);
    // SAFETY: an aligned word of the shared region. Volatile: the host may change it, and it is read only once.
    let length = unsafe { (shared::NSM_RESPONSE_LEN as *const u64).read_volatile() };
    if length == 0 {
        return Err(NsmError::Gone);
    }
    if length > shared::NSM_RESPONSE_MAX + shared::NSM_TAG_LEN {
        return Err(NsmError::ResponseLength(length));
    }
    let mut response = vec![0; length as usize];
    // SAFETY: `length` is at most the mailbox's response part, and `response` is a fresh private buffer. The host
    // may write meanwhile: then the copy holds some mixture of bytes, and only the copy is ever looked at.
    unsafe {
        core::ptr::copy_nonoverlapping(
            shared::NSM_RESPONSE as *const u8,
            response.as_mut_ptr(),
            response.len(),
        );
    }
    Ok(response)
}

/// Sends `message` and lets `pick` take the response apart; `None` from it means an answer to something else.
fn expect<T>(
    message: &Request,
    name: &'static str,
    pick: impl FnOnce(Response) -> Option<T>,
) -> Result<T, NsmError> {
    match request(message)? {
        Response::Error(code) => Err(NsmError::Refused(code)),
        response => pick(response).ok_or(NsmError::Unexpected(name)),
    }
}

/// A platform configuration register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcr {
    /// Whether it can no longer be extended.
    pub locked: bool,
    /// Its value.
    pub value: Vec<u8>,
}

/// DescribeNSM: versions, module id, registers and digest.
pub fn describe() -> Result<Response, NsmError> {
    let is_description = |response: &Response| matches!(response, Response::DescribeNSM { .. });
    expect(&Request::DescribeNSM, "DescribeNSM", |response| Some(response).filter(is_description))
}

/// DescribePCR: value and lock of register `index`.
pub fn describe_pcr(index: u16) -> Result<Pcr, NsmError> {
    expect(&Request::DescribePCR { index }, "DescribePCR", |response| match response {
        Response::DescribePCR { lock, data } => Some(Pcr { locked: lock, value: data }),
        _ => None,
    })
}

/// ExtendPCR: extends register `index` with `data` and returns its new value.
pub fn extend_pcr(index: u16, data: Vec<u8>) -> Result<Vec<u8>, NsmError> {
    expect(&Request::ExtendPCR { index, data }, "ExtendPCR", |response| match response {
        Response::ExtendPCR { data } => Some(data),
        _ => None,
    })
}

/// LockPCR: register `index` can no longer be extended.
pub fn lock_pcr(index: u16) -> Result<(), NsmError> {
    expect(&Request::LockPCR { index }, "LockPCR", |response| {
        matches!(response, Response::LockPCR).then_some(())
    })
}

/// LockPCRs: registers 0 to `range` - 1 can no longer be extended.
pub fn lock_pcrs(range: u16) -> Result<(), NsmError> {
    expect(&Request::LockPCRs { range }, "LockPCRs", |response| {
        matches!(response, Response::LockPCRs).then_some(())
    })
}

/// What an attestation document shall carry for its verifier; each at most 1024 bytes.
#[derive(Clone, Debug, Default)]
pub struct Attestation {
    /// Anything the guest wants to vouch for.
    pub user_data: Option<Vec<u8>>,
    /// The verifier's proof of freshness.
    pub nonce: Option<Vec<u8>>,
    /// A public key, DER, that the verifier may encrypt to.
    pub public_key: Option<Vec<u8>>,
}

/// Attestation: the COSE_Sign1 document over the guest's registers and `contents`.
pub fn attestation(contents: Attestation) -> Result<Vec<u8>, NsmError> {
    let bytes = |field: Option<Vec<u8>>| field.map(Into::into);
    let message = Request::Attestation {
        user_data: bytes(contents.user_data),
        nonce: bytes(contents.nonce),
        public_key: bytes(contents.public_key),
    };
    expect(&message, "Attestation", |response| match response {
        Response::Attestation { document } => Some(document),
        _ => None,
    })
}

/// GetRandom: up to 256 random bytes from the host's side. For keys use [`crate::entropy::fill`], which has these
/// mixed in already.
pub fn get_random() -> Result<Vec<u8>, NsmError> {
    expect(&Request::GetRandom, "GetRandom", |response| match response {
        Response::GetRandom { random } => Some(random),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_does_not_fit_is_not_sent() {
        let long = Request::ExtendPCR { index: 4, data: vec![0; 0x1000] };
        assert!(matches!(request(&long), Err(NsmError::RequestTooLong(length)) if length > 0x1000));
    }

    #[test]
    fn outside_a_guest_nobody_answers() {
        assert!(matches!(get_random(), Err(NsmError::NotAGuest)));
    }
}
