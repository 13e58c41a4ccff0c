//! Nothing dials out: neither the VMM, nor the gateway, nor the volume service can make a network socket, and the VMM no
//! socket at all. Shown by having their own threads try, under the filters that are in force.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};

use casemate_attacks::inject::{Outcome, inject};
use casemate_tests::{Image, Lab, Running, backend, can_attack, connect, not_covered, wait_until};
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

/// The lines about connections that a VMM has said, without what differs from run to run: the connection's number, the
/// times, and who it was.
fn connections(said: &str) -> Vec<String> {
    let user = rustix::process::getuid().as_raw();
    let us = format!("process {} of user {user}", std::process::id());
    let mut lines: Vec<String> = Vec::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("casemate: connection ")) {
        let (head, what) = line.split_once(": ").expect(line);
        let (number, time) = head.split_once(" at ").expect(line);
        assert!(number.parse::<u32>().unwrap() >= 1 << 30, "{line}");
        assert!(time.len() == "2026-11-25T13:35:36Z".len() && time.ends_with('Z'), "{line}");
        let what = what.replace(&us, "us");
        let plain = what.split_once(" after ").map(|(how, rest)| {
            let (took, rest) = rest.split_once(" s").expect(line);
            assert!(took.parse::<f64>().unwrap() < 60.0, "{line}");
            format!("{how}{rest}")
        });
        lines.push(plain.unwrap_or(what));
    }
    lines
}

#[test]
fn every_connection_is_in_the_vmms_log() {
    let lab = Lab::new();
    let log = lab.path("log");
    // On stderr, or in a file: there too where the guest runs in the background.
    for to_file in [false, true] {
        let arguments = [format!("--log={}", log.display())];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|_| to_file).collect();
        let guest = lab.launch(Image::Echo, &arguments);
        let mut stream = guest.connect(7);
        stream.write_all(b"twelve bytes").unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        drop(stream);
        assert!(connect(&guest.socket(), 8).is_none());
        let mut rude = std::os::unix::net::UnixStream::connect(guest.socket()).unwrap();
        rude.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = rude.read(&mut [0; 1]);
        // The last of them is in the log before this one is answered.
        let last = guest.connect(7);
        guest.signal(Signal::TERM);
        let (_, mut said) = guest.wait();
        drop(last);
        if to_file {
            assert_eq!(said, "", "all of it is in the file");
            said = String::from_utf8(lab.read("log")).unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut lines = connections(&said);
        // The guest decides when a connection is over: the order of the ends is its own.
        lines.sort();
        // What is open when the guest ends has no end of its own in the log.
        let expected = [
            "closed, 12 bytes to the guest, 12 from it",
            "port 7 for us",
            "port 7 for us",
            "port 8 was not opened for us",
            "turned away: it named no port",
        ];
        assert_eq!(lines, expected, "{said}");
        assert!(said.trim_end().lines().last().unwrap().contains("terminated"), "{said}");
    }
}

#[test]
fn a_log_that_nobody_reads_and_a_flood_hold_nobody_up() {
    let lab = Lab::new();
    // Nobody reads this stderr, and a pipe takes 64 KiB.
    let mut command = lab.command(casemate_tests::casemate());
    command.args(["run", "--json", "--image"]).arg(Image::Echo.path());
    command.arg(format!("--backend={}", backend()));
    let (mut reader, writer) = std::io::pipe().unwrap();
    // Full but for one page.
    for _ in 0..15 {
        writer.try_clone().unwrap().write_all(&[b'.'; 4096]).unwrap();
    }
    let mut child = command.stdout(std::process::Stdio::null()).stderr(writer).spawn().unwrap();
    drop(command);
    let mut socket = None;
    wait_until("there is a guest", || {
        socket = lab
            .guest_folders()
            .into_iter()
            .map(|folder| folder.join("vsock.sock"))
            .find(|path| path.exists());
        socket.is_some()
    });
    let socket = socket.unwrap();
    let started = std::time::Instant::now();
    for _ in 0..2000 {
        drop(connect(&socket, 7).expect("the guest takes it"));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    wait_until("the VMM ends, unread", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    let lines = said.matches("casemate: connection ").count();
    assert!((1..200).contains(&lines), "{lines} lines");
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
