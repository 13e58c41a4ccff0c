//! Root looks for a secret that is in a sealed guest, in every way that Linux offers, and finds no byte of it; the same
//! root with the same tools finds it in processes that hold it openly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use casemate_attacks::process::{self, Haul};
use casemate_attacks::{descriptors, keys, memory};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::sealing::{self, Sealing};
use casemate_tests::{Image, Lab, Running, can_attack, casemate, not_covered, secret, wait_until};
use rustix::process::Signal;

/// A way to look for a secret in a process.
type Look = fn(&[u8], i32) -> std::io::Result<Haul>;

/// An ordinary process with the secret, and the public half of a key that it holds.
struct Holder {
    child: Child,
    public: Vec<u8>,
}

impl Holder {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holder"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let public = hex::decode(line.trim()).unwrap();
        Self { child, public }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sealed guest that holds three copies of the secret, and says that it does.
fn guarded(lab: &Lab) -> Running {
    let guest = lab.launch(Image::Secret, &[]);
    assert_eq!(guest.ask("CHECK"), "3");
    guest
}

/// The attack found nothing, though it could read something, and the guest neither noticed nor minded.
#[track_caller]
fn assert_nothing(what: &str, guest: &Running, haul: &Haul) {
    assert!(haul.bytes > 4096, "{what} read only {} bytes: it proves nothing", haul.bytes);
    assert!(haul.found.is_empty(), "{what} found the secret: {:#?}", haul.found);
    assert_eq!(guest.ask("CHECK"), "3", "after {what}");
}

#[track_caller]
fn assert_found(what: &str, haul: &Haul) {
    assert!(!haul.found.is_empty(), "the control: {what} finds nothing in {} bytes", haul.bytes);
}

#[test]
fn memory_of_the_vmm_holds_no_byte_of_the_secret() {
    if !can_attack("reading the VMM's memory") {
        return;
    }
    let (lab, holder) = (Lab::new(), Holder::start());
    let guest = guarded(&lab);
    for (what, look) in
        [("/proc/PID/mem", memory::proc_mem as Look), ("process_vm_readv", memory::process_vm_readv)]
    {
        assert_nothing(what, &guest, &look(&secret(), guest.pid()).unwrap());
        assert_found(what, &look(&secret(), holder.pid()).unwrap());
    }
    let maps = memory::map_files(&secret(), guest.pid()).unwrap();
    assert_nothing("/proc/PID/map_files", &guest, &maps);
    assert_eq!(guest.ends_by_terminate(), 143);
}

/// The processes that a VMM on the process backend runs its guest in.
fn children(vmm: i32) -> Vec<i32> {
    // A child belongs to the thread that traces it.
    let threads = std::fs::read_dir(format!("/proc/{vmm}/task")).unwrap();
    let lists =
        threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    let pids: Vec<i32> = lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    assert!(!pids.is_empty(), "the process backend has a child");
    pids
}

#[test]
fn a_guest_on_the_process_backend_is_readable() {
    if !can_attack("the control on the process backend") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Secret, &["--backend=process"]);
    assert_eq!(guest.ask("CHECK"), "3");
    let pids = children(guest.pid());
    for (what, look) in
        [("/proc/PID/mem", memory::proc_mem as Look), ("process_vm_readv", memory::process_vm_readv)]
    {
        let mut haul = Haul::default();
        pids.iter().for_each(|pid| haul.add(look(&secret(), *pid).unwrap()));
        assert_found(what, &haul);
        // The same three copies as in a sealed guest, in the guest's own memory.
    }
}

#[test]
fn a_core_dump_made_by_gdb_holds_no_byte_of_the_secret() {
    if !can_attack("gcore") {
        return;
    }
    let (lab, holder) = (Lab::new(), Holder::start());
    let guest = guarded(&lab);
    let sealed = memory::gcore(&secret(), guest.pid(), &lab.path("core-of-the-vmm")).unwrap();
    assert_nothing("gcore", &guest, &sealed);
    assert_found("gcore", &memory::gcore(&secret(), holder.pid(), &lab.path("core-of-the-holder")).unwrap());
}

