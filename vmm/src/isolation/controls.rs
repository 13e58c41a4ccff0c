//! What the kernel does for a process that does not want to be measured, as far as it is asked.
//!
//! Each control belongs to the calling thread and to those that it makes from then on: the virtual CPU's, and the one that
//! moves packets. None is required: the posture says which are in force, and a verifier decides.

use casemate_attestation::posture::{Posture, PostureError, fact};
use rustix::io::Errno;
use rustix::thread::CoreSchedulingScope;

/// Speculation that a thread can give up (linux/prctl.h, `PR_SPEC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speculation {
    /// Loads that overtake stores to addresses not yet known.
    StoreBypass = 0,
    /// Predictions of indirect branches that others have trained.
    IndirectBranch = 1,
    /// What is left in the first-level data cache for whoever runs next. Here, "enable" means the flush.
    L1dFlush = 2,
}

/// Answers of `PR_GET_SPECULATION_CTRL`; the last three are also what can be set.
mod answer {
    pub const NOT_AFFECTED: u32 = 0;
    pub const PRCTL: u32 = 1;
    pub const ENABLE: u32 = 2;
    pub const DISABLE: u32 = 4;
    pub const FORCE_DISABLE: u32 = 8;
}

/// The kernel, as far as it is asked here.
pub trait Kernel {
    /// `PR_GET_SPECULATION_CTRL`.
    fn speculation(&self, what: Speculation) -> Result<u32, Errno>;
    /// `PR_SET_SPECULATION_CTRL`.
    fn set_speculation(&self, what: Speculation, value: u32) -> Result<(), Errno>;
    /// `PR_SCHED_CORE_CREATE`: only threads with the same cookie run on a core at the same time.
    fn create_cookie(&self) -> Result<(), Errno>;
    /// `PR_SET_MEMORY_MERGE`, off.
    fn forbid_merging(&self) -> Result<(), Errno>;
    /// Whether a core runs several threads at once.
    fn threads_share_cores(&self) -> Option<bool>;
}

/// The kernel that this runs on.
#[derive(Clone, Copy, Debug)]
pub struct Linux;

impl Kernel for Linux {
    fn speculation(&self, what: Speculation) -> Result<u32, Errno> {
        prctl(libc::PR_GET_SPECULATION_CTRL, what as libc::c_ulong, 0)
    }

    fn set_speculation(&self, what: Speculation, value: u32) -> Result<(), Errno> {
        prctl(libc::PR_SET_SPECULATION_CTRL, what as libc::c_ulong, value.into()).map(drop)
    }

    fn create_cookie(&self) -> Result<(), Errno> {
        rustix::thread::create_core_scheduling_cookie(rustix::thread::gettid(), CoreSchedulingScope::Thread)
    }

    fn forbid_merging(&self) -> Result<(), Errno> {
        prctl(libc::PR_SET_MEMORY_MERGE, 0, 0).map(drop)
    }

    fn threads_share_cores(&self) -> Option<bool> {
        crate::host::probe::smt()
    }
}

fn prctl(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> Result<u32, Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used here take numbers and touch no memory of this process.
    let result = unsafe { libc::prctl(option, first, second, zero, zero) };
    u32::try_from(result)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// What became of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In force.
    On,
    /// The kernel says that this processor has nothing to control.
    NotNeeded,
    /// Not in this kernel, or switched off in it.
    Unsupported,
}

impl State {
    /// The word in postures.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::NotNeeded => "not_needed",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    core_scheduling: State,
    store_bypass: State,
    indirect_branch: State,
    l1d_flush: State,
    memory_merge: State,
}

impl Controls {
    /// Asks the kernel for all that it has, for the calling thread and those that it makes from now on.
    pub fn enter(kernel: &impl Kernel) -> Self {
        Self {
            core_scheduling: core_scheduling(kernel),
            store_bypass: give_up(kernel, Speculation::StoreBypass),
            indirect_branch: give_up(kernel, Speculation::IndirectBranch),
            l1d_flush: flush_l1d(kernel),
            memory_merge: match kernel.forbid_merging() {
                Ok(()) => State::On,
                Err(_) => State::Unsupported,
            },
        }
    }

    /// What could be reached, without changing anything: what there is to be asked for.
    pub fn offered(kernel: &impl Kernel) -> [(&'static str, State); 3] {
        let given_up = |what| state_of(kernel.speculation(what), answer::DISABLE | answer::FORCE_DISABLE);
        let or_can_be = |what| match kernel.speculation(what) {
            Ok(answers) if answers & answer::PRCTL != 0 => State::On,
            _ => given_up(what),
        };
        let l1d = match kernel.threads_share_cores() {
            Some(false) => match kernel.speculation(Speculation::L1dFlush) {
                Ok(answers) if answers & answer::PRCTL != 0 => State::On,
                answers => state_of(answers, answer::ENABLE),
            },
            _ => State::Unsupported,
        };
        [
            ("store bypass", or_can_be(Speculation::StoreBypass)),
            ("indirect branches", or_can_be(Speculation::IndirectBranch)),
            ("L1D flush", l1d),
        ]
    }

    /// States the facts.
    pub fn state(&self, posture: &mut Posture) -> Result<(), PostureError> {
        posture.set(fact::CORE_SCHEDULING, self.core_scheduling.name())?;
        posture.set(fact::MITIGATION_STORE_BYPASS, self.store_bypass.name())?;
        posture.set(fact::MITIGATION_INDIRECT_BRANCH, self.indirect_branch.name())?;
        posture.set(fact::MITIGATION_L1D_FLUSH, self.l1d_flush.name())?;
        let merge = if self.memory_merge == State::On { "off" } else { State::Unsupported.name() };
        posture.set(fact::MEMORY_MERGE, merge)
    }
}

fn core_scheduling(kernel: &impl Kernel) -> State {
    match kernel.create_cookie() {
        Ok(()) => State::On,
        // The kernel has it, and each core runs one thread.
        Err(Errno::NODEV) => State::NotNeeded,
        Err(_) => State::Unsupported,
    }
}

/// Gives up a kind of speculation for good.
fn give_up(kernel: &impl Kernel, what: Speculation) -> State {
    let given_up = answer::DISABLE | answer::FORCE_DISABLE;
    if kernel.speculation(what).is_ok_and(|answers| answers & answer::PRCTL != 0) {
        // What was reached is what the kernel then says.
        let _ = kernel.set_speculation(what, answer::FORCE_DISABLE);
    }
    state_of(kernel.speculation(what), given_up)
}

/// Has the first-level cache emptied whenever another process follows. Where a core runs several threads, the kernel ends
/// whoever asked for that, so it is not asked there.
fn flush_l1d(kernel: &impl Kernel) -> State {
    if kernel.speculation(Speculation::L1dFlush).is_ok_and(|answers| answers & answer::PRCTL != 0) {
        if kernel.threads_share_cores() != Some(false) {
            return State::Unsupported;
        }
        let _ = kernel.set_speculation(Speculation::L1dFlush, answer::ENABLE);
    }
    state_of(kernel.speculation(Speculation::L1dFlush), answer::ENABLE)
}

/// What an answer means, if `on` are the ones that mean that the control is in force.
fn state_of(answers: Result<u32, Errno>, on: u32) -> State {
    match answers {
        Ok(answer::NOT_AFFECTED) => State::NotNeeded,
        Ok(answers) if answers & on != 0 => State::On,
        _ => State::Unsupported,
    }
}

#[cfg(test)]
#[path = "controls_tests.rs"]
mod tests;
