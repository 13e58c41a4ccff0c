//! What clients and guests may rely on.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::guest::{Guest, port};
use super::{CHECKSUM_START, Host, Noise, checksum, read_line};

fn ping(stream: &mut UnixStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

#[test]
fn echo() {
    let host = Host::start();
    let guest = Guest::start(&host);
    let mut stream = host.connect(port::ECHO);
    for size in [1, 2, 100, 12_244, 12_245, 40_000] {
        let mut message = vec![0; size];
        Noise::new(size as u64).fill(&mut message);
        ping(&mut stream, &message);
    }
    drop(guest);
    host.stop().unwrap();
}
