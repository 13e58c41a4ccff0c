//! The signer's user: keys, signatures and ciphertexts through the command line, checked by openssl, which knows nothing
//! of Casemate; and a verifier who believes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::process::Command;

use casemate_tests::{Image, Lab, can_seal, checkout, has_kvm, not_covered, python_programs};
use serde_json::{Value, json};

const MESSAGE: &[u8] = b"a message to be signed\n";

/// Makes a key, writes its public key to `NAME.pem`, and returns its identifier.
#[track_caller]
fn key(lab: &Lab, spec: &str, usage: &[&str], name: &str) -> String {
    let mut arguments = vec!["key", "create", "--spec", spec];
    arguments.extend(usage);
    let id = lab.ok(&arguments);
    lab.ok(&["public-key", &id, "--out", &format!("{name}.pem")]);
    id
}

#[track_caller]
fn sign(lab: &Lab, key: &str, algorithm: &str) {
    lab.write("message", MESSAGE);
    lab.ok(&["sign", "--key", key, "--message", "message", "--algorithm", algorithm, "--out", "signature"]);
    let check = [
        "verify",
        "--key",
        key,
        "--message",
        "message",
        "--algorithm",
        algorithm,
        "--signature",
        "signature",
    ];
    lab.ok(&check);
    lab.write("message", b"another message\n");
    lab.fails(&check, "the signature is not valid");
    lab.write("message", MESSAGE);
}

#[test]
fn openssl_verifies_the_signatures() {
    let lab = Lab::new();
    let _guest = lab.launch(Image::Signer, &[]);
    for (spec, hash) in [("P256", "256"), ("P384", "384"), ("P521", "512")] {
        let id = key(&lab, &format!("ECC_NIST_{spec}"), &[], "ec");
        sign(&lab, &id, &format!("ECDSA_SHA_{hash}"));
        lab.openssl(&[
            "dgst",
            &format!("-sha{hash}"),
            "-verify",
            "ec.pem",
            "-signature",
            "signature",
            "message",
        ]);
    }
    let id = key(&lab, "ECC_SECG_P256K1", &[], "k1");
    sign(&lab, &id, "ECDSA_SHA_256");
    lab.openssl(&["dgst", "-sha256", "-verify", "k1.pem", "-signature", "signature", "message"]);

    let id = key(&lab, "RSA_2048", &[], "rsa");
    for hash in ["256", "384", "512"] {
        let digest = format!("-sha{hash}");
        sign(&lab, &id, &format!("RSASSA_PKCS1_V1_5_SHA_{hash}"));
        lab.openssl(&["dgst", &digest, "-verify", "rsa.pem", "-signature", "signature", "message"]);
        sign(&lab, &id, &format!("RSASSA_PSS_SHA_{hash}"));
        let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
        let mut arguments = vec!["dgst", &digest, "-verify", "rsa.pem"];
        arguments.extend(pss);
        arguments.extend(["-signature", "signature", "message"]);
        lab.openssl(&arguments);
    }

    let id = key(&lab, "ECC_NIST_EDWARDS25519", &[], "ed");
    sign(&lab, &id, "ED25519_SHA_512");
    lab.openssl(&[
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "ed.pem",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ]);
}

#[test]
fn openssl_makes_ciphertexts_that_the_guest_decrypts() {
    let lab = Lab::new();
    let _guest = lab.launch(Image::Signer, &[]);
    let id = key(&lab, "RSA_2048", &["--usage", "ENCRYPT_DECRYPT"], "rsa");
    lab.write("plain", b"for the guest only");
    for (hash, algorithm) in [("sha256", "RSAES_OAEP_SHA_256"), ("sha1", "RSAES_OAEP_SHA_1")] {
        let (oaep, mgf) = (format!("rsa_oaep_md:{hash}"), format!("rsa_mgf1_md:{hash}"));
        lab.openssl(&[
            "pkeyutl",
            "-encrypt",
            "-pubin",
            "-inkey",
            "rsa.pem",
            "-in",
            "plain",
            "-out",
            "cipher",
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            &oaep,
            "-pkeyopt",
            &mgf,
        ]);
        lab.ok(&["decrypt", "--key", &id, "--algorithm", algorithm, "--in", "cipher", "--out", "back"]);
        assert_eq!(lab.read("back"), b"for the guest only", "{algorithm}");
    }
    let symmetric = lab.ok(&["key", "create"]);
    lab.ok(&["encrypt", "--key", &symmetric, "--context", "a=b", "--in", "plain", "--out", "sealed"]);
    assert!(!casemate_attacks::process::contains(&lab.read("sealed"), b"for the guest"));
    lab.ok(&["decrypt", "--context", "a=b", "--in", "sealed", "--out", "back"]);
    assert_eq!(lab.read("back"), b"for the guest only");
    lab.fails(
        &["decrypt", "--context", "a=c", "--in", "sealed", "--out", "back"],
        "InvalidCiphertextException",
    );
}

