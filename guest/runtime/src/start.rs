//! From the first instruction to `main`: what a kernel's program loader and libc's start-up code do elsewhere.
//!
//! The VMM enters at `_start`, at CPL 3, with RSP = `STACK_TOP` and every other register unspecified. From there:
//! the boot page is checked, thread-local storage is laid out and FS points at it, the heap gets the rest of
//! private memory, the random generator is seeded, the virtqueues are set up, constructors run (aws-lc detects the CPU's features in one),
//! and `main`, which rustc generates round the guest's `fn main()`, is called. When it returns the guest ends.
//!
//! # Thread-local storage (System V ABI for x86-64, ELF TLS variant II)
//!
//! ```text
//! area ──► copy of the image's .tdata, then zeroes for .tbss
//! FS ────► thread control block: its own address, … , stack protector's canary at 0x28
//! ```
//!
//! There are two areas. The first belongs to the guest's thread. The second is the [idle identity](crate::idle):
//! what runs on it looks to `std` and to executors like another thread.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use casemate_abi::PAGE_SIZE;

/// Exit code of a guest whose boot page is unusable.
pub const BAD_BOOT_PAGE: u8 = 125;
/// Exit code of a guest without a source of randomness.
pub const NO_ENTROPY: u8 = 124;

/// Exit code of a guest whose virtqueues cannot be set up.
pub const NO_VSOCK: u8 = 123;

/// Alignment of thread-local storage; the linker script asserts that none asks for more.
const TLS_ALIGN: u64 = 64;
/// Bytes of the thread control block. Offset 0x28 is the canary; nothing here uses the others.
const TCB_SIZE: u64 = 256;
/// Offset of the stack protector's canary (System V ABI supplement, `-fstack-protector`).
const CANARY_OFFSET: u64 = 0x28;

/// Thread pointers of the guest's thread and of the idle identity.
static THREAD_POINTERS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Thread-local storage as the linker laid it out.
struct TlsImage {
    template: *const u8,
    template_size: usize,
    /// `.tdata` and `.tbss`, rounded up to [`TLS_ALIGN`].
    size: u64,
}

/// Bytes of private memory for one thread's storage, a multiple of [`TLS_ALIGN`].
const fn area_size(tls_size: u64) -> u64 {
    tls_size.next_multiple_of(TLS_ALIGN) + TCB_SIZE
}

impl TlsImage {
    /// Lays one area out at `area` and returns its thread pointer.
    ///
    /// # Safety
    /// `area` is the begin of `area_size(self.size)` zeroed bytes that belong to nobody, aligned to [`TLS_ALIGN`].
    unsafe fn lay_out(&self, area: u64, canary: u64) -> u64 {
        let thread_pointer = area + self.size.next_multiple_of(TLS_ALIGN);
        // SAFETY: the linker says that the template holds `template_size` bytes, no more than `size`; the rest of
        // the area is the control block, which the two words lie in. The caller owns all of it.
        unsafe {
            core::ptr::copy_nonoverlapping(self.template, area as *mut u8, self.template_size);
            (thread_pointer as *mut u64).write(thread_pointer);
            ((thread_pointer + CANARY_OFFSET) as *mut u64).write(canary);
        }
        thread_pointer
    }
}

/// What remains of private memory after thread-local storage, and where that begins.
fn heap_start_behind(areas: u64, tls_size: u64) -> u64 {
    (areas + 2 * area_size(tls_size)).next_multiple_of(PAGE_SIZE)
}

/// Sets the base of FS.
///
/// # Safety
/// `thread_pointer` is that of an area which [`TlsImage::lay_out`] made.
unsafe fn set_thread_pointer(thread_pointer: u64) {
    // SAFETY: CR4.FSGSBASE is set (casemate-abi's start state); the caller vouches for the address.
    unsafe { core::arch::asm!("wrfsbase {}", in(reg) thread_pointer, options(nostack, preserves_flags)) };
}

/// Calls `work(argument)` with the thread-local storage of the idle identity.
///
/// In assembly, because the compiler may keep thread-local addresses across anything that it can see into.
#[unsafe(naked)]
unsafe extern "C" fn call_with_thread_pointer(
    work: extern "C" fn(*mut c_void),
    argument: *mut c_void,
    other: usize,
    own: usize,
) {
    core::arch::naked_asm!(
        "push rcx",
        "mov rax, rdi",
        "mov rdi, rsi",
        "wrfsbase rdx",
        "call rax",
        "pop rcx",
        "wrfsbase rcx",
        "ret"
    )
}

/// Runs `work` as though another thread did: its wake-ups take the path between threads. See [`crate::idle`].
pub(crate) fn as_idle_identity(work: extern "C" fn(*mut c_void), argument: *mut c_void) {
    let [own, other] =
        [&THREAD_POINTERS[0], &THREAD_POINTERS[1]].map(|pointer| pointer.load(Ordering::Relaxed));
    // SAFETY: both thread pointers were laid out before `main`, and the guest's thread, which runs this, has the
    // first. `work` is a function that returns (panics abort).
    unsafe { call_with_thread_pointer(work, argument, other, own) }
}

#[cfg(casemate_guest)]
mod entry {
    use core::ffi::{c_char, c_int};

