//! What a hostile guest can do to the device: nothing but end itself, with a clear error.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_abi::{DEFAULT_GUEST_CID, HOST_CID, SHARED_BASE, SHARED_SIZE, shared};
use vm_memory::{Bytes, GuestAddress};

use super::super::connection::BUF_ALLOC;
use super::super::{Error, MAX_DATA};
use super::raw::{Raw, header};
use super::{Host, Noise, Socket, shared_region};
use casemate_abi::vsock::{Header, Op, shutdown};

const PORT: u32 = 7;

/// A client and its open connection.
fn open(raw: &mut Raw, buf_alloc: u32) -> (std::os::unix::net::UnixStream, u32) {
    let mut client = raw.dial(PORT);
    let request = raw.expect(Op::Request);
    let mut response = header(PORT, request.src_port, Op::Response);
    response.buf_alloc = buf_alloc;
    raw.send(&response, &[]);
    raw.step().unwrap();
    let mut line = [0; 64];
    let read = client.read(&mut line).unwrap();
    assert_eq!(&line[..read], format!("OK {}\n", request.src_port).as_bytes());
    (client, request.src_port)
}

fn is_open(client: &mut std::os::unix::net::UnixStream) -> bool {
    client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_connection_that_the_guest_asks_for_is_refused() {
    let mut raw = Raw::new();
    raw.send(&header(1234, 80, Op::Request), &[]);
    let rst = raw.expect(Op::Rst);
    assert_eq!((rst.src_port, rst.dst_port), (80, 1234));
    // And one that takes the name of a connection that exists ends that connection.
    let (mut client, host_port) = open(&mut raw, 1000);
    raw.send(&header(PORT, host_port, Op::Request), &[]);
    raw.expect(Op::Rst);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_guests_credit_is_never_exceeded() {
    let mut raw = Raw::new();
    let (mut client, host_port) = open(&mut raw, 1000);
    let mut noise = vec![0; 100_000];
    Noise::new(3).fill(&mut noise);
    client.write_all(&noise).unwrap();
    let (mut got, mut allowed) = (0, 1000);
    for round in 0..60 {
        for _ in 0..20 {
            raw.step().unwrap();
            while let Some(packet) = raw.receive() {
                assert_eq!(packet.op, Op::Rw as u16);
                assert!(packet.len as usize <= MAX_DATA);
                got += packet.len;
            }
        }
        assert_eq!(got, allowed, "in round {round}");
        // The guest reads some, and its buffer changes size, too.
        let mut update = header(PORT, host_port, Op::CreditUpdate);
        update.fwd_cnt = got - round;
        update.buf_alloc = 1000 + round;
        allowed = update.fwd_cnt + update.buf_alloc;
        raw.send(&update, &[]);
    }
    // A count of bytes that were never sent gives no credit.
    let mut lie = header(PORT, host_port, Op::CreditUpdate);
    lie.fwd_cnt = allowed.wrapping_add(5_000_000);
    raw.send(&lie, &[]);
    raw.step().unwrap();
    assert!(raw.receive().is_none(), "credit out of nothing");
}

#[test]
fn a_guest_that_sends_more_than_its_credit_is_reset_and_the_others_are_not() {
    let mut raw = Raw::new();
    let (mut client, host_port) = open(&mut raw, 1000);
    let (mut other, _) = open(&mut raw, 1000);
    let data = vec![1; MAX_DATA];
    let mut packet = header(PORT, host_port, Op::Rw);
    packet.len = MAX_DATA as u32;
    let mut sent = 0;
    // The client does not read: its socket's buffer fills, then the device's.
    let limit = 4 * 1024 * 1024;
    loop {
        raw.send(&packet, &data);
        raw.step().unwrap();
        sent += data.len();
        match raw.receive().map(|packet| packet.op) {
            Some(op) if op == Op::Rst as u16 => break,
            Some(op) => assert_eq!(op, Op::CreditUpdate as u16),
            None => assert!(sent < limit, "{sent} bytes are held for a client that does not read"),
        }
    }
    assert!(sent > BUF_ALLOC as usize);
    let mut kept = Vec::new();
    client.read_to_end(&mut kept).unwrap();
    assert!(kept.len() <= sent - BUF_ALLOC as usize, "what the device held is gone");
    assert!(is_open(&mut other));
}

#[test]
fn packets_that_make_no_sense_are_dropped_or_reset_and_the_queue_goes_on() {
    let mut raw = Raw::new();
    // A wrong sender, a wrong receiver: dropped. An unknown connection: RST.
    for (src, dst, answered) in
        [(17, HOST_CID, false), (DEFAULT_GUEST_CID, 9, false), (DEFAULT_GUEST_CID, HOST_CID, true)]
    {
        let mut packet = header(1, 2, Op::Rw);
        (packet.src_cid, packet.dst_cid) = (src, dst);
        raw.send(&packet, &[]);
        raw.step().unwrap();
        assert_eq!(raw.receive().map(|packet| packet.op), answered.then_some(Op::Rst as u16));
    }
    // More data announced than there is: dropped.
    let (mut client, host_port) = open(&mut raw, 1000);
    let mut packet = header(PORT, host_port, Op::Rw);
    for len in [5, MAX_DATA as u32 + 1, u32::MAX] {
        packet.len = len;
        raw.send(&packet, b"four");
        raw.step().unwrap();
    }
    assert!(raw.receive().is_none() && is_open(&mut client));
    packet.len = 4;
    raw.send(&packet, b"four");
    raw.step().unwrap();
    let mut data = [0; 8];
    assert_eq!(client.read(&mut data).unwrap(), 4);
    // An operation that does not exist: the connection ends.
    (packet.op, packet.len) = (99, 0);
    raw.send(&packet, b"");
    raw.expect(Op::Rst);
    assert_eq!(client.read(&mut data).unwrap(), 0);
}

#[test]
fn an_orderly_end_is_told_to_both_sides() {
    let mut raw = Raw::new();
    // The client disappears: SHUTDOWN with both flags, RST from the guest, and the slot is free.
    let (client, host_port) = open(&mut raw, 1000);
    drop(client);
    assert_eq!(raw.expect(Op::Shutdown).flags, shutdown::BOTH);
    raw.send(&header(PORT, host_port, Op::Rst), &[]);
    raw.step().unwrap();
    raw.send(&header(PORT, host_port, Op::CreditRequest), &[]);
    raw.expect(Op::Rst);
    // The guest closes: the client reads the rest, then the end; the guest gets its RST.
    let (mut client, host_port) = open(&mut raw, 1000);
    let mut packet = header(PORT, host_port, Op::Rw);
    packet.len = 3;
    raw.send(&packet, b"bye");
    let mut packet = header(PORT, host_port, Op::Shutdown);
    packet.flags = shutdown::BOTH;
    raw.send(&packet, &[]);
    raw.expect(Op::Rst);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye");
}

#[test]
fn corrupt_rings_end_the_device_with_an_error_that_says_which() {
    type Corruption = fn(&mut Raw);
    let cases: [(&str, Corruption); 6] = [
        ("tx", |raw| {
            let index = GuestAddress(shared::TX_QUEUE + shared::AVAIL_OFFSET + 2);
            raw.memory.write_obj(shared::QUEUE_SIZE + 1, index).unwrap();
        }),
        ("tx", |raw| raw.offer(shared::TX_QUEUE, 0, shared::QUEUE_SIZE)),
        ("tx", |raw| {
            raw.describe(shared::TX_QUEUE, 0, SHARED_BASE - 4096, 100, 0);
            raw.offer(shared::TX_QUEUE, 0, 0);
        }),
        ("tx", |raw| {
            raw.describe(shared::TX_QUEUE, 0, SHARED_BASE + SHARED_SIZE - 43, 100, 0);
            raw.offer(shared::TX_QUEUE, 0, 0);
        }),
        ("tx", |raw| {
            raw.describe(shared::TX_QUEUE, 0, u64::MAX - 3, u32::MAX, 0);
            raw.offer(shared::TX_QUEUE, 0, 0);
        }),
        ("rx", |raw| {
            raw.describe(shared::RX_QUEUE, 0, shared::RX_BUFFERS, 43, 2);
            raw.send(&header(1, 2, Op::Rw), &[]);
        }),
    ];
    for (number, (name, corrupt)) in cases.into_iter().enumerate() {
        let mut raw = Raw::new();
        corrupt(&mut raw);
        let error = raw.step().expect_err(&format!("corruption {number} went unnoticed"));
        assert!(error.to_string().contains(&format!("{name} queue")), "{number}: {error}");
    }
    // The same while the device runs in its thread.
    let host = Host::start();
    host.memory.write_obj(1000_u16, GuestAddress(shared::TX_QUEUE + shared::AVAIL_OFFSET + 2)).unwrap();
    host.notifier.kick();
    assert!(matches!(host.finish(), Err(Error::Ring { name: "tx", .. })));
}

/// Bytes to make choices with.
struct Dice(Noise);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) >> 8) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

