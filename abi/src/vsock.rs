//! The virtio-vsock packet header (virtio 1.2, 5.10.6) as a plain value, the same for both sides.
//!
//! Each side copies a header out of shared memory once, and looks at nothing but that copy: what the other does to the original
//! afterwards has no effect.

use crate::HOST_CID;

/// Size of `struct virtio_vsock_hdr` in bytes.
pub const HEADER_SIZE: usize = 44;
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

    /// A header without data from the guest to the host.
    pub fn to_host(guest_cid: u64, guest_port: u32, host_port: u32, op: Op) -> Self {
        Self {
            src_cid: guest_cid,
            dst_cid: HOST_CID,
            src_port: guest_port,
            dst_port: host_port,
            kind: TYPE_STREAM,
            op: op as u16,
            ..Self::default()
        }
    }

    /// The header in these bytes; packed, little-endian.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Self {
        Self {
            src_cid: u64::from_le_bytes(field(bytes, 0)),
            dst_cid: u64::from_le_bytes(field(bytes, 8)),
            src_port: u32::from_le_bytes(field(bytes, 16)),
            dst_port: u32::from_le_bytes(field(bytes, 20)),
            len: u32::from_le_bytes(field(bytes, 24)),
            kind: u16::from_le_bytes(field(bytes, 28)),
            op: u16::from_le_bytes(field(bytes, 30)),
            flags: u32::from_le_bytes(field(bytes, 32)),
            buf_alloc: u32::from_le_bytes(field(bytes, 36)),
            fwd_cnt: u32::from_le_bytes(field(bytes, 40)),
        }
    }

    /// The header as it goes over the wire.
    pub fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
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

/// The `N` bytes at a constant offset.
fn field<const N: usize>(bytes: &[u8; HEADER_SIZE], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[offset..offset + N]);
    value
}
