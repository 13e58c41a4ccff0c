//! Where a guest that has nothing to do ends up: the futex wait.
//!
//! Every executor and every lock of `std` that has to wait ends in a futex wait. Here that polls the vsock, spins
//! for as long as an exit would cost, and then sleeps at the doorbell until the host or a timer has something.
//!
//! # Two identities
//!
//! What the vsock driver wakes while a thread waits must not take that thread's short cuts: tokio, for one, puts a
//! task that is woken on the executor's own thread into a queue that is looked at only once the thread has been
//! unparked, and nobody would unpark it. On Linux the waker runs on another thread. So the driver is polled with
//! the thread-local storage of a second thread, the *idle identity*: its wake-ups go the way between threads,
//! which ends in the futex word changing, and the waiting thread goes on. When vCPUs become threads, the idle
//! identity becomes one of them.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use casemate_abi::{Doorbell, IDLE_FOREVER};

use crate::{clock, doorbell, log, vsock};

/// Exit code of a guest that waits for itself for ever.
pub const DEADLOCK: u8 = 126;
/// How long to poll shared memory after the last activity, at most, before paying for an exit.
const SPIN_NS: u64 = 500_000;
/// Pauses between two looks at the time.
const PAUSES: usize = 16;

/// Monotonic time of the last progress, in nanoseconds.
static LAST_ACTIVITY: AtomicU64 = AtomicU64::new(0);
/// Whether polling is worth its time at present.
static POLLS: Polls = Polls::new();
/// Whether the idle identity is running.
static POLLING: AtomicBool = AtomicBool::new(false);

/// The guest accepts connections from now on. Whoever launched it is likely to ask at once, so the first wait polls.
pub(crate) fn expect_clients() {
    LAST_ACTIVITY.store(clock::monotonic_ns(), Ordering::Relaxed);
    POLLS.begin();
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The word holds something else than expected.
    Changed,
    /// The deadline has passed.
    TimedOut,
}

/// Waits until `word` no longer holds `expected` or `deadline` (monotonic, nanoseconds) has passed. Meanwhile the
/// vsock is served.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<u64>) -> Woken {
    if POLLING.load(Ordering::Relaxed) {
        // The idle identity wants a lock that the waiting thread holds: with one vCPU nobody will release it.
        log::write(b"casemate: deadlock: a waker waits for a lock that the woken thread holds\n");
        doorbell::exit(DEADLOCK);
    }
    let mut slept = None;
    loop {
        let progress = poll();
        let now = clock::monotonic_ns();
        if progress {
            LAST_ACTIVITY.store(now, Ordering::Relaxed);
            match slept.take() {
                Some(slept) => POLLS.after_sleep(slept),
                None => POLLS.were_worth_it(),
            }
        }
        if word.load(Ordering::Acquire) != expected {
            return Woken::Changed;
        }
        let left = match deadline {
            Some(deadline) if deadline <= now => return Woken::TimedOut,
            Some(deadline) => Some(deadline - now),
            None => None,
        };
        if POLLS.now() && now.saturating_sub(LAST_ACTIVITY.load(Ordering::Relaxed)) < SPIN_NS {
            (0..PAUSES).for_each(|_| core::hint::spin_loop());
        } else if vsock::prepare_idle() {
            doorbell::request(Doorbell::Idle, idle_argument(left));
            slept = Some(clock::monotonic_ns().saturating_sub(now));
        }
    }
}

/// When to poll.
///
/// Polling is worth its time only while a client answers at once: then a request is served without an exit, three
/// times as fast. So the guest polls if its last sleep turned out to be shorter than [`SPIN_NS`], and not at all after a
/// longer one: a guest that is asked now and then, or not at all, uses no processor time.
///
/// Where processors are scarce, the host may put whoever is to bring the next request behind this very guest, and it comes
/// as soon as the guest stops polling for it. That shows: polling was in vain, and the sleep after it is short. Then polling
/// waits for as many short sleeps as it takes, twice as many each time, up to [`Polls::MOST`].
struct Polls {
    /// Short sleeps that it takes before polling is tried again; 0: it polls.
    owed: AtomicU32,
    /// What will be owed when it turns out once more to be in the way.
    penalty: AtomicU32,
}