#[test]
fn twenty_thousand_rings_of_pure_noise() {
    let memory = shared_region();
    let mut noise = Noise::new(1);
    let (started, mut refused) = (Instant::now(), 0);
    let socket = Arc::new(Socket::new());
    let listener = UnixListener::bind(&socket.path).unwrap();
    for _ in 0..20_000 {
        let mut queues = vec![0; 6 * 4096];
        noise.fill(&mut queues);
        // An index that can be right, or hardly anything but the index would be tested.
        for queue in [4096, 4 * 4096] {
            queues[queue + 2] %= 70;
            queues[queue + 3] = 0;
        }
        memory.write_slice(&queues, GuestAddress(shared::RX_QUEUE)).unwrap();
        let mut raw = Raw::in_memory(memory.clone(), listener.try_clone().unwrap(), Arc::clone(&socket));
        for _ in 0..2 {
            if let Err(error) = raw.step() {
                assert!(error.to_string().contains("queue"), "{error}");
                refused += 1;
                break;
            }
        }
    }
    assert!(refused > 10_000, "only {refused} were found to be noise");
    assert!(started.elapsed() < Duration::from_secs(60), "hangs");
}

/// A header that is mostly right.
fn plausible(dice: &mut Dice, host_ports: &[u32]) -> Header {
    let mut header = header(dice.pick(&[PORT, PORT, PORT, 8]), dice.pick(host_ports), Op::Rw);
    header.op = dice.roll(9) as u16;
    header.kind = dice.pick(&[1, 1, 1, 1, 2]);
    header.flags = dice.roll(4) as u32;
    header.len = dice.pick(&[0, 0, 1, 100, MAX_DATA as u32, MAX_DATA as u32 + 1, u32::MAX]);
    header.buf_alloc = dice.pick(&[0, 1, 65_536, u32::MAX]);
    header.fwd_cnt = dice.pick(&[0, 1, 100, u32::MAX]);
    header.src_cid =
        dice.pick(&[DEFAULT_GUEST_CID, DEFAULT_GUEST_CID, DEFAULT_GUEST_CID, DEFAULT_GUEST_CID, 2]);
    header
}

