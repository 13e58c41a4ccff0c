//! All connections: who they are, whose turn it is, and which packet belongs to whom.
//!
//! Promises: at most [`MAX_CONNECTIONS`] connections, a fixed amount of memory for each, one packet per turn and
//! connection (round robin), and a constant amount of work for each packet and event.
//! Trusts: nobody. A connection is found by a host port that the muxer made up; a packet that names another one is
//! answered with RST.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_abi::HOST_CID;
use virtio_vsock::packet::{PKT_HEADER_SIZE, VsockPacket};
use vm_memory::VolatileSlice;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::connection::{Connection, Next, State, Story};
use super::log::Log;
use super::{MAX_CONNECTIONS, MAX_DATA};
use casemate_abi::vsock::{Header, Op, TYPE_STREAM};

/// Host ports begin here, as Firecracker's do. Below the prefix: 20 bits of generation, 10 bits of slot.
const PORT_PREFIX: u32 = 1 << 30;
const SLOT_BITS: u32 = 10;
const GENERATIONS: u32 = 1 << 20;
/// Answers to packets that belong to no connection; a guest that makes more of them does not get them all.
const MAX_STRAYS: usize = 64;
/// How often deadlines are looked at, while there are any.
pub const TICK: Duration = Duration::from_millis(250);

const _: () = assert!(MAX_CONNECTIONS < 1 << SLOT_BITS);

#[derive(Default)]
struct Slot {
    generation: u32,
    /// It stands in `turns`.
    queued: bool,
    /// The kernel was asked to say when the client's socket takes data again. That is asked for at the first stall
    /// only: a client that keeps up would cause an event with everything it reads.
    watches_writable: bool,
    connection: Option<Connection>,
}

/// See the head of this file.
pub struct Muxer {
    guest_cid: u64,
    epoll: Arc<Epoll>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Slots that may have something for the guest, in the order of their turns; each at most once.
    turns: VecDeque<usize>,
    strays: VecDeque<Header>,
    next_tick: Option<Instant>,
    log: Log,
}

impl Muxer {
    /// No connections yet. Their events will come out of `epoll`, each with the connection's host port.
    pub fn new(guest_cid: u64, epoll: Arc<Epoll>) -> Self {
        Self {
            guest_cid,
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            turns: VecDeque::new(),
            strays: VecDeque::new(),
            next_tick: None,
            log: Log::default(),
        }
    }

    /// Where to say what becomes of connections.
    pub fn log_to(&mut self, log: Log) {
        self.log = log;
    }

    /// The log, for what is to be said when all is over.
    pub fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.log)
    }

    /// Whether another client can be taken.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < MAX_CONNECTIONS
    }

    /// Takes a client in, whose socket does not block. It is dropped if there is no room, or no kernel memory to
    /// watch it with.
    pub fn add(&mut self, stream: UnixStream, now: Instant) {
        if self.free.is_empty() && self.slots.len() < MAX_CONNECTIONS {
            self.free.push(self.slots.len());
            self.slots.push(Slot::default());
        }
        let Some(index) = self.free.pop() else { return };
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.generation = (slot.generation + 1) % GENERATIONS;
        slot.watches_writable = false;
        let host_port = PORT_PREFIX | slot.generation << SLOT_BITS | index as u32;
        let fd = stream.as_raw_fd();
        slot.connection = Some(Connection::new(stream, host_port, now));
        match watch(&self.epoll, ControlOperation::Add, fd, EventSet::empty(), host_port) {
            Ok(()) => self.after(index, now),
            Err(_) => self.release(index, now),
        }
    }

    /// Something happened on a client's socket. An event for a connection that has ended is ignored.
    pub fn on_event(&mut self, host_port: u32, readable: bool, writable: bool, hung_up: bool, now: Instant) {
        let Some(index) = self.find(host_port) else { return };
        if let Some(connection) = self.connection(index) {
            connection.on_event(readable, writable, hung_up, now);
        }
        self.after(index, now);
    }

    /// A packet from the guest. `data` holds exactly `header.len` bytes if there are any.
    pub fn on_packet(&mut self, header: &Header, data: Option<&VolatileSlice<'_, ()>>, now: Instant) {
        if header.src_cid != self.guest_cid || header.dst_cid != HOST_CID {
            return;
        }
        let index = self.find(header.dst_port).filter(|_| header.kind == TYPE_STREAM);
        let connection = index.and_then(|index| self.connection(index));
        match (index, connection.filter(|connection| connection.is_with(header.src_port))) {
            (Some(index), Some(connection)) => {
                connection.on_packet(header, data, now);
                self.after(index, now);
            }
            _ => self.refuse(header),
        }
    }

    /// Answers a packet that belongs to no connection; the channel is passive, so a REQUEST is one of these.
    fn refuse(&mut self, header: &Header) {
        if header.op != Op::Rst as u16 && self.strays.len() < MAX_STRAYS {
            let mut rst = Header::to_guest(self.guest_cid, header.dst_port, header.src_port, Op::Rst);
            rst.kind = header.kind;
            self.strays.push_back(rst);
        }
    }

    /// Whether there may be something for the guest.
    pub fn has_turns(&self) -> bool {
        !self.strays.is_empty() || !self.turns.is_empty()
    }

    /// Fills the next packet for the guest. Returns its length, header included, or `None` if there is nothing.
    pub fn fill(&mut self, packet: &mut VsockPacket<'_, ()>, now: Instant) -> Option<u32> {
        if let Some(rst) = self.strays.pop_front() {
            return finish(packet, rst);
        }
        while let Some(index) = self.turns.pop_front() {
            let guest_cid = self.guest_cid;
            if let Some(slot) = self.slots.get_mut(index) {
                slot.queued = false;
            }
            let header =
                self.connection(index).and_then(|connection| take_turn(connection, packet, guest_cid, now));
            self.after(index, now);
            if let Some(header) = header {
                return finish(packet, header);
            }
        }
        None
    }

    /// Ends connections whose deadline has passed. Returns how long until it has to be called again.
    pub fn tick(&mut self, now: Instant) -> Option<Duration> {
        let due = self.next_tick?;
        if now < due {
            return Some(due - now);
        }
        self.next_tick = None;
        for index in 0..self.slots.len() {
            let Some(connection) = self.connection(index) else {
                continue;
            };
            if connection.deadline().is_some_and(|deadline| deadline <= now) {
                connection.time_out();
            }
            self.after(index, now);
        }
        self.next_tick.map(|due| due.saturating_duration_since(now))
    }

    fn find(&mut self, host_port: u32) -> Option<usize> {
        let index = (host_port & ((1 << SLOT_BITS) - 1)) as usize;
        self.connection(index).filter(|connection| connection.host_port() == host_port).map(|_| index)
    }

    fn connection(&mut self, index: usize) -> Option<&mut Connection> {
        self.slots.get_mut(index)?.connection.as_mut()
    }

    /// Frees the slot, gives it a turn, starts the clock: whatever the connection's new state asks for.
    fn after(&mut self, index: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(connection) = &mut slot.connection else {
            return;
        };
        let host_port = connection.host_port();
        opened(connection.story(), host_port, &mut self.log);
        if connection.state() == State::Gone {
            return self.release(index, now);
        }
        if connection.deadline().is_some() && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
        if connection.is_stalled() && !slot.watches_writable {
            slot.watches_writable = true;
            if let Some(fd) = connection.fd()
                && watch(&self.epoll, ControlOperation::Modify, fd, EventSet::OUT, host_port).is_err()
            {
                return self.release(index, now);
            }
        }
        if connection.next() != Next::Nothing && !slot.queued {
            slot.queued = true;
            self.turns.push_back(index);
        }
    }

    /// The slot may still be in `turns`; its next owner then has a turn early, which harms nobody.
    fn release(&mut self, index: usize, now: Instant) {
        if let Some(slot) = self.slots.get_mut(index)
            && let Some(mut connection) = slot.connection.take()
        {
            let host_port = connection.host_port();
            ended(connection.story(), host_port, now, &mut self.log);
            self.free.push(index);
        }
    }
}

