//! What clients and guests may rely on.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::guest::{self, Guest, Idle, port};
use super::{CHECKSUM_START, Host, Noise, PATIENCE, checksum, read_line};

fn ping(stream: &mut UnixStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == message, "an echo of {} bytes came back changed", message.len());
}

/// The other end has closed: an orderly end, or a reset because it did not want our last bytes.
fn is_closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

/// Sends noise to the sink and checks its sum.
fn upload(host: &Host, bytes: usize, seed: u64) {
    let mut stream = host.connect(port::SINK);
    let (mut noise, mut sum, mut buffer) = (Noise::new(seed), CHECKSUM_START, vec![0; 64 * 1024]);
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(buffer.len());
        noise.fill(&mut buffer[..piece]);
        sum = checksum(sum, &buffer[..piece]);
        stream.write_all(&buffer[..piece]).unwrap();
        left -= piece;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, sum.to_le_bytes());
}

/// Fetches noise from the source and compares it with its own.
fn download(host: &Host, bytes: usize, seed: u64) {
    let mut stream = host.connect(port::SOURCE);
    stream.write_all(&(bytes as u64).to_le_bytes()).unwrap();
    stream.write_all(&seed.to_le_bytes()).unwrap();
    // As the source does it: noise restarts its 8-byte words with each piece.
    let (mut noise, mut expected) = (Noise::new(seed), vec![0; 32 * 1024]);
    let (mut left, mut buffer) = (bytes, vec![0; 32 * 1024]);
    while left > 0 {
        let piece = left.min(buffer.len());
        noise.fill(&mut expected[..piece]);
        stream.read_exact(&mut buffer[..piece]).unwrap();
        assert!(buffer[..piece] == expected[..piece], "data came through changed, {left} bytes from the end");
        left -= piece;
    }
    assert_eq!(stream.read(&mut buffer).unwrap(), 0, "more came than was asked for");
}

#[test]
fn echo_of_all_sizes() {
    let host = Host::start();
    let guest = Guest::start(&host);
    let mut stream = host.connect(port::ECHO);
    for size in [1, 2, 100, 12_243, 12_244, 12_245, 40_000, 65_536] {
        let mut message = vec![0; size];
        Noise::new(size as u64).fill(&mut message);
        ping(&mut stream, &message);
    }
    drop(guest);
    host.stop().unwrap();
}

#[test]
fn data_right_behind_the_connect_line() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut stream = host.dial();
    stream.write_all(b"CONNECT 7\nearly").unwrap();
    assert!(read_line(&mut stream).starts_with("OK "));
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
}

fn parallel(connections: usize) {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut streams: Vec<_> = (0..connections).map(|_| host.connect(port::ECHO)).collect();
    for round in 0..3 {
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut message = vec![0; 1 + (index * 37 + round) % 3000];
            Noise::new(index as u64).fill(&mut message);
            stream.write_all(&message).unwrap();
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut expected = vec![0; 1 + (index * 37 + round) % 3000];
            Noise::new(index as u64).fill(&mut expected);
            let mut answer = vec![0; expected.len()];
            stream.read_exact(&mut answer).unwrap();
            assert!(answer == expected, "connection {index} got somebody else's data");
        }
    }
}

#[test]
fn sixty_four_connections_at_once() {
    parallel(64);
}

#[test]
fn five_hundred_connections_at_once() {
    parallel(500);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut streams: Vec<_> = (0..super::super::MAX_CONNECTIONS).map(|_| host.connect(port::ECHO)).collect();
    let mut late = host.dial();
    late.write_all(b"CONNECT 7\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "there was room for one more");
    ping(&mut streams[5], b"still served");
    streams.pop();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(read_line(&mut late).starts_with("OK "), "the place that became free was not given away");
    ping(&mut late, b"hello");
}

#[test]
fn a_hundred_megabytes_each_way_at_once() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    thread::scope(|scope| {
        scope.spawn(|| upload(&host, 100_000_003, 1));
        scope.spawn(|| download(&host, 100_000_003, 2));
        let mut stream = host.connect(port::ECHO);
        for _ in 0..50 {
            ping(&mut stream, b"in between");
        }
    });
}

