//! Attacks on the VMM's control of the guest. They succeed where the host lets root trace processes: a limit that the
//! posture tells (`yama_ptrace_scope`), not a fault.

use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use crate::process::maps;

/// Attaches to a process as a tracer, with seccomp suspended, and lets it go again: ptrace(2), `PTRACE_SEIZE` with
/// `PTRACE_O_SUSPEND_SECCOMP`. Whoever may do that can have the process make any system call.
pub fn trace(pid: i32) -> Result<()> {
    const SUSPEND_SECCOMP: usize = 1 << 21;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: seizing takes numbers and changes nothing in this process.
    if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, SUSPEND_SECCOMP) } < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the same. To be let go of, the process has to stop first.
    unsafe {
        libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none);
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, libc::__WALL);
        libc::ptrace(libc::PTRACE_DETACH, pid, none, none);
    }
    Ok(())
}

/// `kvm_valid_regs` and the registers in `struct kvm_run` (linux/kvm.h).
const VALID_REGS: u64 = 288;
const REGS: u64 = 304;
/// RIP among the registers: the seventeenth.
const RIP: u64 = REGS + 16 * 8;

/// Asks KVM, through the page that it shares with the VMM, to leave the guest's registers there at each exit
/// (`KVM_CAP_SYNC_REGS`), makes the guest exit with `exercise`, and returns its instruction pointer.
pub fn registers_through_kvm_run(pid: i32, exercise: impl FnOnce() -> Result<()>) -> Result<u64> {
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    let run = maps(pid)?.into_iter().find(|map| map.name.contains("kvm-vcpu"));
    let run = run.ok_or_else(|| Error::other("the kvm_run page is not mapped"))?.start;
    memory.write_all_at(&1_u64.to_ne_bytes(), run + VALID_REGS)?;
    let exercised = exercise();
    std::thread::sleep(Duration::from_millis(10));
    let mut rip = [0; 8];
    let read = memory.read_exact_at(&mut rip, run + RIP);
    memory.write_all_at(&0_u64.to_ne_bytes(), run + VALID_REGS)?;
    exercised.and(read)?;
    match u64::from_ne_bytes(rip) {
        0 => Err(Error::other("KVM left no registers there")),
        rip => Ok(rip),
    }
}
