//! One connection between a client of the Unix socket and a port of the guest.
//!
//! ```text
//! Handshake ──CONNECT──▶ Requested ──RESPONSE──▶ Open ──client gone──▶ Closing ──RST──▶ Gone
//!     │                      │                    │ └──guest closed, backlog left──▶ Draining ──▶ Gone
//!     └──garbage, time-out───┴──error, violation──┴──both directions shut──▶ Reset ──RST sent──▶ Gone
//! ```
//!
//! Promises: never blocks; holds at most [`BUF_ALLOC`] bytes for a client that does not read, because a guest that
//! sends more than the credit it was given is reset; sends the guest no more than the credit the guest gave.
//! Trusts: neither the client nor the guest.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};

use super::handshake::{self, Progress};
use super::log::Client;
use casemate_abi::vsock::{Header, Op, shutdown};

/// Receive buffer that the host announces to the guest for each connection (virtio 1.2, 5.10.6.3).
pub const BUF_ALLOC: u32 = 128 * 1024;
/// A client has this long to send its CONNECT line.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that is being closed is given up after this long without progress.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(8);

/// See the drawing at the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The client has not said yet which port it wants; the guest knows nothing.
    Handshake,
    /// The guest has been asked, or is about to be.
    Requested,
    /// Data flows, in the directions that are not shut down.
    Open,
    /// The client has gone and the guest is told; its RST ends the connection.
    Closing,
    /// The guest has forgotten the connection; what it sent is still being written to the client.
    Draining,
    /// The socket is closed; the guest is owed an RST.
    Reset,
    /// Nothing is left to do: the slot can be freed.
    Gone,
}

/// What the connection would send to the guest now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Nothing,
    Control(Op),
    /// Whatever can be read from the client, up to this many bytes.
    Data(usize),
}

/// See the head of this file. Counters are free-running modulo 2³², as in the protocol.
pub struct Connection {
    stream: Option<UnixStream>,
    state: State,
    host_port: u32,
    guest_port: u32,
    /// The guest has been sent a REQUEST, so it must hear of the end.
    guest_knows: bool,
    /// Since the last EAGAIN there was an event that says that there is something to read.
    readable: bool,
    /// The client has closed both directions.
    hung_up: bool,
    /// The client's socket is shut down for writing.
    write_closed: bool,
    /// Received from the guest, not yet taken by the client.
    backlog: Vec<u8>,
    received: u32,
    forwarded: u32,
    announced: u32,
    credit_update_due: bool,
    sent: u32,
    guest_buf_alloc: u32,
    guest_fwd_cnt: u32,
    /// [`shutdown`] bits: what the guest said of itself, what holds for the client, what the guest was told of it.
    guest_down: u32,
    client_down: u32,
    told_down: u32,
    /// When to give up waiting, in the states that wait for somebody.
    deadline: Option<Instant>,
    /// For the log.
    story: Story,
}

/// What there is to say about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    pub began: Instant,
    /// Who wanted which port, once that is known.
    pub wanted: Option<(u32, Option<Client>)>,
    /// The guest has taken it.
    pub open: bool,
    /// The log knows that.
    pub told: bool,
    /// Bytes that went to the guest and to the client.
    pub to_guest: u64,
    pub to_client: u64,
}

impl Connection {
    /// A client that was just accepted; its socket does not block.
    pub fn new(stream: UnixStream, host_port: u32, now: Instant) -> Self {
        Self {
            stream: Some(stream),
            state: State::Handshake,
            host_port,
            guest_port: 0,
            guest_knows: false,
            readable: false,
            hung_up: false,
            write_closed: false,
            backlog: Vec::new(),
            received: 0,
            forwarded: 0,
            announced: 0,
            credit_update_due: false,
            sent: 0,
            guest_buf_alloc: 0,
            guest_fwd_cnt: 0,
            guest_down: 0,
            client_down: 0,
            told_down: 0,
            deadline: Some(now + HANDSHAKE_TIMEOUT),
            story: Story { began: now, wanted: None, open: false, told: false, to_guest: 0, to_client: 0 },
        }
    }