#[test]
fn sixty_thousand_packets_that_are_nearly_right() {
    let mut dice = Dice(Noise::new(2));
    let (started, mut refused, mut served) = (Instant::now(), 0, 0);
    for _ in 0..1_000 {
        let mut raw = Raw::new();
        let mut clients: Vec<_> = (0..3).map(|_| open(&mut raw, 65_536)).collect();
        clients.push((raw.dial(PORT), 2));
        let ports: Vec<_> = clients.iter().map(|(_, port)| *port).collect();
        for _ in 0..60 {
            let packet = plausible(&mut dice, &ports);
            let len = (packet.len as usize).min(MAX_DATA);
            raw.send(&packet, &vec![7; len]);
            // Now and then the descriptor is not what it should be.
            if dice.roll(200) == 0 {
                let address = dice.pick(&[0, SHARED_BASE, shared::TX_QUEUE, shared::RX_BUFFERS, u64::MAX]);
                let len = dice.pick(&[0, 43, 44, 12_288, u32::MAX]);
                let queue = dice.pick(&[shared::TX_QUEUE, shared::RX_QUEUE]);
                let (index, flags) = (dice.roll(64) as u16, dice.roll(8) as u16);
                raw.describe(queue, index, address, len, flags);
            }
            for (client, _) in &mut clients {
                let _ = client.write(&[1; 500]);
                served += client.read(&mut [0; 20_000]).unwrap_or(0);
            }
            if let Err(error) = raw.step() {
                assert!(error.to_string().contains("queue"), "{error}");
                refused += 1;
                break;
            }
            while raw.receive().is_some() {}
        }
    }
    assert!(refused > 10 && refused < 900, "{refused} of 1000: the cases are all the same");
    assert!(served > 1_000_000, "hardly anything got through: {served} bytes");
    assert!(started.elapsed() < Duration::from_secs(60), "hangs");
}
