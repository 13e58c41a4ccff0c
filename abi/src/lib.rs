//! The interface between a sealed guest and its VMM: memory map, boot page, doorbell, packets.
//!
//! This crate is the one place where the memory map is written down. Everything is a constant or a plain
//! `repr(C)` record; there is no code here that either side could get wrong on its own.
//!
//! # Memory map
//!
//! These are guest-virtual addresses. Every one of them can also be mapped by an ordinary Linux process, so the
//! same image runs on the process backend. Shared and private memory have equal guest-physical addresses; the
//! image is mapped from wherever its pages lie in the sealed file (see the VMM's `memory` module).
//!
//! | region | address | size | guest may | who else can touch it after sealing |
//! | --- | --- | --- | --- | --- |
//! | page tables | [`PAGE_TABLES_BASE`] | ≤ [`PAGE_TABLES_MAX`] | – (not mapped) | readable by root, writable by nobody |
//! | scrub code | [`SCRUB_BASE`] | one page | execute | readable by root, writable by nobody |
//! | boot page | [`BOOT_BASE`] | [`BOOT_SIZE`] | read | readable by root, writable by nobody |
//! | image: text | [`IMAGE_BASE`] | ≤ [`IMAGE_MAX`] | execute, read | readable by root, writable by nobody |
//! | image: rodata | after text | ≤ [`IMAGE_MAX`] | read | readable by root, writable by nobody |
//! | shared | [`SHARED_BASE`] | [`SHARED_SIZE`] | read, write | VMM and root: untrusted by both sides |
//! | doorbell | [`DOORBELL`] | one page | store (exits to the VMM) | – (no memory behind it) |
//! | guard | [`PRIVATE_BASE`] | one page | – | – |
//! | sealing key, channel key | [`SEALING_KEY`], [`CHANNEL_KEY`] | 64 bytes, erased at start; then stack | read, write | nobody |
//! | stack | [`STACK_BOTTOM`] | to [`STACK_TOP`] | read, write | nobody |
//! | guard | [`STACK_TOP`] | one page | – | – |
//! | data, bss | [`DATA_BASE`] | as linked | read, write | nobody |
//! | heap | after bss | to the end of private memory | read, write | nobody |
#![no_std]

pub mod vsock;

/// Version of this interface. An image is linked for one version and refused by a VMM of another.
pub const ABI_VERSION: u32 = 2;

/// Size of a page in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Size of a large page in bytes. No 1 GiB pages are used.
pub const LARGE_PAGE_SIZE: u64 = 2 << 20;

/// Page tables: guest-physical only, never mapped in the guest.
pub const PAGE_TABLES_BASE: u64 = 0x0800_0000;
/// Most bytes the page tables may take.
pub const PAGE_TABLES_MAX: u64 = 0x0010_0000;

/// Code of the VMM's that zeroes private memory once the guest has ended. The guest itself has no use for it.
pub const SCRUB_BASE: u64 = BOOT_BASE - PAGE_SIZE;

/// [`BootInfo`], followed by the measured command line.
pub const BOOT_BASE: u64 = 0x0fff_0000;
/// Size of the boot region in bytes.
pub const BOOT_SIZE: u64 = 0x1_0000;
/// Most bytes of command line (EIF section 2) a sealed guest accepts.
pub const CMDLINE_MAX: u64 = BOOT_SIZE - PAGE_SIZE;

/// Text, then read-only data; both page aligned, as linked.
pub const IMAGE_BASE: u64 = 0x1000_0000;
/// Most bytes of text and read-only data together.
pub const IMAGE_MAX: u64 = 0x1000_0000;

/// Rings, packet buffers, NSM mailbox and (debug mode only) the log: see [`shared`].
pub const SHARED_BASE: u64 = 0x3000_0000;
/// Size of the shared region in bytes.
pub const SHARED_SIZE: u64 = 0x0020_0000;

/// An 8-byte store here leaves the guest. Nothing backs the page. See [`Doorbell`].
pub const DOORBELL: u64 = 0x3fff_f000;

