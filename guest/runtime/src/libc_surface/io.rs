//! Files, descriptors, signals and system information: standard output goes to the log, everything else is refused.

use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use core::sync::atomic::AtomicU32;

use super::time::Timespec;
use super::{errno, fail};
use crate::{clock, entropy, idle, log};

const STDOUT: c_int = 1;
const STDERR: c_int = 2;

/// System call numbers of x86-64 Linux that libraries make through `syscall`.
mod number {
    use core::ffi::c_long;

    pub const FUTEX: c_long = 202;
    pub const GETRANDOM: c_long = 318;
}

/// Operations of futex(2), without the flags for private words and the clock.
mod futex {
    pub const WAIT: usize = 0;
    pub const WAKE: usize = 1;
    pub const WAIT_BITSET: usize = 9;
    pub const WAKE_BITSET: usize = 10;
    pub const OPERATION: usize = 0x7f;
    pub const CLOCK_REALTIME: usize = 0x100;
}

/// POSIX's `write`: to the log, which is the console in debug mode and nowhere otherwise.
///
/// # Safety
/// `text` is valid for `length` bytes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn write(file: c_int, text: *const c_void, length: usize) -> isize {
    if !matches!(file, STDOUT | STDERR) {
        return fail(errno::EBADF) as isize;
    }
    if length > 0 {
        // SAFETY: the caller's promise.
        log::write(unsafe { core::slice::from_raw_parts(text.cast(), length) });
    }
    length as isize
}

/// C's `struct iovec`.
#[repr(C)]
#[derive(Debug)]
pub struct IoVec {
    base: *const c_void,
    length: usize,
}

/// POSIX's `writev`.
///
/// # Safety
/// `pieces` is `count` descriptions of readable memory.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn writev(file: c_int, pieces: *const IoVec, count: c_int) -> isize {
    let mut written: isize = 0;
    for at in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the caller's promise.
        match unsafe { write(file, (*pieces.add(at)).base, (*pieces.add(at)).length) } {
            -1 => return -1,
            more => written = written.saturating_add(more),
        }
    }
    written
}

/// POSIX's `read`: standard input is empty, and there is no other file.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn read(file: c_int, _buffer: *mut c_void, _length: usize) -> isize {
    if file == 0 { 0 } else { fail(errno::EBADF) as isize }
}

/// POSIX's `poll`: nothing happens to any descriptor. std asks at the start whether 0, 1 and 2 are open.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn poll(_files: *mut c_void, _count: c_ulong, _timeout: c_int) -> c_int {
    0
}

/// C's `struct sigaction` of x86-64 Linux, as libc lays it out.
#[repr(C)]
#[derive(Debug)]
pub struct SigAction {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

/// `SIG_IGN`.
const IGNORED: usize = 1;

/// POSIX's `sigaction`: there are no signals. Every one is reported as ignored already, so that std does not set up
/// its handler for stack overflows; a guard page and the end of the guest take its place.
///
/// # Safety
/// `old` is null or points to a `struct sigaction`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn sigaction(_signal: c_int, _new: *const SigAction, old: *mut SigAction) -> c_int {
    if !old.is_null() {
        // SAFETY: the caller's promise.
        unsafe { old.write(SigAction { handler: IGNORED, mask: [0; 16], flags: 0, restorer: 0 }) };
    }
    0
}

/// C's `signal`: likewise.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn signal(_signal: c_int, _handler: usize) -> usize {
    IGNORED
}

/// POSIX's `sysconf`: page size and number of processors; everything else is unknown.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn sysconf(name: c_int) -> c_long {
    const PAGE_SIZE: c_int = 30;
    const PROCESSORS: core::ops::RangeInclusive<c_int> = 83..=84;
    match name {
        PAGE_SIZE => casemate_abi::PAGE_SIZE as c_long,
        name if PROCESSORS.contains(&name) => 1,
        _ => c_long::from(fail(errno::EINVAL)),
    }
}

/// glibc's `gnu_get_libc_version`-like probes find nothing: `getauxval` knows no entry.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn getauxval(_kind: c_ulong) -> c_ulong {
    fail(errno::ENOENT);
    0
}

/// POSIX's `getpid`: the guest is process 1 of itself.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn getpid() -> c_int {
    1
}

/// BSD's `getentropy`.
///
/// # Safety
/// `buffer` is valid for `length` bytes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's promise.
    if unsafe { getrandom(buffer, length, 0) } < 0 { -1 } else { 0 }
}

/// Linux's `getrandom`: never blocks, never falls short. Without entropy the guest ends.
///
/// # Safety
/// `buffer` is valid for `length` bytes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise; the bytes are zeroed first because they may be uninitialised.
    let output = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        core::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    if entropy::fill(output).is_err() {
        log::write(b"casemate: RDRAND failed; no key may come from this guest\n");
        crate::doorbell::exit(crate::start::NO_ENTROPY);
    }
    length as isize
}

/// glibc's `syscall`: getrandom(2) and futex(2) are answered, everything else is not implemented. It is variadic in
/// C; on x86-64 the first six arguments lie in the same registers either way.
///
/// # Safety
/// The arguments are those of the system call.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize) -> c_long {
    match number {
        // SAFETY: getrandom(buffer, length, flags).
        number::GETRANDOM => unsafe { getrandom(a as *mut c_void, b, c as c_uint) as c_long },
        // SAFETY: futex(word, operation, value, timeout, …).
        number::FUTEX => unsafe { futex_call(a as *const AtomicU32, b, c as u32, d as *const Timespec) },
        _ => c_long::from(fail(errno::ENOSYS)),
    }
}

