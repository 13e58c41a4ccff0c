//! What the gateway gives up before it takes its first client.
//!
//! It can then neither open a file, listen, connect to the network, start a process nor trace one. It keeps: its listener,
//! the guest's folder as its working directory (and as its root, if root started it), where it finds the guest's socket, and
//! the right to end the guest.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use landlock::Scope;
use rustix::process::Resource;
use seccompiler::SeccompAction;

use crate::guest::VSOCK_SOCKET;
use crate::jail::Error;
use crate::jail::steps::{self, failed};

/// Descriptors beside those of clients: standard streams, listener, epoll, signals, process.
const OWN_FILES: u64 = 40;

/// The system calls that remain, with reasons. Any other kills the process.
const ALLOWED: [(i64, &str); 32] = [
    (libc::SYS_epoll_wait, "wait for clients, the guest, signals, time"),
    (libc::SYS_epoll_ctl, "watch a connection"),
    (libc::SYS_accept4, "take a client"),
    (libc::SYS_socket, "a Unix socket, and no other: one for each client"),
    (libc::SYS_connect, "connect it to the guest"),
    (libc::SYS_setsockopt, "no delay"),
    (libc::SYS_getsockopt, "whether a connection was made"),
    (libc::SYS_read, "read from either side; which signal came"),
    (libc::SYS_recvfrom, "the same"),
    (libc::SYS_write, "write to either side; say why it ends"),
    (libc::SYS_writev, "the same"),
    (libc::SYS_sendto, "the same"),
    (libc::SYS_sendmsg, "hand the listener over"),
    (libc::SYS_shutdown, "close one direction"),
    (libc::SYS_close, "end a connection"),
    (libc::SYS_pidfd_send_signal, "end the guest that was launched for it"),
    (libc::SYS_wait4, "take leave of it"),
    (libc::SYS_waitid, "the same"),
    (libc::SYS_ppoll, "wait for its end"),
    (libc::SYS_futex, "locks of the standard library"),
    (libc::SYS_getrandom, "seeds of the standard library's tables"),
    (libc::SYS_sched_yield, "the same"),
    (libc::SYS_brk, "memory for clients"),
    (libc::SYS_mmap, "the same"),
    (libc::SYS_munmap, "the same"),
    (libc::SYS_mremap, "the same"),
    (libc::SYS_madvise, "the same"),
    (libc::SYS_clock_gettime, "time, where the vDSO cannot tell it"),
    (libc::SYS_clock_nanosleep, "wait for the guest's end"),
    (libc::SYS_rt_sigreturn, "return from a signal's handler"),
    (libc::SYS_fcntl, "whether a descriptor is open, before it is closed"),
    (libc::SYS_exit_group, "end"),
];

/// Gives up everything but carrying up to `connections` connections to the guest in `folder`.
pub(super) fn enter(folder: &Path, connections: usize) -> Result<(), Error> {
    // Before the user changes: the folders above it are closed to the guest's own user.
    let owner = std::fs::metadata(folder.join(VSOCK_SOCKET)).map_err(failed("find the guest's socket"))?;
    rustix::process::chdir(folder).map_err(failed("enter the guest's folder"))?;
    limit_resources(connections)?;
    if rustix::process::geteuid().is_root() {
        // No other socket of the host's can be found from there.
        rustix::process::chroot(".").map_err(failed("make the guest's folder its root"))?;
    }
    drop_privileges(owner.uid(), owner.gid())?;
    steps::deny_inspection().map_err(failed("forbid core dumps and tracing"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))?;
    // Every file, TCP in both directions, abstract sockets.
    steps::enter_landlock(Scope::AbstractUnixSocket, []).map_err(failed("enter landlock"))?;
    steps::enter_seccomp(&ALLOWED, SeccompAction::KillProcess)
}

fn limit_resources(connections: usize) -> Result<(), Error> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OWN_FILES);
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(wanted).min(wanted);
    for (resource, limit) in [(Resource::Core, 0), (Resource::Nofile, most)] {
        steps::limit(resource, limit).map_err(failed("limit the gateway's resources"))?;
    }
    Ok(())
}

/// Started by root, it becomes the guest's own user, who may open the guest's socket and nothing else.
fn drop_privileges(user: u32, group: u32) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        steps::become_user(user, group).map_err(failed("change to the guest's own user"))?;
    }
    steps::drop_capabilities().map_err(failed("drop capabilities"))
}
