//! All listeners and connections of a guest, and the packets between them and the two virtqueues.
//!
//! The host is told things in this order when a packet buffer is free: RSTs for packets that belong to nobody, then
//! what connections owe it (one packet per turn), then data, for which writers are woken first come, first served.

use core::mem::take;
use core::task::{Poll, Waker};
use std::collections::{HashMap, VecDeque};
use std::io;

use casemate_abi::vsock::{HEADER_SIZE, Header, Op, TYPE_STREAM};
use casemate_abi::{Doorbell, HOST_CID};
use tokio::io::ReadBuf;

use super::Error;
use super::connection::{Connection, Key, buf_alloc};
use super::queue::{BUFFER_SIZE, Direction, Queue, SIZE};
use super::region::Region;

/// Most connections at a time; a client beyond that is refused.
pub const MAX_CONNECTIONS: usize = 1024;
/// Most bytes of data in a packet.
const MAX_DATA: usize = BUFFER_SIZE - HEADER_SIZE;
/// Answers to packets that belong to no connection. While there are this many, nothing more is received.
const MAX_STRAYS: usize = 64;

/// Connections that wait for `accept`.
#[derive(Default)]
struct Backlog {
    waiting: VecDeque<Key>,
    acceptor: Option<Waker>,
}

/// See the head of this file.
pub struct Driver {
    region: Region,
    guest_cid: u64,
    doorbell: fn(u64),
    /// The host has been told that somebody listens.
    ready: bool,
    rx: Queue,
    tx: Queue,
    connections: HashMap<Key, Connection>,
    listeners: HashMap<u32, Backlog>,
    strays: VecDeque<Header>,
    /// Connections that owe the host a packet; each at most once.
    due: VecDeque<Key>,
    /// Connections whose writer waits for a packet buffer; each at most once.
    writers: VecDeque<Key>,
    wakes: Vec<Waker>,
    /// What the host did to the queues. Nothing works from then on.
    failure: Option<Error>,
}

impl Driver {
    pub fn new(region: Region, guest_cid: u64, doorbell: fn(u64)) -> Result<Self, Error> {
        let tx = Queue::new(Direction::Tx, region, doorbell)?;
        let mut rx = Queue::new(Direction::Rx, region, doorbell)?;
        while let Some((buffer, _)) = rx.take_free() {
            rx.give(buffer, BUFFER_SIZE)?;
        }
        rx.notify();
        Ok(Self {
            region,
            guest_cid,
            doorbell,
            ready: false,
            rx,
            tx,
            connections: HashMap::new(),
            listeners: HashMap::new(),
            strays: VecDeque::new(),
            due: VecDeque::new(),
            writers: VecDeque::new(),
            wakes: Vec::new(),
            failure: None,
        })
    }

    pub fn take_wakes(&mut self) -> Vec<Waker> {
        take(&mut self.wakes)
    }

    /// See [`super::poll`].
    pub fn poll(&mut self) -> bool {
        if self.failure.is_some() {
            return !self.wakes.is_empty();
        }
        self.rx.set_listening(false);
        self.tx.set_listening(false);
        let outcome = self.exchange();
        let progress = self.note(outcome).unwrap_or(true);
        progress || !self.wakes.is_empty()
    }

