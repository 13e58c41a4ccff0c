//! Every attack of `casemate selftest`, as its user makes them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::process::Command;

use casemate_tests::{Image, can_attack, casemate, not_covered};
use serde_json::Value;

#[test]
fn every_attack_fails_or_is_a_limit_that_is_named() {
    if !can_attack("the attacks of `casemate selftest`") {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_casemate-selftest"))
        .arg("--json")
        .arg("--casemate")
        .arg(casemate())
        .arg("--image")
        .arg(Image::Signer.path())
        .env("CASEMATE_MODULE", Image::Module.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(rows.len() >= 25, "{rows:#?}");
    let of = |outcome: &str| -> Vec<&Value> { rows.iter().filter(|row| row["Outcome"] == outcome).collect() };
    assert_eq!(of("BROKEN"), Vec::<&Value>::new());
    assert_eq!(output.status.code(), Some(0), "{said}");
    for row in of("not made") {
        not_covered(&format!("{}: {}", row["Attack"], row["Observed"]));
    }
    for row in of("LIMIT") {
        assert!(row["ClosedBy"].as_str().is_some_and(|text| !text.is_empty()), "{row}");
        not_covered(&format!("{}, which this host allows: closed by {}", row["Attack"], row["ClosedBy"]));
    }
}

#[test]
fn it_says_what_it_needs() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups", env!("CARGO_BIN_EXE_casemate-selftest")]);
    if !casemate_tests::is_root() {
        command = Command::new(env!("CARGO_BIN_EXE_casemate-selftest"));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("run it as root"), "{said}");
}
