//! The C symbols that `std` and C libraries ask for, answered without an operating system.
//!
//! Each file has one subject. A function either does what POSIX and C say, within the limits that its comment names,
//! or it refuses: it returns the error that the standard foresees for a system that lacks the facility. Nothing here
//! executes a system call. A symbol that is missing is a link error, never a surprise at run time; add it here only
//! with a behaviour that a caller who checks results can live with.
//!
//! Under plain `cargo test` the functions have Rust names, so that the tests call exactly the code that guests run.

#![allow(non_snake_case, reason = "the names are C's")]

pub mod format;
pub mod io;
pub mod memory;
pub mod string;
pub mod text;
pub mod thread;
pub mod time;
pub mod unwind;

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int};

/// Error numbers of Linux (`asm-generic/errno-base.h`, `errno.h`), as libc knows them.
pub mod errno {
    use core::ffi::c_int;

    /// No such file or directory.
    pub const ENOENT: c_int = 2;
    /// Bad file descriptor.
    pub const EBADF: c_int = 9;
    /// Try again; here: no further thread.
    pub const EAGAIN: c_int = 11;
    /// Out of memory.
    pub const ENOMEM: c_int = 12;
    /// Device or resource busy.
    pub const EBUSY: c_int = 16;
    /// Invalid argument.
    pub const EINVAL: c_int = 22;
    /// Numerical result out of range.
    pub const ERANGE: c_int = 34;
    /// Function not implemented.
    pub const ENOSYS: c_int = 38;
    /// Connection timed out; here: a wait ran into its deadline.
    pub const ETIMEDOUT: c_int = 110;
}

thread_local! {
    static ERRNO: UnsafeCell<c_int> = const { UnsafeCell::new(0) };
}

/// `__errno_location`: where this thread's error number lies.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn __errno_location() -> *mut c_int {
    ERRNO.with(UnsafeCell::get)
}

/// Sets the error number and returns -1.
pub(crate) fn fail(error: c_int) -> c_int {
    // SAFETY: the pointer is to this thread's own word.
    unsafe { *__errno_location() = error };
    -1
}

/// `getenv`: a guest has no environment.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn getenv(_name: *const c_char) -> *mut c_char {
    core::ptr::null_mut()
}

/// `secure_getenv`: likewise.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn secure_getenv(_name: *const c_char) -> *mut c_char {
    core::ptr::null_mut()
}

/// The environment: empty.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
#[allow(non_upper_case_globals, reason = "the name is C's")]
pub static environ: &[usize; 1] = &[0];

/// `exit`: ends the guest. `std` has flushed its output before; there are no `atexit` handlers.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn exit(code: c_int) -> ! {
    crate::doorbell::exit(code as u8)
}

/// `_exit`: the same.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn _exit(code: c_int) -> ! {
    crate::doorbell::exit(code as u8)
}

/// Exit code of a guest that panicked, as of a Rust process.
pub const PANICKED: u8 = 101;
/// Exit code of a guest that aborted, as of a process that SIGABRT ended.
pub const ABORTED: u8 = 134;

/// `abort`: ends the guest, and tells a panic from other reasons.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn abort() -> ! {
    crate::doorbell::exit(if std::thread::panicking() { PANICKED } else { ABORTED })
}
