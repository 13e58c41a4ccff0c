//! The guest's private memory: every secret lives here.
//!
//! On a kernel that has it, the memory is a `guest_memfd` (KVM_CREATE_GUEST_MEMFD with MMAP and INIT_SHARED):
//! memory that belongs to the VM instead of to a process. The initial data is copied in through a mapping;
//! [`PrivateMemory::seal`] then takes the mapping away and puts the only reference to the file where no
//! process, root included, can take it out again ([`FileReference`]). From then on the memory is in no
//! process's address space and there is no descriptor to map it from.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use casemate_abi::{PAGE_SIZE, PRIVATE_BASE};
use kvm_bindings::{
    KVM_MEM_GUEST_MEMFD, kvm_create_guest_memfd, kvm_userspace_memory_region, kvm_userspace_memory_region2,
};
use kvm_ioctls::VmFd;

use super::{Error, FileReference, Hold, Mapping};

/// `GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED` (linux/kvm.h, since 6.18).
const GUEST_MEMFD_FLAGS: u64 = 1 | 2;

/// How the private memory is kept from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealingMethod {
    /// `guest_memfd`: not in any process's address space.
    GuestMemfd,
    /// Ordinary anonymous memory of the VMM, because the kernel has no mappable guest_memfd. Root can read it.
    Anonymous,
    /// Not at all: memory of a child process.
    None,
}

/// Private memory while the image is being loaded.
#[derive(Debug)]
pub struct PrivateMemory {
    len: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    GuestMemfd(OwnedFd, Hold),
    /// And whether it is locked.
    Anonymous(Mapping, bool),
}

impl PrivateMemory {
    /// Memory of `len` bytes for `vm`, the best kind that this kernel has, put into KVM slot `slot` at
    /// [`PRIVATE_BASE`].
    pub fn new(vm: &VmFd, slot: u32, len: u64) -> Result<Self, Error> {
        let create = kvm_create_guest_memfd { size: len, flags: GUEST_MEMFD_FLAGS, ..Default::default() };
        match vm.create_guest_memfd(create) {
            // SAFETY: the ioctl returned a new descriptor that nothing else owns.
            Ok(fd) => Self::guest_memfd(vm, slot, len, unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(error) => {
                tracing::debug!(%error, "no mappable guest_memfd, using ordinary memory");
                Self::anonymous(vm, slot, len)
            }
        }
    }

    fn guest_memfd(vm: &VmFd, slot: u32, len: u64, fd: OwnedFd) -> Result<Self, Error> {
        use std::os::fd::AsRawFd;
        let region = kvm_userspace_memory_region2 {
            slot,
            flags: KVM_MEM_GUEST_MEMFD,
            guest_phys_addr: PRIVATE_BASE,
            memory_size: len,
            // No address: the slot is served from the file alone (the file was created shareable).
            userspace_addr: 0,
            guest_memfd_offset: 0,
            guest_memfd: fd.as_raw_fd() as u32,
            ..Default::default()
        };
        // SAFETY: the slot refers to no memory of this process, only to the file, which KVM keeps itself.
        unsafe { vm.set_user_memory_region2(region) }.map_err(|error| Error::System {
            what: "give the guest its private memory",
            source: error.into(),
        })?;
        Ok(Self { len, kind: Kind::GuestMemfd(fd, Hold::new()) })
    }

    /// Ordinary memory: the fallback, and what tests of the attacks use as their control.
    pub fn anonymous(vm: &VmFd, slot: u32, len: u64) -> Result<Self, Error> {
        let size =
            usize::try_from(len).map_err(|_| Error::OutOfRange { offset: 0, len: usize::MAX, size: 0 })?;
        let mapping = Mapping::anonymous(size)?;
        mapping.advise(rustix::mm::Advice::LinuxDontDump)?;
        let locked = mapping.lock_on_fault();
        if let Err(error) = &locked {
            tracing::debug!(%error, "the guest's memory can be swapped");
        }
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: PRIVATE_BASE,
            memory_size: len,
            userspace_addr: mapping.host_address(),
        };
        // SAFETY: the mapping lives as long as the VM: `Machine` owns both and drops the VM first.
        unsafe { vm.set_user_memory_region(region) }.map_err(|error| Error::System {
            what: "give the guest its private memory",
            source: error.into(),
        })?;
        Ok(Self { len, kind: Kind::Anonymous(mapping, locked.is_ok()) })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies initial data to guest address `address`.
    pub fn load(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let offset = address.wrapping_sub(PRIVATE_BASE);
        let out_of_range =
            || Error::OutOfRange { offset: offset as usize, len: bytes.len(), size: self.len as usize };
        let end =
            offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.len).ok_or_else(out_of_range)?;
        match &self.kind {
            Kind::GuestMemfd(fd, _) => {
                // Map just the pages that get data: an untouched page costs nothing.
                let first = offset - offset % PAGE_SIZE;
                let window = end.next_multiple_of(PAGE_SIZE) - first;
                let mapping = Mapping::writable(fd.as_fd(), first, window as usize)?;
                mapping.write((offset - first) as usize, bytes)
            }
            Kind::Anonymous(mapping, _) => mapping.write(offset as usize, bytes),
        }
    }

    /// Takes the memory away from the host. There is no way back and no way to look in from here on.
    pub fn seal(self) -> Result<SealedPrivateMemory, Error> {
        match self.kind {
            Kind::GuestMemfd(fd, hold) => Ok(SealedPrivateMemory {
                method: SealingMethod::GuestMemfd,
                reference: Some(hold.lock_away(fd)),
                // The kernel never swaps a guest_memfd.
                locked: true,
                _ordinary: None,
            }),
            Kind::Anonymous(mapping, locked) => Ok(SealedPrivateMemory {
                method: SealingMethod::Anonymous,
                reference: None,
                locked,
                _ordinary: Some(mapping),
            }),
        }
    }
}

/// Private memory of a sealed guest. It can be kept alive, and that is all.
#[derive(Debug)]
pub struct SealedPrivateMemory {
    method: SealingMethod,
    reference: Option<FileReference>,
    locked: bool,
    _ordinary: Option<Mapping>,
}

impl SealedPrivateMemory {
    /// What stands in its place where nothing is sealed: the process backend.
    pub fn unsealed() -> Self {
        Self { method: SealingMethod::None, reference: None, locked: false, _ordinary: None }
    }

    /// How it is kept from the host.
    pub fn method(&self) -> SealingMethod {
        self.method
    }

    /// Whether it stays out of swap.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// How the reference to the file is held; `None` for ordinary memory, which has no file.
    pub fn reference(&self) -> Option<&FileReference> {
        self.reference.as_ref()
    }
}
