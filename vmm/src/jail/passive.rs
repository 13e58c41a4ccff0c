//! A launch dials nobody.
//!
//! A running VMM can make no socket at all ([`super::seccomp`]). Processes beside it, or before it, need sockets of the Unix
//! kind: the launch listens on the guest's, the gateway and the volume service connect to it. None needs another kind, so
//! none can make one: the services by their lists of calls ([`super::steps::enter_seccomp`]), the launch by the filter here.
//! Whatever goes wrong in them, no packet of theirs leaves the host.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompFilter, TargetArch};

use super::seccomp::only_if;

/// The bit that marks a call of the x32 ABI (asm/unistd.h), under which the same calls have other numbers.
const X32: i64 = 1 << 30;

/// Gives up, for this thread and all that it makes, every socket but Unix ones: `EPERM`. For a process that launches a
/// guest, from before it has read anything of the image until the jail takes the rest.
///
/// An io_uring, with which sockets could be made behind the filter's back, can be set up (one holds the sealed memory) but
/// not be used.
pub fn enter() -> io::Result<()> {
    let apply = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let unix = u64::from(libc::AF_UNIX.unsigned_abs());
        let other = only_if(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, unix)?;
        let mut rules = BTreeMap::new();
        for number in [0, X32] {
            rules.insert(number | libc::SYS_socket, other.clone());
            rules.insert(number | libc::SYS_io_uring_enter, vec![]);
        }
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, TargetArch::x86_64)?;
        let program: BpfProgram = filter.try_into()?;
        Ok(seccompiler::apply_filter(&program)?)
    };
    apply().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
    }

    /// A socket of another number of the same call, as a program could ask for it by hand.
    fn x32_socket() -> i32 {
        // SAFETY: the call takes numbers only; whatever it answers is looked at, not used.
        match unsafe { libc::syscall(X32 | libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0) } {
            -1 => io::Error::last_os_error().raw_os_error().unwrap(),
            _ => 0,
        }
    }

    /// The filter holds for one thread, so each test makes one.
    #[test]
    fn a_launch_can_make_unix_sockets_and_no_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inside = move || {
            enter().unwrap();
            assert!(refused(TcpStream::connect(address)), "TCP");
            assert!(refused(UdpSocket::bind("127.0.0.1:0")), "UDP");
            assert_eq!(x32_socket(), libc::EPERM, "by its x32 number");
            for family in [libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG] {
                // SAFETY: the call takes numbers only and returns -1 here.
                let made = unsafe { libc::socket(family, libc::SOCK_RAW, 0) };
                assert!(made < 0 && refused::<()>(Err(io::Error::last_os_error())), "family {family}");
            }
            // What it makes inherits that.
            assert!(std::thread::spawn(move || refused(TcpStream::connect(address))).join().unwrap());
            UnixStream::pair().unwrap();
            let mut ring = io_uring::IoUring::new(1);
            if let Ok(ring) = &mut ring {
                assert!(refused(ring.submit_and_wait(1)), "io_uring");
            }
        };
        std::thread::spawn(inside).join().unwrap();
        // Not for others: the same is possible here.
        TcpStream::connect(address).unwrap();
    }
}
