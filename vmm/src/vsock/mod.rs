//! The passive virtio-vsock channel: a Unix socket on the host, ports in the guest, two virtqueues between them.
//!
//! Start reading here, then [`device`] (the loop), `muxer` (all connections), `connection` (one connection), `ring`
//! (one virtqueue), `handshake` (the client's first line) and `log` (what is said of it). Packets are those of
//! [`casemate_abi::vsock`].
//!
//! The host connects, the guest answers; a connection that the guest asks for is refused. There is no device
//! negotiation and no configuration space: `casemate_abi::shared` says where the virtqueues lie.
//!
//! # Promises
//! * One thread does everything and never blocks but in `epoll_wait`. A client or a guest that stalls, floods, sends
//!   garbage or disappears costs the others nothing but its share of that thread.
//! * Memory is bounded: [`MAX_CONNECTIONS`] connections, [`connection::BUF_ALLOC`] bytes each.
//! * An idle guest costs no processor time: polling lasts [`device::SPIN`] after the last activity.
//! * After [`VsockDevice::new`], the only system calls are `epoll_wait`, `epoll_ctl`, `accept4`, `read`, `write`,
//!   `recvmsg`, `shutdown`, `close`, `sched_yield`, the waker's own, and those of the memory allocator (`brk`,
//!   `mmap`, `munmap`); `clock_gettime` stays in the vDSO where the kernel can read its clock from user space.
//!   SIGPIPE must be ignored, as Rust programs do from the start.
//!
//! # Trusts
//! Nothing that the guest or a client writes. The device can reach the shared region and no other memory, because
//! that is all the [`Memory`] it is given holds: a descriptor that points elsewhere is an error, not an access.

use std::io;

use thiserror::Error;
use vm_memory::GuestMemoryMmap;

use casemate_abi::shared;

mod connection;
pub mod device;
mod handshake;
mod log;
mod muxer;
mod ring;
#[cfg(test)]
mod tests;

pub use device::{Config, Notifier, VsockDevice};
pub use log::Log;

/// The guest memory that the device may use: the shared region and nothing else.
pub type Memory = GuestMemoryMmap<()>;

/// Most connections at a time; further clients wait in the listener's backlog. Firecracker's number.
pub const MAX_CONNECTIONS: usize = 1023;

/// Most bytes of data in a packet.
pub const MAX_DATA: usize = shared::BUFFER_SIZE as usize - virtio_vsock::packet::PKT_HEADER_SIZE;

/// Why the channel ended. The guest cannot go on without it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The rings do not lie in the memory that the device was given.
    #[error("the {name} queue does not lie in the shared region; map all of it at the address the ABI names")]
    Layout {
        /// Which virtqueue.
        name: &'static str,
    },
    /// The guest corrupted a virtqueue.
    #[error("the guest's {name} queue is corrupt ({source}); the guest is broken or hostile and has to end")]
    Ring {
        /// Which virtqueue.
        name: &'static str,
        /// What `virtio-queue` found.
        source: virtio_queue::Error,
    },
    /// The guest made a buffer available that cannot hold a packet.
    #[error(
        "a buffer in the guest's {name} queue is unusable ({source}); the guest is broken or hostile and has to end"
    )]
    Buffer {
        /// Which virtqueue.
        name: &'static str,
        /// What `virtio-vsock` found.
        source: virtio_vsock::packet::Error,
    },
    /// A ring could not be read.
    #[error("the {name} queue cannot be read ({source})")]
    Memory {
        /// Which virtqueue.
        name: &'static str,
        /// What `vm-memory` found.
        source: vm_memory::GuestMemoryError,
    },
    /// The host refused a system call.
    #[error("the vsock device cannot {action} ({source}); check the process's limits on files and memory")]
    Host {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
