//! The memory of a guest, in three kinds, each with its own rule. See `casemate_abi` for the addresses.
//!
//! | kind | type | rule |
//! | --- | --- | --- |
//! | image, boot page, page tables | [`SealedFile`] | written once, then sealed against writing for good, by anybody |
//! | data, bss, heap, stack | [`PrivateMemory`] | written once at load, then unreachable: no mapping, no descriptor |
//! | rings, buffers, mailbox | [`SharedMemory`] | both sides write it at any time; nothing in it may be believed |
//!
//! Start reading at [`PrivateMemory::seal`]: it is what "sealed" means.

mod hold;
mod mapping;
mod private;
mod sealed_file;
mod secret;
mod shared;

pub use hold::{FileReference, Hold};
pub use mapping::Mapping;
pub use private::{PrivateMemory, SealedPrivateMemory, SealingMethod};
pub use sealed_file::{SealedFile, UnsealedFile};
pub use secret::{SecretKind, SecretMemory};
pub use shared::SharedMemory;

/// What can go wrong with the guest's memory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a step; `what` names it.
    #[error("cannot {what}: {source}")]
    System {
        /// The step, as in "cannot ...".
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// An access outside of a mapping: a bug of the caller, reported instead of performed.
    #[error("{len} bytes at offset {offset:#x} do not lie in a mapping of {size:#x} bytes")]
    OutOfRange {
        /// First byte asked for.
        offset: usize,
        /// Bytes asked for.
        len: usize,
        /// Size of the mapping.
        size: usize,
    },
}

impl Error {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { what, source: errno.into() }
    }
}

#[cfg(test)]
mod bounds_tests;