/// futex(2): waiting serves the vsock; waking is done by the word, since only one thread can wait.
///
/// # Safety
/// `word` is a live word, `timeout` null or a timespec.
unsafe fn futex_call(word: *const AtomicU32, flags: usize, value: u32, timeout: *const Timespec) -> c_long {
    let operation = flags & futex::OPERATION;
    match operation {
        futex::WAKE | futex::WAKE_BITSET => 0,
        futex::WAIT | futex::WAIT_BITSET => {
            // SAFETY: the caller's promise.
            let timeout = (!timeout.is_null()).then(|| unsafe { *timeout });
            let deadline = match timeout.map(|span| span.to_nanos()) {
                None => None,
                Some(None) => return c_long::from(fail(errno::EINVAL)),
                Some(Some(nanos)) => Some(deadline(operation, flags, nanos)),
            };
            // SAFETY: the caller's promise.
            match idle::wait(unsafe { &*word }, value, deadline) {
                idle::Woken::Changed => 0,
                idle::Woken::TimedOut => c_long::from(fail(errno::ETIMEDOUT)),
            }
        }
        _ => c_long::from(fail(errno::ENOSYS)),
    }
}

/// The monotonic time that a futex wait ends at: FUTEX_WAIT counts from now, FUTEX_WAIT_BITSET names a point on the
/// clock that the flag selects.
fn deadline(operation: usize, flags: usize, nanos: u64) -> u64 {
    let now = clock::monotonic_ns();
    match (operation == futex::WAIT, flags & futex::CLOCK_REALTIME != 0) {
        (true, _) => now.saturating_add(nanos),
        (false, true) => now.saturating_add(nanos.saturating_sub(clock::unix_ns())),
        (false, false) => nanos,
    }
}

/// Refusals that return -1, with the error number that tells why.
macro_rules! refusals {
    ($($name:ident = $error:ident;)*) => {$(
        /// Refused: returns -1 with the error number in the list in the source.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub extern "C" fn $name() -> isize {
            fail(errno::$error) as isize
        }
    )*};
}

refusals! {
    // There is no file system.
    open = ENOENT; open64 = ENOENT; openat = ENOENT; openat64 = ENOENT; stat = ENOENT; stat64 = ENOENT;
    lstat = ENOENT; lstat64 = ENOENT; fstatat64 = ENOENT; statx = ENOSYS; access = ENOENT; readlink = ENOENT;
    unlink = ENOENT; unlinkat = ENOENT; rename = ENOENT; mkdir = ENOENT; rmdir = ENOENT; chmod = ENOENT;
    // No descriptor but 0, 1 and 2 exists, and those are not files.
    close = EBADF; fstat = EBADF; fstat64 = EBADF; lseek = EBADF; lseek64 = EBADF; readv = EBADF; pread64 = EBADF;
    pwrite64 = EBADF; ftruncate64 = EBADF; fsync = EBADF; fdatasync = EBADF; fcntl = EBADF; ioctl = EBADF;
    isatty = EBADF; dup = EBADF; dup2 = EBADF;
    // No other process, user or stack.
    sigaltstack = ENOSYS; pipe = ENOSYS; pipe2 = ENOSYS; socket = ENOSYS; fork = ENOSYS; kill = ENOSYS;
    sched_getaffinity = ENOSYS; pause = ENOSYS; tcgetattr = ENOSYS; tcsetattr = ENOSYS;
    // No network: connections come through the vsock. tokio's I/O driver finds no epoll and says so.
    connect = ENOSYS; bind = ENOSYS; listen = ENOSYS; accept4 = ENOSYS; send = ENOSYS; sendto = ENOSYS;
    sendmsg = ENOSYS; recv = ENOSYS; recvfrom = ENOSYS; recvmsg = ENOSYS; shutdown = ENOSYS; getsockopt = ENOSYS;
    setsockopt = ENOSYS; getsockname = ENOSYS; getpeername = ENOSYS; socketpair = ENOSYS; epoll_create1 = ENOSYS;
    epoll_ctl = ENOSYS; epoll_wait = ENOSYS; eventfd = ENOSYS;
}

/// Refusals that return a null pointer.
macro_rules! null_refusals {
    ($($name:ident)*) => {$(
        /// Refused: there is no file system, so no path and no directory.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub extern "C" fn $name() -> *mut c_char {
            fail(errno::ENOENT);
            core::ptr::null_mut()
        }
    )*};
}

null_refusals! { getcwd realpath opendir fopen fopen64 fdopen }

/// `dlsym`: nothing is loaded at run time; std asks for functions of newer systems.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn dlsym(_library: *mut c_void, _name: *const c_char) -> *mut c_void {
    core::ptr::null_mut()
}

/// `getaddrinfo`: there are no names. Returns `EAI_SYSTEM`, with ENOSYS.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn getaddrinfo() -> c_int {
    const EAI_SYSTEM: c_int = -11;
    fail(errno::ENOSYS);
    EAI_SYSTEM
}

/// `freeaddrinfo`: there is none.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn freeaddrinfo(_list: *mut c_void) {}

/// `gai_strerror`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn gai_strerror(_error: c_int) -> *const c_char {
    c"a sealed guest has no network".as_ptr()
}

/// POSIX's `strerror_r` as std calls it (`__xpg_strerror_r`): the number is all there is to say.
///
/// # Safety
/// `buffer` is valid for `length` bytes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn __xpg_strerror_r(error: c_int, buffer: *mut c_char, length: usize) -> c_int {
    let text = format!("C error {error}\0");
    if text.len() > length {
        return errno::ERANGE;
    }
    // SAFETY: the caller's promise, and the text fits.
    unsafe { core::ptr::copy_nonoverlapping(text.as_ptr().cast(), buffer, text.len()) };
    0
}
