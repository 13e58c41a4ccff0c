//! One `mmap`ed range, unmapped when dropped. The only place of the VMM that maps memory.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use super::Error;

/// A mapped range of memory.
///
/// Holding one proves that `len` bytes from `start` are mapped and stay so until it is dropped. Whether they
/// may be written, and whether somebody else writes them meanwhile, depends on the constructor; all accessors
/// copy, none hands out a reference, except [`Mapping::sealed_bytes`] for memory that can no longer change.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping is plain memory owned by this value; it has no thread affinity.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only reads of mapped memory are possible, by copying.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset`, shared, for reading and writing.
    pub fn writable(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Self, Error> {
        Self::map(Some((file, offset)), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// Maps `len` bytes of `file` from its beginning, shared, for reading only.
    pub fn read_only(file: BorrowedFd<'_>, len: usize) -> Result<Self, Error> {
        Self::map(Some((file, 0)), len, ProtFlags::READ, MapFlags::SHARED)
    }

    /// Maps `len` bytes of zeroed memory that no other process has.
    pub fn anonymous(len: usize) -> Result<Self, Error> {
        Self::map(None, len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)
    }

    fn map(
        file: Option<(BorrowedFd<'_>, u64)>,
        len: usize,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> Result<Self, Error> {
        // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses.
        let start = unsafe {
            match file {
                Some((fd, offset)) => {
                    rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd.as_fd(), offset)
                }
                None => rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, protection, flags),
            }
        }
        .map_err(Error::system("map memory"))?;
        let start = NonNull::new(start.cast()).ok_or(Error::OutOfRange { offset: 0, len, size: 0 })?;
        Ok(Self { start, len, writable: protection.contains(ProtFlags::WRITE) })
    }

    /// Address of the first byte in this process, for the kernel (KVM slots).
    pub fn host_address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the mapping has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `bytes` to `offset`.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let at = self.at(offset, bytes.len())?;
        if !self.writable {
            return Err(Error::OutOfRange { offset, len: bytes.len(), size: 0 });
        }
        // SAFETY: `at` proved that the range is mapped, `writable` that it may be written; `bytes` is a Rust
        // slice, which cannot lie in this mapping because no reference into it is ever handed out.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        Ok(())
    }

    /// Copies the bytes at `offset` into `out`. What another process writes meanwhile may be seen in part.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        let at = self.at(offset, out.len())?;
        // SAFETY: `at` proved that the range is mapped; `out` is exclusively borrowed and not in this mapping.
        unsafe { std::ptr::copy_nonoverlapping(at, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Asks the kernel for huge pages, keeps the range out of core dumps, and so on.
    pub fn advise(&self, advice: rustix::mm::Advice) -> Result<(), Error> {
        // SAFETY: the range is this mapping's own; no advice used here (huge page, do not dump, do not merge)
        // changes its contents.
        unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.len, advice) }
            .map_err(Error::system("advise the kernel about memory"))
    }

    /// Keeps the range in memory: never swapped.
    pub fn lock(&self) -> Result<(), Error> {
        // SAFETY: the range is this mapping's own, and locking changes no contents.
        unsafe { rustix::mm::mlock(self.start.as_ptr().cast(), self.len) }
            .map_err(Error::system("lock memory"))
    }

    /// The same for what is not there yet, page by page as it comes.
    pub fn lock_on_fault(&self) -> Result<(), Error> {
        // SAFETY: the range is this mapping's own, and locking changes no contents.
        unsafe {
            rustix::mm::mlock_with(self.start.as_ptr().cast(), self.len, rustix::mm::MlockFlags::ONFAULT)
        }
        .map_err(Error::system("lock memory"))
    }

    /// The mapped bytes.
    ///
    /// # Safety
    /// Nobody may be able to change the bytes while the reference lives: a file sealed with `F_SEAL_WRITE`.
    pub(super) unsafe fn sealed_bytes(&self) -> &[u8] {
        // SAFETY: the range is mapped and readable for the lifetime of `self`; the caller promises constancy.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn at(&self, offset: usize, len: usize) -> Result<*mut u8, Error> {
        match offset.checked_add(len) {
            // SAFETY: offset <= len of the mapping, so the result is inside it or one past its end.
            Some(end) if end <= self.len => Ok(unsafe { self.start.as_ptr().add(offset) }),
            _ => Err(Error::OutOfRange { offset, len, size: self.len }),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and len are what mmap returned; no reference into the range outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
