//! Criterion's view of what `casemate bench` measures: launch, echo, signatures, attestation.
//!
//! `cargo bench -p casemate-benches`; a name as argument selects. Numbers of two sides are in one group.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bench_probe::ECHO_PORT;
use casemate_abi::port::SIGNER;
use casemate_benches::error::Result;
use casemate_benches::groups::launch::Verifier;
use casemate_benches::guest::Guest;
use casemate_benches::http::Client;
use casemate_benches::kms;
use casemate_benches::process::Process;
use casemate_benches::workshop::Workshop;
use criterion::{BatchSize, Criterion};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args();
    if let Err(error) = benches(&mut criterion) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    criterion.final_summary();
}

fn benches(criterion: &mut Criterion) -> Result<()> {
    let workshop = Workshop::open(|step| eprintln!("{step}"))?;
    let verifier = Verifier::new(&workshop)?;
    launch(criterion, &workshop, &verifier);
    echo(criterion, &workshop)?;
    sign(criterion, &workshop)?;
    attestation(criterion, &workshop, &verifier)
}

fn launch(criterion: &mut Criterion, workshop: &Workshop, verifier: &Verifier<'_>) {
    let mut group = criterion.benchmark_group("launch");
    group.bench_function("sealed signer to first verified attestation", |bencher| {
        // The guest is handed back, so that its end is not timed.
        bencher.iter_batched(
            || (),
            |()| {
                let guest = Guest::launch(workshop, &workshop.signer)?;
                verifier.attest(&guest).map(|()| guest)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("signer as a process to its socket", |bencher| {
        bencher.iter_batched(
            || workshop.file("criterion.sock"),
            |socket| Process::start(&workshop.signer_process, &[], socket),
            BatchSize::PerIteration,
        );
    });
}

fn echo(criterion: &mut Criterion, workshop: &Workshop) -> Result<()> {
    let guest = Guest::launch(workshop, &workshop.probe)?;
    let mut sealed = guest.connect(ECHO_PORT)?;
    // The signer as a process has no echo: a socket pair and a thread stand for the other end.
    let (mut local, mut other) =
        UnixStream::pair().map_err(casemate_benches::error::Error::io("make a socket pair"))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = other.read(&mut buffer) {
            if other.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    });
    let mut group = criterion.benchmark_group("echo");
    for (name, stream) in [("vsock", &mut sealed), ("Unix socket", &mut local)] {
        for length in [1, 4096] {
            let message = vec![0x5a; length];
            let mut answer = vec![0; length];
            group.bench_function(format!("{name}, {length} B"), |bencher| {
                bencher.iter(|| stream.write_all(&message).and_then(|()| stream.read_exact(&mut answer)));
            });
        }
    }
    Ok(())
}

fn sign(criterion: &mut Criterion, workshop: &Workshop) -> Result<()> {
    let guest = Guest::launch(workshop, &workshop.signer)?;
    let process = Process::start(&workshop.signer_process, &[], workshop.file("criterion.sock"))?;
    let mut clients = [
        ("sealed", Client::open(&guest.socket(), SIGNER)?),
        ("process", Client::open(process.socket(), SIGNER)?),
    ];
    for name in ["Sign P-256", "Sign P-384", "Sign RSA-2048"] {
        let mut group = criterion.benchmark_group(name);
        let Some(work) = kms::find(name) else {
            continue;
        };
        for (side, client) in &mut clients {
            let request = (work.prepare)(client)?.bytes();
            group
                .bench_function(*side, |bencher| bencher.iter(|| client.exchange(&request).map(<[u8]>::len)));
        }
    }
    Ok(())
}

fn attestation(criterion: &mut Criterion, workshop: &Workshop, verifier: &Verifier<'_>) -> Result<()> {
    let guest = Guest::launch(workshop, &workshop.signer)?;
    let mut group = criterion.benchmark_group("attestation");
    group.bench_function("connect, fetch a document, verify it", |bencher| {
        bencher.iter(|| verifier.attest(&guest));
    });
    let document = verifier.fetch(&guest)?;
    group.bench_function("verify a document", |bencher| {
        bencher.iter(|| verifier.verify(&document));
    });
    Ok(())
}
