//! Cryptographic operations alone: in the sealed guest, in this process, by `openssl speed`.
//!
//! All three count processor time, so that other programs on the machine do not slow one of them down: the guest's is
//! that of its virtual CPU's thread, with everything the VMM and KVM do on it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use bench_probe::{Operation, PORT, Task};

use crate::error::{Error, Result};
use crate::guest::{self, Guest};
use crate::measure::{Pair, Samples, thread_time};
use crate::report::{Row, Target};
use crate::workshop::{Workshop, output};

const GROUP: &str = "primitives";
/// An operation that takes less is not held to [`LIMIT`].
const LONG: f64 = 100_000.0;
/// What sealing may cost.
const LIMIT: f64 = 1.05;
/// How long a block takes, in nanoseconds.
const BLOCK: f64 = 30e6;

/// Arguments of `openssl speed`, and the operations that one run tells about, in the order of its output.
const OPENSSL: [(&str, [Operation; 2]); 7] = [
    ("rsa2048", [Operation::Rsa2048Sign, Operation::Rsa2048Verify]),
    ("rsa4096", [Operation::Rsa4096Sign, Operation::Rsa4096Verify]),
    ("ecdsap256", [Operation::P256Sign, Operation::P256Verify]),
    ("ecdsap384", [Operation::P384Sign, Operation::P384Verify]),
    ("ecdsap521", [Operation::P521Sign, Operation::P521Verify]),
    ("ed25519", [Operation::Ed25519Sign, Operation::Ed25519Verify]),
    ("-aead -evp aes-256-gcm", [Operation::AesGcm4k, Operation::AesGcm16k]),
];

/// The connection to a probe.
pub struct Probe(UnixStream);

impl Probe {
    /// Over this stream.
    pub fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Nanoseconds that `count` repetitions took in the guest.
    pub fn time(&mut self, number: u8, count: u32) -> Result<f64> {
        let failed = || Error::io("talk to the probe");
        let mut request = [number, 0, 0, 0, 0];
        request[1..].copy_from_slice(&count.to_le_bytes());
        self.0.write_all(&request).map_err(failed())?;
        let mut answer = [0; 8];
        self.0.read_exact(&mut answer).map_err(failed())?;
        match u64::from_le_bytes(answer) {
            u64::MAX => Err(Error::answer("the probe", format!("operation {number} failed"))),
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            nanoseconds => Ok(nanoseconds as f64),
        }
    }
}

#[derive(Default)]
struct Both {
    process: Pair,
    openssl: Pair,
}

/// In rounds: OpenSSL, then blocks of the other two sides in turns.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let (rounds, blocks) = if quick { (1, 6) } else { (5, 8) };
    let guest = Guest::launch(workshop, &workshop.probe)?;
    let mut probe = Probe::new(guest.connect(PORT)?);
    let cpu = guest.cpu_time_file()?;
    let mut tasks = BTreeMap::new();
    for operation in Operation::ALL {
        let task = Task::new(operation)
            .map_err(|_| Error::answer("aws-lc", format!("{} fails", operation.name())))?;
        tasks.insert(operation as u8, task);
        probe.time(operation as u8, 1)?;
    }
    let mut results: BTreeMap<u8, Both> = BTreeMap::new();
    for round in 0..rounds {
        for (index, (arguments, operations)) in OPENSSL.iter().enumerate() {
            let openssl = openssl(arguments)?;
            for (operation, openssl) in operations.iter().zip(openssl) {
                let number = *operation as u8;
                let Some(task) = tasks.get_mut(&number) else {
                    continue;
                };
                let mut local = |count| time(task, count, *operation);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
                let count = (BLOCK / local(2)? * 2.0).clamp(2.0, 100_000.0) as u32;
                let each = |total: f64| {
                    let mut samples = Samples::default();
                    samples.push(total / f64::from(count));
                    samples
                };
                let pair = Pair::measure(
                    blocks,
                    || {
                        let before = guest::cpu_time(&cpu)?;
                        probe.time(number, count)?;
                        Ok(each(guest::cpu_time(&cpu)? - before))
                    },
                    || Ok(each(local(count)?)),
                )?;
                let both = results.entry(number).or_default();
                let mut reference = Samples::default();
                reference.push(openssl);
                both.openssl.add(&pair.subject, &reference);
                both.process.merge(&pair);
            }
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            progress((round * OPENSSL.len() + index + 1) as f64 / (rounds * OPENSSL.len()) as f64);
        }
    }
    Ok(rows(&results))
}

fn rows(results: &BTreeMap<u8, Both>) -> Vec<Row> {
    let each = || {
        Operation::ALL
            .into_iter()
            .filter_map(|operation| Some((operation.name(), results.get(&(operation as u8))?)))
    };
    let process = each().map(|(name, both)| {
        let row = Row::pair(GROUP, name, &both.process, "process");
        if both.process.reference.median() >= LONG { row.target(Target::AtMost(LIMIT)) } else { row }
    });
    let openssl = each().map(|(name, both)| {
        let mut row = Row::pair(GROUP, name, &both.openssl, "openssl");
        // Speed, not time: more is better.
        row.ratio = row.ratio.map(|ratio| 1.0 / ratio);
        row.target(Target::AtLeast(1.0))
    });
    process.chain(openssl).collect()
}

/// Nanoseconds of this thread's processor time that `count` repetitions took.
fn time(task: &mut Task, count: u32, operation: Operation) -> Result<f64> {
    let before = thread_time();
    task.time(count).map_err(|_| Error::answer("aws-lc", format!("{} fails", operation.name())))?;
    Ok(thread_time() - before)
}

/// Nanoseconds of each of the two operations that a run of `openssl speed` tells about. It counts processor
/// time unless told otherwise.
fn openssl(arguments: &str) -> Result<[f64; 2]> {
    let speed = |more: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["speed", "-mr", "-seconds", "1"]).args(more);
        command.args(arguments.split(' '));
        output(&mut command)
    };
    if arguments.starts_with('-') {
        let of = |length: &str| symmetric(&speed(&["-bytes", length])?, length);
        return Ok([of("4096")?, of("16384")?]);
    }
    asymmetric(&speed(&[])?)
}

/// `+F2:2:2048:1364.3:11693.0`: signatures in a second, then verifications, whatever comes before.
fn asymmetric(text: &str) -> Result<[f64; 2]> {
    let found = text.lines().find_map(|line| {
        let mut fields = line.strip_prefix("+F")?.rsplit(':');
        let verify: f64 = fields.next()?.parse().ok()?;
        let sign: f64 = fields.next()?.parse().ok()?;
        (sign > 0.0 && verify > 0.0).then_some([1e9 / sign, 1e9 / verify])
    });
    found.ok_or_else(|| Error::answer("openssl speed", text))
}

/// `+F:25:AES-256-GCM:3214000000.00`: bytes in a second.
fn symmetric(text: &str, length: &str) -> Result<f64> {
    let found = text.lines().find_map(|line| {
        let speed: f64 = line.strip_prefix("+F")?.rsplit(':').next()?.parse().ok()?;
        (speed > 0.0).then(|| length.parse::<f64>().map(|length| length / speed * 1e9).ok())?
    });
    found.ok_or_else(|| Error::answer("openssl speed", text))
}
