//! Time: the time-stamp counter, scaled, plus the host's word for the time of day at launch.
//!
//! The wall clock is a claim of the host; nothing that decides about secrets may rest on it. The monotonic clock
//! never runs backwards, whatever the host wrote on the boot page.

use core::sync::atomic::{AtomicU64, Ordering};

use casemate_abi::BootInfo;

const NANOS_PER_MILLI: u128 = 1_000_000;
/// Binary digits behind the point of [`SCALE`].
const SCALE_SHIFT: u32 = 32;

/// Nanoseconds per tick, times 2^32. Zero until [`init`].
static SCALE: AtomicU64 = AtomicU64::new(0);

/// Computes the scale. `boot::check` has made sure that the frequency is neither zero nor absurd.
pub(crate) fn init(info: &BootInfo) {
    SCALE.store(scale(info.tsc_khz), Ordering::Relaxed);
}

/// Nanoseconds per tick of a counter of `khz`, times 2^32.
fn scale(khz: u64) -> u64 {
    let scale = (NANOS_PER_MILLI << SCALE_SHIFT).checked_div(u128::from(khz)).unwrap_or(0);
    u64::try_from(scale).unwrap_or(u64::MAX)
}

/// `ticks` in nanoseconds.
fn nanos(ticks: u64, scale: u64) -> u64 {
    let product = u128::from(ticks) * u128::from(scale);
    u64::try_from(product >> SCALE_SHIFT).unwrap_or(u64::MAX)
}

/// The time-stamp counter.
#[inline]
pub(crate) fn ticks() -> u64 {
    // SAFETY: RDTSC is allowed at CPL 3 (CR4.TSD is clear) and present on every x86-64.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Nanoseconds since launch.
pub(crate) fn monotonic_ns() -> u64 {
    let boot = crate::boot::info();
    nanos(ticks().saturating_sub(boot.tsc_at_boot), SCALE.load(Ordering::Relaxed))
}

/// Nanoseconds since 1970, as the host has it.
pub(crate) fn unix_ns() -> u64 {
    crate::boot::info().unix_ns.saturating_add(monotonic_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_second() {
        for khz in [1_000_u64, 2_596_140, 4_200_000, 1_000_000_000] {
            let second = nanos(khz * 1_000, scale(khz));
            assert!(second.abs_diff(1_000_000_000) < 1_000, "{khz} kHz: {second}");
        }
    }

    #[test]
    fn absurd_counters_saturate() {
        assert_eq!(nanos(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(scale(0), 0);
        assert!(nanos(u64::MAX, scale(3_000_000)) < u64::MAX);
    }

    #[test]
    fn a_century_does_not_drift_by_a_minute() {
        let khz = 2_596_140;
        let century = 100 * 365 * 86_400_u64;
        let measured = nanos(khz * 1_000 * century, scale(khz)) / 1_000_000_000;
        assert!(measured.abs_diff(century) < 60, "{measured}");
    }
}