/// Private memory: one contiguous guest-physical range, sealed, that begins with a guard page.
pub const PRIVATE_BASE: u64 = 0x4000_0000;
/// Lowest byte of the stack.
pub const STACK_BOTTOM: u64 = PRIVATE_BASE + PAGE_SIZE;
/// One past the highest byte of the stack; the page that begins here is a guard page.
pub const STACK_TOP: u64 = PRIVATE_BASE + 0x001f_f000;
/// The guest's sealing key, [`SEALING_KEY_LEN`] bytes, all zero if it has none. It lies at the far end of the stack, where
/// only the VMM has written before the first instruction; the guest takes it and erases the place before `main`.
pub const SEALING_KEY: u64 = STACK_BOTTOM;
/// Length of the sealing key in bytes.
pub const SEALING_KEY_LEN: usize = 32;
/// The key of the guest's channel to the security module, [`CHANNEL_KEY_LEN`] bytes behind the sealing key, put there and
/// erased likewise. All zero: the NSM is the VMM's own, and messages in the mailbox are bare.
pub const CHANNEL_KEY: u64 = SEALING_KEY + SEALING_KEY_LEN as u64;
/// Length of the channel key in bytes.
pub const CHANNEL_KEY_LEN: usize = 32;
/// Initialised and zero-initialised data, as linked; the heap follows at the next page.
pub const DATA_BASE: u64 = PRIVATE_BASE + 0x0020_0000;
/// Most bytes of private memory a guest may have (64 GiB).
pub const PRIVATE_MAX: u64 = 64 << 30;
/// Least bytes of private memory a guest may have (8 MiB).
pub const PRIVATE_MIN: u64 = 8 << 20;

const _: () = {
    assert!(PAGE_TABLES_BASE + PAGE_TABLES_MAX <= SCRUB_BASE);
    assert!(BOOT_BASE + BOOT_SIZE <= IMAGE_BASE);
    assert!(IMAGE_BASE + IMAGE_MAX <= SHARED_BASE);
    assert!(SHARED_BASE + SHARED_SIZE <= DOORBELL);
    assert!(DOORBELL + PAGE_SIZE <= PRIVATE_BASE);
    assert!(STACK_BOTTOM < STACK_TOP && STACK_TOP + PAGE_SIZE <= DATA_BASE);
    assert!(DATA_BASE.is_multiple_of(LARGE_PAGE_SIZE) && SHARED_BASE.is_multiple_of(LARGE_PAGE_SIZE));
    assert!(SHARED_SIZE.is_multiple_of(PAGE_SIZE) && BOOT_SIZE.is_multiple_of(PAGE_SIZE));
};

/// First word of [`BootInfo`]: "CASEMATE" in ASCII, little-endian.
pub const BOOT_MAGIC: u64 = u64::from_le_bytes(*b"CASEMATE");
/// [`BootInfo::flags`]: debug mode. PCRs are zero, the log reaches the console.
pub const BOOT_DEBUG: u32 = 1 << 0;
/// [`BootInfo::flags`]: somebody will attach a volume ([`port::VOLUME`]), and the guest should do nothing before that
/// which a volume could contradict.
pub const BOOT_VOLUME: u32 = 1 << 1;

/// What the VMM tells the guest, at [`BOOT_BASE`]. Only the command line is measured; the rest is the host's
/// word and must not be trusted with anything but liveness and the time of day.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// [`BOOT_MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// [`BOOT_DEBUG`], [`BOOT_VOLUME`], or 0.
    pub flags: u32,
    /// First byte after `.bss`, page aligned: the heap begins here.
    pub heap_start: u64,
    /// One past the last byte of the heap.
    pub heap_end: u64,
    /// Frequency of the time-stamp counter in kHz.
    pub tsc_khz: u64,
    /// Value of the guest's time-stamp counter at `unix_ns`.
    pub tsc_at_boot: u64,
    /// Wall-clock time in nanoseconds since 1970 when the counter read `tsc_at_boot`.
    pub unix_ns: u64,
    /// Length in bytes of the command line, which lies at `BOOT_BASE + PAGE_SIZE`.
    pub cmdline_len: u64,
    /// The guest's vsock context identifier.
    pub guest_cid: u64,
}

/// What a store to [`DOORBELL`] means. The low 8 bits of the stored value select, the upper 56 are the argument.
///
/// The store must be `mov qword ptr [rdi], rax` (bytes `48 89 07`) with RDI = [`DOORBELL`]: the process backend
/// relies on it to find the value and the next instruction.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doorbell {
    /// Virtqueue 0 (rx) has new buffers. virtio "available buffer notification".
    VsockRx = 0,
    /// Virtqueue 1 (tx) has new packets.
    VsockTx = 1,
    /// A request of `argument` bytes lies in the NSM mailbox; the store returns once the response is there.
    Nsm = 2,
    /// The guest has nothing to do. Returns after a used-buffer notification or `argument` microseconds
    /// ([`IDLE_FOREVER`]: no time limit).
    Idle = 3,
    /// The guest accepts connections from now on.
    Ready = 4,
    /// `argument` bytes of text lie in the log buffer. Ignored outside debug mode.
    Log = 5,
    /// The guest ends with exit code `argument` (0–255).
    Exit = 6,
}

/// Argument of [`Doorbell::Idle`]: wait for a notification however long it takes.
pub const IDLE_FOREVER: u64 = (1 << 56) - 1;

impl Doorbell {
    /// The value to store for this request.
    pub const fn value(self, argument: u64) -> u64 {
        (argument << 8) | self as u64
    }

