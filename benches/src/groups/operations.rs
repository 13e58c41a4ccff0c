//! Every kind of key operation, from its JSON to its JSON: the same code in the sealed guest and in this process.
//!
//! What is repeated is `Signer::call`, the whole operation without the way there and back. Both sides count processor
//! time, so that other programs on the machine do not slow one of them down: the guest's is that of its virtual CPU's
//! thread, with everything that VMM and KVM do on it. What a client sees of an operation is in [`requests`](super::requests).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use bench_probe::CALLS_PORT;
use bench_probe::calls::{self, FAILED};
use casemate_signer::Signer;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::guest::{self, Guest};
use crate::kms::{Kms, Request, WORK, parse};
use crate::measure::{Pair, Samples, thread_time};
use crate::report::{Row, Target};
use crate::workshop::Workshop;

const GROUP: &str = "operations";
/// An operation that takes less is not held to [`LIMIT`].
const LONG: f64 = 100_000.0;
/// What sealing may cost.
const LIMIT: f64 = 1.05;
/// How long a block should take, in nanoseconds, and the most operations in it.
const BLOCK: f64 = 30e6;
const MOST: f64 = 20_000.0;

/// A signer whose operations can be repeated.
trait Repeats: Kms {
    /// Nanoseconds of processor time that `count` repetitions took.
    fn time(&mut self, name: &'static str, json: &str, count: u32) -> Result<f64>;
}

/// The signer in the sealed guest.
struct Sealed {
    stream: UnixStream,
    cpu: std::path::PathBuf,
}

impl Sealed {
    /// Sends a request and returns the first number of the answer.
    fn ask(&mut self, name: &str, json: &str, count: u32) -> std::io::Result<u32> {
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
        let parts: [&[u8]; 5] =
            [&count.to_le_bytes(), &length(name), name.as_bytes(), &length(json), json.as_bytes()];
        self.stream.write_all(&parts.concat())?;
        let mut number = [0; 4];
        self.stream.read_exact(&mut number)?;
        Ok(u32::from_le_bytes(number))
    }

    fn rest(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest)?;
        Ok(rest)
    }
}

impl Kms for Sealed {
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value> {
        let failed = Error::io("talk to the probe");
        let answer = self.ask(operation, &body.to_string(), 0).and_then(|length| match length {
            FAILED => self.rest(4).map(|_| Vec::new()),
            length => self.rest(length as usize),
        });
        parse(&answer.map_err(failed)?)
    }
}

impl Repeats for Sealed {
    fn time(&mut self, name: &'static str, json: &str, count: u32) -> Result<f64> {
        let before = guest::cpu_time(&self.cpu)?;
        let low = self.ask(name, json, count);
        let high = low.and_then(|low| Ok((low, self.rest(4)?))).map_err(Error::io("talk to the probe"))?;
        if high == (FAILED, vec![0xff; 4]) {
            return Err(Error::answer("the probe", format!("{name} failed")));
        }
        Ok(guest::cpu_time(&self.cpu)? - before)
    }
}

/// The signer in this process.
struct Local(Rc<Signer>);

impl Kms for Local {
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value> {
        let answer = self.0.call(operation, body.to_string().as_bytes());
        parse(&answer.map_err(|error| Error::answer("the signer", error.to_string()))?)
    }
}

impl Repeats for Local {
    fn time(&mut self, name: &'static str, json: &str, count: u32) -> Result<f64> {
        let before = thread_time();
        calls::time(&self.0, name, json.as_bytes(), count)
            .map_err(|error| Error::answer("the signer", error.to_string()))?;
        Ok(thread_time() - before)
    }
}

/// Each operation in turns.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let blocks = if quick { 6 } else { 24 };
    let guest = Guest::launch(workshop, &workshop.probe)?;
    let mut sealed = Sealed { stream: guest.connect(CALLS_PORT)?, cpu: guest.cpu_time_file()? };
    let mut local = Local(calls::signer());
    let mut rows = Vec::new();
    for (index, work) in WORK.iter().enumerate() {
        let requests = ((work.prepare)(&mut sealed)?, (work.prepare)(&mut local)?);
        let (Request::Operation { name, body }, Request::Operation { body: local_body, .. }) = requests
        else {
            continue;
        };
        let once = local.time(name, &local_body, 3)? / 3.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 2 and MOST")]
        let count = (BLOCK / once).clamp(2.0, MOST) as u32;
        let each = |total: f64| Samples::from(vec![total / f64::from(count)]);
        let pair = Pair::measure(
            blocks,
            || Ok(each(sealed.time(name, &body, count)?)),
            || Ok(each(local.time(name, &local_body, count)?)),
        )?;
        let row = Row::pair(GROUP, work.name, &pair, "process");
        rows.push(if pair.reference.median() >= LONG { row.target(Target::AtMost(LIMIT)) } else { row });
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        progress((index + 1) as f64 / WORK.len() as f64);
    }
    Ok(rows)
}
