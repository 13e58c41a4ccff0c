//! The signer's operations from JSON to JSON, once or repeated under a stopwatch, and how they are asked for.
//!
//! A request is the number of repetitions, the operation's name and its JSON, each text after its length; all numbers have
//! four bytes, little-endian. With zero repetitions the operation runs once, and the answer is its length and JSON; else the
//! answer is the nanoseconds that all repetitions took (8 bytes). All ones in the first number mean that it failed.

use std::rc::Rc;
use std::time::Instant;

use casemate_signer::{AttestError, KmsError, Platform, Signer};

/// Longest name or JSON of a request.
pub const TEXT_MAX: usize = 1 << 20;
/// The first number of an answer to a call that failed.
pub const FAILED: u32 = u32::MAX;

/// The signer is measured, not what it runs on.
struct Nowhere;

impl Platform for Nowhere {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }
}

/// A signer without a way in: [`Signer::call`] is all that is used of it.
pub fn signer() -> Rc<Signer> {
    Signer::new(Box::new(Nowhere))
}

/// Nanoseconds that `count` calls took.
pub fn time(signer: &Signer, operation: &str, json: &[u8], count: u32) -> Result<u64, KmsError> {
    let start = Instant::now();
    for _ in 0..count {
        drop(std::hint::black_box(signer.call(operation, json)?));
    }
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
