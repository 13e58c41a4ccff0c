//! `malloc` and its kin, and `mmap` for anonymous memory, which std and aws-lc use for a page or two.

use core::ffi::{c_int, c_void};

use super::{errno, fail};
use crate::heap;

const PAGE: usize = casemate_abi::PAGE_SIZE as usize;
/// `sys/mman.h` of Linux.
const MAP_ANONYMOUS: c_int = 0x20;
const MAP_FIXED: c_int = 0x10;
const PROT_EXEC: c_int = 4;
const MAP_FAILED: *mut c_void = usize::MAX as *mut c_void;

/// C's `malloc`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    heap::allocate(size).cast()
}

/// C's `calloc`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) => heap::allocate_zeroed(bytes).cast(),
        None => {
            fail(errno::ENOMEM);
            core::ptr::null_mut()
        }
    }
}

/// C's `realloc`.
///
/// # Safety
/// `block` is null or comes from this file.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { heap::resize(block.cast(), size).cast() }
}

/// C's `free`.
///
/// # Safety
/// `block` is null or comes from this file.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { heap::release(block.cast()) }
}

/// POSIX's `posix_memalign`.
///
/// # Safety
/// `block` points to a pointer.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn posix_memalign(block: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return errno::EINVAL;
    }
    // SAFETY: the caller's promise.
    unsafe { *block = heap::allocate_aligned(align, size).cast() };
    0
}

/// C11's `aligned_alloc`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        fail(errno::EINVAL);
        return core::ptr::null_mut();
    }
    heap::allocate_aligned(align, size).cast()
}

/// `mmap` of anonymous memory that is not executable, at an address of our choice: zeroed pages of the heap.
/// Everything else is refused. Protection is what the heap has (read and write).
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn mmap(
    _hint: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    _file: c_int,
    _offset: i64,
) -> *mut c_void {
    if flags & MAP_ANONYMOUS == 0 || flags & MAP_FIXED != 0 || protection & PROT_EXEC != 0 || length == 0 {
        fail(errno::EINVAL);
        return MAP_FAILED;
    }
    let Some(length) = length.checked_next_multiple_of(PAGE) else {
        fail(errno::ENOMEM);
        return MAP_FAILED;
    };
    let pages = heap::allocate_aligned(PAGE, length);
    // SAFETY: a fresh block of `length` bytes.
    unsafe { pages.write_bytes(0, length) };
    pages.cast()
}

/// `mmap` with a 64-bit offset: the same on x86-64.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn mmap64(
    hint: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    mmap(hint, length, protection, flags, file, offset)
}

/// `munmap` of a whole mapping. Unmapping part of one, which nobody here does, would free all of it.
///
/// # Safety
/// `pages` comes from [`mmap`].
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn munmap(pages: *mut c_void, _length: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { heap::release(pages.cast()) };
    0
}

/// `mprotect`: page tables are out of reach, so protection never changes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn mprotect(_pages: *mut c_void, _length: usize, _protection: c_int) -> c_int {
    fail(errno::ENOSYS)
}

/// `madvise`: true to its word where it matters. A guest never forks, is never dumped, swapped or merged, so every
/// advice about that (MADV_WIPEONFORK, MADV_DONTDUMP …) is followed already. Advice that Linux does not know is
/// refused: aws-lc asks for some to find out whether an answer means anything, and without fork detection it would
/// reseed its generator with every call.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn madvise(_pages: *mut c_void, _length: usize, advice: c_int) -> c_int {
    /// MADV_NORMAL to MADV_COLLAPSE, `asm-generic/mman-common.h`.
    const KNOWN: core::ops::RangeInclusive<c_int> = 0..=25;
    if KNOWN.contains(&advice) { 0 } else { fail(errno::EINVAL) }
}

/// `mlock`: sealed memory is never paged out.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn mlock(_pages: *const c_void, _length: usize) -> c_int {
    0
}

/// `munlock`: likewise.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn munlock(_pages: *const c_void, _length: usize) -> c_int {
    0
}
