//! What this host offers to sealed guests, and what it does that weakens them.
//!
//! [`posture_facts`] is for launches: fast, silent, and only what the posture PCR commits to. [`doctor`] is for people:
//! slower, with what each finding means and what to change. Both take their readings from [`probe`], so that they
//! cannot disagree.
//!
//! Trusts: the kernel, which is what answers. A root that lies to this process through a changed kernel is outside of
//! what a posture can show; that is what lockdown and measured boot are for.

pub mod doctor;
pub mod fix;
pub mod probe;

use casemate_attestation::posture::{Posture, PostureError, TEXT_MAX, fact};

/// The facts about the host that a guest's posture states. What the kernel does not tell is left out.
pub fn posture_facts() -> Result<Posture, PostureError> {
    let mut posture = Posture::new();
    let flags = [
        (fact::KEXEC_LOAD_DISABLED, probe::kexec_load_disabled()),
        (fact::MODULES_DISABLED, probe::modules_disabled()),
        (fact::SWAP, probe::swap()),
        (fact::KSM, probe::ksm()),
        (fact::SMT, probe::smt()),
        (fact::HIBERNATION, probe::hibernation()),
    ];
    for (name, flag) in flags {
        if let Some(flag) = flag {
            posture.set(name, flag)?;
        }
    }
    if let Some(lockdown) = probe::lockdown() {
        posture.set(fact::LOCKDOWN, lockdown)?;
    }
    if let Some(scope) = probe::yama_ptrace_scope() {
        posture.set(fact::YAMA_PTRACE_SCOPE, scope)?;
    }
    for (name, mut state) in probe::vulnerabilities() {
        while state.len() > TEXT_MAX {
            state.pop();
        }
        posture.set(&format!("{}{name}", fact::VULNERABILITY), state)?;
    }
    Ok(posture)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn the_facts_survive_their_encoding() {
        let posture = posture_facts().unwrap();
        assert!(posture.facts().count() > 0, "some fact is known on every Linux host");
        assert_eq!(Posture::parse(&posture.encode()).unwrap(), posture);
    }

    #[test]
    fn the_facts_agree_with_the_kernel() {
        let posture = posture_facts().unwrap();
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap();
        assert_eq!(posture.get(fact::SWAP), Some(&(swaps.lines().count() > 1).into()));
    }
}
