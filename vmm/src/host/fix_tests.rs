//! Tests of what is offered and written, for a host that is made up.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::host::doctor;

fn weak(name: &'static str) -> Finding {
    Finding {
        name,
        grade: Grade::Weak,
        value: "off".into(),
        meaning: "it matters",
        advice: Some("change it"),
    }
}

fn known(finding: &str) -> Change {
    *CHANGES.iter().find(|change| change.finding == finding).unwrap()
}

#[test]
fn only_what_is_weak_and_there_is_offered() {
    let mut good = weak("kexec");
    good.grade = Grade::Good;
    let findings =
        vec![weak("modules"), weak("yama ptrace_scope"), good, weak("lockdown"), weak("vulnerabilities")];
    let no_yama = |path: &Path| !path.starts_with("/proc/sys/kernel/yama");
    let offered = offers(findings, &no_yama);
    let offered: Vec<_> = offered.iter().map(|offer| (offer.finding.name, offer.change.is_some())).collect();
    assert_eq!(
        offered,
        [("modules", true), ("yama ptrace_scope", false), ("lockdown", true), ("vulnerabilities", false)]
    );
}

#[test]
fn every_change_belongs_to_a_finding_of_the_doctors() {
    let findings = doctor::examine();
    for change in CHANGES {
        assert!(findings.iter().any(|finding| finding.name == change.finding), "{change:?}");
        assert!(!change.costs.is_empty());
    }
}

#[test]
fn files_hold_what_was_agreed_to_and_what_was_there() {
    let nothing = |_: &'static str| None;
    assert_eq!(files(&[], &nothing), Ok(vec![]));
    assert_eq!(files(&[known("lockdown")], &nothing), Ok(vec![]), "boot parameters go into no file");

    let written = files(&[known("kexec"), known("modules")], &nothing).unwrap();
    let [(SYSCTL, settings), (UNIT, unit)] = written.as_slice() else { panic!("{written:?}") };
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(lines(settings), ["kernel.kexec_load_disabled = 1"]);
    assert!(unit.contains("\nExecStart=/bin/sh -c 'echo 1 > /proc/sys/kernel/modules_disabled'\n"));
    assert!(!unit.contains("swapoff"));

    // Later, when kexec is no finding any more.
    let now = |file| (file == SYSCTL).then(|| settings.clone());
    let again = files(&[known("yama ptrace_scope")], &now).unwrap();
    let [(SYSCTL, again)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(lines(again), ["kernel.yama.ptrace_scope = 3", "kernel.kexec_load_disabled = 1"]);
}

#[test]
fn a_file_of_somebody_elses_is_left_alone() {
    let foreign = |_: &'static str| Some("kernel.kexec_load_disabled = 0\n".to_owned());
    assert_eq!(files(&[known("kexec")], &foreign), Err(SYSCTL));
}
