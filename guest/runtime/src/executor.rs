//! Running a future: tokio's current-thread runtime, and a vsock that is served however busy it is.
//!
//! A runtime with nothing to do parks, parking is a futex wait, and that serves the vsock ([`crate::idle`]): any
//! runtime that a guest builds for itself works. A runtime whose tasks are always ready never parks. For it,
//! [`block_on`] looks at the vsock every [`TICK`] by a timer of tokio's, which even a busy runtime runs.
//!
//! An idle guest must not be woken by that timer, so it is disarmed when the runtime parks and armed again when it
//! goes on. Arming a timer makes tokio's next park return at once, though. So a fresh timer is left alone for one
//! park, and disarmed by the next, which then lasts:
//!
//! | event | timer | becomes |
//! | --- | --- | --- |
//! | unparked | disarmed | fresh: armed by the task |
//! | runs out | fresh or seen | fresh: the vsock is served |
//! | unparked | fresh | seen |
//! | about to park | seen | disarmed |

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use casemate_abi::Doorbell;
use tokio::time::Sleep;

use crate::{doorbell, vsock};

/// How often a busy runtime serves the vsock.
const TICK: Duration = Duration::from_millis(1);

/// What looks at the vsock while the runtime is busy.
#[derive(Default)]
struct Ticker {
    /// `None`: disarmed.
    timer: Option<Pin<Box<Sleep>>>,
    /// The runtime has parked since the timer was armed.
    seen: bool,
    /// Wakes the task that arms the timer.
    waker: Option<Waker>,
}

thread_local! {
    static TICKER: RefCell<Ticker> = RefCell::default();
}

#[cfg(test)]
thread_local! {
    /// How often the runtime has parked.
    static PARKS: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
}

impl Ticker {
    /// Serves the vsock if the timer has run out, and arms it again.
    fn poll(&mut self, context: &mut Context<'_>) {
        self.waker = Some(context.waker().clone());
        loop {
            let timer = self.timer.get_or_insert_with(|| {
                self.seen = false;
                Box::pin(tokio::time::sleep(TICK))
            });
            if timer.as_mut().poll(context).is_pending() {
                return;
            }
            self.timer = None;
            vsock::poll();
        }
    }
}

/// The runtime is about to park: if that will last, the futex wait serves the vsock from here on.
fn before_park() {
    #[cfg(test)]
    PARKS.set(PARKS.get() + 1);
    // The timer is dropped outside the borrow: that runs code of tokio's.
    drop(TICKER.with_borrow_mut(|ticker| ticker.timer.take_if(|_| ticker.seen)));
}

/// The runtime goes on: have the timer armed, or note that it has been parked with.
fn after_unpark() {
    let waker = TICKER.with_borrow_mut(|ticker| {
        ticker.seen = true;
        if ticker.timer.is_none() { ticker.waker.take() } else { None }
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Runs `future` to completion on a current-thread tokio runtime with timers.
///
/// # Panics
/// If called from within a runtime, as tokio does.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_park(before_park)
        .on_thread_unpark(after_unpark)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => panic!("tokio's current-thread runtime does not start: {error}"),
    };
    // A task, not a part of `future`: waking the future that `block_on` runs unparks the runtime, which would then
    // never park. A task that is woken on the runtime's own thread is just queued.
    runtime.spawn(poll_fn(|context| {
        TICKER.with_borrow_mut(|ticker| ticker.poll(context));
        Poll::<()>::Pending
    }));
    let output = runtime.block_on(future);
    // A timer must not outlive its runtime.
    TICKER.take();
    output
}

/// Tells the VMM that the guest accepts connections. Binding the first vsock listener does this by itself; later
/// calls do nothing.
pub fn ready() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if cfg!(casemate_guest) && !TOLD.swap(true, Ordering::Relaxed) {
        doorbell::request(Doorbell::Ready, 0);
        crate::idle::expect_clients();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ready once another thread has slept for `span`: no timer of tokio's is involved.
    async fn sleep_elsewhere(span: Duration) {
        let mut started = None::<std::thread::JoinHandle<()>>;
        poll_fn(|context| match &started {
            Some(thread) if thread.is_finished() => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                let waker = context.waker().clone();
                started = Some(std::thread::spawn(move || {
                    std::thread::sleep(span);
                    // Once more after the thread has ended, as far as anybody can tell.
                    std::thread::spawn(move || {
                        std::thread::sleep(TICK);
                        waker.wake();
                    });
                }));
                Poll::Pending
            }
        })
        .await;
    }

    #[test]
    fn an_idle_runtime_is_not_woken_by_the_timer() {
        block_on(async {
            // The first wake-up arms the timer; what counts is what the runtime does then.
            sleep_elsewhere(TICK).await;
            let parks = PARKS.get();
            sleep_elsewhere(100 * TICK).await;
            let parks = PARKS.get() - parks;
            assert!((1..=4).contains(&parks), "parked {parks} times");
        });
    }

    #[test]
    fn the_timer_runs_while_tasks_are_always_ready() {
        block_on(async {
            sleep_elsewhere(TICK).await;
            tokio::spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            for _ in 0..20 {
                tokio::time::sleep(TICK).await;
                assert!(TICKER.with_borrow(|ticker| ticker.timer.is_some()));
            }
        });
    }
}
