//! The posture of a guest that runs: every fact is in it, is printed, can be demanded, and is bound to PCR15 in one encoding
//! only, by a library that is not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::process::Command;

use casemate_attestation::posture::{Fact, Posture, fact};
use casemate_tests::{Image, Lab, Running, can_seal, casemate, checkout, python_programs};
use serde_json::json;

/// What not every kernel tells.
const KERNELS: [&str; 8] = [
    fact::LOCKDOWN,
    fact::YAMA_PTRACE_SCOPE,
    fact::KEXEC_LOAD_DISABLED,
    fact::MODULES_DISABLED,
    fact::KSM,
    fact::SMT,
    fact::SWAP,
    fact::HIBERNATION,
];

/// A guest that runs, its document in `doc.cbor`, and its posture.
fn attested(lab: &Lab) -> (Running, Posture) {
    let guest = lab.launch(Image::Signer, &[]);
    lab.ok(&["attest", "--nonce", "fresh", "--out", "doc.cbor", "--root-out", "root.pem"]);
    let posture = Posture::parse(&lab.read("doc.cbor.posture")).unwrap();
    (guest, posture)
}

const VERIFY: [&str; 8] =
    ["verify", "doc.cbor", "--root", "root.pem", "--policy", "policy.json", "--nonce", "fresh"];

#[test]
fn every_fact_is_measured_printed_and_can_be_demanded() {
    if !can_seal("the posture of a sealed guest") {
        return;
    }
    let lab = Lab::new();
    let (_guest, posture) = attested(&lab);
    for name in fact::ALL.iter().filter(|name| !KERNELS.contains(name)) {
        assert!(posture.get(name).is_some(), "{name} is missing");
    }
    for entry in std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(posture.get(&format!("{}{name}", fact::VULNERABILITY)).is_some(), "{name} is missing");
    }
    lab.write("policy.json", b"{}");
    let printed = lab.ok(&VERIFY);
    for (name, fact) in posture.facts() {
        assert!(
            fact::ALL.contains(&name) || name.starts_with(fact::VULNERABILITY),
            "{name} is not among those that are listed"
        );
        assert!(printed.contains(&format!("  {name} = {fact}")), "{name} is not printed: {printed}");
        let another = match fact {
            Fact::Flag(flag) => json!(!flag),
            Fact::Number(number) => json!(number + 1),
            Fact::Text(text) => json!(format!("{text}.")),
        };
        lab.write("policy.json", json!({"posture": {name: fact}}).to_string().as_bytes());
        assert!(lab.ok(&VERIFY).contains(&format!("  {name} = {fact}  as demanded")), "{name}");
        lab.write("policy.json", json!({"posture": {name: another}}).to_string().as_bytes());
        lab.fails(&VERIFY, &format!("`{name}` is"));
        if let Fact::Number(number) = fact {
            lab.write("policy.json", json!({"posture": {name: {"at_least": number}}}).to_string().as_bytes());
            lab.ok(&VERIFY);
            let more = json!({"posture": {name: {"at_least": number + 1}}});
            lab.write("policy.json", more.to_string().as_bytes());
            lab.fails(&VERIFY, &format!("`{name}` is"));
        }
    }
    // What the kernel does not tell meets nothing.
    for name in KERNELS.iter().filter(|name| posture.get(name).is_none()) {
        for wanted in [json!(true), json!(0), json!({"at_least": 0}), json!("none")] {
            lab.write("policy.json", json!({"posture": {*name: wanted}}).to_string().as_bytes());
            lab.fails(&VERIFY, &format!("`{name}` is not known"));
        }
    }
    // The digest is that of the program, by another program.
    let output = Command::new("sha384sum").arg(casemate()).output().unwrap();
    let digest = String::from_utf8(output.stdout).unwrap();
    let stated = posture.get(fact::VMM_SHA384).unwrap().to_string();
    assert_eq!(digest.split(' ').next(), Some(stated.as_str()));
}

#[test]
fn another_library_makes_the_same_bytes_and_the_same_pcr15_of_the_facts() {
    if !can_seal("the posture of a sealed guest") {
        return;
    }
    let lab = Lab::new();
    let (_guest, posture) = attested(&lab);
    // The facts as JSON, as a verifier may have noted them; from there on it is Python's cbor2 alone.
    lab.write("facts.json", serde_json::to_string(&posture).unwrap().as_bytes());
    let script = "import cbor2, hashlib, json, sys\n\
        encoding = cbor2.dumps(json.load(open('facts.json')), canonical=True)\n\
        assert encoding == open('doc.cbor.posture', 'rb').read(), encoding\n\
        print(hashlib.sha384(bytes(48) + hashlib.sha384(encoding).digest()).hexdigest())";
    let python = python_programs().join("python");
    let output = lab.command(&python).args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lab.write("policy.json", b"{}");
    let established = lab.json(&[&VERIFY[..], &["--json"]].concat());
    let pcr15 = String::from_utf8(output.stdout).unwrap();
    assert_eq!(pcr15.trim(), posture.pcr().to_string());
    assert!(established.to_string().contains(pcr15.trim()), "{established}");
}

#[test]
fn every_fact_is_documented() {
    let document = std::fs::read_to_string(checkout().join("docs/attestation.md")).unwrap();
    for name in fact::ALL {
        assert!(document.contains(&format!("`{name}`")), "{name} is not in docs/attestation.md");
    }
}