#[test]
fn stolen_descriptors_give_no_byte_of_the_secret() {
    if !can_attack("stealing descriptors") {
        return;
    }
    let (lab, holder) = (Lab::new(), Holder::start());
    let guest = guarded(&lab);
    assert_nothing("pidfd_getfd", &guest, &descriptors::all(&secret(), guest.pid()).unwrap());
    let control = descriptors::all(&secret(), holder.pid()).unwrap();
    for way in ["mapped", "read", "reopened"] {
        assert!(
            control.found.iter().any(|place| place.contains("held") && place.ends_with(way)),
            "the control: {way}: {:?}",
            control.found
        );
    }
}

/// The descriptor of a process whose target contains `name`, stolen.
fn steal(pid: i32, name: &str) -> OwnedFd {
    let all = process::descriptors(pid).unwrap();
    let found = all.iter().find(|(_, target)| target.to_string_lossy().contains(name));
    let (number, _) = found.unwrap_or_else(|| panic!("no {name} in {all:?}"));
    descriptors::steal(pid, *number).unwrap()
}

#[test]
fn a_stolen_ring_does_not_give_the_memory_back() {
    if !can_attack("stealing the io_uring that holds the guest's memory") {
        return;
    }
    let (lab, holder) = (Lab::new(), Holder::start());
    let guest = guarded(&lab);
    let ring = steal(guest.pid(), "io_uring");
    let refusal = descriptors::take_from_ring(&ring).expect_err("the guest's memory came out of the ring");
    assert_eq!(refusal.raw_os_error(), Some(libc::EACCES), "{refusal}");
    // Unregister buffers, files, the eventfd; enable the rings again (IORING_* of linux/io_uring.h).
    for operation in [1, 3, 5, 12] {
        assert!(descriptors::register(&ring, operation).is_err(), "operation {operation} was allowed");
    }
    assert_eq!(guest.ask("CHECK"), "3", "the memory is still there");
    // The same steps on a ring without restrictions hand out a file with the secret.
    let file = descriptors::take_from_ring(&steal(holder.pid(), "io_uring")).expect("the control");
    assert_found("a file from a ring", &descriptors::mapped(&secret(), &file, "registered file"));
}

#[test]
fn a_stolen_virtual_cpu_obeys_nobody_else() {
    if !can_attack("stealing the virtual CPU") {
        return;
    }
    let lab = Lab::new();
    let guest = guarded(&lab);
    let cpu = steal(guest.pid(), "kvm-vcpu");
    for (name, request) in [
        ("KVM_RUN", 0xae80),
        ("KVM_GET_REGS", 0x8090_ae81),
        ("KVM_SET_REGS", 0x4090_ae82),
        ("KVM_GET_SREGS", 0x8138_ae83),
        ("KVM_SET_SREGS", 0x4138_ae84),
        ("KVM_TRANSLATE", 0xc018_ae85),
        ("KVM_GET_FPU", 0x81a0_ae8c),
        ("KVM_GET_XSAVE", 0x9000_aea4),
        ("KVM_SET_GUEST_DEBUG", 0x4048_ae9b),
    ] {
        let error = descriptors::kvm(&cpu, request).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
    }
    assert_eq!(guest.ask("CHECK"), "3");
}

