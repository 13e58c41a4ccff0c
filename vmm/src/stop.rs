//! What ends the packet loop: a signal to the VMM, or the guest's own end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::{Error as SignalError, block_signal};

use crate::vcpu::End;

/// The signals that end a guest.
const SIGNALS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];
/// How long a guest that was told to stop has until its next exit. One that computes for longer ends with the process.
const PATIENCE: Duration = Duration::from_millis(500);

/// A signal, and who sent it, in the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub number: i32,
    /// The sender's process; 0 for the kernel (Ctrl-C on a terminal) and for processes that this one cannot see.
    pub process: u32,
    /// The sender's user.
    pub user: u32,
}

impl std::fmt::Display for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { process: 0, .. } => f.write_str("told to by the terminal"),
            Self { process, user, .. } => write!(f, "told to by process {process} of user {user}"),
        }
    }
}

/// Readable once a signal has arrived or the guest has ended.
pub struct Stop {
    readable: Epoll,
    signals: OwnedFd,
    ended: EventFd,
    end: Arc<Mutex<Option<End>>>,
}

/// The virtual CPU's thread leaves word of the guest's end here.
pub struct Ending {
    ended: EventFd,
    end: Arc<Mutex<Option<End>>>,
}

impl Ending {
    /// The guest has ended.
    pub fn set(&self, end: &End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end.clone());
        // The only error is a full counter, and then the end is known already.
        let _ = self.ended.write(1);
    }
}

/// Blocks the signals that end a guest in this thread, so that another one gets them.
pub fn block() -> std::io::Result<()> {
    for signal in SIGNALS {
        match block_signal(signal) {
            // Already so where `serve` is the parent: a child inherits what is blocked.
            Ok(()) | Err(SignalError::SignalAlreadyBlocked(_)) => {}
            Err(error) => return Err(std::io::Error::other(format!("{error:?}"))),
        }
    }
    Ok(())
}

impl Stop {
    /// Blocks the signals that end a guest, in this thread and those made after. A thread from before has to have blocked
    /// them itself ([`block`]).
    pub fn new() -> std::io::Result<Self> {
        block()?;
        let signals = signal_descriptor()?;
        let ended = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let readable = Epoll::new()?;
        for fd in [signals.as_raw_fd(), ended.as_raw_fd()] {
            readable.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, fd as u64))?;
        }
        Ok(Self { readable, signals, ended, end: Arc::default() })
    }

    /// A descriptor that becomes readable when it is time to stop.
    pub fn descriptor(&self) -> std::io::Result<OwnedFd> {
        // SAFETY: the descriptor belongs to `self.readable` and is open for the length of this borrow.
        unsafe { BorrowedFd::borrow_raw(self.readable.as_raw_fd()) }.try_clone_to_owned()
    }

    /// For the virtual CPU's thread.
    pub fn ending(&self) -> std::io::Result<Ending> {
        Ok(Ending { ended: self.ended.try_clone()?, end: self.end.clone() })
    }

    /// The signal that arrived, if one did.
    pub fn signal(&self) -> Option<Received> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        rustix::io::read(self.signals.as_fd(), &mut info).ok()?;
        // struct signalfd_siginfo (signalfd(2)): number, errno, code, process, user.
        let mut words = info.as_chunks().0.iter().copied();
        let number = i32::from_ne_bytes(words.next()?);
        let mut sender = words.skip(2).map(u32::from_ne_bytes);
        Some(Received { number, process: sender.next()?, user: sender.next()? })
    }

    /// How the guest ended; waits a moment for one that was just told to stop.
    pub fn guest_end(&self) -> Option<End> {
        let started = Instant::now();
        loop {
            let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
            let left = PATIENCE.saturating_sub(started.elapsed());
            if end.is_some() || left.is_zero() {
                return end;
            }
            let timeout = i32::try_from(left.as_millis()).unwrap_or(0).max(1);
            let _ = self.readable.wait(timeout, &mut [EpollEvent::default()]);
        }
    }
}

fn signal_descriptor() -> std::io::Result<OwnedFd> {
    // SAFETY: all-zero bytes are a valid sigset_t, and sigemptyset initialises it in any case.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid signal set throughout; signalfd copies it and makes a new descriptor.
    let fd: RawFd = unsafe {
        libc::sigemptyset(&raw mut set);
        for signal in SIGNALS {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: signalfd just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
