//! What the VMM tells the guest at launch: the boot page and the measured command line.
//!
//! The page is in read-only, write-sealed memory: it cannot change while the guest runs, so a reference to it is
//! sound. Its content is the host's word and is checked once, in [`check`], before anything uses it.

use casemate_abi::{
    ABI_VERSION, BOOT_BASE, BOOT_DEBUG, BOOT_MAGIC, BOOT_VOLUME, BootInfo, CMDLINE_MAX, DATA_BASE, PAGE_SIZE,
    PRIVATE_BASE, PRIVATE_MAX,
};

/// Why a boot page is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BootError {
    /// Not a boot page.
    #[error("boot page: magic number {0:#x} is not that of a Casemate VMM")]
    Magic(u64),
    /// Made by a VMM of another interface version.
    #[error("boot page: interface version {0}, this image is linked for {ABI_VERSION}: rebuild it")]
    Version(u32),
    /// The heap does not lie in private memory, behind the image's data.
    #[error("boot page: heap {0:#x}..{1:#x} is not in private memory")]
    Heap(u64, u64),
    /// The time-stamp counter cannot be converted to time.
    #[error("boot page: time-stamp counter of {0} kHz")]
    Clock(u64),
    /// The command line is longer than its region.
    #[error("boot page: command line of {0} bytes, longest is {CMDLINE_MAX}")]
    Cmdline(u64),
}

/// Slowest and fastest time-stamp counter that is believed, in kHz: 1 MHz to 1 THz.
const TSC_KHZ: core::ops::RangeInclusive<u64> = 1_000..=1_000_000_000;

/// Accepts a boot page whose every field is usable. `data_end` is one past the image's `.bss`.
pub(crate) fn check(info: &BootInfo, data_end: u64) -> Result<(), BootError> {
    if info.magic != BOOT_MAGIC {
        return Err(BootError::Magic(info.magic));
    }
    if info.abi_version != ABI_VERSION {
        return Err(BootError::Version(info.abi_version));
    }
    let heap = (info.heap_start, info.heap_end);
    let limit = PRIVATE_BASE + PRIVATE_MAX;
    let begins_behind_data = heap.0 >= data_end.max(DATA_BASE) && heap.0.is_multiple_of(PAGE_SIZE);
    if !(begins_behind_data && heap.0 < heap.1 && heap.1 <= limit) {
        return Err(BootError::Heap(heap.0, heap.1));
    }
    if !TSC_KHZ.contains(&info.tsc_khz) {
        return Err(BootError::Clock(info.tsc_khz));
    }
    if info.cmdline_len > CMDLINE_MAX {
        return Err(BootError::Cmdline(info.cmdline_len));
    }
    Ok(())
}

/// The boot page. Only meaningful in a guest, after [`check`] has accepted it.
#[cfg(casemate_guest)]
pub(crate) fn info() -> &'static BootInfo {
    // SAFETY: the VMM maps a page there, read-only, before the first instruction (casemate-abi's memory map), it
    // is aligned, never written while the guest runs, and every bit pattern is a valid BootInfo.
    unsafe { &*(BOOT_BASE as *const BootInfo) }
}

/// On an ordinary host there is no boot page: debug mode, no heap, no command line.
#[cfg(not(casemate_guest))]
pub(crate) fn info() -> &'static BootInfo {
    const _: u64 = BOOT_BASE;
    static HOST: BootInfo = BootInfo {
        magic: BOOT_MAGIC,
        abi_version: ABI_VERSION,
        flags: BOOT_DEBUG,
        heap_start: DATA_BASE,
        heap_end: DATA_BASE + PAGE_SIZE,
        tsc_khz: 1_000_000,
        tsc_at_boot: 0,
        unix_ns: 0,
        cmdline_len: 0,
        guest_cid: casemate_abi::DEFAULT_GUEST_CID,
    };
    &HOST
}

/// Whether the guest was launched in debug mode: zero PCRs, and the log reaches the console.
pub fn is_debug() -> bool {
    info().flags & BOOT_DEBUG != 0
}

/// Whether the host says that it will attach a volume, so that the guest should wait for that. Its word: good for an
/// order of events, not for a decision.
pub fn awaits_volume() -> bool {
    info().flags & BOOT_VOLUME != 0
}

/// The measured command line, as the image has it. Empty if it is not UTF-8.
///
/// `std::env::args()` holds the same text, split at white space.
pub fn cmdline() -> &'static str {
    core::str::from_utf8(cmdline_bytes()).unwrap_or("")
}

/// The measured command line as bytes.
#[cfg(casemate_guest)]
pub(crate) fn cmdline_bytes() -> &'static [u8] {
    let length = info().cmdline_len.min(CMDLINE_MAX);
    // SAFETY: the boot region is BOOT_SIZE bytes of read-only memory that nobody writes while the guest runs, and
    // `length` is at most what follows its first page.
    unsafe { core::slice::from_raw_parts((BOOT_BASE + PAGE_SIZE) as *const u8, length as usize) }
}

/// On an ordinary host there is no command line of an image.
#[cfg(not(casemate_guest))]
pub(crate) fn cmdline_bytes() -> &'static [u8] {
    &[]
}

#[cfg(test)]
#[path = "boot_tests.rs"]
mod tests;
