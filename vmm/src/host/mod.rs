//! What this host offers to sealed guests, and what it does that weakens them.
//!
//! [`posture_facts`] is for launches: fast, silent, and only what the posture PCR commits to. [`doctor`] is for people:
//! slower, with what each finding means and what to change. Both take their readings from [`probe`], so that they
//! cannot disagree.
//!
//! Trusts: the kernel, which is what answers. A root that lies to this process through a changed kernel is outside of
//! what a posture can show; that is what lockdown and measured boot are for.

pub mod doctor;
pub mod probe;

use casemate_attestation::posture::{Fact, Posture, TEXT_MAX, fact};

/// The facts about the host that a guest's posture states. What the kernel does not tell, or tells in a form that a
/// posture does not hold, is left out: a verifier that demands the fact is then refused.
pub fn posture_facts() -> Posture {
    let mut posture = Posture::new();
    let mut state = |name: &str, fact: Option<Fact>| {
        if let Some(fact) = fact {
            let _ = posture.set(name, fact);
        }
    };
    state(fact::KEXEC_LOAD_DISABLED, probe::kexec_load_disabled().map(Fact::from));
    state(fact::MODULES_DISABLED, probe::modules_disabled().map(Fact::from));
    state(fact::SWAP, probe::swap().map(Fact::from));
    state(fact::KSM, probe::ksm().map(Fact::from));
    state(fact::SMT, probe::smt().map(Fact::from));
    state(fact::HIBERNATION, probe::hibernation().map(Fact::from));
    state(fact::LOCKDOWN, probe::lockdown().map(Fact::from));
    state(fact::YAMA_PTRACE_SCOPE, probe::yama_ptrace_scope().map(Fact::from));
    for (name, mut text) in probe::vulnerabilities() {
        while text.len() > TEXT_MAX {
            text.pop();
        }
        state(&format!("{}{name}", fact::VULNERABILITY), Some(text.into()));
    }
    posture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_survive_their_encoding() {
        let posture = posture_facts();
        assert!(
            posture.facts().count() > 0,
            "some fact is known on every Linux host"
        );
        assert_eq!(Posture::parse(&posture.encode()).unwrap(), posture);
    }

    #[test]
    fn the_facts_agree_with_the_kernel() {
        let posture = posture_facts();
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap();
        assert_eq!(posture.get(fact::SWAP), Some(&(swaps.lines().count() > 1).into()));
    }
}
