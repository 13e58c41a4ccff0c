//! A guest without a driver: it writes into the rings whatever a test wants.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_abi::{DEFAULT_GUEST_CID, HOST_CID, shared};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::super::{Config, Error, Memory, VsockDevice};
use super::{Socket, owned, shared_region};
use casemate_abi::vsock::{Header, Op, TYPE_STREAM};

const HEADER: u64 = 44;

/// The device, stepped by hand, and the guest's side of its memory.
pub struct Raw {
    pub memory: Memory,
    pub device: VsockDevice<fn()>,
    pub socket: Arc<Socket>,
    sent: u16,
    received: u16,
    _stop: EventFd,
}

impl Raw {
    /// A device whose guest is ready, with all its rx buffers in place.
    pub fn new() -> Self {
        let socket = Arc::new(Socket::new());
        let listener = UnixListener::bind(&socket.path).unwrap();
        let mut raw = Self::in_memory(shared_region(), listener, socket);
        for index in 0..shared::QUEUE_SIZE {
            let address = shared::RX_BUFFERS + u64::from(index) * shared::BUFFER_SIZE;
            raw.describe(shared::RX_QUEUE, index, address, shared::BUFFER_SIZE as u32, 2);
            raw.offer(shared::RX_QUEUE, index, index);
        }
        raw
    }

    /// A device on memory as it is.
    pub fn in_memory(memory: Memory, listener: UnixListener, socket: Arc<Socket>) -> Self {
        let stop = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let device = VsockDevice::new(Config {
            memory: memory.clone(),
            guest_cid: DEFAULT_GUEST_CID,
            listener,
            kick: EventFd::new(libc::EFD_NONBLOCK).unwrap(),
            wake: (|| {}) as fn(),
            stop: owned(&stop),
        })
        .unwrap();
        device.notifier().ready();
        Self { memory, device, socket, sent: 0, received: 0, _stop: stop }
    }

    /// One turn of the device's loop, without sleep.
    pub fn step(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.device.move_packets(now)?;
        self.device.tend_listener(now)?;
        let events = self.device.wait(Some(Duration::ZERO))?;
        self.device.dispatch(events, now)?;
        self.device.move_packets(now)?;
        Ok(())
    }

    /// A client that has asked for a port.
    pub fn dial(&mut self, port: u32) -> UnixStream {
        use std::io::Write;
        let mut stream = UnixStream::connect(&self.socket.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        writeln!(stream, "CONNECT {port}").unwrap();
        stream
    }

    /// Writes a descriptor.
    pub fn describe(&mut self, queue: u64, index: u16, address: u64, len: u32, flags: u16) {
        let table = queue + shared::AVAIL_OFFSET - 16 * u64::from(shared::QUEUE_SIZE);
        let at = |offset| GuestAddress(table + 16 * u64::from(index) + offset);
        self.memory.write_obj(address, at(0)).unwrap();
        self.memory.write_obj(len, at(8)).unwrap();
        self.memory.write_obj(flags, at(12)).unwrap();
        self.memory.write_obj(0_u16, at(14)).unwrap();
    }

    /// Makes a descriptor available as number `position` since the beginning.
    pub fn offer(&mut self, queue: u64, position: u16, index: u16) {
        let avail = queue + shared::AVAIL_OFFSET;
        let slot = u64::from(position % shared::QUEUE_SIZE);
        self.memory.write_obj(index, GuestAddress(avail + 4 + 2 * slot)).unwrap();
        self.memory.write_obj(position.wrapping_add(1), GuestAddress(avail + 2)).unwrap();
    }

    /// Sends a packet to the host.
    pub fn send(&mut self, header: &Header, data: &[u8]) {
        let index = self.sent % shared::QUEUE_SIZE;
        let address = shared::TX_BUFFERS + u64::from(index) * shared::BUFFER_SIZE;
        self.memory.write_slice(&header.to_bytes(), GuestAddress(address)).unwrap();
        self.memory.write_slice(data, GuestAddress(address + HEADER)).unwrap();
        self.describe(shared::TX_QUEUE, index, address, HEADER as u32 + data.len() as u32, 0);
        self.offer(shared::TX_QUEUE, self.sent, index);
        self.sent = self.sent.wrapping_add(1);
    }

    /// The next packet from the host, if there is one: operation, ports, length, flags.
    pub fn receive(&mut self) -> Option<Header> {
        let used = shared::RX_QUEUE + shared::USED_OFFSET;
        let index: u16 = self.memory.read_obj(GuestAddress(used + 2)).unwrap();
        if index == self.received {
            return None;
        }
        let slot = u64::from(self.received % shared::QUEUE_SIZE);
        let id: u32 = self.memory.read_obj(GuestAddress(used + 4 + 8 * slot)).unwrap();
        let address = shared::RX_BUFFERS + u64::from(id) * shared::BUFFER_SIZE;
        let u16_at = |offset| self.memory.read_obj::<u16>(GuestAddress(address + offset)).unwrap();
        let u32_at = |offset| self.memory.read_obj::<u32>(GuestAddress(address + offset)).unwrap();
        let header = Header {
            src_cid: HOST_CID,
            dst_cid: DEFAULT_GUEST_CID,
            src_port: u32_at(16),
            dst_port: u32_at(20),
            len: u32_at(24),
            kind: u16_at(28),
            op: u16_at(30),
            flags: u32_at(32),
            buf_alloc: u32_at(36),
            fwd_cnt: u32_at(40),
        };
        self.offer(shared::RX_QUEUE, self.received.wrapping_add(shared::QUEUE_SIZE), id as u16);
        self.received = self.received.wrapping_add(1);
        Some(header)
    }

    /// Steps until the host sends a packet.
    pub fn expect(&mut self, op: Op) -> Header {
        for _ in 0..1000 {
            if let Some(header) = self.receive() {
                assert_eq!(header.op, op as u16, "{header:?}");
                return header;
            }
            self.step().unwrap();
        }
        panic!("the host does not send {op:?}");
    }
}

/// A packet from the guest.
pub fn header(guest_port: u32, host_port: u32, op: Op) -> Header {
    Header {
        src_cid: DEFAULT_GUEST_CID,
        dst_cid: HOST_CID,
        src_port: guest_port,
        dst_port: host_port,
        kind: TYPE_STREAM,
        op: op as u16,
        buf_alloc: 1 << 20,
        ..Header::default()
    }
}