#[test]
fn many_transfers_at_once() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let host = &host;
    thread::scope(|scope| {
        for seed in 0..16 {
            scope.spawn(move || upload(host, 1_000_000 + seed as usize, seed));
            scope.spawn(move || download(host, 1_000_000 + seed as usize, seed));
        }
    });
}

#[test]
fn either_side_can_close_half() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    // The client closes its sending side first; the echo still comes, and then the end.
    let mut stream = host.connect(port::ECHO);
    stream.write_all(&[7; 30_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, vec![7; 30_000]);
    // The guest closes its sending side first; it still reads what comes after.
    let mut stream = host.connect(port::HALF);
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "hello");
    for _ in 0..100 {
        stream.write_all(&[1; 10_000]).unwrap();
    }
}

#[test]
fn what_the_guest_wrote_before_it_dropped_the_stream_arrives() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    for pause in [0, 50] {
        let mut stream = host.connect(port::DROP);
        thread::sleep(Duration::from_millis(pause));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), 100_000);
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let stalled: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = host.connect(port::SOURCE);
            stream.write_all(&(1_u64 << 30).to_le_bytes()).unwrap();
            stream.write_all(&1_u64.to_le_bytes()).unwrap();
            stream
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    let mut stream = host.connect(port::ECHO);
    for _ in 0..100 {
        ping(&mut stream, &[5; 1000]);
    }
    download(&host, 1_000_000, 3);
    drop(stalled);
    ping(&mut stream, b"and after they have gone");
}

#[test]
fn a_guest_task_that_does_not_read_holds_up_nobody() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut flooding: Vec<_> = (0..10).map(|_| host.connect(port::STALL)).collect();
    for stream in &mut flooding {
        // The guest's credit and the socket's buffer fill up, and then the client has to wait, not the VMM.
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(30) {
            sent += stream.write(&[9; 65_536]).unwrap_or(0);
        }
        assert!(sent < 2_000_000, "{sent} bytes went to somebody who does not read");
    }
    let mut stream = host.connect(port::ECHO);
    for _ in 0..100 {
        ping(&mut stream, &[5; 1000]);
    }
}

#[test]
fn a_flood_leaves_others_their_share() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let mut flood = host.connect(port::SINK);
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                flood.write_all(&[3; 65_536]).unwrap();
            }
        });
        let mut stream = host.connect(port::ECHO);
        let started = Instant::now();
        for _ in 0..200 {
            ping(&mut stream, &[5; 100]);
        }
        let each = started.elapsed() / 200;
        stop.store(true, Ordering::Relaxed);
        assert!(each < Duration::from_millis(20), "an echo took {each:?} beside a flood");
    });
}

#[test]
fn clients_that_disappear_leave_nothing_behind() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    // More of them than there are slots, in every stage of a connection.
    for round in 0..2500 {
        let mut stream = host.dial();
        match round % 5 {
            0 => {}
            1 => stream.write_all(b"CONN").unwrap(),
            2 => stream.write_all(b"CONNECT 7\n").unwrap(),
            3 => stream.write_all(b"CONNECT 7\nsome data").unwrap(),
            _ => {
                stream.write_all(b"CONNECT 19\n").unwrap();
                let _ = read_line(&mut stream);
                stream.write_all(&(1_u64 << 40).to_le_bytes()).unwrap();
                stream.write_all(&1_u64.to_le_bytes()).unwrap();
            }
        }
    }
    let mut streams: Vec<_> = (0..super::super::MAX_CONNECTIONS).map(|_| host.connect(port::ECHO)).collect();
    ping(streams.last_mut().unwrap(), b"all slots are free again");
}