#[test]
fn keys_are_listed_described_and_deleted() {
    let lab = Lab::new();
    let _guest = lab.launch(Image::Signer, &[]);
    let id = lab.ok(&["key", "create", "--spec", "ECC_NIST_P384", "--description", "the first"]);
    let hmac = lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    let list = lab.ok(&["key", "list"]);
    assert!(list.contains(&id) && list.contains(&hmac) && list.contains("the first"), "{list}");
    lab.write("message", MESSAGE);
    lab.ok(&["sign", "--key", &hmac, "--message", "message", "--out", "mac"]);
    lab.ok(&["verify", "--key", &hmac, "--message", "message", "--signature", "mac"]);
    let deletion = lab.json(&["key", "delete", &id, "--days", "7"]);
    assert_eq!(deletion["KeyState"], "PendingDeletion");
    lab.fails(&["sign", "--key", &id, "--message", "message"], "KMSInvalidStateException");
    lab.fails(&["sign", "--key", "nobody", "--message", "message"], "NotFoundException");
    let data_key = lab.json(&["kms", "GenerateRandom", r#"{"NumberOfBytes":32}"#]);
    assert!(data_key["Plaintext"].is_string());
}

#[test]
fn ml_dsa_signs_and_verifies() {
    let lab = Lab::new();
    let _guest = lab.launch(Image::Signer, &[]);
    for spec in ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"] {
        let id = key(&lab, spec, &[], "ml");
        sign(&lab, &id, "ML_DSA_SHAKE_256");
    }
}

/// A lab with a guest and a document `doc.cbor` for nonce `fresh`.
fn attested(arguments: &[&str]) -> (Lab, casemate_tests::Running) {
    let lab = Lab::new();
    let guest = lab.launch(Image::Signer, arguments);
    lab.ok(&[
        "attest",
        "--nonce",
        "fresh",
        "--user-data",
        "hello",
        "--out",
        "doc.cbor",
        "--root-out",
        "root.pem",
    ]);
    (lab, guest)
}

/// PCR0 of the signer's image.
fn pcr0(lab: &Lab) -> String {
    let info = lab.json(&["describe-eif", "--eif-path", Image::Signer.path().to_str().unwrap()]);
    info["Measurements"]["PCR0"].as_str().unwrap().to_owned()
}

fn policy(lab: &Lab, policy: &Value) {
    lab.write("policy.json", policy.to_string().as_bytes());
}

const VERIFY: [&str; 6] = ["verify", "doc.cbor", "--root", "root.pem", "--policy", "policy.json"];

#[track_caller]
fn refused(lab: &Lab, arguments: &[&str], reason: &str) {
    let done = lab.casemate(arguments);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("does not verify") && done.stderr.contains(reason), "{reason:?}: {done:?}");
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let answer: Value = serde_json::from_str(&lab.casemate(&arguments).stdout).unwrap();
    assert_eq!(answer["verified"], false);
    assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
}

#[test]
fn a_verifier_accepts_the_right_guest_and_no_other() {
    if !can_seal("attestation of a sealed guest") {
        return;
    }
    let (lab, guest) = attested(&[]);
    let pcr0 = pcr0(&lab);
    let good = json!({"pcrs": {"0": pcr0}, "nonce_required": true, "max_age_seconds": 60,
        "module_id": guest.info["EnclaveID"], "posture": {"sealed_memory": ["guest_memfd", "anonymous"]}});
    policy(&lab, &good);
    let with_nonce = [&VERIFY[..], &["--nonce", "fresh"]].concat();
    let established = lab.json(&[&with_nonce[..], &["--json"]].concat());
    assert_eq!(established["verified"], true, "{established}");
    assert!(lab.ok(&with_nonce).contains(&pcr0));

    refused(&lab, &[&VERIFY[..], &["--nonce", "stale"]].concat(), "made for somebody else or replayed");
    refused(&lab, &VERIFY, "the policy requires a nonce");
    refused(&lab, &[&with_nonce[..], &["--at", "4000000000"]].concat(), "certificate chain");
    policy(&lab, &json!({"pcrs": {"0": "0".repeat(96)}}));
    refused(&lab, &with_nonce, "PCR0 is");
    policy(&lab, &json!({"module_id": "somebody"}));
    refused(&lab, &with_nonce, "the policy wants somebody");
    policy(&lab, &json!({"posture": {"sealed_memory": "granite"}}));
    refused(&lab, &with_nonce, "`sealed_memory` is");
    policy(&lab, &good);

    let posture = lab.read("doc.cbor.posture");
    std::fs::remove_file(lab.path("doc.cbor.posture")).unwrap();
    refused(&lab, &with_nonce, "the posture's facts were not given");
    // The facts of another host, or embellished ones.
    let mut embellished = posture.clone();
    let last = embellished.len() - 1;
    embellished[last] ^= 1;
    lab.write("doc.cbor.posture", &embellished);
    assert_eq!(lab.casemate(&with_nonce).code, 1);
    lab.write("doc.cbor.posture", &posture);

    // Every tenth byte of the document, changed: never accepted.
    let document = lab.read("doc.cbor");
    for at in (0..document.len()).step_by(document.len() / 40) {
        let mut bytes = document.clone();
        bytes[at] ^= 0x20;
        lab.write("doc.cbor", &bytes);
        let done = lab.casemate(&with_nonce);
        assert_eq!(done.code, 1, "byte {at} changed: {done:?}");
    }
    let mut forged = document.clone();
    *forged.last_mut().unwrap() ^= 1;
    lab.write("doc.cbor", &forged);
    refused(&lab, &with_nonce, "the signature does not match");
    lab.write("doc.cbor", &document);

    let (other, _guest) = attested(&[]);
    std::fs::copy(other.path("root.pem"), lab.path("root.pem")).unwrap();
    refused(&lab, &with_nonce, "certificate chain");
}

