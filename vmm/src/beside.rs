//! A thread that runs beside the one that starts it, and not after it.
//!
//! The scheduler may put a new thread on the processor of whoever makes it, and leave it waiting there for one or two
//! milliseconds although another processor is idle: as long as a third of a launch. So it is told once where to begin.

use std::io;
use std::os::unix::thread::JoinHandleExt as _;
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Starts a thread that is called `name`, on another processor if there is one. It may move wherever its maker may.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let way = Way::from_here();
    // Whoever runs first sends the thread away: itself, if it runs in its maker's place.
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        if let Some(way) = way.filter(|way| way.here == sched_getcpu()) {
            way.send(|set| {
                let _ = sched_setaffinity(None, set);
            });
        }
        work()
    })?;
    if let Some(way) = way {
        way.send(|set| set_affinity(&thread, set));
    }
    Ok(thread)
}

/// From one processor to the others.
#[derive(Clone, Copy)]
struct Way {
    here: usize,
    elsewhere: CpuSet,
    everywhere: CpuSet,
}

impl Way {
    /// `None` if there is nowhere to go; then a thread begins where the kernel puts it.
    fn from_here() -> Option<Self> {
        let (here, everywhere) = (sched_getcpu(), sched_getaffinity(None).ok()?);
        let mut elsewhere = everywhere;
        elsewhere.unset(here);
        (elsewhere.count() > 0).then_some(Self { here, elsewhere, everywhere })
    }

    /// Has a thread moved, which may then stay where it is, and go anywhere.
    fn send(&self, set: impl Fn(&CpuSet)) {
        set(&self.elsewhere);
        set(&self.everywhere);
    }
}

fn set_affinity<T>(thread: &JoinHandle<T>, set: &CpuSet) {
    // SAFETY: the thread was not joined, so its handle is valid; a CpuSet is a `cpu_set_t`, and is passed with its size.
    unsafe {
        libc::pthread_setaffinity_np(thread.as_pthread_t(), size_of::<CpuSet>(), (&raw const *set).cast())
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::thread::sched_getaffinity;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_thread_begins_elsewhere_and_may_go_anywhere() {
        let everywhere = sched_getaffinity(None).unwrap();
        for _ in 0..100 {
            // Its maker lets it go as soon as the maker runs again, which on a busy machine takes a while.
            let thread = super::spawn("beside", move || {
                let begun = Instant::now();
                while sched_getaffinity(None).unwrap() != everywhere && begun.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(1));
                }
                sched_getaffinity(None).unwrap()
            });
            assert_eq!(thread.unwrap().join().unwrap(), everywhere);
        }
    }
}
