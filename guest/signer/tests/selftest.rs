//! The self-test passes here, on an ordinary build of the same code that a sealed guest runs it with.

#![cfg(feature = "selftest")]

/// The least each suite must hold, so that an empty pack cannot pass for a good one.
const LEAST: &[(&str, usize)] = &[
    ("ecdsa p256", 400),
    ("ecdsa p384", 400),
    ("ecdsa p521", 400),
    ("ecdsa secp256k1", 400),
    ("rsa pkcs1 sha256", 600),
    ("rsa pkcs1 sha384", 600),
    ("rsa pkcs1 sha512", 600),
    ("rsa pss sha256", 200),
    ("rsa pss sha384", 50),
    ("rsa pss sha512", 50),
    ("rsa oaep sha1", 20),
    ("rsa oaep sha256", 60),
    ("aes-256-gcm", 40),
    ("hmac sha224", 50),
    ("hmac sha256", 50),
    ("hmac sha384", 50),
    ("hmac sha512", 50),
    ("ed25519", 100),
    ("ml-dsa-44 verify", 50),
    ("ml-dsa-65 verify", 50),
    ("ml-dsa-87 verify", 50),
    ("ml-dsa-44 mu", 20),
    ("ml-dsa-65 mu", 20),
    ("ml-dsa-87 mu", 20),
    ("ecdh p256", 600),
    ("ecdh p384", 1000),
    ("ecdh p521", 900),
    ("ml-kem-512", 190),
    ("ml-kem-768", 190),
    ("ml-kem-1024", 190),
    ("aes-kwp", 90),
    ("ed25519ph", 1),
    ("key pair", 15),
    ("oaep pair", 1),
    ("symmetric", 1),
];

#[test]
fn every_known_answer_is_right() {
    let report = casemate_signer::selftest::run();
    println!("{} cases: {:?}", report.passed, report.suites);
    assert_eq!(report.failed, 0, "{:#?}", report.failures);
    for (suite, least) in LEAST {
        let cases = report.suites.get(*suite).copied().unwrap_or_default();
        assert!(cases >= *least, "{suite}: {cases} cases, expected {least} at least");
    }
}
