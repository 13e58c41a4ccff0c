//! The shared region: rings, packet buffers, NSM mailbox, log.
//!
//! Guest and VMM write it at any time and root may read and write it too. Whoever takes a value from here
//! copies it once and checks the copy.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use casemate_abi::{SHARED_BASE, SHARED_SIZE};
use rustix::fs::MemfdFlags;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::Error;

/// The shared region, as guest memory of its own: a descriptor in a ring can refer to nothing else.
#[derive(Clone, Debug)]
pub struct SharedMemory {
    memory: GuestMemoryMmap,
    host_address: u64,
}

impl SharedMemory {
    /// Fresh, zeroed shared memory.
    pub fn new() -> Result<Self, Error> {
        let fd = rustix::fs::memfd_create("casemate-shared", MemfdFlags::CLOEXEC)
            .map_err(Error::system("create a memfd"))?;
        rustix::fs::ftruncate(&fd, SHARED_SIZE).map_err(Error::system("size a memfd"))?;
        let file = FileOffset::new(fd.into(), 0);
        let range = (GuestAddress(SHARED_BASE), SHARED_SIZE as usize, Some(file));
        let memory = GuestMemoryMmap::from_ranges_with_files([range]).map_err(|error| Error::System {
            what: "map the shared region",
            source: std::io::Error::other(error),
        })?;
        let host_address = memory.get_host_address(GuestAddress(SHARED_BASE)).map_err(|error| {
            Error::System { what: "find the shared region", source: std::io::Error::other(error) }
        })? as u64;
        Ok(Self { memory, host_address })
    }

    /// The region for rust-vmm's queues.
    pub fn guest_memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Where the region is mapped in this process, for KVM slots.
    pub fn host_address(&self) -> u64 {
        self.host_address
    }

    /// The file behind the region, for the process backend.
    pub fn file(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.memory.find_region(GuestAddress(SHARED_BASE))?.file_offset().map(|file| file.file().as_fd())
    }

    /// Copies the bytes at guest address `address` out, once.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), Error> {
        self.memory.read_slice(out, GuestAddress(address)).map_err(|_| Self::outside(address, out.len()))
    }

    /// Copies `bytes` to guest address `address`.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write_slice(bytes, GuestAddress(address)).map_err(|_| Self::outside(address, bytes.len()))
    }

    /// Publishes a word at guest address `address`, after everything written before it.
    pub fn store(&self, address: u64, value: u64) -> Result<(), Error> {
        self.memory
            .store(value, GuestAddress(address), Ordering::Release)
            .map_err(|_| Self::outside(address, 8))
    }

    fn outside(address: u64, len: usize) -> Error {
        Error::OutOfRange { offset: address as usize, len, size: SHARED_SIZE as usize }
    }
}
