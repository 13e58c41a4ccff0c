//! Walk-throughs with an unmodified AWS CLI and openssl against a sealed signer over TLS: signing and encryption with
//! asymmetric keys, as it is; and the part of the portable root CA that is Private CA's, under a root of openssl's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use casemate_tests::{Done, Image, Lab, can_seal, checkout, python_programs};
use serde_json::json;

/// The value of `name = value` in a file of AWS's.
fn setting(lab: &Lab, file: &str, name: &str) -> String {
    let text = String::from_utf8(lab.read(file)).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {file}")).trim().to_owned()
}

/// Runs a walk-through against a sealed signer that is claimed, and gives what it said.
fn walk_through(script: &str) -> String {
    let lab = Lab::new();
    let served = lab.serve(&["--state", "volume", "--revocation-address", "127.0.0.1:0"]);
    let image = Image::Signer.path();
    let info = lab.json(&["describe-eif", "--eif-path", image.to_str().unwrap()]);
    let policy = json!({"pcrs": {"0": info["Measurements"]["PCR0"]}, "nonce_required": true});
    lab.write("policy.json", policy.to_string().as_bytes());
    std::fs::copy(lab.path("home/root.pem"), lab.path("root.pem")).unwrap();
    let endpoint = served.info["Endpoint"].as_str().unwrap();
    lab.ok(&["claim", "--endpoint", endpoint, "--root", "root.pem", "--policy", "policy.json"]);

    let mut script = lab.command(&checkout().join("tests/acceptance").join(script));
    script
        .env("AWS_CLI", python_programs().join("aws"))
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_CA_BUNDLE", setting(&lab, ".aws/config", "ca_bundle"))
        .env("REVOCATION_ADDRESS", served.info["RevocationAddress"].as_str().unwrap())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", setting(&lab, ".aws/credentials", "aws_access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", setting(&lab, ".aws/credentials", "aws_secret_access_key"));
    let done = Done::new(script.output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout
}

#[test]
fn signing_and_encryption_as_in_the_walk_through() {
    if can_seal("the KMS walk-through against a sealed signer") {
        let said = walk_through("kms-sign-encrypt.sh");
        assert!(said.ends_with("15 passed, 0 failed\n"), "{said}");
    }
}

#[test]
fn a_subordinate_authority_under_a_root_of_openssl_as_in_the_walk_through() {
    if can_seal("the Private CA walk-through against a sealed signer") {
        let said = walk_through("private-ca.sh");
        assert!(said.ends_with("4 passed, 0 failed\n"), "{said}");
    }
}