    fn exchange(&mut self) -> Result<bool, Error> {
        self.reclaim()?;
        self.flush()?;
        let received = self.receive()?;
        self.flush()?;
        // A writer that was woken but does not write leaves its buffer to the next one, at the next poll.
        for _ in 0..self.tx.free() {
            let Some(key) = self.writers.pop_front() else {
                break;
            };
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.waits_for_buffer = false;
                self.wakes.extend(connection.writer.take());
            }
        }
        Ok(received)
    }

    /// See [`super::prepare_idle`].
    pub fn prepare_idle(&mut self) -> bool {
        if self.failure.is_some() {
            return true;
        }
        let waits_for_buffers = !self.writers.is_empty() || !self.due.is_empty() || !self.strays.is_empty();
        self.rx.set_listening(true);
        self.tx.set_listening(waits_for_buffers);
        // The flags must be visible before the used rings are read: the device writes a ring, then looks at the
        // flags, and one of the two sides has to see the other's write (virtio 1.2, 2.7.14).
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        let news = self.rx.has_used() || waits_for_buffers && (self.tx.has_used() || self.tx.has_free());
        !news
    }

    /// Remembers the first failure, and lets everybody who waits find out.
    fn note<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome
            && self.failure.is_none()
        {
            self.failure = Some(*error);
            for connection in self.connections.values_mut() {
                self.wakes.extend(connection.reader.take());
                self.wakes.extend(connection.writer.take());
            }
            for backlog in self.listeners.values_mut() {
                self.wakes.extend(backlog.acceptor.take());
            }
        }
        outcome
    }

    fn check(&self) -> Result<(), Error> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Takes packet buffers back that the host has read.
    fn reclaim(&mut self) -> Result<(), Error> {
        for _ in 0..SIZE {
            let Some((buffer, ..)) = self.tx.retire()? else {
                break;
            };
            self.tx.put_free(buffer);
        }
        Ok(())
    }

    /// Sends what is owed, as far as there are packet buffers.
    fn flush(&mut self) -> Result<(), Error> {
        while self.tx.has_free() {
            if let Some(header) = self.strays.pop_front() {
                self.send(&header, &[])?;
                continue;
            }
            let Some(key) = self.due.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(&key) else {
                continue;
            };
            connection.queued = false;
            if let Some(op) = connection.next_control() {
                let header = connection.header(self.guest_cid, op, 0);
                self.send(&header, &[])?;
            }
            self.settle(key);
        }
        Ok(())
    }

    /// Puts one packet into a free buffer, which the caller has seen to exist.
    fn send(&mut self, header: &Header, data: &[u8]) -> Result<(), Error> {
        let Some((buffer, address)) = self.tx.take_free() else {
            return Ok(());
        };
        let written = self.region.write(address, &header.to_bytes())
            && self.region.write(address + HEADER_SIZE as u64, data);
        debug_assert!(written, "packet buffers lie in the shared region");
        self.tx.give(buffer, HEADER_SIZE + data.len())?;
        self.tx.notify();
        Ok(())
    }

    /// Handles what the host has sent, at most a ring of it. Returns whether there was anything.
    fn receive(&mut self) -> Result<bool, Error> {
        let mut any = false;
        for _ in 0..SIZE {
            if self.strays.len() >= MAX_STRAYS {
                break;
            }
            let Some((buffer, address, written)) = self.rx.retire()? else {
                break;
            };
            any = true;
            self.on_packet(address, written);
            self.rx.give(buffer, BUFFER_SIZE)?;
        }
        if any {
            self.rx.notify();
        }
        Ok(any)
    }

    /// A packet of `written` bytes at `address`. Packets that make no sense are dropped.
    fn on_packet(&mut self, address: u64, written: usize) {
        let mut bytes = [0; HEADER_SIZE];
        if written < HEADER_SIZE || !self.region.read(address, &mut bytes) {
            return;
        }
        let header = Header::from_bytes(&bytes);
        let op = Op::from_wire(header.op);
        let fits = header.len as usize <= written - HEADER_SIZE && (op == Some(Op::Rw) || header.len == 0);
        if header.src_cid != HOST_CID || header.dst_cid != self.guest_cid || !fits {
            return;
        }
        let key = Key { host_port: header.src_port, guest_port: header.dst_port };
        let known = header.kind == TYPE_STREAM && self.connections.get(&key).is_some_and(|known| !known.over);
        match (op, known) {
            (_, true) => self.on_connection_packet(key, &header, address + HEADER_SIZE as u64),
            (Some(Op::Request), false) if header.kind == TYPE_STREAM && self.admit(key, &header) => {}
            (Some(Op::Rst), false) => {}
            (_, false) => {
                let mut rst = Header::to_host(self.guest_cid, key.guest_port, key.host_port, Op::Rst);
                rst.kind = header.kind;
                self.strays.push_back(rst);
            }
        }
    }

    /// Accepts a connection on behalf of the listener of its port, if there is one.
    fn admit(&mut self, key: Key, request: &Header) -> bool {
        // A connection of that name that is over but still in somebody's hands blocks it.
        if self.connections.len() >= MAX_CONNECTIONS || self.connections.contains_key(&key) {
            return false;
        }
        let Some(backlog) = self.listeners.get_mut(&key.guest_port) else {
            return false;
        };
        backlog.waiting.push_back(key);
        self.wakes.extend(backlog.acceptor.take());
        let room = buf_alloc(self.connections.len());
        self.connections.insert(key, Connection::new(key, request, room));
        self.settle(key);
        true
    }

    fn on_connection_packet(&mut self, key: Key, header: &Header, data: u64) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.on_credit(header);
        let len = header.len as usize;
        match Op::from_wire(header.op) {
            Some(Op::Rw) if !connection.admit(len) => connection.reset(),
            Some(Op::Rw) if !connection.owned => connection.on_read(len),
            Some(Op::Rw) => {
                let appended = self.region.append(data, len, connection.inbox.tail());
                debug_assert!(appended, "packet buffers lie in the shared region");
            }
            Some(Op::Shutdown) => connection.on_shutdown(header.flags),
            Some(Op::Rst) => connection.on_rst(),
            Some(Op::CreditUpdate) => {}
            Some(Op::CreditRequest) => connection.on_credit_request(),
            Some(Op::Request | Op::Response) | None => connection.reset(),
        }
        let readable = !connection.inbox.is_empty() || connection.end_of_input().is_some();
        if readable {
            self.wakes.extend(connection.reader.take());
        }
        if connection.credit() > 0 || connection.end_of_output().is_some() {
            self.wakes.extend(connection.writer.take());
        }
        self.settle(key);
    }

    /// Forgets a connection that nobody needs, or lines it up if the host is owed something.
    fn settle(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        if connection.next_control().is_some() {
            if !connection.queued {
                connection.queued = true;
                self.due.push_back(key);
            }
        } else if connection.over
            && !connection.owned
            && let Some(connection) = self.connections.remove(&key)
        {
            self.wakes.extend([connection.reader, connection.writer].into_iter().flatten());
        }
    }

    /// Sends what the host is owed after a change that the application made.
    fn settle_and_flush(&mut self, key: Key) {
        self.settle(key);
        if self.failure.is_none() && !self.due.is_empty() {
            let outcome = self.flush();
            // The failure, if there is one, is kept; whoever calls next is told.
            let _ = self.note(outcome);
        }
    }

    pub fn bind(&mut self, port: u32) -> Result<(), Error> {
        self.check()?;
        if self.listeners.contains_key(&port) {
            return Err(Error::PortInUse { port });
        }
        self.listeners.insert(port, Backlog::default());
        if !self.ready {
            self.ready = true;
            (self.doorbell)(Doorbell::Ready.value(0));
            crate::idle::expect_clients();
        }
        Ok(())
    }

    pub fn unbind(&mut self, port: u32) {
        let Some(backlog) = self.listeners.remove(&port) else {
            return;
        };
        self.wakes.extend(backlog.acceptor);
        for key in backlog.waiting {
            self.abandon(key);
        }
    }

    pub fn poll_accept(&mut self, port: u32, waker: &Waker) -> Poll<io::Result<Key>> {
        self.check()?;
        let Some(backlog) = self.listeners.get_mut(&port) else {
            return Poll::Pending;
        };
        if let Some(key) = backlog.waiting.pop_front() {
            return Poll::Ready(Ok(key));
        }
        register(&mut backlog.acceptor, waker, &mut self.wakes);
        Poll::Pending
    }

    pub fn poll_read(&mut self, key: Key, into: &mut ReadBuf<'_>, waker: &Waker) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&key) else {
            return gone();
        };
        let unread = connection.inbox.unread();
        if !unread.is_empty() {
            let len = unread.len().min(into.remaining());
            into.put_slice(unread.get(..len).unwrap_or_default());
            connection.inbox.consume(len);
            connection.on_read(len);
            self.settle_and_flush(key);
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = connection.end_of_input() {
            return Poll::Ready(end);
        }
        self.failure.map_or(Ok(()), Err)?;
        register(&mut connection.reader, waker, &mut self.wakes);
        Poll::Pending
    }

    pub fn poll_write(&mut self, key: Key, data: &[u8], waker: &Waker) -> Poll<io::Result<usize>> {
        self.check()?;
        if !self.tx.has_free() {
            let outcome = self.reclaim();
            self.note(outcome)?;
        }
        let Some(connection) = self.connections.get_mut(&key) else {
            return gone();
        };
        if let Some(error) = connection.end_of_output() {
            return Poll::Ready(Err(error));
        }
        let len = data.len().min(connection.credit()).min(MAX_DATA);
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // RESPONSE goes first: a writer that finds it unsent waits for a packet buffer like everybody else.
        let has_buffer = self.tx.has_free() && connection.next_control() != Some(Op::Response);
        if len == 0 || !has_buffer {
            register(&mut connection.writer, waker, &mut self.wakes);
            if !has_buffer && !connection.waits_for_buffer {
                connection.waits_for_buffer = true;
                self.writers.push_back(key);
            }
            return Poll::Pending;
        }
        let header = connection.header(self.guest_cid, Op::Rw, len);
        let outcome = self.send(&header, data.get(..len).unwrap_or_default());
        self.note(outcome)?;
        Poll::Ready(Ok(len))
    }

    pub fn shutdown(&mut self, key: Key) -> io::Result<()> {
        self.check()?;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.close_sending();
            self.settle_and_flush(key);
        }
        Ok(())
    }

    /// The application has dropped the stream.
    pub fn abandon(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.abandon();
            self.wakes.extend(connection.reader.take());
            self.wakes.extend(connection.writer.take());
            self.settle_and_flush(key);
        }
    }
}

/// Keeps the waker of the task that polled last. The one it replaces is woken, which does no harm, rather than
/// dropped here, which could run a task's destructor while the driver is borrowed.
fn register(slot: &mut Option<Waker>, waker: &Waker, wakes: &mut Vec<Waker>) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        wakes.extend(slot.replace(waker.clone()));
    }
}

/// A stream's connection exists for as long as the stream: this one belongs to a channel before the last `init`.
fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(Error::NotInitialised.into()))
}
