//! Memory that everybody may read and nobody may write: a memfd with `F_SEAL_WRITE`.
//!
//! Once sealed, the file cannot be written through any descriptor, mapped writable by any process, shrunk or
//! grown, and the seals cannot be removed (fcntl(2), "File sealing"). A forced write through `/proc/PID/mem`
//! fails as well, because the mapping is shared and read-only.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_abi::PAGE_SIZE;
use rustix::fs::{MemfdFlags, SealFlags};

use super::{Error, Mapping};

/// A memfd that is being filled.
#[derive(Debug)]
pub struct UnsealedFile {
    fd: OwnedFd,
    len: u64,
}

impl UnsealedFile {
    /// An empty file of `len` bytes, rounded up to pages, all zero; pages come into being as they are written.
    pub fn new(name: &str, len: u64) -> Result<Self, Error> {
        let len = len.next_multiple_of(PAGE_SIZE);
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(Error::system("create a memfd"))?;
        rustix::fs::ftruncate(&fd, len).map_err(Error::system("size a memfd"))?;
        Ok(Self { fd, len })
    }

    /// Writes `bytes` at `offset`.
    pub fn write(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let written =
                rustix::io::pwrite(&self.fd, bytes, offset).map_err(Error::system("write a memfd"))?;
            offset = offset.saturating_add(written as u64);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Copies all of `source`, inside the kernel, to `offset`. Returns how many bytes came.
    pub fn copy_from(&self, source: &File, offset: u64, len: u64) -> Result<u64, Error> {
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(offset))
            .map_err(Error::system("seek in a memfd"))?;
        let mut position = 0;
        while position < len {
            let left = usize::try_from(len - position).unwrap_or(usize::MAX);
            let copied = rustix::fs::sendfile(&self.fd, source, Some(&mut position), left)
                .map_err(Error::system("copy the image"))?;
            if copied == 0 {
                break;
            }
        }
        Ok(position)
    }

    /// Seals the file against every change and maps it for reading.
    pub fn seal(self) -> Result<SealedFile, Error> {
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&self.fd, seals).map_err(Error::system("seal a memfd"))?;
        let len = usize::try_from(self.len).map_err(|_| Error::OutOfRange {
            offset: 0,
            len: usize::MAX,
            size: 0,
        })?;
        let mapping = Mapping::read_only(self.fd.as_fd(), len)?;
        Ok(SealedFile { fd: self.fd, mapping })
    }
}

/// A memfd that nobody can change any more, mapped for reading.
#[derive(Debug)]
pub struct SealedFile {
    fd: OwnedFd,
    mapping: Mapping,
}

impl SealedFile {
    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: F_SEAL_WRITE and F_SEAL_SHRINK are set: neither contents nor size can change.
        unsafe { self.mapping.sealed_bytes() }
    }

    /// Where the file is mapped in this process, for KVM slots.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

impl AsFd for SealedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_write_a_sealed_file() {
        let file = UnsealedFile::new("test", 8192).expect("memfd");
        file.write(4090, b"sealed for good").expect("write");
        let sealed = file.seal().expect("seal");
        assert_eq!(sealed.bytes().get(4090..4105), Some(&b"sealed for good"[..]));
        assert!(rustix::io::pwrite(&sealed, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(&sealed, 0).is_err());
        assert!(rustix::fs::fcntl_add_seals(&sealed, SealFlags::FUTURE_WRITE).is_err());
        assert!(Mapping::writable(sealed.as_fd(), 0, 4096).is_err());
        assert!(sealed.mapping().write(0, b"x").is_err());
        let memory = File::options().read(true).write(true).open("/proc/self/mem").expect("mem");
        assert!(rustix::io::pwrite(&memory, b"x", sealed.mapping().host_address()).is_err());
    }
}
