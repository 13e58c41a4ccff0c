//! The whole story of a portable root CA, as docs/portable-root-ca.sh tells it: from the first key to another HSM, against sealed
//! signers, with an unmodified AWS CLI, openssl and OpenSC.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use casemate_tests::token::module;
use casemate_tests::{Done, Image, Lab, can_seal, casemate, checkout, python_programs};

fn story(key_type: &str) {
    if !can_seal("the portable root CA, from the first key to another HSM") {
        return;
    }
    let lab = Lab::new();
    let mut script = lab.command(&checkout().join("docs/portable-root-ca.sh"));
    script
        .arg(key_type)
        .env("CASEMATE", casemate())
        .env("AWS_CLI", python_programs().join("aws"))
        .env("PKCS11_MODULE", module())
        .env("IMAGE", Image::Signer.path());
    let done = Done::new(script.output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.ends_with("8 passed, 0 failed\n"), "{done:?}");
    assert_eq!(lab.json(&["describe-enclaves"]), serde_json::json!([]), "something is left running");
}

#[test]
fn a_portable_root_on_a_curve_from_the_first_key_to_another_hsm() {
    story("EC:secp384r1");
}

#[test]
fn a_portable_rsa_root_from_the_first_key_to_another_hsm() {
    story("rsa:3072");
}
