//! Looking into the address space of another process.

use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use crate::process::{Haul, Map, maps};

/// Bytes read at a time. What lies across two reads is found because reads overlap.
const CHUNK: usize = 4 << 20;
/// A page that cannot be read.
const PAGE: u64 = 4096;
/// Bytes that two reads have in common.
const OVERLAP: usize = 64;

/// Reads a range with `read`, which fills the front of a buffer from an address and says how far it came. A page that
/// cannot be read is skipped; where nothing is left to read, because a process has ended or a file become shorter, that is all.
fn sweep(
    secret: &[u8],
    place: &str,
    (start, end): (u64, u64),
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize>,
) -> Haul {
    let mut haul = Haul::default();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(end.saturating_sub(start)).unwrap_or(CHUNK))];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let got = match read(at, &mut buffer[..want]) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => break,
            Err(_) => {
                at += PAGE;
                continue;
            }
        };
        haul.look(secret, place, &buffer[..got]);
        let again = if got == want && at + (want as u64) < end { OVERLAP } else { 0 };
        at += (got - again) as u64;
    }
    haul
}

fn place(map: &Map) -> String {
    format!("{:x}-{:x} {} {}", map.start, map.end, map.permissions, map.name)
}

/// Reads `/proc/PID/mem` over every map.
pub fn proc_mem(secret: &[u8], pid: i32) -> Result<Haul> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut haul = Haul::default();
    for map in maps(pid)?.iter().filter(|map| map.start < 1 << 63) {
        haul.add(sweep(secret, &place(map), (map.start, map.end), |at, buffer| memory.read_at(buffer, at)));
    }
    Ok(haul)
}

/// process_vm_readv(2) over every map.
pub fn process_vm_readv(secret: &[u8], pid: i32) -> Result<Haul> {
    let mut haul = Haul::default();
    for map in maps(pid)? {
        haul.add(sweep(secret, &place(&map), (map.start, map.end), |at, buffer| {
            let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: buffer.len() };
            // SAFETY: `local` is the buffer, which nobody else uses; `remote` is checked by the kernel.
            let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
            usize::try_from(read).map_err(|_| Error::last_os_error())
        }));
    }
    Ok(haul)
}

/// Opens and reads what is behind every map: `/proc/PID/map_files`.
pub fn map_files(secret: &[u8], pid: i32) -> Result<Haul> {
    let mut haul = Haul::default();
    for entry in std::fs::read_dir(format!("/proc/{pid}/map_files"))? {
        let path = entry?.path();
        let name = std::fs::read_link(&path).unwrap_or_default();
        if name.starts_with("/dev") {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let place = format!("{} ({})", path.display(), name.display());
        haul.add(sweep(secret, &place, (0, size), |at, buffer| file.read_at(buffer, at)));
    }
    Ok(haul)
}

/// gdb's core dump of the running process, of everything it can reach. `scratch` is a file that may be written.
pub fn gcore(secret: &[u8], pid: i32, scratch: &Path) -> Result<Haul> {
    let dump = format!("gcore {}", scratch.display());
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-p", &pid.to_string()])
        .args(["-ex", "set use-coredump-filter off", "-ex", "set dump-excluded-mappings on", "-ex", &dump])
        .output()
        .map_err(|error| Error::other(format!("gdb is needed (Debian: apt install gdb): {error}")))?;
    let Ok(core) = File::open(scratch) else {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::other(format!("gdb wrote no core: {}", said.trim())));
    };
    let size = core.metadata()?.len();
    let haul = sweep(secret, "core dump", (0, size), |at, buffer| core.read_at(buffer, at));
    std::fs::remove_file(scratch)?;
    Ok(haul)
}

/// Writes the byte that is there already to the first page of a map, through `/proc/PID/mem`: whether root may write
/// where the process itself may not.
pub fn write(pid: i32, map: &Map) -> std::io::Result<()> {
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    let mut byte = [0];
    memory.read_exact_at(&mut byte, map.start)?;
    memory.write_all_at(&byte, map.start)
}
