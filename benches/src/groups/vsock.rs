//! Bytes through the vsock and back, or in and gone, beside a Unix socket between two processes.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use bench_probe::{CHUNK, ECHO_PORT, SINK_PORT};

use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::measure::{Pair, Samples, block};
use crate::process::Process;
use crate::report::{Row, Target, Unit};
use crate::workshop::Workshop;

const GROUP: &str = "vsock";
/// Message length, name, messages in a block.
const SIZES: [(usize, &str, usize); 3] =
    [(1, "echo 1 byte", 200), (4 << 10, "echo 4 KiB", 200), (1 << 20, "echo 1 MiB", 8)];
/// A longer message is sent by a thread of its own, for the echo begins before its end.
const AT_ONCE: usize = 4 << 10;
/// Chunks in a block of the stream.
const CHUNKS: usize = 32;

/// Echoes of each size, then a stream.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let blocks = if quick { 8 } else { 40 };
    let guest = Guest::launch(workshop, &workshop.probe)?;
    let peer = Process::start(&workshop.bench, &["peer", "echo"], workshop.file("echo.sock"))?;
    let mut sealed = guest.connect(ECHO_PORT)?;
    let mut local = connect(&peer)?;
    let mut rows = Vec::new();
    let mut done = 0.0;
    for (length, name, count) in SIZES {
        let pair = Pair::measure(
            blocks,
            || block(count, || echo(&mut sealed, length)),
            || block(count, || echo(&mut local, length)),
        )?;
        let row = Row::pair(GROUP, name, &pair, "Unix");
        rows.push(if length == 1 { row.target(Target::AtMost(2.0)) } else { row });
        done += 0.25;
        progress(done);
    }
    let peer = Process::start(&workshop.bench, &["peer", "sink"], workshop.file("sink.sock"))?;
    let mut sealed = guest.connect(SINK_PORT)?;
    let mut local = connect(&peer)?;
    let pair = Pair::measure(blocks.min(20), || stream(&mut sealed), || stream(&mut local))?;
    let mut row = Row::new(GROUP, "stream to the guest", speed(&pair.subject), Unit::BytesPerSecond);
    row.samples = Some(pair.subject.len());
    row.reference = Some(("Unix".into(), speed(&pair.reference)));
    row.ratio = Some(1.0 / pair.ratio());
    rows.push(row);
    progress(1.0);
    Ok(rows)
}

fn connect(peer: &Process) -> Result<UnixStream> {
    UnixStream::connect(peer.socket()).map_err(Error::file("connect to", peer.socket()))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn speed(samples: &Samples) -> f64 {
    (CHUNKS * CHUNK) as f64 / (samples.median() / 1e9)
}

fn echo(stream: &mut UnixStream, length: usize) -> Result<()> {
    let failed = || Error::io("exchange bytes with an echo");
    let message = vec![0x5a; length];
    let mut answer = vec![0; length];
    if length <= AT_ONCE {
        stream.write_all(&message).map_err(failed())?;
        return stream.read_exact(&mut answer).map_err(failed());
    }
    let mut writer = stream.try_clone().map_err(failed())?;
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || writer.write_all(&message));
        stream.read_exact(&mut answer).map_err(failed())?;
        sent.join().unwrap_or(Ok(())).map_err(failed())
    })
}

/// Sends [`CHUNKS`] and waits for the last one's answer.
fn stream(stream: &mut UnixStream) -> Result<Samples> {
    let failed = || Error::io("stream bytes");
    let piece = vec![0x5a; 256 << 10];
    let start = Instant::now();
    for _ in 0..CHUNKS * CHUNK / piece.len() {
        stream.write_all(&piece).map_err(failed())?;
    }
    let mut answers = [0; CHUNKS];
    stream.read_exact(&mut answers).map_err(failed())?;
    let mut samples = Samples::default();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    samples.push(start.elapsed().as_nanos() as f64);
    Ok(samples)
}