#[test]
fn code_and_page_tables_cannot_be_written() {
    if !can_attack("writing code and page tables") {
        return;
    }
    let (lab, holder) = (Lab::new(), Holder::start());
    let guest = guarded(&lab);
    let maps = process::maps(guest.pid()).unwrap();
    for name in ["casemate-image", "casemate-tables"] {
        let sealed: Vec<_> = maps.iter().filter(|map| map.name.contains(name)).collect();
        assert!(!sealed.is_empty(), "{name} is not mapped: {maps:#?}");
        for map in sealed {
            assert!(!map.permissions.contains('w'), "{map:?}");
            let error = memory::write(guest.pid(), map).expect_err(name);
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
        }
        let stolen = steal(guest.pid(), name);
        let error = rustix::io::pwrite(&stolen, b"x", 4096).expect_err("the sealed file was written");
        assert_eq!(error, rustix::io::Errno::PERM, "{name}");
        let length = rustix::fs::fstat(&stolen).unwrap().st_size;
        let error = rustix::fs::ftruncate(&stolen, 0).expect_err("the sealed file was cut");
        assert_eq!((error, rustix::fs::fstat(&stolen).unwrap().st_size), (rustix::io::Errno::PERM, length));
    }
    assert_eq!(guest.ask("CHECK"), "3");
    // The control: root may write an ordinary process's code this way, though the process itself may not.
    let maps = process::maps(holder.pid()).unwrap();
    let text = maps.iter().find(|map| map.permissions == "r-xp" && map.name.ends_with("holder")).unwrap();
    memory::write(holder.pid(), text).expect("the control: writing an ordinary process's code");
}

#[test]
fn the_attestation_key_is_not_in_readable_memory() {
    if !can_attack("looking for the attestation key") {
        return;
    }
    let (lab, holder) = (Lab::new(), Holder::start());
    let guest = lab.launch(Image::Signer, &[]);
    lab.ok(&["attest", "--nonce", "x", "--out", "doc.cbor"]);
    let document = casemate_attestation::document::parse(&lab.read("doc.cbor")).unwrap();
    let certificate = <x509_cert::Certificate as x509_cert::der::Decode>::from_der(&document.certificate);
    let certificate = certificate.unwrap();
    let public =
        certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec();
    assert!(
        keys::find(holder.pid(), &holder.public).unwrap().1 >= 1,
        "the control: the same scan finds a key that lies open"
    );
    for pid in [guest.pid(), lab.module_pid()] {
        let (tried, found) = keys::find(pid, &public).unwrap();
        assert_eq!(found, 0, "the leaf key lies in readable memory of {pid}");
        assert!(tried > 0);
        // Nor is there memory of theirs that cannot be read: no key is left in a running VMM.
        let maps = process::maps(pid).unwrap();
        assert!(!maps.iter().any(|map| map.name.contains("secretmem")), "{maps:#?}");
        let held = process::descriptors(pid).unwrap();
        assert!(!held.iter().any(|(_, target)| target.to_string_lossy().contains("secretmem")), "{held:?}");
    }
    // Where the VMM has the key, it is in such memory.
    let open = lab.launch(Image::Signer, &["--backend=process"]);
    let maps = process::maps(open.pid()).unwrap();
    let secret = maps.iter().find(|map| map.name.contains("secretmem")).expect("memfd_secret is mapped");
    let error = memory::write(open.pid(), secret).expect_err("secret memory was read");
    assert!(matches!(error.raw_os_error(), Some(libc::EIO | libc::EFAULT)), "{error}");
    let held = process::descriptors(open.pid()).unwrap();
    assert!(!held.iter().any(|(_, target)| target.to_string_lossy().contains("secretmem")), "{held:?}");
}

