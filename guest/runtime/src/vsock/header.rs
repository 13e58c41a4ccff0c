//! The virtio-vsock packet header (virtio 1.2, 5.10.6) as a plain value.

use casemate_abi::HOST_CID;

/// Size of `struct virtio_vsock_hdr`.
pub const HEADER_SIZE: usize = 44;
/// `VIRTIO_VSOCK_TYPE_STREAM`: the only socket type there is here.
pub const TYPE_STREAM: u16 = 1;

/// Bits of [`Header::flags`] in a SHUTDOWN packet.
pub mod shutdown {
    /// The sender will not receive any more data.
    pub const RECEIVE: u32 = 1;
    /// The sender will not send any more data.
    pub const SEND: u32 = 2;
    /// Both of them.
    pub const BOTH: u32 = RECEIVE | SEND;
}

/// `enum virtio_vsock_op`.
pub mod op {
    /// Open a connection.
    pub const REQUEST: u16 = 1;
    /// The connection is open.
    pub const RESPONSE: u16 = 2;
    /// There is no such connection (any more).
    pub const RST: u16 = 3;
    /// No more data in the directions that `flags` names.
    pub const SHUTDOWN: u16 = 4;
    /// Data.
    pub const RW: u16 = 5;
    /// Here is how much I can take.
    pub const CREDIT_UPDATE: u16 = 6;
    /// How much can you take?
    pub const CREDIT_REQUEST: u16 = 7;
}

/// `struct virtio_vsock_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    /// Bytes of data that follow.
    pub len: u32,
    /// Socket type: [`TYPE_STREAM`].
    pub kind: u16,
    /// One of [`op`], or garbage.
    pub op: u16,
    /// See [`shutdown`].
    pub flags: u32,
    /// Bytes of receive buffer the sender has for this connection.
    pub buf_alloc: u32,
    /// Bytes the sender has taken out of that buffer so far, modulo 2³².
    pub fwd_cnt: u32,
}

impl Header {
    /// A header without data from the guest to the host.
    pub fn to_host(guest_cid: u64, guest_port: u32, host_port: u32, op: u16) -> Self {
        Self {
            src_cid: guest_cid,
            dst_cid: HOST_CID,
            src_port: guest_port,
            dst_port: host_port,
            kind: TYPE_STREAM,
            op,
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