#[test]
fn garbage_instead_of_connect_is_closed() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"CONNECT\n",
        b"CONNECT x\n",
        b"CONNECT 99999999999\n",
        b"\0\0\0\0\0\0\0\0",
        b"CONNECT 7 7\n",
        &[b'C'; 5000],
    ] {
        let mut stream = host.dial();
        // The device may have closed before the last byte is written.
        let _ = stream.write_all(bad);
        let started = Instant::now();
        assert!(is_closed(&mut stream), "{bad:?}");
        assert!(started.elapsed() < Duration::from_secs(1), "{bad:?} was not closed at once");
    }
    // Every byte sequence that is no CONNECT line.
    let mut noise = Noise::new(99);
    for size in 1..300 {
        let mut bad = vec![0; size];
        noise.fill(&mut bad);
        let mut stream = host.dial();
        let _ = stream.write_all(&bad);
        let _ = stream.shutdown(Shutdown::Write);
        assert!(is_closed(&mut stream));
    }
    ping(&mut host.connect(port::ECHO), b"fine");
}

#[test]
fn a_client_that_never_says_connect_is_closed_after_two_seconds() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let started = Instant::now();
    let (mut silent, mut slow) = (host.dial(), host.dial());
    slow.write_all(b"CONNECT 1").unwrap();
    assert!(is_closed(&mut silent) && is_closed(&mut slow));
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(1900) && waited < Duration::from_secs(3), "{waited:?}");
}

#[test]
fn a_port_that_nobody_listens_on_is_closed_at_once() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut stream = host.dial();
    stream.write_all(b"CONNECT 4242\n").unwrap();
    let started = Instant::now();
    assert!(is_closed(&mut stream));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_connection_before_the_guest_is_ready_waits() {
    let host = Host::start();
    let mut early: Vec<_> = (0..10).map(|_| host.dial()).collect();
    for stream in &mut early {
        stream.write_all(b"CONNECT 7\nhello").unwrap();
    }
    early[0].set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
    let error = early[0].read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "answered, or closed, although there is no guest yet");
    let _guest = Guest::start(&host);
    for stream in &mut early {
        assert!(read_line(stream).starts_with("OK "));
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
}

#[test]
fn the_host_ports_of_one_connection_after_the_other_differ() {
    let host = Host::start();
    let _guest = Guest::start(&host);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let mut stream = host.dial();
        stream.write_all(b"CONNECT 7\n").unwrap();
        assert!(seen.insert(read_line(&mut stream)), "a host port was used again at once");
    }
}

#[test]
fn idle_uses_no_processor_time() {
    let host = Host::start();
    let guest = Guest::start(&host);
    let mut streams: Vec<_> = (0..50).map(|_| host.connect(port::ECHO)).collect();
    ping(&mut streams[0], b"warm");
    // The last look at the handshakes' deadlines is a tick later.
    thread::sleep(Duration::from_millis(400));
    let used = || processor_time(host.tid) + processor_time(guest.tid);
    let (wakes, before) = (host.wakes.load(Ordering::Relaxed), used());
    thread::sleep(Duration::from_millis(1000));
    assert_eq!(used() - before, 0, "nanoseconds of processor time while nothing happened");
    assert_eq!(host.wakes.load(Ordering::Relaxed), wakes);
    ping(&mut streams[49], b"wakes up again");
}

/// Nanoseconds that a thread of this process has run.
fn processor_time(tid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_guest_that_sleeps_at_once_and_one_that_polls_long_miss_nothing() {
    for spin in [0, 1000] {
        let host = Host::start();
        let _guest = Guest::start_with(&host, Idle { spin: Duration::from_micros(spin) }, guest::serve_all);
        let mut stream = host.connect(port::ECHO);
        for round in 0..3000_u64 {
            // Pauses round about the device's own polling time, where notifications are switched on and off.
            if round % 3 == 0 {
                let until = Instant::now() + Duration::from_micros(round % 97);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            ping(&mut stream, &round.to_le_bytes());
        }
    }
}