#[test]
fn the_sealing_key_is_not_in_readable_memory() {
    if !can_attack("looking for the sealing key") {
        return;
    }
    let lab = Lab::new();
    // The guest never asks for its key, so the runtime still holds it.
    let [sealed, open] = [&[][..], &["--backend=process"]].map(|backend| lab.launch(Image::Secret, backend));
    for guest in [&sealed, &open] {
        assert_eq!(guest.ask("PING"), "PONG");
    }
    let platform = PlatformKey::load(&lab.path("home")).unwrap();
    let file = std::fs::read(Image::Secret.path()).unwrap();
    let image = casemate_attestation::eif::Eif::parse(&file).unwrap().measure().unwrap();
    let children = children(open.pid());
    let control = sealing::key(&platform, Sealing::Process, &image).unwrap();
    let found: Vec<_> = children.iter().flat_map(|pid| keys::places(*pid, &control).unwrap().1).collect();
    assert!(
        !found.is_empty(),
        "the control: the same scan finds a sealing key in a guest that is not sealed"
    );
    let key = sealing::key(&platform, Sealing::Production, &image).unwrap();
    let (read, found) = keys::places(sealed.pid(), &key).unwrap();
    assert!(read > 1 << 20, "{read} bytes were read: that proves nothing");
    assert_eq!(found, Vec::<String>::new(), "the sealing key lies in readable memory");
    assert_eq!(sealed.ask("SEALING KEY"), hex::encode(*key), "the guest has that key");
    assert_eq!(sealed.ask("SEALING KEY"), "none", "and gives it once");
}

#[test]
fn the_vmm_is_in_jail() {
    if !can_attack("looking at the VMM's jail from outside") {
        return;
    }
    let lab = Lab::new();
    // Descriptors that the caller forgot to close must not come along.
    let mut command = lab.command(Path::new("/bin/sh"));
    command.arg("-c").arg("exec 8</etc/passwd 9<>/dev/kvm; exec \"$0\" \"$@\"").arg(casemate());
    command.args(["run", "--json", "--image"]).arg(Image::Secret.path());
    let guest = Running::launched_by(&mut command, lab.runtime());
    assert_eq!(guest.ask("PING"), "PONG");
    let pid = guest.pid();
    let root = std::fs::metadata(format!("/proc/{pid}/mem")).unwrap();
    assert_eq!((root.uid(), root.gid()), (0, 0), "not dumpable: /proc/PID belongs to root");
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = format!("{pid}/task/{}", thread.unwrap().file_name().to_str().unwrap());
        // KVM's own worker (kvm-nx-lpage-recovery) is listed here, and never runs a program's code.
        if is_kernels_own(&thread) {
            continue;
        }
        let status = |field| process::status(&thread, field).unwrap();
        assert_eq!(status("Seccomp"), "2", "{thread}");
        assert_eq!(status("NoNewPrivs"), "1", "{thread}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(set), "0000000000000000", "{thread} {set}");
        }
        for id in ["Uid", "Gid"] {
            let ids = status(id);
            assert!(
                ids.split_whitespace().all(|id| id.parse::<u32>().unwrap() >= 2_000_000_000),
                "{id} {ids}"
            );
        }
        assert_eq!(status("Groups"), "", "{thread}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");

    for (number, target) in process::descriptors(pid).unwrap() {
        let target = target.to_string_lossy().into_owned();
        for forbidden in ["/dev/kvm", "kvm-vm", "kvm-gmem", "guest_memfd", "secretmem", "/etc/passwd"] {
            assert!(!target.contains(forbidden), "descriptor {number} is {target}");
        }
    }
    assert_eq!(network_sockets(pid), Vec::<String>::new(), "the VMM opens no network socket");
}

/// Whether a task is a worker that the kernel cloned from a process, and that never enters user mode: `PF_USER_WORKER`
/// (include/linux/sched.h) among the flags in stat(5), the ninth field.
fn is_kernels_own(task: &str) -> bool {
    const PF_USER_WORKER: u64 = 0x4000;
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).unwrap();
    // The name may have spaces and brackets in it; what follows does not.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let flags: u64 = fields.split_whitespace().nth(6).unwrap().parse().unwrap();
    flags & PF_USER_WORKER != 0
}

