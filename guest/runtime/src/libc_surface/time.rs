//! Clocks and sleeping.

use core::ffi::{c_int, c_long};
use core::sync::atomic::AtomicU32;

use super::{errno, fail};
use crate::{clock, idle};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// `clockid_t` of Linux; the coarse and raw variants are the same clock here.
const CLOCK_REALTIME: c_int = 0;
const CLOCK_REALTIME_COARSE: c_int = 5;
const TIMER_ABSTIME: c_int = 1;

/// C's `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timespec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below 10^9.
    pub nanos: c_long,
}

/// C's `struct timeval`.
#[repr(C)]
#[derive(Debug)]
pub struct Timeval {
    /// Seconds.
    pub seconds: i64,
    /// Microseconds, below 10^6.
    pub micros: c_long,
}

impl Timespec {
    fn from_nanos(nanos: u64) -> Self {
        Self { seconds: (nanos / NANOS_PER_SECOND) as i64, nanos: (nanos % NANOS_PER_SECOND) as c_long }
    }

    /// Nanoseconds; `None` for what is not a time span.
    pub(crate) fn to_nanos(self) -> Option<u64> {
        let nanos = u64::try_from(self.nanos).ok().filter(|nanos| *nanos < NANOS_PER_SECOND)?;
        Some(u64::try_from(self.seconds).ok()?.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos))
    }
}

fn is_wall_clock(clock: c_int) -> bool {
    matches!(clock, CLOCK_REALTIME | CLOCK_REALTIME_COARSE)
}

/// POSIX's `clock_gettime`. Every clock but the wall clock is the time since launch.
///
/// # Safety
/// `time` points to a timespec.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let nanos = if is_wall_clock(clock) { clock::unix_ns() } else { clock::monotonic_ns() };
    // SAFETY: the caller's promise.
    unsafe { *time = Timespec::from_nanos(nanos) };
    0
}

/// C's `time`.
///
/// # Safety
/// `time` is null or points to a time_t.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn time(time: *mut i64) -> i64 {
    let seconds = (clock::unix_ns() / NANOS_PER_SECOND) as i64;
    if !time.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *time = seconds };
    }
    seconds
}

/// BSD's `gettimeofday`.
///
/// # Safety
/// `time` is null or points to a timeval.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn gettimeofday(time: *mut Timeval, _zone: *mut u8) -> c_int {
    let micros = clock::unix_ns() / 1_000;
    if !time.is_null() {
        // SAFETY: the caller's promise.
        unsafe {
            *time = Timeval { seconds: (micros / 1_000_000) as i64, micros: (micros % 1_000_000) as c_long }
        };
    }
    0
}

/// Sleeps until `deadline`, serving the vsock meanwhile.
fn sleep_until(deadline: u64) {
    idle::wait(&AtomicU32::new(0), 0, Some(deadline));
}

/// POSIX's `nanosleep`. Nothing interrupts it.
///
/// # Safety
/// `span` points to a timespec.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn nanosleep(span: *const Timespec, _left: *mut Timespec) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { (*span).to_nanos() } {
        Some(nanos) => {
            sleep_until(clock::monotonic_ns().saturating_add(nanos));
            0
        }
        None => fail(errno::EINVAL),
    }
}

/// POSIX's `clock_nanosleep`. Returns the error number instead of setting it.
///
/// # Safety
/// `span` points to a timespec.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    span: *const Timespec,
    _left: *mut Timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(nanos) = (unsafe { (*span).to_nanos() }) else {
        return errno::EINVAL;
    };
    let now = clock::monotonic_ns();
    sleep_until(match (flags & TIMER_ABSTIME != 0, is_wall_clock(clock)) {
        (true, true) => now.saturating_add(nanos.saturating_sub(clock::unix_ns())),
        (true, false) => nanos,
        (false, _) => now.saturating_add(nanos),
    });
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_round_trip_and_nonsense_is_refused() {
        let span = Timespec { seconds: 3, nanos: 999_999_999 };
        assert_eq!(span.to_nanos().map(Timespec::from_nanos), Some(span));
        assert_eq!(Timespec { seconds: -1, nanos: 0 }.to_nanos(), None);
        assert_eq!(Timespec { seconds: 0, nanos: 1_000_000_000 }.to_nanos(), None);
        assert_eq!(Timespec { seconds: i64::MAX, nanos: 0 }.to_nanos(), Some(u64::MAX));
    }
}
