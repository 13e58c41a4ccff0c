//! Known answers and Wycheproof vectors, run inside a sealed guest through the code that serves requests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};
use std::time::Duration;

use casemate_tests::{Image, Lab, has_kvm, not_covered};
use serde_json::Value;

/// Cases in all, at least: an empty pack must not pass for a good one.
const LEAST: u64 = 9500;

/// Suites that must be there, with more than a few cases.
const SUITES: [&str; 14] = [
    "ecdsa p256",
    "ecdsa p384",
    "ecdsa p521",
    "ecdsa secp256k1",
    "rsa pkcs1 sha256",
    "rsa pss sha256",
    "rsa oaep sha256",
    "aes-256-gcm",
    "hmac sha256",
    "ed25519",
    "ml-dsa-65 verify",
    "ecdh p256",
    "ml-kem-768",
    "aes-kwp",
];

#[test]
fn every_known_answer_is_right_inside_the_guest() {
    if !has_kvm() {
        not_covered("cryptography inside a sealed guest: no /dev/kvm, so it runs on the process backend");
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Selftest, &[]);
    let mut stream = guest.connect(8000);
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    stream
        .write_all(
            b"POST /selftest HTTP/1.1\r\nhost: guest\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let report: Value = serde_json::from_str(body).unwrap();
    println!("{}", report["suites"]);
    assert_eq!(report["failed"], 0, "{:#}", report["failures"]);
    assert!(report["passed"].as_u64().unwrap() >= LEAST, "only {} cases", report["passed"]);
    for suite in SUITES {
        assert!(report["suites"][suite].as_u64().unwrap_or(0) >= 20, "{suite} is missing");
    }
}
