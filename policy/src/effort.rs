//! How much work a decision may take.
//!
//! Policies and requests both come from outside. A policy of 32 KiB that is all wildcards, before a request of 8 KiB that
//! nearly matches them, would keep the signer busy for seconds. So each decision has a number of steps, far beyond what
//! any honest one needs; one that uses them up is refused, whatever it would have been.

use std::cell::Cell;

/// The steps of one decision: comparing two characters is one, and so is comparing two numbers. A usual key policy takes
/// some hundred.
pub const STEPS: usize = 10_000_000;

/// What is left of them.
#[derive(Debug)]
pub(crate) struct Effort {
    left: Cell<usize>,
    used_up: Cell<bool>,
}

impl Effort {
    pub(crate) fn new() -> Self {
        Self { left: Cell::new(STEPS), used_up: Cell::new(false) }
    }

    /// Takes so many steps; `false` if there are not as many left, now and from then on.
    pub(crate) fn spend(&self, steps: usize) -> bool {
        match self.left.get().checked_sub(steps) {
            Some(left) => self.left.set(left),
            None => {
                self.left.set(0);
                self.used_up.set(true);
            }
        }
        !self.used_up.get()
    }

    /// Whether anything was cut short.
    pub(crate) fn is_used_up(&self) -> bool {
        self.used_up.get()
    }

    #[cfg(test)]
    pub(crate) fn spent(&self) -> usize {
        STEPS - self.left.get()
    }
}
