//! When the stages of a launch were reached, for `casemate bench`.
//!
//! Off unless `CASEMATE_TIMINGS` names a file; then a page of that file is mapped before the jail closes, and each stage
//! stores the monotonic clock (`CLOCK_MONOTONIC`, nanoseconds, little-endian `u64`) at its own place in it. Stamping
//! makes no system call, so it works under seccomp and adds nothing to what it measures. Nothing is read back, and
//! times are all that is written: the file tells its owner what the owner of a stopwatch could see from outside.

use std::fs::OpenOptions;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

/// Names the file.
const VARIABLE: &str = "CASEMATE_TIMINGS";
/// Bytes of the file: one page.
const LEN: usize = 4096;

/// What was reached. The number is the place in the file, counted in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// The first line of `main`.
    Main = 0,
    /// The VM exists, with its virtual CPU, private and shared memory.
    Vm = 1,
    /// The image was copied, by a thread beside, and is in memory.
    Loaded = 2,
    /// Its measurements are known.
    Measured = 3,
    /// The private memory is out of reach.
    Sealed = 4,
    /// The attestation key is certified and the posture known: the guest can be announced.
    Attestable = 5,
    /// The jail is closed and the virtual CPU about to run.
    Started = 6,
    /// The guest accepts connections.
    Ready = 7,
}

const _: () = assert!((Stage::Ready as usize) < LEN / size_of::<u64>());

/// The mapped page; `None` inside if timing is off or the file cannot be used.
static PAGE: OnceLock<Option<&'static [AtomicU64]>> = OnceLock::new();

/// Maps the file, if one is named, and stamps [`Stage::Main`].
pub fn start() {
    PAGE.get_or_init(map);
    reached(Stage::Main);
}

/// Stamps `stage`. Costs a comparison when timing is off.
pub fn reached(stage: Stage) {
    if let Some(word) = PAGE.get().and_then(|page| page.as_ref()?.get(stage as usize)) {
        word.store(now(), Ordering::Relaxed);
    }
}

fn map() -> Option<&'static [AtomicU64]> {
    let path = std::env::var_os(VARIABLE)?;
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    file.set_len(LEN as u64).ok()?;
    // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
    let address = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            LEN,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &file,
            0,
        )
    }
    .ok()?;
    // SAFETY: `LEN` bytes at a page boundary, mapped until the process ends; others who map the file may change
    // them at any time, which atomics allow for, and every bit pattern is a u64.
    Some(unsafe { std::slice::from_raw_parts(address.cast(), LEN / size_of::<u64>()) })
}

/// The monotonic clock, by the vDSO. Zero, which no reader takes for a time, if it cannot be read.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable and of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
