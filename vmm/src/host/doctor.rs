//! What the probes found, what it means, and what to change.

use serde::Serialize;

use super::probe;
use crate::isolation::controls::{Controls, Linux};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As good as it gets.
    Good,
    /// Good to know; nothing to do.
    Note,
    /// Guests run, but weaker. The posture says so.
    Weak,
    /// Sealed guests do not run.
    Missing,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was found.
    pub value: String,
    /// What it means for a guest.
    pub meaning: &'static str,
    /// What to change, if anything can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// All findings, in the order in which a person wants to read them.
pub fn examine() -> Vec<Finding> {
    let mut findings = machine();
    findings.extend(attackers());
    findings.extend(leaks());
    findings.extend(processor());
    findings
}

fn finding(
    name: &'static str,
    good: bool,
    bad: Grade,
    value: impl Into<String>,
    meaning: &'static str,
    advice: &'static str,
) -> Finding {
    let (grade, advice) = if good { (Grade::Good, None) } else { (bad, Some(advice)) };
    Finding { name, grade, value: value.into(), meaning, advice: advice.filter(|text| !text.is_empty()) }
}

fn note(name: &'static str, value: impl Into<String>, meaning: &'static str) -> Finding {
    Finding { name, grade: Grade::Note, value: value.into(), meaning, advice: None }
}

/// What it takes to run and to seal a guest.
fn machine() -> Vec<Finding> {
    let mut findings =
        vec![note("kernel", probe::kernel(), "what guests trust, beside the processor and the VMM")];
    match probe::kvm() {
        Err(error) => findings.push(finding(
            "kvm", false, Grade::Missing, error.to_string(),
            "without KVM only `--backend process` runs, and that seals nothing",
            "switch virtualisation on in the firmware, load kvm_intel or kvm_amd, join the group that owns /dev/kvm",
        )),
        Ok(kvm) => {
            findings.push(finding("kvm", true, Grade::Missing, "usable", "guests run in virtual machines", ""));
            findings.push(finding(
                "read-only memory", kvm.readonly_memory, Grade::Missing, yes_no(kvm.readonly_memory),
                "code and page tables are shared with the guest read-only", "use a newer kernel",
            ));
            findings.push(finding(
                "guest_memfd", kvm.seals_memory(), Grade::Weak,
                if kvm.seals_memory() { "mappable".to_owned() } else { format!("flags {}", kvm.guest_memfd_flags) },
                "secrets lie in memory that no process has mapped or can map; else root reads them from the VMM's memory",
                "use Linux 6.18 or newer",
            ));
        }
    }
    let ring = probe::io_uring();
    findings.push(finding(
        "io_uring",
        ring.is_ok(),
        Grade::Weak,
        ring.err().map_or("usable".to_owned(), |errno| errno.to_string()),
        "keeps the sealed memory alive with no descriptor that root could steal",
        "sysctl kernel.io_uring_disabled=0 (or 1 and kernel.io_uring_group)",
    ));
    let secret = probe::memfd_secret();
    findings.push(finding(
        "memfd_secret",
        secret,
        Grade::Weak,
        yes_no(secret),
        "the attestation key lies outside the kernel's own map of memory",
        "boot with secretmem.enable=1 on a kernel with CONFIG_SECRETMEM",
    ));
    let abi = crate::jail::landlock_abi();
    findings.push(finding(
        "landlock",
        abi > 0,
        Grade::Weak,
        if abi > 0 { format!("ABI {abi}") } else { "absent".to_owned() },
        "the VMM sees no file but its guest's folder",
        "boot with lsm=landlock,… on a kernel with CONFIG_SECURITY_LANDLOCK",
    ));
    let tpm = probe::tpm();
    findings.push(Finding {
        name: "tpm",
        grade: if tpm.is_some() { Grade::Good } else { Grade::Note },
        value: tpm.unwrap_or("none").to_owned(),
        meaning: "can hold the platform key, so that nobody takes it (casemate platform init --tpm)",
        advice: None,
    });
    findings
}

