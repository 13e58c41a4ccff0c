//! Nothing dials out: neither the VMM, nor the gateway, nor the volume service can make a network socket, and the VMM no
//! socket at all. Shown by having their own threads try, under the filters that are in force.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use casemate_attacks::inject::{Outcome, inject};
use casemate_tests::{Image, Lab, Running, backend, can_attack, not_covered, wait_until};
use rustix::process::Signal;

/// `KVM_GET_REGS` (linux/kvm.h).
const KVM_GET_REGS: u64 = 0x8090_ae81;
const NONE: [u64; 3] = [0; 3];

fn socket(family: i32) -> [u64; 3] {
    [u64::from(family.unsigned_abs()), u64::from(libc::SOCK_STREAM.unsigned_abs()), 0]
}

/// What no thread of a running VMM may do. Sockets first; then what would lead round the filter, or to the guest.
fn forbidden() -> Vec<(&'static str, i64, [u64; 3])> {
    vec![
        ("socket", libc::SYS_socket, socket(libc::AF_INET)),
        ("socket", libc::SYS_socket, socket(libc::AF_UNIX)),
        ("socketpair", libc::SYS_socketpair, socket(libc::AF_UNIX)),
        ("connect", libc::SYS_connect, NONE),
        ("bind", libc::SYS_bind, NONE),
        ("listen", libc::SYS_listen, NONE),
        ("sendto", libc::SYS_sendto, NONE),
        ("sendmsg", libc::SYS_sendmsg, NONE),
        ("io_uring_setup", libc::SYS_io_uring_setup, NONE),
        ("io_uring_enter", libc::SYS_io_uring_enter, NONE),
        ("openat", libc::SYS_openat, NONE),
        ("execve", libc::SYS_execve, NONE),
        ("clone", libc::SYS_clone, NONE),
        ("mmap", libc::SYS_mmap, NONE),
        ("mprotect", libc::SYS_mprotect, NONE),
        ("ptrace", libc::SYS_ptrace, NONE),
        ("process_vm_readv", libc::SYS_process_vm_readv, NONE),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, NONE),
        ("KVM_GET_REGS by ioctl", libc::SYS_ioctl, [0, KVM_GET_REGS, 0]),
    ]
}

/// The threads of a VMM, by name. A thread of KVM's own, in the kernel, may be among its tasks.
fn threads(pid: i32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads = tasks.map(|task| {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
        (name, path.file_name().unwrap().to_str().unwrap().parse().unwrap())
    });
    threads.filter(|(name, _)| !name.starts_with("kvm-")).collect()
}

/// Whether this host lets root trace processes. If not, nothing can be injected at all.
fn can_inject(guest: &Running) -> bool {
    let tracing = casemate_attacks::vmm::trace(guest.pid());
    if let Err(error) = &tracing {
        not_covered(&format!("system calls in the VMM's name: {error}"));
    }
    tracing.is_ok()
}

#[test]
fn a_vmm_that_would_make_a_socket_is_killed() {
    if !can_attack("system calls in the VMM's name") {
        return;
    }
    let lab = Lab::new();
    for (name, number, arguments) in forbidden() {
        for index in 0..2 {
            let mut guest = lab.launch(Image::Echo, &[]);
            if !can_inject(&guest) {
                return;
            }
            // It runs, so both threads are under their filters.
            drop(guest.connect(7));
            let threads = threads(guest.pid());
            assert_eq!(threads.len(), 2, "{threads:?}");
            let (thread, tid) = &threads[index];
            if name.starts_with("KVM") && *tid == guest.pid() {
                continue;
            }
            let outcome = inject(*tid, number, arguments).unwrap();
            assert_eq!(outcome, Outcome::Killed(libc::SIGSYS), "{name} by {thread}");
            if *tid != guest.pid() {
                // The thread that waited with it is gone as well, and the guest with both.
                wait_until("the VMM ends", || guest.child().try_wait().unwrap().is_some());
            }
        }
    }
}

