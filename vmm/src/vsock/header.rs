//! The virtio-vsock packet header (virtio 1.2, 5.10.6) as a plain value.
//!
//! A header is copied out of guest memory once (by `virtio-vsock`), turned into a [`Header`], and only that copy is
//! ever looked at: what the guest does to the original afterwards has no effect.

use casemate_abi::HOST_CID;
use virtio_vsock::packet::{PKT_HEADER_SIZE, VsockPacket};

/// `VIRTIO_VSOCK_TYPE_STREAM`: the only socket type there is here.
pub const TYPE_STREAM: u16 = 1;

/// Bits of [`Header::flags`] in a [`Op::Shutdown`] packet.
pub mod shutdown {
    /// The sender will not receive any more data.
    pub const RECEIVE: u32 = 1;
    /// The sender will not send any more data.
    pub const SEND: u32 = 2;
    /// Both of them.
    pub const BOTH: u32 = RECEIVE | SEND;
}

/// What a packet asks for: `enum virtio_vsock_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Open a connection.
    Request = 1,
    /// The connection is open.
    Response = 2,
    /// There is no such connection (any more).
    Rst = 3,
    /// No more data in the directions that `flags` names.
    Shutdown = 4,
    /// Data.
    Rw = 5,
    /// Here is how much I can take.
    CreditUpdate = 6,
    /// How much can you take?
    CreditRequest = 7,
}

impl Op {
    /// The operation with this number, if there is one.
    pub fn from_wire(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Rst,
            4 => Self::Shutdown,
            5 => Self::Rw,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

/// `struct virtio_vsock_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Context identifier of the sender.
    pub src_cid: u64,
    /// Context identifier of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes of data that follow.
    pub len: u32,
    /// Socket type: [`TYPE_STREAM`].
    pub kind: u16,
    /// An [`Op`], or garbage.
    pub op: u16,
    /// See [`shutdown`].
    pub flags: u32,
    /// Bytes of receive buffer the sender has for this connection.
    pub buf_alloc: u32,
    /// Bytes the sender has taken out of that buffer so far, modulo 2³².
    pub fwd_cnt: u32,
}

impl Header {
    /// A header without data from the host to the guest.
    pub fn to_guest(guest_cid: u64, host_port: u32, guest_port: u32, op: Op) -> Self {
        Self {
            src_cid: HOST_CID,
            dst_cid: guest_cid,
            src_port: host_port,
            dst_port: guest_port,
            kind: TYPE_STREAM,
            op: op as u16,
            ..Self::default()
        }
    }

    /// The header of a packet that the guest sent, from `virtio-vsock`'s private copy of it.
    pub fn from_packet(packet: &VsockPacket<'_, ()>) -> Self {
        Self {
            src_cid: packet.src_cid(),
            dst_cid: packet.dst_cid(),
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            len: packet.len(),
            kind: packet.type_(),
            op: packet.op(),
            flags: packet.flags(),
            buf_alloc: packet.buf_alloc(),
            fwd_cnt: packet.fwd_cnt(),
        }
    }

    /// The header as it goes over the wire: packed, little-endian.
    pub fn to_bytes(self) -> [u8; PKT_HEADER_SIZE] {
        let mut bytes = [0; PKT_HEADER_SIZE];
        bytes[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.op.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }
}
