//! What the TPM service gives up before it takes a request: every file (the TPM's device is open), the network, its user (when
//! started as root) and every capability, new privileges, core dumps, being traced, and every system call that it has no use
//! for.

use casemate_tpm::chip::Chip;
use landlock::Scope;
use rustix::process::Resource;
use seccompiler::SeccompAction;

use crate::isolation::controls::{Kernel as _, Linux};
use crate::jail::Error;
use crate::jail::steps::{self, failed};

/// Users for TPM services that root started: one each, this plus the process identifier. Nobody is registered there.
const UID_BASE: u32 = 2_010_000_000;

/// The system calls that remain, with reasons. Any other kills the process.
const ALLOWED: [(i64, &str); 31] = [
    (libc::SYS_read, "read requests, and responses of the TPM"),
    (libc::SYS_recvfrom, "the same"),
    (libc::SYS_write, "write answers, and commands to the TPM"),
    (libc::SYS_sendto, "the same"),
    (libc::SYS_poll, "wait for the TPM"),
    (libc::SYS_ppoll, "the same"),
    (libc::SYS_socket, "a Unix socket, and no other: to an emulated TPM"),
    (libc::SYS_connect, "connect it"),
    (libc::SYS_setsockopt, "how long it may take"),
    (libc::SYS_close, "end a conversation with the TPM"),
    (libc::SYS_fcntl, "another descriptor of the TPM's device"),
    (libc::SYS_futex, "locks of the standard library"),
    (libc::SYS_getrandom, "seeds of the standard library's tables"),
    (libc::SYS_sched_yield, "the same"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_mmap, "the same"),
    (libc::SYS_mprotect, "the same"),
    (libc::SYS_munmap, "the same"),
    (libc::SYS_mremap, "the same"),
    (libc::SYS_madvise, "the same"),
    (libc::SYS_clock_gettime, "time, where the vDSO cannot tell it"),
    (libc::SYS_clock_nanosleep, "wait for a TPM that is busy"),
    (libc::SYS_restart_syscall, "the same, after it was stopped"),
    (libc::SYS_rt_sigreturn, "return from a signal's handler"),
    (libc::SYS_rt_sigprocmask, "abort"),
    (libc::SYS_sigaltstack, "end of the standard library"),
    (libc::SYS_gettid, "abort"),
    (libc::SYS_getpid, "abort"),
    (libc::SYS_tgkill, "abort"),
    (libc::SYS_exit, "end"),
    (libc::SYS_exit_group, "end"),
];

/// Gives up everything but talking to the TPM and to the client.
pub(super) fn enter(chip: &Chip) -> Result<(), Error> {
    // Whoever started this may have a cookie for its guest: this is not to share a core with it.
    let _ = Linux.create_cookie();
    steps::limit(Resource::Core, 0).map_err(failed("forbid core dumps"))?;
    // An emulator's socket is connected to again and again, as who may do that; a device is open.
    if rustix::process::geteuid().is_root() && chip.is_device() {
        let id = UID_BASE + std::process::id();
        steps::become_user(id, id).map_err(failed("change to a user of its own"))?;
    }
    steps::drop_capabilities().map_err(failed("drop capabilities"))?;
    steps::deny_inspection().map_err(failed("forbid core dumps and tracing"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))?;
    steps::enter_landlock(Scope::AbstractUnixSocket, []).map_err(failed("enter landlock"))?;
    steps::enter_seccomp(&ALLOWED, SeccompAction::KillProcess)
}
