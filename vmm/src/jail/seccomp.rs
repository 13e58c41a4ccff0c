//! Which system calls remain once the guest is sealed. Everything else kills the process.
//!
//! Two threads, two lists. Neither can open a file, make a socket, connect, map memory, start a process or trace one;
//! of the KVM ioctls only `KVM_RUN` is left, and only to the virtual CPU.
//!
//! The services beside the VMM have lists of their own, and filters made by the same [`program`].

use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// `KVM_RUN` (linux/kvm.h): `_IO(0xae, 0x80)`.
const KVM_RUN: u64 = 0xae80;

/// A thread of the running VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Thread {
    /// The virtual CPU's.
    Vcpu,
    /// The same on the process backend, which seals nothing: it traces the guest instead of running it.
    Tracer,
    /// The one that moves packets between clients and guest.
    Io,
}

/// An allowed system call.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Allowed {
    /// Its name.
    pub name: &'static str,
    #[serde(skip)]
    number: i64,
    /// Which threads may make it.
    pub threads: &'static [Thread],
    /// What for.
    pub reason: &'static str,
}

const ALL: &[Thread] = &[Thread::Vcpu, Thread::Tracer, Thread::Io];
const IO: &[Thread] = &[Thread::Io];
const VCPU: &[Thread] = &[Thread::Vcpu];
const CPUS: &[Thread] = &[Thread::Vcpu, Thread::Tracer];
const TRACER: &[Thread] = &[Thread::Tracer];

const fn allow(name: &'static str, number: i64, threads: &'static [Thread], reason: &'static str) -> Allowed {
    Allowed { name, number, threads, reason }
}

const CLOCK: &str = "clock_gettime";

/// The whole list.
///
/// A sealed guest's VMM has the first 15; `clock_gettime` is added only where the vDSO cannot tell the time, the others on
/// the process backend.
pub const ALLOWED: [Allowed; 18] = [
    allow("ioctl", libc::SYS_ioctl, VCPU, "KVM_RUN, and no other request: run the guest"),
    allow("epoll_wait", libc::SYS_epoll_wait, ALL, "wait for clients, packets, the end; idle"),
    allow("epoll_ctl", libc::SYS_epoll_ctl, IO, "watch a client's connection"),
    allow("accept4", libc::SYS_accept4, IO, "take a client that connects to the guest's socket"),
    allow("recvmsg", libc::SYS_recvmsg, IO, "read the CONNECT line, and who has sent it"),
    allow("read", libc::SYS_read, ALL, "read from a client, from the security module; take a wake-up"),
    allow(
        "write",
        libc::SYS_write,
        ALL,
        "write to a client, to the security module; wake the other thread; say why the guest ended",
    ),
    allow("shutdown", libc::SYS_shutdown, IO, "close one direction of a connection"),
    allow("close", libc::SYS_close, IO, "end a connection"),
    allow("sched_yield", libc::SYS_sched_yield, IO, "let clients run while polling"),
    allow("getrandom", libc::SYS_getrandom, CPUS, "NSM GetRandom"),
    allow("futex", libc::SYS_futex, ALL, "locks of the standard library"),
    allow("brk", libc::SYS_brk, ALL, "memory for connections"),
    allow(
        "unlinkat",
        libc::SYS_unlinkat,
        IO,
        "remove the guest's sockets at the end (landlock: nothing else)",
    ),
    allow("exit_group", libc::SYS_exit_group, ALL, "end"),
    allow(CLOCK, libc::SYS_clock_gettime, ALL, "time, where the vDSO cannot tell it"),
    allow("ptrace", libc::SYS_ptrace, TRACER, "process backend: run the child, take its doorbell"),
    allow("wait4", libc::SYS_wait4, TRACER, "process backend: wait for the child to stop"),
];

/// What `thread` may call on this host.
pub fn allowed(thread: Thread) -> impl Iterator<Item = &'static Allowed> {
    let clock = !vdso_tells_time();
    ALLOWED.iter().filter(move |call| call.threads.contains(&thread) && (clock || call.name != CLOCK))
}

/// Whether the kernel's clock source can be read without a system call (vdso(7)).
fn vdso_tells_time() -> bool {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    source.is_ok_and(|source| matches!(source.trim(), "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page"))
}

/// The filter that leaves these calls: of ioctl(2) `KVM_RUN`, of sockets Unix ones, and memory that never becomes executable.
/// `otherwise` is what becomes of any other call.
pub(super) fn program(calls: impl Iterator<Item = i64>, otherwise: SeccompAction) -> io::Result<BpfProgram> {
    use SeccompCmpArgLen::{Dword, Qword};
    let unix = u64::from(libc::AF_UNIX.unsigned_abs());
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let conditions = |number| match number {
        libc::SYS_ioctl => only_if(1, Qword, SeccompCmpOp::Eq, KVM_RUN),
        libc::SYS_socket => only_if(0, Dword, SeccompCmpOp::Eq, unix),
        libc::SYS_mmap | libc::SYS_mprotect => only_if(2, Dword, SeccompCmpOp::MaskedEq(executable), 0),
        _ => Ok(vec![]),
    };
    let compile = || -> Result<BpfProgram, BackendError> {
        let rules = calls.map(|number| Ok((number, conditions(number)?)));
        let rules = rules.collect::<Result<_, BackendError>>()?;
        SeccompFilter::new(rules, otherwise, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
    };
    compile().map_err(io::Error::other)
}

/// The rule that an argument of a call has to compare so with `value`.
pub(super) fn only_if(
    argument: u8,
    len: SeccompCmpArgLen,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<Vec<SeccompRule>, BackendError> {
    Ok(vec![SeccompRule::new(vec![SeccompCondition::new(argument, len, compare, value)?])?])
}

/// The filter of one thread, as the kernel takes it. Made before the jail closes, because what it holds depends on the
/// host, and entered on that thread, for good.
#[derive(Clone, Debug)]
pub struct Filter(BpfProgram);

impl Filter {
    /// The filter for `thread` on this host.
    pub fn new(thread: Thread) -> io::Result<Self> {
        let calls = allowed(thread).map(|call| call.number);
        // In debug builds the standard library asks whether a descriptor is open before it closes it.
        #[cfg(debug_assertions)]
        let calls = calls.chain([libc::SYS_fcntl]);
        program(calls, SeccompAction::KillProcess).map(Self)
    }

    /// The BPF instructions, for the posture: code (2 bytes), jt, jf, k (4 bytes), little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 * self.0.len());
        for instruction in &self.0 {
            bytes.extend(instruction.code.to_le_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_le_bytes());
        }
        bytes
    }

    /// Puts the calling thread under the filter.
    pub fn enter(&self) -> io::Result<()> {
        seccompiler::apply_filter(&self.0).map_err(io::Error::other)
    }
}
