//! The vsock device on rings that are in order until a target writes into them, and clients on its socket.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};

use casemate::vsock::{Config, Error, Memory, VsockDevice};
use casemate_abi::{DEFAULT_GUEST_CID, HOST_CID, SHARED_BASE, SHARED_SIZE, shared};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

/// The device gives its first connection this port, the next one the next.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// virtio 1.2, 5.10.6: a stream.
const STREAM: u16 = 1;
/// virtio 1.2, 2.7.5: the device writes into this descriptor's buffer.
const DEVICE_WRITES: u16 = 2;

/// What a guest does between two turns of the device.
#[derive(Arbitrary, Debug)]
pub enum Move {
    /// Sends a packet on one of four connections: operation, flags, announced length, credit, data.
    Packet {
        /// Which connection, by its port on the host.
        connection: u8,
        /// Port in the guest: one of two that clients ask for.
        port: u8,
        /// `op` of the header.
        op: u8,
        /// `flags` of the header.
        flags: u8,
        /// `len` of the header; the length of `data` if none.
        len: Option<u32>,
        /// `buf_alloc` of the header.
        buf_alloc: u32,
        /// `fwd_cnt` of the header.
        fwd_cnt: u32,
        /// What follows the header.
        data: Vec<u8>,
    },
    /// Writes a descriptor into a queue: receive queue or not, index, address in the region, length, flags, next.
    Descriptor(bool, u16, u64, u32, u16, u16),
    /// Writes a word anywhere into the queues.
    Poke(u16, u16),
}

/// A guest without a driver, and the device that it faces.
pub struct Guest {
    memory: Memory,
    device: VsockDevice<fn()>,
    address: SocketAddr,
    timer: OwnedFd,
    sent: u16,
}

impl Guest {
    /// Rings in order, receive buffers in place, the guest ready.
    #[allow(clippy::new_without_default, reason = "a device is made on purpose")]
    pub fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("casemate-fuzz-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a short name");
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).expect("timer");
        let memory =
            Memory::from_ranges(&[(GuestAddress(SHARED_BASE), SHARED_SIZE as usize)]).expect("memory");
        let device = VsockDevice::new(Config {
            memory: memory.clone(),
            guest_cid: DEFAULT_GUEST_CID,
            listener: UnixListener::bind_addr(&address).expect("an unused name"),
            kick: EventFd::new(0).expect("event"),
            wake: (|| {}) as fn(),
            stop: timer.try_clone().expect("a descriptor"),
        })
        .expect("rings in the region");
        device.notifier().ready();
        let mut guest = Self { memory, device, address, timer, sent: 0 };
        for index in 0..shared::QUEUE_SIZE {
            let buffer = shared::RX_BUFFERS + u64::from(index) * shared::BUFFER_SIZE;
            guest.describe(shared::RX_QUEUE, index, buffer, shared::BUFFER_SIZE as u32, DEVICE_WRITES, 0);
            guest.offer(shared::RX_QUEUE, index, index);
        }
        guest
    }

    /// A client that has said `first` and waits.
    pub fn client(&self, first: &[u8]) -> UnixStream {
        let mut client = UnixStream::connect_addr(&self.address).expect("a place in the backlog");
        client.set_nonblocking(true).expect("a socket");
        let _ = client.write(first);
        client
    }

    /// Lets the device run for 70 microseconds: it polls for most of them.
    pub fn turn(&mut self) -> Result<(), Error> {
        let once = Timespec { tv_sec: 0, tv_nsec: 70_000 };
        let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: once };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).expect("timer");
        self.device.run()
    }

    /// Does it.
    pub fn make(&mut self, step: &Move) {
        match step {
            Move::Packet { connection, port, op, flags, len, buf_alloc, fwd_cnt, data } => {
                let data = data.get(..4096).unwrap_or(data);
                let mut packet = Vec::with_capacity(44 + data.len());
                packet.extend(DEFAULT_GUEST_CID.to_le_bytes());
                packet.extend(HOST_CID.to_le_bytes());
                packet.extend(u32::from(port % 2 + 1).to_le_bytes());
                packet.extend((FIRST_HOST_PORT + u32::from(connection % 4)).to_le_bytes());
                packet.extend(len.unwrap_or(data.len() as u32).to_le_bytes());
                packet.extend(STREAM.to_le_bytes());
                packet.extend(u16::from(op % 10).to_le_bytes());
                for word in [u32::from(*flags), *buf_alloc, *fwd_cnt] {
                    packet.extend(word.to_le_bytes());
                }
                packet.extend(data);
                self.send(&packet);
            }
            &Move::Descriptor(rx, index, offset, len, flags, next) => {
                let queue = if rx { shared::RX_QUEUE } else { shared::TX_QUEUE };
                let address = SHARED_BASE.wrapping_add(offset);
                self.describe(queue, index % shared::QUEUE_SIZE, address, len, flags, next);
            }
            &Move::Poke(offset, value) => {
                let place = GuestAddress(shared::RX_QUEUE + u64::from(offset % 0x4000));
                let _ = self.memory.write_slice(&value.to_le_bytes(), place);
            }
        }
    }

    fn send(&mut self, packet: &[u8]) {
        let index = self.sent % shared::QUEUE_SIZE;
        let buffer = shared::TX_BUFFERS + u64::from(index) * shared::BUFFER_SIZE;
        self.memory.write_slice(packet, GuestAddress(buffer)).expect("inside the region");
        self.describe(shared::TX_QUEUE, index, buffer, packet.len() as u32, 0, 0);
        self.offer(shared::TX_QUEUE, self.sent, index);
        self.sent = self.sent.wrapping_add(1);
    }

    fn describe(&mut self, queue: u64, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let mut descriptor = Vec::with_capacity(16);
        descriptor.extend(address.to_le_bytes());
        descriptor.extend(len.to_le_bytes());
        descriptor.extend(flags.to_le_bytes());
        descriptor.extend(next.to_le_bytes());
        let place = GuestAddress(queue + 16 * u64::from(index));
        self.memory.write_slice(&descriptor, place).expect("inside the region");
    }

    fn offer(&mut self, queue: u64, position: u16, index: u16) {
        let available = queue + shared::AVAIL_OFFSET;
        let slot = GuestAddress(available + 4 + 2 * u64::from(position % shared::QUEUE_SIZE));
        self.memory.write_slice(&index.to_le_bytes(), slot).expect("inside the region");
        let next = position.wrapping_add(1).to_le_bytes();
        self.memory.write_slice(&next, GuestAddress(available + 2)).expect("inside the region");
    }
}

/// What a client has been told so far.
pub fn heard(client: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let read = client.read(&mut bytes).unwrap_or(0);
    bytes.truncate(read);
    bytes
}
