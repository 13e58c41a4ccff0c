//! Every kind of operation as a client sees it: a request over HTTP on a kept connection, sealed, beside the same signer
//! as a process; with one client how long it takes, with several how many are answered.
//!
//! This is the operation and the way there and back: see [`operations`](super::operations) for the one and
//! [`vsock`](super::vsock) for the other. `casemate bench kms` has more clients, signed requests, and peers.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::http::Client;
use crate::kms::{WORK, Work, find};
use crate::measure::{Pair, Samples, block};
use crate::process::Process;
use crate::report::{Row, Unit};
use crate::workshop::Workshop;

const GROUP: &str = "requests";
/// How long a block should take, in nanoseconds, and its fewest and most operations.
const BLOCK: f64 = 8e6;
const FEWEST: f64 = 3.0;
const MOST: f64 = 60.0;
/// Requests in flight, each on a connection of its own.
const CLIENTS: usize = 8;
/// How long a block with all clients takes.
const SPAN: Duration = Duration::from_millis(40);
/// Operations with all clients at once: nothing, a short one, a long one, much data.
const TOGETHER: [&str; 4] =
    ["no operation (GET /health)", "Sign P-256", "Sign RSA-2048", "Encrypt AES-256-GCM, 4 KiB"];

/// Each operation in turns.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let blocks = if quick { 6 } else { 30 };
    let guest = Guest::launch(workshop, &workshop.signer)?;
    let process = Process::start(&workshop.signer_process, &[], workshop.file("signer.sock"))?;
    let port = casemate_abi::port::SIGNER;
    let (mut sealed, mut local) =
        (Client::open(&guest.socket(), port)?, Client::open(process.socket(), port)?);
    let mut rows = Vec::new();
    for (index, work) in WORK.iter().enumerate() {
        rows.push(one_client(work, &mut sealed, &mut local, blocks)?);
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        progress((index + 1) as f64 / WORK.len() as f64);
    }
    let open = |socket| (0..CLIENTS).map(|_| Client::open(socket, port)).collect::<Result<Vec<_>>>();
    let (mut sealed, mut local) = (open(&guest.socket())?, open(process.socket())?);
    for work in TOGETHER.iter().filter_map(|name| find(name)) {
        rows.push(all_clients(work, &mut sealed, &mut local, blocks)?);
    }
    Ok(rows)
}

fn one_client(work: &Work, sealed: &mut Client, local: &mut Client, blocks: usize) -> Result<Row> {
    let sealed_request = (work.prepare)(sealed)?.bytes();
    let local_request = (work.prepare)(local)?.bytes();
    let probe = block(5, || local.exchange(&local_request).map(drop))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between FEWEST and MOST")]
    let count = (BLOCK / probe.median()).clamp(FEWEST, MOST) as usize;
    let pair = Pair::measure(
        blocks,
        || block(count, || sealed.exchange(&sealed_request).map(drop)),
        || block(count, || local.exchange(&local_request).map(drop)),
    )
    .map_err(|error| Error::answer("a request", format!("{}: {error}", work.name)))?;
    Ok(Row::pair(GROUP, work.name, &pair, "process"))
}

fn all_clients(work: &Work, sealed: &mut [Client], local: &mut [Client], blocks: usize) -> Result<Row> {
    let request = |clients: &mut [Client]| match clients.first_mut() {
        Some(client) => Ok((work.prepare)(client)?.bytes()),
        None => Err(Error::answer("clients", "none")),
    };
    let (sealed_request, local_request) = (request(sealed)?, request(local)?);
    let pair =
        Pair::measure(blocks, || together(sealed, &sealed_request), || together(local, &local_request))?;
    let name = format!("  {CLIENTS} in flight: {}", work.name);
    let rate = |samples: &Samples| 1e9 / samples.median();
    let mut row = Row::new(GROUP, name, rate(&pair.subject), Unit::PerSecond);
    row.samples = Some(pair.subject.len());
    row.reference = Some(("process".into(), rate(&pair.reference)));
    // Speed, not time: more is better.
    row.ratio = Some(1.0 / pair.ratio());
    Ok(row)
}

/// Nanoseconds for each request while every client has one in flight.
fn together(clients: &mut [Client], request: &[u8]) -> Result<Samples> {
    let start = Instant::now();
    let mut answered = 0.0;
    for client in clients.iter_mut() {
        client.send(request)?;
    }
    while start.elapsed() < SPAN {
        for client in clients.iter_mut() {
            client.receive()?;
            client.send(request)?;
            answered += 1.0;
        }
    }
    for client in clients.iter_mut() {
        client.receive()?;
        answered += 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(Samples::from(vec![start.elapsed().as_nanos() as f64 / answered]))
}