/// Says once that the guest has taken a connection.
fn opened(story: &mut Story, host_port: u32, log: &mut Log) {
    if story.open && !story.told {
        story.told = true;
        if let Some((port, client)) = story.wanted {
            match client {
                Some(client) => log.say(host_port, format_args!("port {port} for {client}")),
                None => log.say(host_port, format_args!("port {port}")),
            }
        }
    }
}

/// Says how a connection has ended.
fn ended(story: &Story, host_port: u32, now: Instant, log: &mut Log) {
    let Story { wanted, open, to_guest, to_client, .. } = *story;
    let took = now.saturating_duration_since(story.began).as_secs_f64();
    match wanted {
        None => log.say(host_port, format_args!("turned away after {took:.3} s: it named no port")),
        Some((port, Some(client))) if !open => {
            log.say(host_port, format_args!("port {port} was not opened for {client}"));
        }
        Some((port, None)) if !open => log.say(host_port, format_args!("port {port} was not opened")),
        Some(_) => log.say(
            host_port,
            format_args!("closed after {took:.3} s, {to_guest} bytes to the guest, {to_client} from it"),
        ),
    }
}

/// Asks for a socket's events, edge-triggered: whatever there is to be read, and `more`.
fn watch(
    epoll: &Epoll,
    operation: ControlOperation,
    fd: RawFd,
    more: EventSet,
    host_port: u32,
) -> io::Result<()> {
    let set = EventSet::IN | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED | more;
    epoll.ctl(operation, fd, EpollEvent::new(set, u64::from(host_port)))
}

/// One packet's worth of what `connection` has for the guest.
fn take_turn(
    connection: &mut Connection,
    packet: &mut VsockPacket<'_, ()>,
    guest_cid: u64,
    now: Instant,
) -> Option<Header> {
    if let Next::Data(credit) = connection.next() {
        let space = packet.data_slice()?;
        let size = credit.min(space.len()).min(MAX_DATA);
        let mut buffer = space.subslice(0, size).ok()?;
        let read = connection.read_from_client(&mut buffer, now);
        if read > 0 {
            let mut header = connection.header(guest_cid, Op::Rw, now);
            header.len = read as u32;
            return Some(header);
        }
    }
    match connection.next() {
        Next::Control(op) => Some(connection.header(guest_cid, op, now)),
        Next::Data(_) | Next::Nothing => None,
    }
}

fn finish(packet: &mut VsockPacket<'_, ()>, header: Header) -> Option<u32> {
    // Cannot fail: the header is exactly as long as the packet's header slice.
    packet.set_header_from_raw(&header.to_bytes()).ok()?;
    Some(PKT_HEADER_SIZE as u32 + header.len)
}