/// What stops a root that does more than look.
fn attackers() -> Vec<Finding> {
    let scope = probe::yama_ptrace_scope();
    let lockdown = probe::lockdown();
    let kexec = probe::kexec_load_disabled();
    let modules = probe::modules_disabled();
    vec![
        finding(
            "yama ptrace_scope",
            scope == Some(3),
            Grade::Weak,
            scope.map_or("no Yama".to_owned(), |scope| scope.to_string()),
            "3 means that nobody, root included, can attach to the VMM and make it call KVM on its behalf",
            "sysctl kernel.yama.ptrace_scope=3 on a kernel with CONFIG_SECURITY_YAMA",
        ),
        finding(
            "lockdown",
            matches!(lockdown.as_deref(), Some("integrity" | "confidentiality")),
            Grade::Weak,
            lockdown.clone().unwrap_or_else(|| "unknown".to_owned()),
            "root cannot change the running kernel, through which everything can be reached",
            "boot with lockdown=confidentiality (mount securityfs to let casemate see it)",
        ),
        // A kernel without kexec or modules has no such switch, and needs none.
        finding(
            "kexec",
            kexec != Some(false),
            Grade::Weak,
            switch(kexec),
            "root cannot replace the running kernel",
            "sysctl kernel.kexec_load_disabled=1",
        ),
        finding(
            "modules",
            modules != Some(false),
            Grade::Weak,
            switch(modules),
            "root cannot load code into the kernel (lockdown allows signed modules)",
            "sysctl kernel.modules_disabled=1 once everything is loaded",
        ),
    ]
}

/// Ways in which memory leaves memory.
fn leaks() -> Vec<Finding> {
    let swap = probe::swap();
    let hibernation = probe::hibernation();
    let ksm = probe::ksm();
    vec![
        finding(
            "swap",
            swap == Some(false),
            Grade::Weak,
            on_off(swap),
            "what is sealed is never swapped, nor is the attestation key; `memory_locked` in the posture says so",
            "swapoff -a",
        ),
        finding(
            "hibernation",
            hibernation != Some(true),
            Grade::Weak,
            on_off(hibernation),
            "hibernation writes all memory to disk, sealed memory too",
            "boot with nohibernate, or lock the kernel down",
        ),
        finding(
            "same-page merging",
            ksm != Some(true),
            Grade::Weak,
            on_off(ksm),
            "merged pages tell neighbours by their timing what a page holds; sealed memory is never merged",
            "echo 2 > /sys/kernel/mm/ksm/run",
        ),
    ]
}

/// What neighbours on the processor learn.
fn processor() -> Vec<Finding> {
    let smt = probe::smt();
    let scheduling = probe::core_scheduling();
    let (rdrand, rdseed) = probe::hardware_random();
    let bad: Vec<String> = probe::vulnerabilities()
        .into_iter()
        .filter(|(_, state)| state.starts_with("Vulnerable"))
        .map(|(name, _)| name)
        .collect();
    vec![
        finding(
            "threads per core",
            smt == Some(false) || scheduling,
            Grade::Weak,
            if smt == Some(false) {
                "one"
            } else if smt.is_none() {
                "unknown"
            } else {
                "several"
            },
            "two threads of a core see each other's traces in its caches",
            "echo off > /sys/devices/system/cpu/smt/control, or a kernel with CONFIG_SCHED_CORE",
        ),
        note(
            "core scheduling",
            yes_no(scheduling),
            "keeps others off a guest's core while it runs; needed only with several threads per core",
        ),
        note(
            "speculation controls",
            Controls::offered(&Linux).map(|(name, state)| format!("{name} {}", state.name())).join(", "),
            "what the VMM gives up before its guest runs; the L1D flush needs l1d_flush=on at boot and one thread per core",
        ),
        finding(
            "vulnerabilities",
            bad.is_empty(),
            Grade::Weak,
            if bad.is_empty() {
                "none known and open".to_owned()
            } else {
                format!("open: {}", bad.join(", "))
            },
            "processor flaws through which neighbours could read; each is in the posture",
            "update microcode and kernel; /sys/devices/system/cpu/vulnerabilities says what is missing",
        ),
        finding(
            "hardware randomness",
            rdrand && rdseed,
            Grade::Weak,
            match (rdrand, rdseed) {
                (true, true) => "RDRAND, RDSEED",
                (true, false) => "RDRAND",
                (false, true) => "RDSEED",
                (false, false) => "none",
            },
            "guests draw on it directly; without it they have only what the VMM tells them",
            "",
        ),
        note(
            "virtual machine",
            yes_no(probe::is_virtual()),
            "in a virtual machine, whoever runs the machine below can read everything",
        ),
    ]
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn on_off(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "on",
        Some(false) => "off",
        None => "not in this kernel",
    }
}

fn switch(disabled: Option<bool>) -> &'static str {
    match disabled {
        Some(true) => "disabled",
        Some(false) => "enabled",
        None => "not in this kernel",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_not_good_says_why_or_what_to_do() {
        let findings = examine();
        assert!(findings.len() > 12);
        for finding in findings {
            assert!(!finding.meaning.is_empty() && !finding.value.is_empty(), "{finding:?}");
            if finding.grade == Grade::Missing {
                assert!(finding.advice.is_some(), "{finding:?}");
            }
            if finding.grade == Grade::Good {
                assert!(finding.advice.is_none(), "{finding:?}");
            }
        }
    }
}