    /// Request and argument of a stored value; `None` if the guest asked for something that does not exist.
    pub const fn decode(value: u64) -> Option<(Self, u64)> {
        let request = match value & 0xff {
            0 => Self::VsockRx,
            1 => Self::VsockTx,
            2 => Self::Nsm,
            3 => Self::Idle,
            4 => Self::Ready,
            5 => Self::Log,
            6 => Self::Exit,
            _ => return None,
        };
        Some((request, value >> 8))
    }
}

/// What lies where in the shared region. All of it is untrusted input to both sides.
pub mod shared {
    use super::{PAGE_SIZE, SHARED_BASE, SHARED_SIZE};

    /// NSM request, CBOR, at most [`NSM_REQUEST_MAX`] bytes; its length is the doorbell's argument. With a channel to the
    /// security module, a frame: [`NSM_TAG_LEN`] bytes, then the request.
    pub const NSM_REQUEST: u64 = SHARED_BASE + 0x1000;
    /// nsm-api: longest request in bytes.
    pub const NSM_REQUEST_MAX: u64 = 0x1000;
    /// What a frame has before its message, in bytes.
    pub const NSM_TAG_LEN: u64 = 32;
    /// Length of the NSM response in bytes as a little-endian u64, written by the VMM; 0: there is none.
    pub const NSM_RESPONSE_LEN: u64 = SHARED_BASE;
    /// One past the highest byte of private memory the guest has used so far, as a little-endian u64, written by the
    /// guest as its heap grows; 0 if it never says. Only for how much there is to zero at the end.
    pub const HEAP_TOP: u64 = SHARED_BASE + 8;
    /// NSM response, CBOR, or a frame likewise.
    pub const NSM_RESPONSE: u64 = NSM_REQUEST + NSM_REQUEST_MAX + PAGE_SIZE;
    /// nsm-api: longest response in bytes.
    pub const NSM_RESPONSE_MAX: u64 = 0x3000;
    /// Text for the console, UTF-8; debug mode only.
    pub const LOG: u64 = NSM_RESPONSE + NSM_RESPONSE_MAX + PAGE_SIZE;
    /// Longest piece of log text in bytes.
    pub const LOG_MAX: u64 = 0x1000;

    /// Descriptors in each virtqueue (virtio 1.2, 2.7: a power of two).
    pub const QUEUE_SIZE: u16 = 64;
    /// The rx queue (host to guest): descriptor table and available ring in one page, the used ring in the next.
    pub const RX_QUEUE: u64 = LOG + LOG_MAX;
    /// The tx queue (guest to host), laid out likewise.
    pub const TX_QUEUE: u64 = RX_QUEUE + 2 * PAGE_SIZE;
    /// Offset of the available ring from the queue's address: directly behind the descriptor table (16 bytes each).
    pub const AVAIL_OFFSET: u64 = 16 * QUEUE_SIZE as u64;
    /// Offset of the used ring from the queue's address.
    pub const USED_OFFSET: u64 = PAGE_SIZE;

    /// Packet buffers of the rx queue, one for each descriptor: virtio-vsock header, then data.
    pub const RX_BUFFERS: u64 = TX_QUEUE + 2 * PAGE_SIZE;
    /// Packet buffers of the tx queue, one for each descriptor.
    pub const TX_BUFFERS: u64 = RX_BUFFERS + QUEUE_SIZE as u64 * BUFFER_SIZE;
    /// Bytes in a packet buffer, the 44-byte header included.
    pub const BUFFER_SIZE: u64 = 3 * PAGE_SIZE;

    const _: () = assert!(NSM_TAG_LEN <= PAGE_SIZE);
    const _: () = assert!(TX_BUFFERS + QUEUE_SIZE as u64 * BUFFER_SIZE <= SHARED_BASE + SHARED_SIZE);
    const _: () = assert!(AVAIL_OFFSET + 6 + 2 * QUEUE_SIZE as u64 <= USED_OFFSET);
}

/// vsock port numbers with a meaning of their own.
pub mod port {
    /// The signer's HTTP/1.1 endpoint (KMS protocol and attestation).
    pub const SIGNER: u32 = 8000;
    /// The signer's volume: the host connects, then the guest sends requests and the host answers.
    pub const VOLUME: u32 = 8001;
    /// The security module's: where launches open sessions for their guests.
    pub const MODULE: u32 = 8002;
    /// The signer's certificate authorities: what everybody may have of them, over HTTP/1.1 (revocation lists, OCSP).
    pub const REVOCATION: u32 = 8080;
    /// The same as [`SIGNER`] behind TLS that ends in the guest.
    pub const SIGNER_TLS: u32 = 8443;
}

/// The guest's context identifier where the user names none. 0–2 are reserved (virtio 1.2, 5.10.4).
pub const DEFAULT_GUEST_CID: u64 = 16;
/// The host's context identifier.
pub const HOST_CID: u64 = 2;
