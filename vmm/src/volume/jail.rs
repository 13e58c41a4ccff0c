//! What the volume service gives up before it meets the guest: every file but its own (which is open), the anchors and the
//! guest's socket; the network; new privileges; core dumps; and every system call that it has no use for.

use std::path::Path;

use landlock::{AccessFs, PathFd, Scope};
use rustix::process::Resource;
use seccompiler::SeccompAction;

use crate::isolation::controls::{Kernel as _, Linux};
use crate::jail::Error;
use crate::jail::steps::{self, failed};

/// The system calls that remain, with reasons. Any other is refused (`EPERM`) and not deadly: a store that meets something
/// unforeseen is to say so.
const ALLOWED: [(i64, &str); 51] = [
    (libc::SYS_socket, "a Unix socket, and no other: to the guest"),
    (libc::SYS_connect, "connect it to the guest"),
    (libc::SYS_read, "read requests and files"),
    (libc::SYS_readv, "the same"),
    (libc::SYS_pread64, "the same"),
    (libc::SYS_recvfrom, "the same"),
    (libc::SYS_write, "write answers, files, and to the terminal"),
    (libc::SYS_writev, "the same"),
    (libc::SYS_pwrite64, "the same"),
    (libc::SYS_sendto, "the same"),
    (libc::SYS_fdatasync, "what is committed is on the disk"),
    (libc::SYS_fsync, "the same"),
    (libc::SYS_ftruncate, "the file grows and shrinks"),
    (libc::SYS_fallocate, "the same"),
    (libc::SYS_lseek, "find a place in a file"),
    (libc::SYS_flock, "whether the guest lives; one process uses an anchor at a time"),
    (libc::SYS_openat, "anchors; the guest's lock (landlock: nothing else)"),
    (libc::SYS_open, "the same"),
    (libc::SYS_mkdir, "the folder of anchors"),
    (libc::SYS_mkdirat, "the same"),
    (libc::SYS_statx, "whether it is there"),
    (libc::SYS_fstat, "sizes of files"),
    (libc::SYS_newfstatat, "the same"),
    (libc::SYS_close, "end a connection"),
    (libc::SYS_shutdown, "the same"),
    (libc::SYS_fcntl, "whether a descriptor is open; locks"),
    (libc::SYS_dup2, "let go of the terminal"),
    (libc::SYS_dup3, "the same"),
    (libc::SYS_poll, "wait for the guest"),
    (libc::SYS_ppoll, "the same"),
    (libc::SYS_pidfd_send_signal, "end a guest that refuses its volume"),
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
    (libc::SYS_clock_nanosleep, "wait before it connects again"),
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

/// Gives up everything but the guest's folder, of which it needs the socket and the lock, and the anchors.
pub(super) fn enter(folder: &Path, anchors: &Path) -> Result<(), Error> {
    // The VMM that started this has a cookie for its guest: this is not to share a core with it. Where there are no cookies,
    // none was inherited.
    let _ = Linux.create_cookie();
    steps::limit(Resource::Core, 0).map_err(failed("forbid core dumps"))?;
    steps::deny_inspection().map_err(failed("forbid core dumps"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))?;
    let open = |path: &Path| {
        PathFd::new(path).map_err(|error| failed("open a folder")(std::io::Error::other(error)))
    };
    let use_files = AccessFs::ReadFile | AccessFs::WriteFile;
    let keep_files = use_files | AccessFs::MakeReg | AccessFs::Truncate | AccessFs::MakeDir;
    let allowed = [(open(folder)?, use_files), (open(anchors)?, keep_files)];
    steps::enter_landlock(Scope::AbstractUnixSocket, allowed).map_err(failed("enter landlock"))?;
    steps::enter_seccomp(&ALLOWED, SeccompAction::Errno(libc::EPERM.unsigned_abs()))
}
