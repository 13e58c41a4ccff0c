//! Ways round every process: the kernel's own view of memory, and code that root puts into the kernel.

use std::fs::File;
use std::io::{Error, Result};

/// Opens a file through which all memory can be read.
pub fn open(path: &str) -> Result<()> {
    File::open(path).map(drop)
}

/// Loads a BPF program of the kind that kprobes run (bpf(2), `BPF_PROG_LOAD`): it can read the kernel's memory.
pub fn load_kprobe_program() -> Result<()> {
    const PROG_LOAD: i32 = 5;
    const KPROBE: u32 = 2;
    /// `mov r0, 0; exit`.
    static PROGRAM: [u64; 2] = [0xb7, 0x95];
    static LICENSE: &[u8; 4] = b"GPL\0";
    /// The head of `union bpf_attr` for BPF_PROG_LOAD (linux/bpf.h).
    #[repr(C)]
    struct Load {
        kind: u32,
        instructions: u32,
        program: *const u64,
        license: *const u8,
        rest: [u64; 16],
    }
    let mut load = Load {
        kind: KPROBE,
        instructions: 2,
        program: PROGRAM.as_ptr(),
        license: LICENSE.as_ptr(),
        rest: [0; 16],
    };
    // SAFETY: the attributes and what they point to are valid for the call, with the size that is passed.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut load, size_of::<Load>()) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

/// How many KiB of a process are in swap and merged with others', and whether merging was allowed for any of it
/// (`/proc/PID/smaps`).
pub fn swapped_and_merged(pid: i32) -> Result<(u64, u64, bool)> {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let field = |name: &str| -> u64 {
        let values = smaps.lines().filter_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        values.filter_map(|value| value.trim().parse::<u64>().ok()).sum()
    };
    if field("Rss:") == 0 {
        return Err(Error::other("smaps tells nothing"));
    }
    let flags = smaps.lines().filter(|line| line.starts_with("VmFlags:"));
    Ok((field("Swap:"), field("KSM:"), flags.into_iter().any(|line| line.contains(" mg"))))
}