impl Polls {
    /// Most short sleeps between two tries.
    const MOST: u32 = 64;

    const fn new() -> Self {
        Self { owed: AtomicU32::new(1), penalty: AtomicU32::new(2) }
    }

    /// Whether to poll now.
    fn now(&self) -> bool {
        self.owed.load(Ordering::Relaxed) == 0
    }

    /// Poll from now on.
    fn begin(&self) {
        self.owed.store(0, Ordering::Relaxed);
    }

    /// Something came without a sleep.
    fn were_worth_it(&self) {
        if self.now() {
            self.penalty.store(2, Ordering::Relaxed);
        }
    }

    /// Something came after a sleep of `slept` nanoseconds.
    fn after_sleep(&self, slept: u64) {
        let owed = self.owed.load(Ordering::Relaxed);
        let owed = if slept >= SPIN_NS {
            owed.max(1)
        } else if owed == 0 {
            let penalty = self.penalty.load(Ordering::Relaxed);
            self.penalty.store(penalty.saturating_mul(2).min(Self::MOST), Ordering::Relaxed);
            penalty
        } else {
            owed.saturating_sub(1)
        };
        self.owed.store(owed, Ordering::Relaxed);
    }
}

/// Microseconds, rounded up, so that a timer is not woken for before its time; for ever without a deadline.
fn idle_argument(left_ns: Option<u64>) -> u64 {
    left_ns.map_or(IDLE_FOREVER, |left| left.div_ceil(1_000).min(IDLE_FOREVER - 1))
}

/// Lets the vsock driver look at its queues, as the idle identity. True if it found something.
fn poll() -> bool {
    extern "C" fn work(progress: *mut c_void) {
        let found = vsock::poll();
        // SAFETY: `progress` points to the bool below, which outlives the call.
        unsafe { *progress.cast::<bool>() = found };
    }
    let mut progress = false;
    POLLING.store(true, Ordering::Relaxed);
    crate::start::as_idle_identity(work, (&raw mut progress).cast());
    POLLING.store(false, Ordering::Relaxed);
    progress
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_only_while_clients_answer_at_once() {
        let polls = Polls::new();
        assert!(!polls.now());
        polls.after_sleep(20_000);
        assert!(polls.now());
        polls.were_worth_it();
        polls.after_sleep(SPIN_NS);
        assert!(!polls.now());
        polls.after_sleep(u64::MAX);
        assert!(!polls.now());
        polls.after_sleep(SPIN_NS - 1);
        assert!(polls.now());
    }

    #[test]
    fn polls_rarely_while_it_is_in_the_way_and_at_once_when_it_is_not() {
        let polls = Polls::new();
        let short_sleeps_until_it_polls = || {
            let count = (0..u32::MAX).take_while(|_| !polls.now()).map(|_| polls.after_sleep(20_000)).count();
            // In vain, and what was waited for comes at once afterwards.
            polls.after_sleep(20_000);
            count
        };
        let counts: Vec<usize> = (0..8).map(|_| short_sleeps_until_it_polls()).collect();
        assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64, 64]);
        (0..64).for_each(|_| polls.after_sleep(20_000));
        polls.were_worth_it();
        assert!(polls.now());
        polls.after_sleep(20_000);
        assert_eq!(short_sleeps_until_it_polls(), 2);
    }

    #[test]
    fn timers_are_rounded_up_and_never_mean_for_ever() {
        assert_eq!(idle_argument(Some(1)), 1);
        assert_eq!(idle_argument(Some(1_001)), 2);
        assert_eq!(idle_argument(Some(u64::MAX)), u64::MAX.div_ceil(1_000).min(IDLE_FOREVER - 1));
        assert_eq!(idle_argument(None), IDLE_FOREVER);
    }
}
