//! Where a guest runs: on KVM, sealed, or in a child process, for development.
//!
//! A [`Backend`] takes the guest's initial memory and then turns into a [`Cpu`], which runs until the guest wants
//! something from outside. Neither has a function that reads the guest's memory or registers.

pub mod kvm;
pub mod process;

use vmm_sys_util::eventfd::EventFd;

use crate::memory::{self, SealedFile, SealedPrivateMemory, SharedMemory};
use crate::page_tables::Access;

/// What runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A virtual machine: sealed
    Kvm,
    /// An ordinary process: not sealed, zero PCRs; for development where there is no KVM
    Process,
}

impl Kind {
    /// The name in postures and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Process => "process",
        }
    }
}

/// Why a backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `/dev/kvm` cannot be opened.
    #[error(
        "cannot open /dev/kvm ({0}): load the kvm module and join the `kvm` group, or choose `--backend process`, \
         which does not seal"
    )]
    Open(kvm_ioctls::Error),
    /// A step of KVM's failed; `what` names it.
    #[error("KVM cannot {what}: {source}")]
    Kvm {
        /// The step, as in "cannot ...".
        what: &'static str,
        /// The kernel's answer.
        source: kvm_ioctls::Error,
    },
    /// The memory could not be set up.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The processor lacks something that a guest needs.
    #[error("this processor or kernel has no {0}, which a guest needs")]
    Processor(&'static str),
}

/// One range of the guest's view of the sealed files.
#[derive(Clone, Copy, Debug)]
pub struct SealedRange {
    /// First guest address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Whether the bytes lie in the image file; otherwise in the file of page tables and boot region.
    pub in_image: bool,
    /// Where they begin in that file.
    pub offset: u64,
    /// What the guest may do.
    pub access: Access,
}

/// The sealed files, and what the guest sees of them.
#[derive(Clone, Copy, Debug)]
pub struct SealedView<'a> {
    /// Page tables, then the boot region.
    pub tables: &'a SealedFile,
    /// The image.
    pub image: &'a SealedFile,
    /// Text, read-only data and boot region.
    pub ranges: &'a [SealedRange],
}

/// A guest's machine while it is being put together.
pub trait Backend {
    /// Copies initial data to guest address `address`.
    fn load(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error>;
    /// Sets where the guest begins. `kick` is signalled when it notifies a virtqueue, if the backend can do so by itself.
    fn start_at(&mut self, entry: u64, kick: &EventFd) -> Result<(), Error>;
    /// The guest's time-stamp counter now, and its frequency in kHz.
    fn time_stamp(&self) -> Result<(u64, u64), Error>;
    /// Gives the guest the sealed files.
    fn map_sealed(&mut self, view: SealedView<'_>) -> Result<(), Error>;
    /// Puts the private memory out of reach and lets go of everything but the virtual CPU.
    fn seal(self: Box<Self>) -> Result<(Box<dyn Cpu>, SealedPrivateMemory), Error>;
}

/// A backend of this kind with `memory` bytes of private memory and the shared region. `anonymous`: ordinary private
/// memory even where the kernel has better.
pub fn new(
    kind: Kind,
    memory: u64,
    anonymous: bool,
    shared: &SharedMemory,
) -> Result<Box<dyn Backend>, Error> {
    Ok(match kind {
        Kind::Kvm => Box::new(kvm::KvmBackend::new(memory, anonymous, shared)?),
        Kind::Process => Box::new(process::ProcessBackend::new(memory, shared)?),
    })
}

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
    /// Called once on the thread that will run the guest, before that thread gives up its system calls.
    fn enter_thread(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Runs the guest until it stops by itself.
    fn run(&mut self) -> std::io::Result<Exit>;

    /// Zeroes private memory up to `top`, after the guest has ended and whatever state it is in. The guest never runs
    /// again after this. A backend that seals nothing has nothing to do.
    fn scrub(&mut self, _top: u64) -> std::io::Result<()> {
        Ok(())
    }
}