#[test]
fn a_call_that_is_allowed_can_be_injected_and_harms_nothing() {
    if !can_attack("system calls in the VMM's name") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Echo, &[]);
    if !can_inject(&guest) {
        return;
    }
    let outcome = inject(guest.pid(), libc::SYS_close, [4_000_000, 0, 0]).unwrap();
    assert_eq!(outcome, Outcome::Returned(-i64::from(libc::EBADF)));
    drop(guest.connect(7));
    assert_eq!(guest.ends_by_terminate(), 128 + Signal::TERM.as_raw());
}

#[test]
fn what_describe_prints_has_no_call_that_dials() {
    let lab = Lab::new();
    let list = lab.json(&["describe", "--seccomp"]);
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|call| call["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"accept4"), "{names:?}");
    for (name, ..) in forbidden().iter().filter(|(name, ..)| !name.contains(' ')) {
        assert!(!names.contains(name), "{name} is allowed");
    }
}

/// The process called by these words, of a lab.
fn process(words: &[&str], file: &str) -> Option<i32> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (line.contains(file) && line.contains(&words.join(" "))).then_some(pid)
    })
}

#[test]
fn the_volume_service_reaches_the_guest_and_nothing_else() {
    if !can_attack("system calls in the volume service's name") {
        return;
    }
    let lab = Lab::new();
    let file = lab.path("volume").to_str().unwrap().to_owned();
    let guest = lab.launch(Image::Signer, &["--state", &file]);
    if !can_inject(&guest) {
        return;
    }
    let service = process(&["volume", "serve"], &file).expect("the volume service");
    let refused = Outcome::Returned(-i64::from(libc::EPERM));
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
        assert_eq!(inject(service, libc::SYS_socket, socket(family)).unwrap(), refused, "family {family}");
    }
    for (name, number) in [
        ("bind", libc::SYS_bind),
        ("listen", libc::SYS_listen),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("execve", libc::SYS_execve),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ] {
        assert_eq!(inject(service, number, NONE).unwrap(), refused, "{name}");
    }
    // The control: what it needs, it has, and the guest's state is kept as before.
    let made = inject(service, libc::SYS_socket, socket(libc::AF_UNIX)).unwrap();
    assert!(matches!(made, Outcome::Returned(0..)), "{made:?}");
    lab.ok(&["key", "create", "--spec", "ECC_NIST_P256"]);
}

#[test]
fn a_gateway_that_would_dial_out_is_killed() {
    if !can_attack("system calls in the gateway's name") {
        return;
    }
    let lab = Lab::new();
    let name = "--enclave-name=served";
    let launched = lab.launch(Image::Signer, &[name]);
    if !can_inject(&launched) {
        return;
    }
    assert_eq!(backend(), "kvm");
    for (what, number, arguments) in [
        ("socket", libc::SYS_socket, socket(libc::AF_INET)),
        ("socket", libc::SYS_socket, socket(libc::AF_NETLINK)),
        ("bind", libc::SYS_bind, NONE),
        ("openat", libc::SYS_openat, NONE),
        ("execve", libc::SYS_execve, NONE),
        ("process_vm_readv", libc::SYS_process_vm_readv, NONE),
    ] {
        let mut served = lab.serve_as(&["--guest", "served"]);
        let gateway = i32::try_from(served.child().id()).unwrap();
        wait_until("the gateway is in its jail", || {
            std::fs::read_to_string(format!("/proc/{gateway}/status")).unwrap().contains("Seccomp:\t2")
        });
        // It finds the guest's socket and no other: the guest's folder is all that it has of the file system.
        assert_eq!(std::fs::read_link(format!("/proc/{gateway}/root")).unwrap(), launched.folder());
        // The control: the socket with which it connects to the guest.
        let made = inject(gateway, libc::SYS_socket, socket(libc::AF_UNIX)).unwrap();
        assert!(matches!(made, Outcome::Returned(0..)), "{made:?}");
        let outcome = inject(gateway, number, arguments).unwrap();
        assert_eq!(outcome, Outcome::Killed(libc::SIGSYS), "{what}");
    }
    // The guest does not care.
    assert_eq!(launched.ends_by_terminate(), 128 + Signal::TERM.as_raw());
}