    /// For the log.
    pub fn story(&mut self) -> &mut Story {
        &mut self.story
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn host_port(&self) -> u32 {
        self.host_port
    }

    /// Whether this is the connection that a packet from `guest_port` means.
    pub fn is_with(&self, guest_port: u32) -> bool {
        self.guest_knows && self.guest_port == guest_port && self.state != State::Draining
    }

    /// Whether the client has to read before anything more can be written to it.
    pub fn is_stalled(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The client's socket, while there is one.
    pub fn fd(&self) -> Option<RawFd> {
        self.stream.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The deadline that counts now, if the connection waits for somebody.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Nobody came before the deadline.
    pub fn time_out(&mut self) {
        self.reset();
    }

    /// Something happened on the client's socket.
    pub fn on_event(&mut self, readable: bool, writable: bool, hung_up: bool, now: Instant) {
        self.readable |= readable || hung_up;
        self.hung_up |= hung_up;
        match self.state {
            State::Handshake => self.advance_handshake(),
            State::Requested if hung_up => self.reset(),
            State::Open if hung_up && self.client_down & shutdown::SEND != 0 => self.client_vanished(now),
            State::Draining if hung_up => self.state = State::Gone,
            State::Open | State::Draining if writable => self.drain(now),
            _ => {}
        }
    }

    fn advance_handshake(&mut self) {
        let Some(stream) = &self.stream else { return };
        match handshake::advance(stream) {
            Progress::Connect(port, client) => {
                self.guest_port = port;
                self.story.wanted = Some((port, client));
                self.state = State::Requested;
                self.deadline = None;
            }
            Progress::Waiting if !self.hung_up => {}
            Progress::Waiting | Progress::Refused => self.reset(),
        }
    }

    /// What the guest should be sent next.
    pub fn next(&self) -> Next {
        match self.state {
            State::Requested if !self.guest_knows => Next::Control(Op::Request),
            State::Reset => Next::Control(Op::Rst),
            State::Open => self.next_open(),
            State::Closing if self.told_down != self.client_down => Next::Control(Op::Shutdown),
            _ => Next::Nothing,
        }
    }

    fn next_open(&self) -> Next {
        let in_flight = self.sent.wrapping_sub(self.guest_fwd_cnt);
        let credit = self.guest_buf_alloc.saturating_sub(in_flight);
        let may_read = self.client_down & shutdown::SEND == 0 && self.guest_down & shutdown::RECEIVE == 0;
        if self.readable && may_read && credit > 0 {
            Next::Data(credit as usize)
        } else if self.told_down != self.client_down {
            Next::Control(Op::Shutdown)
        } else if self.credit_update_due {
            Next::Control(Op::CreditUpdate)
        } else {
            Next::Nothing
        }
    }

    /// The header for a packet that [`Connection::next`] named, which is from now on as good as sent.
    pub fn header(&mut self, guest_cid: u64, op: Op, now: Instant) -> Header {
        let mut header = Header::to_guest(guest_cid, self.host_port, self.guest_port, op);
        header.buf_alloc = BUF_ALLOC;
        header.fwd_cnt = self.forwarded;
        self.announced = self.forwarded;
        self.credit_update_due = false;
        match op {
            Op::Request => self.guest_knows = true,
            Op::Rst => self.state = State::Gone,
            Op::Shutdown => {
                header.flags = self.client_down;
                self.told_down = self.client_down;
                self.settle(now);
            }
            _ => {}
        }
        header
    }

    /// Reads from the client straight into the guest's buffer. Returns the number of bytes; with 0 there is no
    /// packet to send, and [`Connection::next`] knows what to do instead.
    pub fn read_from_client(&mut self, buffer: &mut VolatileSlice<'_, ()>, now: Instant) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        match retry(|| stream.read_volatile(buffer)) {
            Ok(0) => {
                self.readable = false;
                self.client_down |= shutdown::SEND;
                if self.hung_up {
                    self.client_vanished(now);
                }
                0
            }
            Ok(read) => {
                self.sent = self.sent.wrapping_add(read as u32);
                self.story.to_guest = self.story.to_guest.saturating_add(read as u64);
                read
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                0
            }
            Err(_) => {
                self.reset();
                0
            }
        }
    }

    /// A packet from the guest for this connection. `data` holds exactly `header.len` bytes.
    pub fn on_packet(&mut self, header: &Header, data: Option<&VolatileSlice<'_, ()>>, now: Instant) {
        self.guest_buf_alloc = header.buf_alloc;
        self.guest_fwd_cnt = header.fwd_cnt;
        match (Op::from_wire(header.op), self.state) {
            (Some(Op::Rst), _) => self.on_rst(now),
            (Some(Op::Response), State::Requested) => self.on_response(),
            (Some(Op::Rw), State::Open) => self.on_data(data, now),
            (Some(Op::Shutdown), State::Open) => {
                self.guest_down |= header.flags & shutdown::BOTH;
                if self.guest_down == shutdown::BOTH {
                    self.deadline = Some(now + LINGER_TIMEOUT);
                }
                self.settle(now);
            }
            (Some(Op::CreditUpdate), State::Open) => {}
            (Some(Op::CreditRequest), State::Open) => self.credit_update_due = true,
            // Sent before the guest learned of the end: its answer to SHUTDOWN or RST is on its way.
            (Some(Op::Rw | Op::Shutdown | Op::CreditUpdate | Op::CreditRequest), State::Closing) => {}
            (_, State::Reset) => {}
            _ => self.reset(),
        }
    }

    fn on_response(&mut self) {
        let ok = format!("OK {}\n", self.host_port);
        // A fresh socket takes a dozen bytes; one that does not belongs to a client that plays games.
        match self.stream.as_ref().map(|stream| write(stream, ok.as_bytes())) {
            Some(Ok(written)) if written == ok.len() => {
                self.state = State::Open;
                self.readable = true;
                self.story.open = true;
            }
            _ => self.reset(),
        }
    }

    fn on_rst(&mut self, now: Instant) {
        let closed_in_order = self.guest_down & shutdown::SEND != 0;
        if self.state == State::Open && closed_in_order && !self.backlog.is_empty() {
            self.state = State::Draining;
            self.deadline = Some(now + LINGER_TIMEOUT);
        } else {
            self.stream = None;
            self.state = State::Gone;
        }
    }

    fn on_data(&mut self, data: Option<&VolatileSlice<'_, ()>>, now: Instant) {
        let Some(data) = data else { return };
        let held = self.received.wrapping_sub(self.forwarded) as usize;
        if self.guest_down & shutdown::SEND != 0 || held + data.len() > BUF_ALLOC as usize {
            return self.reset();
        }
        self.received = self.received.wrapping_add(data.len() as u32);
        if self.client_down & shutdown::RECEIVE != 0 {
            return self.forwarded(data.len());
        }
        let mut taken = 0;
        if self.backlog.is_empty() {
            taken = match self.write_to_client(|stream| stream.write_volatile(data)) {
                Some(taken) => taken,
                None => return,
            };
        }
        if let Ok(rest) = data.offset(taken)
            && !rest.is_empty()
        {
            let start = self.backlog.len();
            self.backlog.resize(start + rest.len(), 0);
            if let Some(space) = self.backlog.get_mut(start..) {
                rest.copy_to(space);
            }
        }
        self.settle(now);
    }

    /// Writes what the client has not taken yet.
    fn drain(&mut self, now: Instant) {
        while !self.backlog.is_empty() {
            let backlog = std::mem::take(&mut self.backlog);
            let taken =
                self.write_to_client(|stream| write(stream, &backlog).map_err(VolatileMemoryError::IOError));
            let Some(taken) = taken else { break };
            self.backlog = backlog;
            self.backlog.drain(..taken.min(self.backlog.len()));
            if taken == 0 {
                break;
            }
            if self.deadline.is_some() {
                self.deadline = Some(now + LINGER_TIMEOUT);
            }
        }
        if self.backlog.is_empty() {
            self.backlog = Vec::new();
        }
        self.settle(now);
    }

    /// One write to the client: the bytes it took (0: it takes none now), or `None` if it never will again.
    fn write_to_client(
        &mut self,
        mut write: impl FnMut(&mut UnixStream) -> Result<usize, VolatileMemoryError>,
    ) -> Option<usize> {
        let stream = self.stream.as_mut()?;
        match retry(|| write(stream)) {
            Ok(taken) => {
                self.story.to_client = self.story.to_client.saturating_add(taken as u64);
                self.forwarded(taken);
                Some(taken)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => {
                self.client_down |= shutdown::RECEIVE;
                self.backlog = Vec::new();
                self.forwarded = self.received;
                None
            }
        }
    }

    fn forwarded(&mut self, bytes: usize) {
        self.forwarded = self.forwarded.wrapping_add(bytes as u32);
        if self.forwarded.wrapping_sub(self.announced) >= BUF_ALLOC / 2 {
            self.credit_update_due = true;
        }
    }

    /// Closes what is finished, now that something has changed.
    fn settle(&mut self, now: Instant) {
        if !self.backlog.is_empty() {
            return;
        }
        match self.state {
            State::Draining => {
                self.stream = None;
                self.state = State::Gone;
            }
            State::Open if self.client_down == shutdown::BOTH => self.client_vanished(now),
            State::Open if self.guest_down & shutdown::SEND != 0 => {
                let no_more_input = (self.guest_down | self.told_down_send()) & shutdown::RECEIVE != 0;
                if no_more_input {
                    self.reset();
                } else if !self.write_closed {
                    self.write_closed = true;
                    // The client may have gone already; its socket's next event says so.
                    let _ = self.stream.as_ref().map(|stream| stream.shutdown(Shutdown::Write));
                }
            }
            _ => {}
        }
    }

    /// [`shutdown::RECEIVE`] as far as the guest is concerned, once it knows that the client sends no more.
    fn told_down_send(&self) -> u32 {
        if self.told_down & shutdown::SEND != 0 { shutdown::RECEIVE } else { 0 }
    }

    /// The client neither reads nor writes any more.
    fn client_vanished(&mut self, now: Instant) {
        self.stream = None;
        self.backlog = Vec::new();
        self.forwarded = self.received;
        self.client_down = shutdown::BOTH;
        self.state = State::Closing;
        self.deadline = Some(now + LINGER_TIMEOUT);
    }

    /// Ends the connection for both sides, at once.
    fn reset(&mut self) {
        self.stream = None;
        self.backlog = Vec::new();
        self.deadline = None;
        self.state = if self.guest_knows { State::Reset } else { State::Gone };
    }
}

/// Repeats a call that a signal interrupted; makes its error an [`io::Error`].
fn retry(mut call: impl FnMut() -> Result<usize, VolatileMemoryError>) -> io::Result<usize> {
    loop {
        match call() {
            Ok(bytes) => return Ok(bytes),
            Err(VolatileMemoryError::IOError(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(VolatileMemoryError::IOError(error)) => return Err(error),
            Err(other) => return Err(io::Error::other(other)),
        }
    }
}

/// write(2): the standard library's `write` to a socket is sendto(2), which seccomp forbids.
fn write(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(stream, bytes)?)
}

#[cfg(test)]
#[path = "credit_tests.rs"]
mod credit_tests;
