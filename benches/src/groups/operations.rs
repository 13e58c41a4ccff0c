//! Every kind of key operation as a client sees it: HTTP on a kept connection, sealed, beside the same signer as a
//! process.

use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::http::Client;
use crate::kms::WORK;
use crate::measure::{Pair, block};
use crate::process::Process;
use crate::report::{Row, Target};
use crate::workshop::Workshop;

const GROUP: &str = "operations";
/// An operation that takes less is a measure of the way there and back, not of the operation.
const LONG: f64 = 100_000.0;
/// What sealing may cost.
const LIMIT: f64 = 1.05;
/// How long a block should take, in nanoseconds, and its fewest and most operations.
const BLOCK: f64 = 8e6;
const FEWEST: f64 = 3.0;
const MOST: f64 = 60.0;

/// Each operation in turns.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let blocks = if quick { 6 } else { 30 };
    let guest = Guest::launch(workshop, &workshop.signer)?;
    let process = Process::start(&workshop.signer_process, &[], workshop.file("signer.sock"))?;
    let port = casemate_abi::port::SIGNER;
    let mut sealed = Client::open(&guest.socket(), port)?;
    let mut local = Client::open(process.socket(), port)?;
    let mut rows = Vec::new();
    for (index, work) in WORK.iter().enumerate() {
        let sealed_request = (work.prepare)(&mut sealed)?.bytes();
        let local_request = (work.prepare)(&mut local)?.bytes();
        let probe = block(5, || local.exchange(&local_request).map(drop))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between FEWEST and MOST"
        )]
        let count = (BLOCK / probe.median()).clamp(FEWEST, MOST) as usize;
        let pair = Pair::measure(
            blocks,
            || block(count, || sealed.exchange(&sealed_request).map(drop)),
            || block(count, || local.exchange(&local_request).map(drop)),
        )
        .map_err(|error| Error::answer("an operation", format!("{}: {error}", work.name)))?;
        let row = Row::pair(GROUP, work.name, &pair, "process");
        rows.push(if pair.reference.median() >= LONG { row.target(Target::AtMost(LIMIT)) } else { row });
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        progress((index + 1) as f64 / WORK.len() as f64);
    }
    Ok(rows)
}
