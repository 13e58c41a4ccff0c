//! Figures, on request: `cargo test --release -p casemate vsock -- --ignored --nocapture`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Host;
use super::guest::{Guest, Idle, port, serve_all};

const ROUNDS: usize = 5_000;

fn quantiles(mut samples: Vec<Duration>) -> String {
    samples.sort();
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    format!("median {:.1} µs, 10 % {:.1}, 90 % {:.1}, 99 % {:.1}", at(0.5), at(0.1), at(0.9), at(0.99))
}

fn ping_pong(stream: &mut UnixStream, size: usize) -> Vec<Duration> {
    let (message, mut answer) = (vec![1; size], vec![0; size]);
    (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut answer).unwrap();
            started.elapsed()
        })
        .collect()
}

#[test]
#[ignore = "measures; run it alone and in release"]
fn echo_round_trip() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let echo = thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = far.read(&mut buffer) {
            far.write_all(&buffer[..read]).unwrap();
        }
    });
    for size in [64, 4096] {
        println!("unix socket, {size} bytes:        {}", quantiles(ping_pong(&mut near, size)));
    }
    drop(near);
    echo.join().unwrap();
    for spin in [0, 20, 50, 200, 100_000] {
        let host = Host::start();
        let _guest = Guest::start_with(&host, Idle { spin: Duration::from_micros(spin) }, serve_all);
        let mut stream = host.connect(port::ECHO);
        for size in [64, 4096] {
            let samples = ping_pong(&mut stream, size);
            println!("vsock, guest polls {spin} µs, {size} bytes: {}", quantiles(samples));
        }
    }
}

#[test]
#[ignore = "measures; run it alone and in release"]
fn throughput() {
    const TOTAL: usize = 1 << 30;
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut stream = host.connect(port::RAW_SOURCE);
    let (started, mut buffer, mut received) = (Instant::now(), vec![0; 65_536], 0);
    while received < TOTAL {
        received += stream.read(&mut buffer).unwrap();
    }
    println!("guest to client: {:.2} GB/s", received as f64 / started.elapsed().as_nanos() as f64);
    drop(stream);
    let mut stream = host.connect(port::RAW_SINK);
    let started = Instant::now();
    for _ in 0..TOTAL / buffer.len() {
        stream.write_all(&buffer).unwrap();
    }
    println!("client to guest: {:.2} GB/s", TOTAL as f64 / started.elapsed().as_nanos() as f64);
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let started = Instant::now();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(1..) = far.read(&mut buffer) {}
    });
    for _ in 0..TOTAL / buffer.len() {
        near.write_all(&buffer).unwrap();
    }
    drop(near);
    reader.join().unwrap();
    println!("unix socket:     {:.2} GB/s", TOTAL as f64 / started.elapsed().as_nanos() as f64);
}
