//! Tests of the controls: against kernels that are made up, and against the one that is there.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::cell::{Cell, RefCell};

use super::*;

/// A kernel that answers as it is told, and remembers what was set.
struct Fake {
    /// What it says of each kind of speculation, in the order of their numbers.
    answers: [Cell<Result<u32, Errno>>; 3],
    /// Whether setting is obeyed.
    obeys: bool,
    cookie: Result<(), Errno>,
    merging: Result<(), Errno>,
    smt: Option<bool>,
    set: RefCell<Vec<(Speculation, u32)>>,
}

impl Fake {
    /// Every control is there and off, cores run one thread each.
    fn complete() -> Self {
        let off = |on| Cell::new(Ok(answer::PRCTL | on));
        Self {
            answers: [off(answer::ENABLE), off(answer::ENABLE), off(answer::DISABLE)],
            obeys: true,
            cookie: Ok(()),
            merging: Ok(()),
            smt: Some(false),
            set: RefCell::default(),
        }
    }

    /// One whose three answers are all the same.
    fn answering(answers: Result<u32, Errno>) -> Self {
        Self { answers: std::array::from_fn(|_| Cell::new(answers)), ..Self::complete() }
    }

    fn facts(&self) -> Vec<String> {
        let mut posture = Posture::new();
        Controls::enter(self).state(&mut posture).unwrap();
        posture.facts().map(|(name, fact)| format!("{name}={fact}")).collect()
    }
}

impl Kernel for Fake {
    fn speculation(&self, what: Speculation) -> Result<u32, Errno> {
        self.answers[what as usize].get()
    }

    fn set_speculation(&self, what: Speculation, value: u32) -> Result<(), Errno> {
        self.set.borrow_mut().push((what, value));
        if !self.obeys {
            return Err(Errno::PERM);
        }
        self.answers[what as usize].set(Ok(answer::PRCTL | value));
        Ok(())
    }

    fn create_cookie(&self) -> Result<(), Errno> {
        self.cookie
    }

    fn forbid_merging(&self) -> Result<(), Errno> {
        self.merging
    }

    fn threads_share_cores(&self) -> Option<bool> {
        self.smt
    }
}

#[test]
fn a_kernel_that_has_everything_is_asked_for_everything() {
    let kernel = Fake::complete();
    assert_eq!(
        kernel.facts(),
        [
            "core_scheduling=on",
            "memory_merge=off",
            "mitigation.indirect_branch=on",
            "mitigation.l1d_flush=on",
            "mitigation.store_bypass=on"
        ]
    );
    assert_eq!(
        *kernel.set.borrow(),
        [
            (Speculation::StoreBypass, answer::FORCE_DISABLE),
            (Speculation::IndirectBranch, answer::FORCE_DISABLE),
            (Speculation::L1dFlush, answer::ENABLE)
        ]
    );
}

#[test]
fn a_kernel_that_has_nothing_is_said_to_have_nothing() {
    let kernel =
        Fake { cookie: Err(Errno::INVAL), merging: Err(Errno::INVAL), ..Fake::answering(Err(Errno::INVAL)) };
    assert!(kernel.facts().iter().all(|fact| fact.ends_with("=unsupported")), "{:?}", kernel.facts());
    assert!(kernel.set.borrow().is_empty(), "what is not there is not set");
}

#[test]
fn only_what_the_kernel_confirms_counts() {
    let kernel = Fake { obeys: false, ..Fake::complete() };
    let facts = kernel.facts();
    for name in ["store_bypass", "indirect_branch", "l1d_flush"] {
        assert!(facts.contains(&format!("mitigation.{name}=unsupported")), "{facts:?}");
    }
    // The mitigation is off for everybody, and no process can change that.
    let kernel = Fake::answering(Ok(answer::ENABLE));
    assert!(kernel.facts().contains(&"mitigation.indirect_branch=unsupported".to_owned()));
    // It is on for everybody.
    let kernel = Fake::answering(Ok(answer::DISABLE));
    assert!(kernel.facts().contains(&"mitigation.store_bypass=on".to_owned()));
    // A kernel without `l1d_flush=on` answers so (Documentation/admin-guide/hw-vuln/l1d_flush.rst).
    let kernel = Fake::answering(Ok(answer::FORCE_DISABLE));
    assert!(kernel.facts().contains(&"mitigation.l1d_flush=unsupported".to_owned()));
    assert!(kernel.set.borrow().is_empty());
}

#[test]
fn a_processor_that_is_not_affected_needs_nothing() {
    let kernel = Fake { cookie: Err(Errno::NODEV), ..Fake::answering(Ok(answer::NOT_AFFECTED)) };
    let facts = kernel.facts();
    assert_eq!(facts.iter().filter(|fact| fact.ends_with("=not_needed")).count(), 4, "{facts:?}");
    assert!(kernel.set.borrow().is_empty());
}

#[test]
fn the_cache_is_not_flushed_where_the_kernel_would_end_the_process_for_it() {
    for smt in [Some(true), None] {
        let kernel = Fake { smt, ..Fake::complete() };
        assert!(kernel.facts().contains(&"mitigation.l1d_flush=unsupported".to_owned()));
        assert!(kernel.set.borrow().iter().all(|(what, _)| *what != Speculation::L1dFlush));
    }
}

#[test]
fn asking_what_is_offered_changes_nothing() {
    let kernel = Fake::complete();
    assert!(Controls::offered(&kernel).iter().all(|(_, state)| *state == State::On));
    assert!(kernel.set.borrow().is_empty());
    let kernel = Fake::answering(Err(Errno::INVAL));
    assert!(Controls::offered(&kernel).iter().all(|(_, state)| *state == State::Unsupported));
}

#[test]
fn this_kernel_does_what_the_facts_say_and_threads_inherit_it() {
    // On a thread of its own: nothing of this can be undone.
    std::thread::spawn(|| {
        let controls = Controls::enter(&Linux);
        let inherited = std::thread::spawn(|| {
            [Speculation::StoreBypass, Speculation::IndirectBranch, Speculation::L1dFlush]
                .map(|what| Linux.speculation(what))
        });
        let [store_bypass, indirect_branch, l1d] = inherited.join().unwrap();
        let off = answer::DISABLE | answer::FORCE_DISABLE;
        assert_eq!(controls.store_bypass, state_of(store_bypass, off));
        assert_eq!(controls.indirect_branch, state_of(indirect_branch, off));
        if controls.l1d_flush == State::On {
            assert_eq!(state_of(l1d, answer::ENABLE), State::On);
        }
        assert_eq!(controls.core_scheduling == State::On, crate::host::probe::core_scheduling());
    })
    .join()
    .unwrap();
}
