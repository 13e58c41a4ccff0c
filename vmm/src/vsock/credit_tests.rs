//! Credit (virtio 1.2, 5.10.6.3), exhaustively in small: every order of events, from counters on both sides of their
//! overflow.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};

use super::*;

/// Where counters begin: modulo 2³² nothing is special about any value.
const STARTS: [u32; 4] = [0, 1 << 31, u32::MAX, u32::MAX - 2];

/// An open connection with the guest, whose counters have got this far, and its client.
fn open(start: u32) -> (Connection, UnixStream) {
    let (client, ours) = UnixStream::pair().unwrap();
    for stream in [&client, &ours] {
        stream.set_nonblocking(true).unwrap();
    }
    let mut connection = Connection::new(ours, 1, Instant::now());
    (connection.state, connection.deadline, connection.guest_knows) = (State::Open, None, true);
    (connection.sent, connection.guest_fwd_cnt) = (start, start);
    (connection.received, connection.forwarded, connection.announced) = (start, start, start);
    connection.readable = true;
    (connection, client)
}

fn update(buf_alloc: u32, fwd_cnt: u32) -> Header {
    Header { op: Op::CreditUpdate as u16, buf_alloc, fwd_cnt, ..Header::to_guest(3, 1, 2, Op::CreditUpdate) }
}

/// What an honest guest and its host can do.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The host sends one byte, if it may.
    SendOne,
    /// The host sends all that it may.
    SendAll,
    /// The guest's application takes a byte.
    Take,
    /// The guest says how far it is.
    Announce,
}

const EVENTS: [Event; 4] = [Event::SendOne, Event::SendAll, Event::Take, Event::Announce];

/// All orders of six events, three sizes of buffer, two starts: the guest never holds more than it has room for, and a host that
/// knows of room uses it.
#[test]
fn an_honest_guest_is_never_sent_more_than_it_has_room_for() {
    for start in [0, u32::MAX - 2] {
        for room in 1..4 {
            for order in 0..4_u32.pow(6) {
                let (mut connection, mut client) = open(start);
                client.write_all(&[7; 32]).unwrap();
                let now = Instant::now();
                connection.on_packet(&update(room, start), None, now);
                // The guest: bytes that it holds, bytes that it has taken.
                let (mut holds, mut taken) = (0_u32, start);
                let mut announced = start;
                for step in 0..6 {
                    match EVENTS[(order >> (2 * step)) as usize & 3] {
                        event @ (Event::SendOne | Event::SendAll) => {
                            let known = room - holds.wrapping_add(taken).wrapping_sub(announced);
                            let may = match connection.next() {
                                Next::Data(may) => u32::try_from(may).unwrap(),
                                Next::Nothing => 0,
                                Next::Control(op) => panic!("{op:?}"),
                            };
                            assert_eq!(may, known);
                            let len = if matches!(event, Event::SendOne) { may.min(1) } else { may };
                            let mut buffer = [0; 4];
                            let mut slice = VolatileSlice::from(&mut buffer[..len as usize]);
                            if len > 0 {
                                assert_eq!(connection.read_from_client(&mut slice, now), len as usize);
                            }
                            holds += len;
                            assert!(holds <= room, "{start} {room} {order:#x}");
                        }
                        Event::Take if holds > 0 => {
                            holds -= 1;
                            taken = taken.wrapping_add(1);
                        }
                        Event::Take => {}
                        Event::Announce => {
                            announced = taken;
                            connection.on_packet(&update(room, taken), None, now);
                        }
                    }
                }
            }
        }
    }
}

/// A guest that says it has taken what was never sent, or less than before, gets no credit out of it: at most the room that it
/// says it has, whatever it says.
#[test]
fn no_announcement_gives_more_credit_than_room() {
    let interesting = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    for sent in STARTS {
        for room in interesting {
            for distance in interesting {
                let (mut connection, _client) = open(sent);
                connection.on_packet(&update(room, sent.wrapping_sub(distance)), None, Instant::now());
                let expected = i64::from(room) - i64::from(distance);
                match connection.next() {
                    Next::Data(may) => assert_eq!(i64::try_from(may).unwrap(), expected),
                    Next::Nothing => assert!(expected <= 0, "{sent} {room} {distance}"),
                    Next::Control(op) => panic!("{op:?}"),
                }
            }
        }
    }
}

/// What the guest may send: exactly up to [`BUF_ALLOC`] beyond what the client has taken, wherever the counters are.
#[test]
fn a_guest_is_reset_exactly_when_it_sends_more_than_it_was_given() {
    let (half, all) = (BUF_ALLOC / 2, BUF_ALLOC);
    for start in STARTS {
        for held in [0, 1, half, all - 1, all] {
            for len in [0, 1, half, half + 1, all - 1, all] {
                let (mut connection, mut client) = open(start);
                // Nobody has taken what is held.
                connection.received = start.wrapping_add(held);
                connection.backlog = vec![0; held as usize];
                let mut bytes = vec![7; len as usize];
                let data = VolatileSlice::from(&mut bytes[..]);
                let header = Header { len, ..Header::to_guest(3, 1, 2, Op::Rw) };
                connection.on_packet(&header, Some(&data), Instant::now());
                let fits = held + len <= all;
                assert_eq!(connection.state() == State::Open, fits, "{start} {held} {len}");
                assert!(connection.backlog.len() <= all as usize);
                if fits {
                    // What is held and what the client can read by now are all that came.
                    let mut got = Vec::new();
                    let _ = client.read_to_end(&mut got);
                    assert_eq!(connection.backlog.len() + got.len(), (held + len) as usize);
                    assert_eq!(
                        connection.received.wrapping_sub(connection.forwarded) as usize,
                        connection.backlog.len()
                    );
                }
            }
        }
    }
}
