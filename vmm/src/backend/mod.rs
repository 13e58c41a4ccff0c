//! Where a guest runs: on KVM, sealed, or in a child process, for development.
//!
//! A backend runs the one virtual CPU until the guest wants something from outside. It never gives access to
//! the guest's registers or memory.

pub mod kvm;

pub use kvm::{KvmCpu, KvmMemory};

/// Why the virtual CPU stopped running.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest stored this value to the doorbell.
    Doorbell(u64),
    /// The guest did something it may not do. It cannot go on.
    Fault(Fault),
    /// A signal arrived; run again.
    Interrupted,
}

/// What a guest did that ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An exception: unmapped address, write to code, execution of data, privileged or undefined instruction.
    /// With no handler in the guest, each ends in the processor's shutdown state (KVM_EXIT_SHUTDOWN).
    Exception,
    /// An access to an address that nothing answers, other than an 8-byte store to the doorbell.
    BadAccess(u64),
    /// Private memory is gone (KVM_EXIT_MEMORY_FAULT): out of host memory, or the last reference was dropped.
    MemoryGone,
    /// Anything else, as the backend names it.
    Other(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exception => f.write_str(
                "an exception (access to unmapped memory, write to code, execution of data, or a forbidden instruction)",
            ),
            Self::BadAccess(address) => write!(f, "an access to {address:#x}, where there is nothing"),
            Self::MemoryGone => f.write_str("an access to memory that the host could not provide"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// The one virtual CPU of a guest.
pub trait Cpu: Send {
    /// Runs the guest until it stops by itself.
    fn run(&mut self) -> std::io::Result<Exit>;
}
