//! The passive vsock channel, seen from the guest: listeners and streams for tokio, over two virtqueues.
//!
//! ```no_run
//! # async fn serve() -> std::io::Result<()> {
//! let mut listener = casemate_guest::vsock::VsockListener::bind(8000)?;
//! loop {
//!     let (stream, _peer) = listener.accept().await?;
//!     // `stream` is `AsyncRead + AsyncWrite + Unpin + Send`: hand it to hyper, or read and write.
//! #   drop(stream);
//! }
//! # }
//! ```
//!
//! Start reading here, then [`stream`](VsockStream) (what an application sees), `driver` (all connections),
//! `connection` (one connection), `queue` (a virtqueue) and `region` (how shared memory is touched).
//!
//! # Promises
//! * Data from the host is copied into private memory, once, before anything looks at it; so is a packet's header.
//! * No call blocks or waits in a loop. A writer without credit or without a free packet buffer is `Pending`, and
//!   is woken when there is one.
//! * Memory is bounded: [`MAX_CONNECTIONS`] connections with [`BUF_ALLOC_MIN`] to [`BUF_ALLOC_MAX`] bytes, fewer
//!   the more there are; a host that sends more than the
//!   credit it was given has its connection reset.
//! * Once the host has corrupted a virtqueue, every operation fails with [`Error::Corrupt`]; nothing panics.
//!
//! # Trusts
//! Nothing that the host writes. The host can withhold, reorder and forge packets: whatever must not be forged is
//! protected a layer above.
//!
//! # For the runtime
//! [`init`] once, then [`poll`] whenever the executor would wait, and [`prepare_idle`] before `Doorbell::Idle`. There
//! is one channel in a program, behind a lock that is never held while anything waits or while a task is woken: the
//! one vCPU always finds it free, and it will do for several.

use core::ptr::NonNull;
use std::io;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

mod connection;
mod driver;
mod queue;
mod region;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::{BUF_ALLOC_MAX, BUF_ALLOC_MIN};
pub use driver::MAX_CONNECTIONS;
pub use queue::Direction;
pub use stream::{VsockAddr, VsockListener, VsockStream};

use driver::Driver;
use region::Region;

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

/// What can go wrong with the channel as a whole.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host wrote nonsense into a virtqueue.
    #[error(
        "the host corrupted the {queue:?} virtqueue; the channel is closed until the guest is launched again"
    )]
    Corrupt {
        /// Which one.
        queue: Direction,
    },
    /// `virtio-drivers` could not set a queue up or use it.
    #[error("virtqueue: {0}")]
    Queue(#[from] virtio_drivers::Error),
    /// [`init`] has not been called.
    #[error("the vsock channel is not initialised; the runtime calls vsock::init before main")]
    NotInitialised,
    /// Two listeners for one port.
    #[error("port {port} already has a listener; drop that one first")]
    PortInUse {
        /// The port.
        port: u32,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::PortInUse { .. } => io::ErrorKind::AddrInUse,
            Error::NotInitialised => io::ErrorKind::NotConnected,
            Error::Corrupt { .. } | Error::Queue(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Sets the channel up: the queues at their places, all receive buffers with the device.
///
/// A test may call it again once it has dropped the streams and listeners of the channel before. `base` is where the shared region lies in this address space: `casemate_abi::SHARED_BASE` in a guest, any mapping
/// of the same memory in a test. `doorbell` stores a value at the doorbell; it must not call into this module.
///
/// # Safety
/// `SHARED_SIZE` bytes from `base` must be mapped for reading and writing from now on, aligned to a page, and
/// nothing else in this program may use the queues and packet buffers in them.
pub unsafe fn init(base: NonNull<u8>, guest_cid: u64, doorbell: fn(u64)) -> Result<(), Error> {
    // SAFETY: exactly what this function asks of its caller.
    let region = unsafe { Region::new(base) };
    let driver = Driver::new(region, guest_cid, doorbell)?;
    *DRIVER.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver);
    Ok(())
}

/// Moves packets in both directions. Returns whether anything came in or a task was woken, so that the executor
/// should run before it waits. Without a driver there is nothing to do.
pub fn poll() -> bool {
    with(Driver::poll).unwrap_or(false)
}

/// Asks the host to wake this guest from now on. Returns true if nothing has arrived meanwhile, so that it is safe
/// to ring `Doorbell::Idle`; on false, call [`poll`] again. The next [`poll`] ends the request.
pub fn prepare_idle() -> bool {
    with(Driver::prepare_idle).unwrap_or(true)
}

/// Runs `f` on the driver, then wakes the tasks it named: a waker may run code that calls back in here, so none is
/// woken or dropped while the lock is held.
fn with<R>(f: impl FnOnce(&mut Driver) -> R) -> Result<R, Error> {
    let (result, wakes) = {
        let mut slot = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
        let driver = slot.as_mut().ok_or(Error::NotInitialised)?;
        let result = f(driver);
        (result, driver.take_wakes())
    };
    for waker in wakes {
        waker.wake();
    }
    Ok(result)
}
