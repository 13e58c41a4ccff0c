//! What clients may do to the channel without harming anybody else: the echo guest, through the socket on the host.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use casemate_tests::{Image, Lab, Running, connect};

/// The echo guest's port.
const ECHO: u32 = 7;

/// Bytes that are not the same twice in a row, so that a lost or repeated piece shows.
fn sample(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (((i + seed) * 2_654_435_761) >> 8) as u8).collect()
}

/// Sends bytes and expects them back, on a connection of its own.
#[track_caller]
fn echo(guest: &Running, bytes: &[u8]) {
    echo_on(guest.connect(ECHO), bytes);
}

#[track_caller]
fn echo_on(mut stream: UnixStream, bytes: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.to_vec();
    let writer = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == bytes, "{} bytes came back of {}", back.len(), bytes.len());
}

/// The channel still works for everybody else, and at once.
#[track_caller]
fn others_are_served(guest: &Running) {
    let started = Instant::now();
    echo(guest, b"hello");
    assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
}

#[test]
fn bytes_come_back_whole_and_in_order() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    for len in [0, 1, 4095, 65_536, 1 << 20] {
        echo(&guest, &sample(len, len));
    }
}

#[test]
fn the_socket_is_its_owners_alone() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&guest.socket()), 0o600);
    assert_eq!(mode(guest.folder()), 0o700);
    assert_eq!(mode(&lab.runtime()), 0o700);
}

#[test]
fn clients_that_do_not_read_harm_nobody() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    // Each writes until everything on the way is full, and reads nothing.
    let stalled: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = guest.connect(ECHO);
            stream.set_nonblocking(true).unwrap();
            let full = Instant::now() + Duration::from_secs(2);
            let mut last = Instant::now();
            while Instant::now() < full && last.elapsed() < Duration::from_millis(100) {
                match stream.write(&[0x5a; 4096]) {
                    Ok(written) => {
                        assert!(written > 0);
                        last = Instant::now();
                    }
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
                }
            }
            stream
        })
        .collect();
    others_are_served(&guest);
    echo(&guest, &sample(1 << 20, 3));
    drop(stalled);
    others_are_served(&guest);
}

#[test]
fn a_flood_on_one_connection_leaves_room_for_others() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    let mut flood = guest.connect(ECHO);
    let mut drain = flood.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let block = vec![0x77; 64 << 10];
            while flood.write_all(&block).is_ok() {}
        });
        let drained = scope.spawn(move || {
            let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                total += drain.read(&mut buffer).unwrap();
            }
            drain.shutdown(Shutdown::Both).unwrap();
            total
        });
        let mut served = 0;
        while !drained.is_finished() {
            others_are_served(&guest);
            served += 1;
        }
        assert!(served >= 10, "{served} others were served in 2 s of flood");
        assert!(drained.join().unwrap() > 1 << 20, "the flood was no flood");
    });
}

#[test]
fn two_hundred_connections_at_once() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    let mut streams: Vec<UnixStream> = (0..200).map(|_| guest.connect(ECHO)).collect();
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&sample(3000, index)).unwrap();
    }
    for (index, stream) in streams.iter_mut().enumerate().rev() {
        let mut back = vec![0; 3000];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sample(3000, index), "connection {index} got another's bytes");
    }
}

#[test]
fn clients_that_disappear_are_forgotten() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", guest.pid())).unwrap().count();
    echo(&guest, b"warm");
    let before = descriptors();
    for round in 0..400 {
        let mut stream = UnixStream::connect(guest.socket()).unwrap();
        match round % 4 {
            0 => {}
            1 => stream.write_all(b"CONN").unwrap(),
            2 => stream.write_all(format!("CONNECT {ECHO}\n").as_bytes()).unwrap(),
            _ => {
                let mut stream = guest.connect(ECHO);
                stream.write_all(&[1; 1000]).unwrap();
            }
        }
    }
    others_are_served(&guest);
    casemate_tests::wait_until("the VMM closes the connections of clients that are gone", || {
        descriptors() <= before + 1
    });
}

#[test]
fn garbage_at_the_door_is_turned_away() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"CONNECT\n",
        b"CONNECT -1\n",
        b"CONNECT 4294967296\n",
        b"CONNECT 7 7\n",
        b"\0\0\0\0\n",
        b"\xff\xff\xff\xff",
        &[b'C'; 4096],
        &[b' '; 100_000],
    ] {
        let mut stream = UnixStream::connect(guest.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // The door may be closed before all of it is written.
        let _ = stream.write_all(bad);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bad:?}: {error}"),
        }
        assert!(answer.is_empty(), "{bad:?} was answered with {answer:?}");
    }
    assert!(connect(&guest.socket(), 8).is_none(), "nobody listens on port 8");
    others_are_served(&guest);
}

#[test]
fn a_client_that_comes_early_waits_until_the_guest_is_ready() {
    let lab = Lab::new();
    let image = Image::Echo.path();
    let mut command = lab.command(casemate_tests::casemate());
    command.args(["run", "--json"]).arg(format!("--backend={}", casemate_tests::backend()));
    command.arg("--image").arg(image).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    // As soon as the socket is there, long before the guest has run its first instruction.
    let started = Instant::now();
    let socket = loop {
        assert!(started.elapsed() < Duration::from_secs(20), "no socket");
        let folder = lab.guest_folders().into_iter().next();
        if let Some(socket) = folder.map(|folder| folder.join("vsock.sock"))
            && UnixStream::connect(&socket).is_ok()
        {
            break socket;
        }
    };
    echo_on(connect(&socket, ECHO).expect("the guest listens once it is ready"), b"early");
    child.kill().unwrap();
    child.wait().unwrap();
}
