//! The shared region, as the guest touches it.
//!
//! The host can change any of it at any time, so no Rust value lives there and no reference into it is ever read
//! through: bytes are copied in or out, once, and only the private copy is looked at. The copy is one instruction of
//! inline assembly, which the compiler can neither repeat nor tear into accesses of its own.

use core::arch::asm;
use core::ptr::NonNull;

use casemate_abi::{SHARED_BASE, SHARED_SIZE};

/// Where the shared region lies in this address space.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    base: NonNull<u8>,
}

// SAFETY: it is an address, valid in every thread of the process; the bytes behind it are only ever copied.
unsafe impl Send for Region {}

impl Region {
    /// The region at `base`.
    ///
    /// # Safety
    /// `SHARED_SIZE` bytes from `base` must be mapped for reading and writing for as long as a copy of the returned
    /// value exists, aligned to a page, and used by nothing else in this program.
    pub unsafe fn new(base: NonNull<u8>) -> Self {
        Self { base }
    }

    /// Where it begins.
    pub fn base(self) -> NonNull<u8> {
        self.base
    }

    /// A pointer to `len` bytes at the guest-physical address `address`, if they lie in the region.
    pub fn pointer(self, address: u64, len: usize) -> Option<NonNull<u8>> {
        let offset = address.checked_sub(SHARED_BASE)?;
        let end = offset.checked_add(len as u64)?;
        if end > SHARED_SIZE {
            return None;
        }
        // SAFETY: offset + len <= SHARED_SIZE was just checked, and `new` demands that this much is mapped.
        Some(unsafe { self.base.add(offset as usize) })
    }

    /// The guest-physical address of a pointer into the region.
    pub fn address(self, pointer: NonNull<u8>) -> Option<u64> {
        let offset = (pointer.addr().get() as u64).checked_sub(self.base.addr().get() as u64)?;
        (offset < SHARED_SIZE).then_some(SHARED_BASE + offset)
    }

    /// Copies shared bytes into private memory. Does nothing and returns false if they do not lie in the region.
    pub fn read(self, address: u64, into: &mut [u8]) -> bool {
        let Some(from) = self.pointer(address, into.len()) else {
            return false;
        };
        // SAFETY: `from` is valid for `into.len()` bytes (checked by `pointer`), `into` is exclusively borrowed, and
        // private memory does not overlap the region (`new`).
        unsafe { copy(into.as_mut_ptr(), from.as_ptr(), into.len()) };
        true
    }

    /// Appends `len` shared bytes to private memory. Does nothing and returns false if they do not lie in the region.
    pub fn append(self, address: u64, len: usize, into: &mut Vec<u8>) -> bool {
        let Some(from) = self.pointer(address, len) else {
            return false;
        };
        into.reserve(len);
        let space = into.spare_capacity_mut();
        // SAFETY: `reserve` made room for `len` bytes behind the vector's contents, `from` is valid for as many
        // (checked by `pointer`), and after the copy they are initialised, which is what `set_len` asks for.
        unsafe {
            copy(space.as_mut_ptr().cast(), from.as_ptr(), len);
            into.set_len(into.len() + len);
        }
        true
    }

    /// Copies private bytes into shared memory. Does nothing and returns false if the target is not in the region.
    pub fn write(self, address: u64, from: &[u8]) -> bool {
        let Some(to) = self.pointer(address, from.len()) else {
            return false;
        };
        // SAFETY: `to` is valid for `from.len()` bytes (checked by `pointer`) and no Rust object lies there (`new`).
        unsafe { copy(to.as_ptr(), from.as_ptr(), from.len()) };
        true
    }
}

/// `memcpy` that the compiler cannot see through.
///
/// # Safety
/// `to` must be valid for writing and `from` for reading `len` bytes, without overlap.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear whenever Rust code runs (psABI 3.2.1).
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}