/// The sockets of a process that are not Unix sockets, by their inode.
fn network_sockets(pid: i32) -> Vec<String> {
    let unix = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap();
    let is_unix = |inode: &str| unix.lines().any(|line| line.split_whitespace().nth(6) == Some(inode));
    let sockets: Vec<String> = process::descriptors(pid)
        .unwrap()
        .into_iter()
        .filter_map(|(_, target)| {
            Some(target.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    assert!(!sockets.is_empty(), "not even the guest's own socket was found");
    // A connection that ended meanwhile is in neither list.
    sockets.into_iter().filter(|inode| !is_unix(inode)).collect()
}

#[test]
fn nothing_is_swapped_or_merged() {
    if !can_attack("swap and same-page merging") {
        return;
    }
    let lab = Lab::new();
    let guest = guarded(&lab);
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", guest.pid())).unwrap();
    let field = |name: &str| -> u64 {
        let values = smaps.lines().filter_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        values.map(|value| value.trim().parse::<u64>().unwrap()).sum()
    };
    assert!(field("Rss:") > 1024, "smaps was read");
    assert_eq!((field("Swap:"), field("KSM:")), (0, 0));
    let mergeable =
        smaps.lines().filter(|line| line.starts_with("VmFlags:")).any(|line| line.contains(" mg"));
    assert!(!mergeable, "same-page merging was allowed");
    // The guest has 64 MiB of memory, and none of it is in the VMM's address space.
    let total: u64 = process::maps(guest.pid())
        .unwrap()
        .iter()
        .filter(|map| map.permissions.starts_with("rw"))
        .map(|map| map.end - map.start)
        .sum();
    assert!(total < 32 << 20, "{total} bytes are mapped writable");
}

/// Runs `run` in a child process group with core dumps allowed, kills it with a signal that dumps, and says whether the
/// kernel dumped core.
fn dumps_core(child: &mut Child, pid: i32) -> bool {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::ABORT).unwrap();
    wait_until("it dies", || child.try_wait().unwrap().is_some());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    status.core_dumped()
}

/// Core dumps of any size, as somebody who hopes for one would set it.
fn allow_core(command: &mut Command) -> &mut Command {
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    // SAFETY: setrlimit is safe to call between fork and exec; it allocates nothing.
    unsafe {
        command.pre_exec(move || Ok(rustix::process::setrlimit(rustix::process::Resource::Core, unlimited)?))
    }
}

#[test]
fn a_crash_dumps_no_core() {
    if !can_attack("a core dump on a crash") {
        return;
    }
    let lab = Lab::new();
    let mut command = lab.command(casemate());
    command.args(["run", "--json", "--image"]).arg(Image::Secret.path());
    let mut guest = Running::launched_by(allow_core(&mut command), lab.runtime());
    assert_eq!(guest.ask("CHECK"), "3");
    let pid = guest.pid();
    assert!(!dumps_core(guest.child(), pid), "the VMM dumped core");
    let cores: Vec<_> =
        std::fs::read_dir(lab.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!cores.iter().any(|name| name.to_string_lossy().contains("core")), "{cores:?}");

    let mut holder = lab.command(Path::new(env!("CARGO_BIN_EXE_holder")));
    let mut holder = allow_core(&mut holder).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(holder.id()).unwrap();
    wait_until("the holder holds", || !memory::proc_mem(&secret(), pid).unwrap_or_default().found.is_empty());
    if !dumps_core(&mut holder, pid) {
        not_covered("that an ordinary process does dump core (core_pattern allows none here)");
    }
}

#[test]
fn a_guest_that_crashes_ends_alone_and_leaves_nothing() {
    if !can_attack("what a crash leaves behind") {
        return;
    }
    let lab = Lab::new();
    let (guest, other) = (guarded(&lab), guarded(&lab));
    guest.tell("CRASH");
    let said = guest.ends_with(70);
    assert!(said.contains("exception"), "{said}");
    assert_eq!(other.ask("CHECK"), "3");
    let secret = secret();
    for entry in std::fs::read_dir(lab.path(".")).unwrap().chain(std::fs::read_dir(lab.runtime()).unwrap()) {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!secret.chunks_exact(16).any(|piece| process::contains(&bytes, piece)), "{}", path.display());
    }
}
