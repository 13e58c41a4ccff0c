//! `Casemate.AttestPublicKey`: the guest's word for a key.

mod common;
#[path = "common/sealed.rs"]
mod sealed;

use aws_lc_rs::digest::{SHA256, digest};
use casemate_attestation::policy::Policy;
use casemate_attestation::verify::{Established, Evidence, Expectations, verify};
use common::{b64, key, ok, refused, text, unb64};
use sealed::{now, sealed_signer};
use serde_json::{Value, json};

const OPERATION: &str = "Casemate.AttestPublicKey";

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn established(answer: &Value, root: &[u8], nonce: Option<&[u8]>) -> Established {
    let document = unb64(&answer["Document"]);
    let (roots, policy) = ([root.to_vec()], Policy::default());
    let expected = Expectations { roots: &roots, policy: &policy, nonce, now: now() * 1000 };
    verify(Evidence { document: &document, posture: None }, expected).expect("a good document")
}

#[test]
fn the_statement_binds_key_public_key_and_policy() {
    let (platform, signer) = sealed_signer();
    for (spec, usage, fits) in [
        ("ECC_NIST_P256", "SIGN_VERIFY", true),
        ("RSA_2048", "ENCRYPT_DECRYPT", true),
        ("ECC_NIST_P384", "KEY_AGREEMENT", true),
        ("ML_DSA_65", "SIGN_VERIFY", false),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", false),
    ] {
        let id = key(&signer, spec, usage);
        let answer = ok(&signer, OPERATION, json!({"KeyId": id, "Nonce": b64("mine")}));
        let public = unb64(&answer["PublicKey"]);
        let from_kms = ok(&signer, "GetPublicKey", json!({"KeyId": id}));
        assert_eq!(public, unb64(&from_kms["PublicKey"]));
        let found = established(&answer, platform.root(), Some(b"mine"));
        let arn = text(&from_kms["KeyId"]);
        let (public_hash, policy_hash) = (hex(&public), hex(text(&answer["Policy"]).as_bytes()));
        let expected = format!("casemate:key: {arn} {spec} {usage} AWS_KMS {public_hash} {policy_hash} open");
        assert_eq!(found.user_data.as_deref(), Some(expected.as_bytes()));
        assert_eq!(found.public_key.is_some(), fits, "{spec}");
        assert!(found.public_key.is_none_or(|bound| bound == public));
    }
}

#[test]
fn what_has_no_public_key_or_no_guest_is_refused() {
    let (_, signer) = sealed_signer();
    let id = key(&signer, "HMAC_256", "GENERATE_VERIFY_MAC");
    assert_eq!(refused(&signer, OPERATION, json!({"KeyId": id})).0, "UnsupportedOperationException");
    let request = json!({"KeyId": id, "Nonce": b64([0; 513])});
    assert_eq!(refused(&signer, OPERATION, request).0, "ValidationException");
    assert_eq!(refused(&signer, OPERATION, json!({})).0, "ValidationException");
    assert_eq!(
        refused(&signer, "AttestPublicKey", json!({})).0,
        "UnknownOperationException",
        "not one of KMS"
    );
}
