//! Running a future: tokio's current-thread runtime, and a vsock that is served however busy it is.
//!
//! A runtime with nothing to do parks, parking is a futex wait, and that serves the vsock ([`crate::idle`]): any
//! runtime that a guest builds for itself works. A runtime whose tasks are always ready never parks. For it,
//! [`block_on`] looks at the vsock every [`TICK`] by a timer of tokio's, which even a busy runtime runs. The timer
//! is disarmed before the runtime parks, so that an idle guest is not woken by it.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Waker};
use core::time::Duration;

use casemate_abi::Doorbell;
use tokio::time::Sleep;

use crate::{doorbell, vsock};

/// How often a busy runtime serves the vsock.
const TICK: Duration = Duration::from_millis(1);

/// What wakes the future that `block_on` runs while the runtime is busy.
#[derive(Default)]
struct Ticker {
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

thread_local! {
    static TICKER: RefCell<Ticker> = RefCell::default();
}

impl Ticker {
    /// Serves the vsock if the timer has run out, and arms it again.
    fn poll(&mut self, context: &mut Context<'_>) {
        self.waker = Some(context.waker().clone());
        loop {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(TICK)));
            if timer.as_mut().poll(context).is_pending() {
                return;
            }
            self.timer = None;
            vsock::poll();
        }
    }
}

/// The runtime is about to park: the futex wait serves the vsock from here on.
fn disarm() {
    // The timer is dropped outside the borrow: that runs code of tokio's.
    drop(TICKER.with_borrow_mut(|ticker| ticker.timer.take()));
}

/// The runtime goes on: have the timer armed again.
fn rearm() {
    if let Some(waker) = TICKER.with_borrow_mut(|ticker| ticker.waker.take()) {
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
        .on_thread_park(disarm)
        .on_thread_unpark(rearm)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => panic!("tokio's current-thread runtime does not start: {error}"),
    };
    let output = runtime.block_on(async {
        let mut future = pin!(future);
        poll_fn(|context| {
            TICKER.with_borrow_mut(|ticker| ticker.poll(context));
            future.as_mut().poll(context)
        })
        .await
    });
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
    }
}
