//! One connection: what was received, what may be sent, what the host is still to be told.

use core::task::Waker;
use std::io;

use casemate_abi::vsock::{Header, Op, shutdown};

/// Most bytes of receive buffer that a connection has (virtio 1.2, 5.10.6.3).
pub const BUF_ALLOC_MAX: u32 = 128 * 1024;
/// Fewest.
pub const BUF_ALLOC_MIN: u32 = 16 * 1024;
/// What the connections share: a new one gets its part, within the limits above.
const BUF_ALLOC_SHARED: usize = 8 * 1024 * 1024;

/// Receive buffer for one more connection beside `others`. All together take less than 40 MiB at the worst.
pub fn buf_alloc(others: usize) -> u32 {
    let share = u32::try_from(BUF_ALLOC_SHARED / (others + 1)).unwrap_or(u32::MAX);
    share.clamp(BUF_ALLOC_MIN, BUF_ALLOC_MAX)
}

/// The two ports that name a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub host_port: u32,
    pub guest_port: u32,
}

/// Bytes that arrive at one end and leave at the other.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    read: usize,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.read..).unwrap_or_default()
    }

    /// Marks bytes of [`Inbox::unread`] as taken.
    pub fn consume(&mut self, len: usize) {
        self.read = (self.read + len).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Where to append, with the read part out of the way if it has grown to more than the rest.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.read > self.bytes.len() / 2 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        &mut self.bytes
    }

    /// An idle connection holds no memory beyond a small buffer.
    pub fn clear(&mut self) {
        self.read = 0;
        if self.bytes.capacity() > BUF_ALLOC_MIN as usize {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

/// See the head of this file. Counters are free-running modulo 2³², as in the protocol.
pub struct Connection {
    key: Key,
    pub inbox: Inbox,
    /// What the host was promised to have room for.
    buf_alloc: u32,
    received: u32,
    forwarded: u32,
    announced: u32,
    sent: u32,
    host_buf_alloc: u32,
    host_fwd_cnt: u32,
    /// [`shutdown`] bits: what the host said of the client, what holds here, what the host was told of it.
    host_down: u32,
    guest_down: u32,
    told_down: u32,
    response_due: bool,
    credit_update_due: bool,
    rst_due: bool,
    /// The host has forgotten the connection, or will once it reads the RST.
    pub over: bool,
    /// Over, and not in order: what was on its way is lost.
    broken: bool,
    /// A stream or a listener's queue still refers to it.
    pub owned: bool,
    /// It stands in the driver's list of those that have something to tell the host.
    pub queued: bool,
    /// It stands in the driver's list of those whose writer waits for a packet buffer.
    pub waits_for_buffer: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

impl Connection {
    /// A connection that the host has asked for and that is accepted.
    pub fn new(key: Key, request: &Header, buf_alloc: u32) -> Self {
        Self {
            key,
            inbox: Inbox::default(),
            buf_alloc,
            received: 0,
            forwarded: 0,
            announced: 0,
            sent: 0,
            host_buf_alloc: request.buf_alloc,
            host_fwd_cnt: request.fwd_cnt,
            host_down: 0,
            guest_down: 0,
            told_down: 0,
            response_due: true,
            credit_update_due: false,
            rst_due: false,
            over: false,
            broken: false,
            owned: true,
            queued: false,
            waits_for_buffer: false,
            reader: None,
            writer: None,
        }
    }

    /// The next packet without data that the host is owed.
    pub fn next_control(&self) -> Option<Op> {
        if self.rst_due {
            Some(Op::Rst)
        } else if self.over {
            None
        } else if self.response_due {
            Some(Op::Response)
        } else if self.told_down != self.guest_down {
            Some(Op::Shutdown)
        } else if self.credit_update_due {
            Some(Op::CreditUpdate)
        } else {
            None
        }
    }

    /// The header for a packet, which is from now on as good as sent.
    pub fn header(&mut self, guest_cid: u64, op: Op, len: usize) -> Header {
        let mut header = Header::to_host(guest_cid, self.key.guest_port, self.key.host_port, op);
        header.len = len as u32;
        header.buf_alloc = self.buf_alloc;
        header.fwd_cnt = self.forwarded;
        self.announced = self.forwarded;
        self.credit_update_due = false;
        self.sent = self.sent.wrapping_add(len as u32);
        match op {
            Op::Response => self.response_due = false,
            Op::Rst => self.rst_due = false,
            Op::Shutdown => {
                header.flags = self.guest_down;
                self.told_down = self.guest_down;
            }
            _ => {}
        }
        header
    }

    /// How many bytes the host can take now.
    pub fn credit(&self) -> usize {
        let in_flight = self.sent.wrapping_sub(self.host_fwd_cnt);
        self.host_buf_alloc.saturating_sub(in_flight) as usize
    }

    /// The host's view of its receive buffer, which every packet carries.
    pub fn on_credit(&mut self, header: &Header) {
        self.host_buf_alloc = header.buf_alloc;
        self.host_fwd_cnt = header.fwd_cnt;
    }

    /// Whether `len` more bytes may arrive. They count as received; without a reader they count as read, too.
    pub fn admit(&mut self, len: usize) -> bool {
        let held = self.received.wrapping_sub(self.forwarded) as usize;
        if self.host_down & shutdown::SEND != 0 || held.saturating_add(len) > self.buf_alloc as usize {
            return false;
        }
        self.received = self.received.wrapping_add(len as u32);
        true
    }

    /// The application, or nobody, has taken `len` bytes.
    pub fn on_read(&mut self, len: usize) {
        self.forwarded = self.forwarded.wrapping_add(len as u32);
        if self.forwarded.wrapping_sub(self.announced) >= self.buf_alloc / 2 {
            self.credit_update_due = true;
        }
    }

    /// The host asks how much there is room for.
    pub fn on_credit_request(&mut self) {
        self.credit_update_due = true;
    }

    /// The host says that the client is done, in the directions that `flags` names.
    pub fn on_shutdown(&mut self, flags: u32) {
        self.host_down |= flags & shutdown::BOTH;
        if self.host_down == shutdown::BOTH {
            // virtio 1.2, 5.10.6.5: the answer to a clean disconnect is RST.
            self.rst_due = true;
            self.over = true;
        }
    }

    /// The host has no such connection any more.
    pub fn on_rst(&mut self) {
        self.broken |= self.host_down & shutdown::SEND == 0;
        self.over = true;
    }

    /// The host broke the rules.
    pub fn reset(&mut self) {
        self.broken = true;
        self.over = true;
        self.rst_due = true;
    }

    /// The application sends no more.
    pub fn close_sending(&mut self) {
        self.guest_down |= shutdown::SEND;
    }

    /// The application has dropped the stream.
    pub fn abandon(&mut self) {
        self.owned = false;
        self.guest_down = shutdown::BOTH;
        self.on_read(self.inbox.unread().len());
        self.inbox.clear();
    }

    /// Whether a reader that has taken everything is at the end, and which one: `Some(Ok)` is an orderly one.
    pub fn end_of_input(&self) -> Option<io::Result<()>> {
        if self.host_down & shutdown::SEND != 0 {
            Some(Ok(()))
        } else if self.over {
            Some(Err(io::ErrorKind::ConnectionReset.into()))
        } else {
            None
        }
    }

    /// Whether a writer cannot go on, and why.
    pub fn end_of_output(&self) -> Option<io::Error> {
        if self.broken {
            Some(io::ErrorKind::ConnectionReset.into())
        } else if self.over
            || self.guest_down & shutdown::SEND != 0
            || self.host_down & shutdown::RECEIVE != 0
        {
            Some(io::ErrorKind::BrokenPipe.into())
        } else {
            None
        }
    }
}