#[test]
fn debug_guests_prove_nothing() {
    let (lab, _guest) = attested(&["--debug-mode"]);
    policy(&lab, &json!({}));
    refused(&lab, &[&VERIFY[..], &["--nonce", "fresh"]].concat(), "debug mode");
    policy(&lab, &json!({"allow_debug": true}));
    lab.ok(&[&VERIFY[..], &["--nonce", "fresh"]].concat());
}

#[test]
fn a_verifier_that_we_did_not_write_accepts_a_live_guests_document() {
    if !has_kvm() {
        not_covered("epsilon-attestation-verifier on a live guest's document: no /dev/kvm");
        return;
    }
    let python = python_programs().join("python");
    let (lab, guest) = attested(&[]);
    let verify = |pcr0: &str| {
        Command::new(&python)
            .arg(checkout().join("attestation/peers/epsilon.py"))
            .args([lab.path("doc.cbor"), lab.path("root.pem")])
            .arg(pcr0)
            .output()
            .unwrap()
    };
    let output = verify(&pcr0(&lab));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), guest.info["EnclaveID"].as_str().unwrap());
    assert!(!verify(&"1".repeat(96)).status.success(), "another PCR0 was accepted");
}

#[test]
fn a_document_from_the_process_backend_is_not_accepted() {
    let (lab, _guest) = attested(&["--backend=process"]);
    // As for debug mode: nothing is sealed, so nothing is shown that could be taken for a measurement.
    lab.fails(&["verify", "doc.cbor", "--root", "root.pem", "--nonce", "fresh"], "debug");
}

#[test]
fn the_audit_log_is_complete_and_tampering_is_noticed() {
    if !can_seal("the audit log of a sealed signer") {
        return;
    }
    let (lab, _guest) = attested(&[]);
    let id = key(&lab, "ECC_NIST_P256", &[], "ec");
    sign(&lab, &id, "ECDSA_SHA_256");
    lab.fails(&["kms", "DescribeKey", r#"{"KeyId": "alias/none"}"#], "NotFoundException");
    lab.ok(&["audit", "fetch", "--nonce", "first"]);
    let first = lab.read("audit.jsonl");
    lab.ok(&["kms", "ListKeys"]);
    lab.ok(&["audit", "fetch", "--nonce", "second"]);
    policy(&lab, &json!({"pcrs": {"0": pcr0(&lab)}, "nonce_required": true}));
    let verify = ["audit", "verify", "--root", "root.pem", "--policy", "policy.json", "--nonce", "second"];
    lab.ok(&verify);
    lab.fails(&[&verify[..7], &["first"]].concat(), "made for somebody else or replayed");

    let log = lab.read("audit.jsonl");
    let text = String::from_utf8(log.clone()).unwrap();
    assert!(log.starts_with(&first), "what was fetched before has changed");
    let named =
        |name: &str| text.lines().filter(|line| line.contains(&format!("\"eventName\":\"{name}\""))).count();
    assert_eq!((named("CreateKey"), named("Sign"), named("ListKeys")), (1, 1, 1), "{text}");
    assert!(text.contains("\"errorCode\":\"NotFound\"") && text.contains(&format!("key/{id}")), "{text}");
    assert!(!text.contains("a message to be signed") && !text.contains("YSBtZXNzYWdlIHRv"), "{text}");

    // Whoever holds the file cannot change it unnoticed.
    let lines: Vec<&str> = text.lines().collect();
    let without = |gone: usize| {
        lines
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != gone)
            .map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    for gone in [0, 2, lines.len() - 1] {
        lab.write("audit.jsonl", without(gone).as_bytes());
        assert_eq!(lab.casemate(&verify).code, 1, "line {gone} is missing");
    }
    lab.write("audit.jsonl", text.replace("\"Sign\"", "\"Vign\"").as_bytes());
    lab.fails(&verify, "does not follow the line before it");
    // A document about something else does not do.
    lab.write("audit.jsonl", &log);
    lab.ok(&["attest", "--nonce", "second", "--out", "audit.cbor"]);
    lab.fails(&verify, "does not state the head of an audit log");
}