    use super::*;
    use crate::{boot, clock, doorbell, entropy, heap, log, sealing, vsock};

    core::arch::global_asm!(
        ".pushsection .text.casemate_start, \"ax\", @progbits",
        ".globl _start",
        "_start:",
        "xor ebp, ebp",
        "and rsp, -16",
        "call {start}",
        "ud2",
        ".popsection",
        start = sym start,
    );

    type Constructor = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

    unsafe extern "C" {
        static __casemate_image_end: u8;
        static __casemate_tls_start: u8;
        static __casemate_tls_file_size: u8;
        static __casemate_tls_size: u8;
        static __init_array_start: [Constructor; 0];
        static __init_array_end: [Constructor; 0];
        /// Generated by rustc round the guest's `fn main()`.
        fn main(argc: c_int, argv: *const *const c_char) -> c_int;
    }

    /// Everything before `main`, in order. Runs without thread-local storage until `set_thread_pointer`.
    extern "C" fn start() -> ! {
        let info = boot::info();
        let image_end = (&raw const __casemate_image_end).addr() as u64;
        if let Err(error) = boot::check(info, image_end) {
            refuse(BAD_BOOT_PAGE, &error);
        }
        clock::init(info);
        let Some(canary) = entropy::hardware_word() else {
            log::write(b"casemate: this CPU has no working RDRAND; a guest needs one\n");
            doorbell::exit(NO_ENTROPY);
        };
        let tls = TlsImage {
            template: &raw const __casemate_tls_start,
            template_size: (&raw const __casemate_tls_file_size).addr(),
            size: (&raw const __casemate_tls_size).addr() as u64,
        };
        let heap_start = heap_start_behind(info.heap_start, tls.size);
        if heap_start >= info.heap_end {
            refuse(BAD_BOOT_PAGE, &boot::BootError::Heap(heap_start, info.heap_end));
        }
        // SAFETY: `boot::check` found heap_start..heap_end to be private memory behind the image, page aligned;
        // the VMM delivers it zeroed. The two areas and the heap split it without overlap.
        unsafe {
            // As in glibc, the canary's lowest byte is zero, so that string functions do not run over it.
            let [own, other] = [info.heap_start, info.heap_start + area_size(tls.size)]
                .map(|area| tls.lay_out(area, canary & !0xff));
            THREAD_POINTERS[0].store(own as usize, Ordering::Relaxed);
            THREAD_POINTERS[1].store(other as usize, Ordering::Relaxed);
            set_thread_pointer(own);
            heap::init(heap_start, info.heap_end);
        }
        sealing::init();
        if let Err(error) = entropy::init() {
            refuse(NO_ENTROPY, &error);
        }
        let Some(shared) = core::ptr::NonNull::new(casemate_abi::SHARED_BASE as *mut u8) else {
            doorbell::exit(NO_VSOCK);
        };
        // SAFETY: the VMM maps SHARED_SIZE bytes there for reading and writing, page aligned (casemate-abi's memory
        // map); the log and the mailbox lie outside the queues and their buffers.
        if let Err(error) = unsafe { vsock::init(shared, info.guest_cid, doorbell::ring) } {
            refuse(NO_VSOCK, &error);
        }
        let arguments = arguments();
        // The last word is the null pointer that ends argv and, shared, the empty environment.
        let count = arguments.len() - 1;
        let environment = &raw const arguments[count];
        run_constructors(count as c_int, arguments.as_ptr(), environment);
        // SAFETY: rustc generates `main` with this signature; argv is null-terminated and lives forever.
        let code = unsafe { main(count as c_int, arguments.as_ptr()) };
        doorbell::exit(code as u8)
    }

    /// Ends the guest before `main`. `error` is formatted only in debug mode.
    fn refuse(code: u8, error: &dyn core::fmt::Display) -> ! {
        /// Formats into the log without a heap.
        struct Log;
        impl core::fmt::Write for Log {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                log::write(text.as_bytes());
                Ok(())
            }
        }
        if boot::info().magic == casemate_abi::BOOT_MAGIC {
            let _ = core::fmt::Write::write_fmt(&mut Log, format_args!("casemate: {error}\n"));
        }
        doorbell::exit(code)
    }

    /// Runs the constructors in `.init_array` with the arguments that glibc gives them (std's keeps argv).
    fn run_constructors(argc: c_int, argv: *const *const c_char, environment: *const *const c_char) {
        let begin = (&raw const __init_array_start).cast::<Constructor>();
        let end = (&raw const __init_array_end).cast::<Constructor>();
        let mut next = begin;
        while next < end {
            // SAFETY: the linker collected function pointers of constructors between the two symbols, all of
            // which take these arguments or ignore them; thread-local storage and the heap are ready.
            unsafe {
                (*next)(argc, argv, environment);
                next = next.add(1);
            }
        }
    }

    /// The measured command line as argv: "guest", its words, null.
    fn arguments() -> &'static [*const c_char] {
        let mut pointers = vec![c"guest".as_ptr()];
        for word in boot::cmdline_bytes().split(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            if !word.is_empty() {
                let word: &'static [u8] = [word, &[0]].concat().leak();
                pointers.push(word.as_ptr().cast());
            }
        }
        pointers.push(core::ptr::null());
        pointers.leak()
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
