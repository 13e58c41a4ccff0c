//! The heap: dlmalloc over the private memory behind the image's data.
//!
//! Memory is taken from low addresses upwards and only as needed, because a sealed page is allocated by the host
//! when it is touched first: an idle guest stays small. A guest that asks for more than it has ends, with exit code
//! [`OUT_OF_MEMORY`]; `std` and C libraries do not all survive a null pointer. Freed memory is not cleared: secrets
//! clear themselves (`zeroize`), and nobody but the guest can read what is left.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dlmalloc::{Allocator, Dlmalloc};

/// Exit code of a guest that ran out of memory (as a Linux process killed for memory: 128 + 9).
pub const OUT_OF_MEMORY: u8 = 137;
/// How much is taken from the rest of private memory at a time.
const GRANULE: usize = 64 << 10;

/// Private memory that no allocation has taken yet: `next..end`.
struct Remaining {
    next: AtomicU64,
    end: AtomicU64,
}

/// The one range; dlmalloc's view of it is [`Source`].
static REMAINING: Remaining = Remaining { next: AtomicU64::new(0), end: AtomicU64::new(0) };

impl Remaining {
    /// Takes `size` bytes, a multiple of the page size; `None` if there are not so many.
    fn take(&self, size: usize) -> Option<u64> {
        let start = self.next.load(Ordering::Relaxed);
        let end = start.checked_add(u64::try_from(size).ok()?)?;
        if end > self.end.load(Ordering::Relaxed) {
            return None;
        }
        self.next.store(end, Ordering::Relaxed);
        publish_top(end);
        Some(start)
    }
}

/// Tells the VMM how far private memory is in use, so that it zeroes that much when the guest has ended.
fn publish_top(top: u64) {
    if cfg!(casemate_guest) {
        // SAFETY: the word lies in the shared region, which is mapped read-write for as long as the guest runs, and is
        // accessed by nobody else in the guest.
        unsafe { (casemate_abi::shared::HEAP_TOP as *mut u64).write_volatile(top) };
    }
}

/// Hands dlmalloc the rest of private memory, a granule at a time. Nothing ever goes back.
struct Source;

// SAFETY: `alloc` hands out disjoint ranges of private memory (the only caller holds the heap's lock), which are
// mapped, read-write, for as long as the guest runs and which the VMM delivers zeroed.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let wanted = size.next_multiple_of(GRANULE);
        let page = casemate_abi::PAGE_SIZE as usize;
        // Towards the end of memory, what is needed will do.
        for size in [wanted, size.next_multiple_of(page)] {
            if let Some(start) = REMAINING.take(size) {
                return (start as *mut u8, size, 0);
            }
        }
        (core::ptr::null_mut(), 0, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        core::ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        // Only asked for blocks with a mapping of their own, which there are none of.
        false
    }

    fn page_size(&self) -> usize {
        casemate_abi::PAGE_SIZE as usize
    }
}

/// dlmalloc behind a spin lock: never contended while a guest has one vCPU, correct when it has more.
struct Heap {
    locked: AtomicBool,
    inner: UnsafeCell<Dlmalloc<Source>>,
}

// SAFETY: `inner` is only reached through `with`, which holds the lock.
unsafe impl Sync for Heap {}

static HEAP: Heap =
    Heap { locked: AtomicBool::new(false), inner: UnsafeCell::new(Dlmalloc::new_with_allocator(Source)) };

impl Heap {
    #[inline]
    fn with<T>(&self, work: impl FnOnce(&mut Dlmalloc<Source>) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: the lock is ours, and `work` cannot come here again: dlmalloc calls nothing but `Source`.
        let result = work(unsafe { &mut *self.inner.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

/// Gives the heap its memory. To be called once, before the first allocation.
///
/// # Safety
/// `start..end` is mapped, read-write, zeroed, page aligned, and nobody else's for as long as the guest runs.
pub(crate) unsafe fn init(start: u64, end: u64) {
    REMAINING.next.store(start, Ordering::Relaxed);
    REMAINING.end.store(end, Ordering::Relaxed);
    publish_top(start);
}

/// Passes a block on, or ends the guest for want of memory.
#[inline]
fn or_exit(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        out_of_memory();
    }
    block
}

#[cold]
fn out_of_memory() -> ! {
    crate::log::write(b"casemate: the guest is out of memory; launch it with more (--memory)\n");
    crate::doorbell::exit(OUT_OF_MEMORY)
}

/// `malloc`: 16-byte aligned.
pub(crate) fn allocate(size: usize) -> *mut u8 {
    // SAFETY: c_malloc has no precondition but exclusive access, which `with` gives.
    or_exit(HEAP.with(|heap| unsafe { heap.c_malloc(size) }))
}

/// `calloc` of `size` bytes.
pub(crate) fn allocate_zeroed(size: usize) -> *mut u8 {
    // SAFETY: as for `allocate`; 16 is dlmalloc's own alignment, so the block can be freed with `release`.
    or_exit(HEAP.with(|heap| unsafe { heap.calloc(size, 16) }))
}

/// `posix_memalign` with a power of two.
pub(crate) fn allocate_aligned(align: usize, size: usize) -> *mut u8 {
    // SAFETY: as for `allocate`; the caller passes a power of two.
    or_exit(HEAP.with(|heap| unsafe { heap.c_memalign(align, size) }))
}

/// `realloc`.
///
/// # Safety
/// `block` comes from this allocator and is not used afterwards.
pub(crate) unsafe fn resize(block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    or_exit(HEAP.with(|heap| unsafe { heap.c_realloc(block, size) }))
}

/// `free`.
///
/// # Safety
/// `block` comes from this allocator and is not used afterwards.
pub(crate) unsafe fn release(block: *mut u8) {
    // SAFETY: the caller's promise.
    HEAP.with(|heap| unsafe { heap.c_free(block) });
}
