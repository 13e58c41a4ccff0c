//! A hostile host against the driver: nothing panics, nothing hangs, nobody gets data that was never sent.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use core::pin::{Pin, pin};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use std::alloc::{Layout, alloc_zeroed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use casemate_abi::{DEFAULT_GUEST_CID, Doorbell, HOST_CID, SHARED_BASE, SHARED_SIZE, shared};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{BUF_ALLOC_MAX, Inbox};
use super::{Direction, Error, VsockListener, VsockStream, init, poll, prepare_idle};
use casemate_abi::vsock::{HEADER_SIZE, Header, Op, TYPE_STREAM, shutdown};

const PORT: u32 = 7;

/// Something a host may do to the shared memory.
type Corruption = fn(&mut Host);

/// There is one channel in a program: tests take turns.
static TURN: Mutex<()> = Mutex::new(());
static RINGS: AtomicU64 = AtomicU64::new(0);

fn doorbell(value: u64) {
    assert!(Doorbell::decode(value).is_some());
    RINGS.fetch_add(1, Ordering::Relaxed);
}

/// The host's side of the shared memory, written to as a test likes.
struct Host {
    base: NonNull<u8>,
    /// Packets sent so far, and tx packets seen so far.
    sent: u16,
    seen: u16,
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let layout = Layout::from_size_align(SHARED_SIZE as usize, 4096).unwrap();
        // SAFETY: the layout has a size. The memory is never freed, as `init` wants it.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
        // SAFETY: the memory was just allocated for this, and is never freed.
        unsafe { init(base, DEFAULT_GUEST_CID, doorbell) }.unwrap();
        Self { base, sent: 0, seen: 0, _turn: turn }
    }

    fn at(&self, address: u64, len: usize) -> *mut u8 {
        let offset = (address - SHARED_BASE) as usize;
        assert!(offset + len <= SHARED_SIZE as usize);
        // SAFETY: the offset was just checked against the size of the allocation.
        unsafe { self.base.as_ptr().add(offset) }
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        // SAFETY: `at` checks the range, and the driver holds no references into it.
        unsafe { self.at(address, bytes.len()).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        // SAFETY: `at` checks the range, and the driver holds no references into it.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(self.at(address, N), N) };
        bytes
    }

    /// Puts an entry into a used ring.
    fn put_used(&self, queue: u64, position: u16, id: u32, len: u32) {
        let used = queue + shared::USED_OFFSET;
        let slot = used + 4 + 8 * u64::from(position % shared::QUEUE_SIZE);
        self.write(slot, &id.to_le_bytes());
        self.write(slot + 4, &len.to_le_bytes());
        self.write(used + 2, &position.wrapping_add(1).to_le_bytes());
    }

    /// Sends a packet: the descriptor is the one that the driver offered at that position.
    fn send(&mut self, header: &Header, data: &[u8], written: u32) {
        let slot = u64::from(self.sent % shared::QUEUE_SIZE);
        let id = u16::from_le_bytes(self.read(shared::RX_QUEUE + shared::AVAIL_OFFSET + 4 + 2 * slot));
        let table = shared::RX_QUEUE + shared::AVAIL_OFFSET - 16 * u64::from(shared::QUEUE_SIZE);
        let buffer = u64::from_le_bytes(self.read(table + 16 * u64::from(id)));
        self.write(buffer, &header.to_bytes());
        self.write(buffer + HEADER_SIZE as u64, data);
        self.put_used(shared::RX_QUEUE, self.sent, u32::from(id), written);
        self.sent = self.sent.wrapping_add(1);
    }

    fn packet(&mut self, header: &Header, data: &[u8]) {
        self.send(header, data, (HEADER_SIZE + data.len()) as u32);
    }

    /// The next packet of the guest. Its buffer goes back.
    fn receive(&mut self) -> Option<Header> {
        let avail = shared::TX_QUEUE + shared::AVAIL_OFFSET;
        if u16::from_le_bytes(self.read(avail + 2)) == self.seen {
            return None;
        }
        let slot = u64::from(self.seen % shared::QUEUE_SIZE);
        let id = u16::from_le_bytes(self.read(avail + 4 + 2 * slot));
        let table = shared::TX_QUEUE + shared::AVAIL_OFFSET - 16 * u64::from(shared::QUEUE_SIZE);
        let buffer = u64::from_le_bytes(self.read(table + 16 * u64::from(id)));
        let header = Header::from_bytes(&self.read(buffer));
        self.put_used(shared::TX_QUEUE, self.seen, u32::from(id), 0);
        self.seen = self.seen.wrapping_add(1);
        Some(header)
    }

    /// An open connection.
    fn open(&mut self, listener: &mut VsockListener, host_port: u32, buf_alloc: u32) -> VsockStream {
        let mut request = header(host_port, Op::Request);
        request.buf_alloc = buf_alloc;
        self.packet(&request, &[]);
        assert!(poll());
        assert_eq!(self.receive().unwrap().op, Op::Response as u16);
        let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(&mut context()) else {
            panic!("no connection")
        };
        assert_eq!((peer.cid, peer.port), (HOST_CID, host_port));
        stream
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn header(host_port: u32, op: Op) -> Header {
    Header {
        src_cid: HOST_CID,
        dst_cid: DEFAULT_GUEST_CID,
        src_port: host_port,
        dst_port: PORT,
        kind: TYPE_STREAM,
        op: op as u16,
        buf_alloc: 65_536,
        ..Header::default()
    }
}

fn data(host_port: u32, len: u32) -> Header {
    Header { len, ..header(host_port, Op::Rw) }
}

fn read(stream: &mut VsockStream) -> Poll<std::io::Result<Vec<u8>>> {
    let mut bytes = vec![0; 20_000];
    let mut into = ReadBuf::new(&mut bytes);
    pin!(stream).as_mut().poll_read(&mut context(), &mut into).map_ok(|()| into.filled().to_vec())
}

fn write(stream: &mut VsockStream, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
    Pin::new(stream).poll_write(&mut context(), bytes)
}

#[test]
fn credit_is_kept_in_both_directions() {
    let mut host = Host::new();
    let mut listener = VsockListener::bind(PORT).unwrap();
    let mut stream = host.open(&mut listener, 1, 100);
    // The guest sends what it may, and no more.
    assert!(matches!(write(&mut stream, &[1; 300]), Poll::Ready(Ok(100))));
    assert!(write(&mut stream, &[1; 300]).is_pending());
    let mut update = header(1, Op::CreditUpdate);
    (update.buf_alloc, update.fwd_cnt) = (100, 30);
    host.packet(&update, &[]);
    poll();
    assert!(matches!(write(&mut stream, &[1; 300]), Poll::Ready(Ok(30))));
    // A count of bytes that were never sent gives no credit.
    update.fwd_cnt = 1_000_000;
    host.packet(&update, &[]);
    poll();
    assert!(write(&mut stream, &[1; 300]).is_pending());
    while host.receive().is_some() {}
    // The host sends more than it may: reset, and nothing more is held than was promised.
    let mut sent = 0;
    let rst = loop {
        host.packet(&data(1, 12_000), &[2; 12_000]);
        sent += 12_000;
        poll();
        if let Some(header) = host.receive() {
            break header;
        }
    };
    assert_eq!(rst.op, Op::Rst as u16);
    assert!(sent > BUF_ALLOC_MAX && sent <= BUF_ALLOC_MAX + 12_000);
    let mut kept = 0;
    let error = loop {
        match read(&mut stream) {
            Poll::Ready(Ok(bytes)) => kept += bytes.len() as u32,
            Poll::Ready(Err(error)) => break error,
            Poll::Pending => panic!("a connection that was reset has an end"),
        }
    };
    assert!(kept <= BUF_ALLOC_MAX);
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn what_is_changed_after_it_was_received_stays_as_it_was() {
    let mut host = Host::new();
    let mut listener = VsockListener::bind(PORT).unwrap();
    let mut stream = host.open(&mut listener, 1, 100);
    host.packet(&data(1, 5), b"hello");
    poll();
    host.write(shared::RX_BUFFERS, &vec![0xee; (shared::BUFFER_SIZE * 64) as usize]);
    assert!(matches!(read(&mut stream), Poll::Ready(Ok(bytes)) if bytes == b"hello"));
}

#[test]
fn lengths_that_lie_are_dropped() {
    let mut host = Host::new();
    let mut listener = VsockListener::bind(PORT).unwrap();
    let mut stream = host.open(&mut listener, 1, 100);
    for (len, written) in
        [(5, 44), (5, 48), (u32::MAX, 49), (12_245, 12_289), (5, 0), (5, 43), (u32::MAX, u32::MAX)]
    {
        host.send(&data(1, len), b"hello", written);
        poll();
        assert!(read(&mut stream).is_pending(), "{len} bytes in a packet of {written}");
    }
    // More than the buffer holds is as much as the buffer holds.
    host.send(&data(1, 5), b"right", u32::MAX);
    poll();
    assert!(matches!(read(&mut stream), Poll::Ready(Ok(bytes)) if bytes == b"right"));
}

#[test]
fn a_full_ring_makes_writers_wait_and_nothing_is_lost() {
    let mut host = Host::new();
    let mut listener = VsockListener::bind(PORT).unwrap();
    let mut streams: Vec<_> = (0..100).map(|port| host.open(&mut listener, port, 65_536)).collect();
    let accepted: Vec<_> = streams.iter_mut().map(|stream| write(stream, b"x").is_ready()).collect();
    assert_eq!(accepted.iter().filter(|accepted| **accepted).count(), shared::QUEUE_SIZE as usize);
    assert!(prepare_idle(), "there is nothing to do until the host returns a buffer");
    assert_eq!(host.read::<2>(shared::TX_QUEUE + shared::AVAIL_OFFSET), [0, 0], "asks to be woken");
    assert_eq!(host.receive().unwrap().op, Op::Rw as u16);
    assert!(!prepare_idle(), "a buffer came back");
    // Streams are dropped while the ring is full: the host hears of all of them in the end.
    drop(streams);
    let mut closed = 0;
    for _ in 0..1000 {
        poll();
        while let Some(header) = host.receive() {
            closed += u32::from(header.op == Op::Shutdown as u16 && header.flags == shutdown::BOTH);
        }
    }
    assert_eq!(closed, 100);
}

#[test]
fn a_corrupt_ring_closes_the_channel_with_an_error() {
    let corruptions: [(Direction, Corruption); 3] = [
        (Direction::Rx, |host| host.put_used(shared::RX_QUEUE, host.sent, 64, 100)),
        (Direction::Rx, |host| host.put_used(shared::RX_QUEUE, host.sent, 0xffff, 100)),
        (Direction::Tx, |host| host.put_used(shared::TX_QUEUE, host.seen, 3, 0)),
    ];
    for (number, (queue, corrupt)) in corruptions.into_iter().enumerate() {
        let mut host = Host::new();
        let mut listener = VsockListener::bind(PORT).unwrap();
        let mut stream = host.open(&mut listener, 1, 100);
        corrupt(&mut host);
        assert!(poll(), "there is an error to be told");
        let Poll::Ready(Err(error)) = write(&mut stream, b"x") else { panic!("{number}: went unnoticed") };
        let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(*inner, Error::Corrupt { queue }, "{number}");
        assert!(matches!(read(&mut stream), Poll::Ready(Err(_))));
        assert!(matches!(listener.poll_accept(&mut context()), Poll::Ready(Err(_))));
        assert!(VsockListener::bind(99).is_err());
        assert!(prepare_idle());
    }
}

/// xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

#[test]
fn forty_thousand_packets_that_are_nearly_right() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let (mut failed, mut delivered) = (0, 0);
    for _ in 0..400 {
        let mut host = Host::new();
        let mut listener = VsockListener::bind(PORT).unwrap();
        let mut streams = vec![host.open(&mut listener, 1, 100), host.open(&mut listener, 2, 65_536)];
        for _ in 0..100 {
            let op = dice.roll(9) as u16;
            let mut header = Header { op, ..header(dice.roll(6) as u32, Op::Rw) };
            header.flags = dice.roll(4) as u32;
            header.kind = dice.pick(&[1, 1, 1, 1, 2]);
            header.len = dice.pick(&[0, 0, 1, 100, 12_244, 12_245, u32::MAX]);
            header.buf_alloc = dice.pick(&[0, 1, 65_536, u32::MAX]);
            header.fwd_cnt = dice.pick(&[0, 1, 100, u32::MAX]);
            header.src_cid = dice.pick(&[HOST_CID, HOST_CID, HOST_CID, HOST_CID, 77]);
            let written = dice.pick(&[header.len.saturating_add(44), 12_288, 44, 0, u32::MAX]);
            host.send(&header, &vec![3; header.len.min(12_244) as usize], written);
            if dice.roll(300) == 0 {
                let queue = dice.pick(&[shared::RX_QUEUE, shared::TX_QUEUE]);
                host.put_used(queue, dice.roll(65_536) as u16, dice.roll(70) as u32, 44);
            }
            poll();
            if let Poll::Ready(Ok((stream, _))) = listener.poll_accept(&mut context()) {
                streams.push(stream);
            }
            for stream in &mut streams {
                if let Poll::Ready(Ok(bytes)) = read(stream) {
                    assert!(bytes.iter().all(|byte| *byte == 3), "bytes that were never sent");
                    delivered += bytes.len();
                }
                let _ = write(stream, &[4; 200]);
            }
            if dice.roll(20) == 0 && streams.len() > 1 {
                streams.swap_remove(dice.roll(streams.len() as u64) as usize);
            }
            while host.receive().is_some() {}
        }
        failed += u32::from(VsockListener::bind(1000).is_err());
    }
    assert!(failed > 10 && failed < 390, "{failed} of 400 were found to be corrupt");
    assert!(delivered > 100_000, "hardly anything got through: {delivered} bytes");
}

#[test]
fn an_inbox_gives_back_what_was_put_in() {
    let mut dice = Dice(99);
    let (mut inbox, mut put, mut taken) = (Inbox::default(), 0_u32, 0_u32);
    for _ in 0..20_000 {
        for _ in 0..dice.roll(50) {
            inbox.tail().push(put as u8);
            put += 1;
        }
        let take = (dice.roll(50) as usize).min(inbox.unread().len());
        for byte in &inbox.unread()[..take] {
            assert_eq!(*byte, taken as u8);
            taken += 1;
        }
        inbox.consume(take);
    }
    assert_eq!(inbox.unread().len() as u32, put - taken);
}
