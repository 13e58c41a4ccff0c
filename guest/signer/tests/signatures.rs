//! Sign, Verify, GenerateMac, VerifyMac: every algorithm, and what each refuses.

mod common;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use common::{b64, key, ok, refused, signer, text, unb64};
use serde_json::{Value, json};

const ECC_AND_MORE: &[(&str, &str)] = &[
    ("ECC_NIST_P256", "ECDSA_SHA_256"),
    ("ECC_NIST_P384", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
    ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ("ML_DSA_44", "ML_DSA_SHAKE_256"),
    ("ML_DSA_65", "ML_DSA_SHAKE_256"),
    ("ML_DSA_87", "ML_DSA_SHAKE_256"),
];

const RSA: &[&str] = &[
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
];

fn round_trip(
    signer: &casemate_signer::Signer,
    id: &str,
    algorithm: &str,
    message_type: &str,
    message: &[u8],
) -> Value {
    let mut request = json!({"KeyId": id, "Message": b64(message), "MessageType": message_type, "SigningAlgorithm": algorithm});
    let signed = ok(signer, "Sign", request.clone());
    assert_eq!(signed["SigningAlgorithm"], algorithm);
    request["Signature"] = signed["Signature"].clone();
    let verified = ok(signer, "Verify", request.clone());
    assert_eq!(verified["SignatureValid"], true);
    assert_eq!(verified["KeyId"], signed["KeyId"]);
    let mut wrong = unb64(&signed["Signature"]);
    *wrong.last_mut().expect("a signature has bytes") ^= 1;
    request["Signature"] = json!(b64(wrong));
    assert_eq!(refused(signer, "Verify", request).0, "KMSInvalidSignatureException", "{algorithm}");
    signed
}

/// A signature over the digest is one over the message: the two paths meet.
fn digest_agrees(signer: &casemate_signer::Signer, id: &str, algorithm: &str, message: &[u8]) {
    let hash = match algorithm.rsplit('_').next() {
        Some("256") => &SHA256,
        Some("384") => &SHA384,
        _ => &SHA512,
    };
    let digest = digest(hash, message);
    let signed = round_trip(signer, id, algorithm, "DIGEST", digest.as_ref());
    let verify = json!({"KeyId": id, "Message": b64(message), "Signature": signed["Signature"], "SigningAlgorithm": algorithm});
    assert_eq!(ok(signer, "Verify", verify)["SignatureValid"], true);
    let short = json!({"KeyId": id, "Message": b64(&digest.as_ref()[1..]), "MessageType": "DIGEST", "SigningAlgorithm": algorithm});
    let (kind, message) = refused(signer, "Sign", short);
    assert_eq!(kind, "ValidationException");
    assert!(message.starts_with(&format!("Digest is invalid length for algorithm {algorithm}")), "{message}");
}

#[test]
fn every_curve_and_ml_dsa_signs_and_verifies() {
    let signer = signer();
    for (spec, algorithm) in ECC_AND_MORE {
        let id = key(&signer, spec, "SIGN_VERIFY");
        for message in [&b"m"[..], &[0x5a; 4096]] {
            round_trip(&signer, &id, algorithm, "RAW", message);
        }
        if algorithm.starts_with("ECDSA") {
            digest_agrees(&signer, &id, algorithm, b"casemate");
        }
    }
}

#[test]
fn rsa_signs_and_verifies() {
    let signer = signer();
    let id = key(&signer, "RSA_2048", "SIGN_VERIFY");
    for algorithm in RSA {
        let signed = round_trip(&signer, &id, algorithm, "RAW", b"casemate");
        assert_eq!(unb64(&signed["Signature"]).len(), 256);
        digest_agrees(&signer, &id, algorithm, b"casemate");
    }
}

#[test]
fn ed25519ph_takes_a_digest_and_only_that() {
    let signer = signer();
    let id = key(&signer, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY");
    round_trip(&signer, &id, "ED25519_PH_SHA_512", "DIGEST", &[7; 64]);
    for (algorithm, message_type) in
        [("ED25519_PH_SHA_512", "RAW"), ("ED25519_SHA_512", "DIGEST"), ("ED25519_SHA_512", "EXTERNAL_MU")]
    {
        let request = json!({"KeyId": id, "Message": b64([7; 64]), "MessageType": message_type, "SigningAlgorithm": algorithm});
        assert_eq!(refused(&signer, "Sign", request).0, "ValidationException", "{algorithm} {message_type}");
    }
}

#[test]
fn ml_dsa_signs_an_external_mu() {
    let signer = signer();
    for spec in ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"] {
        let id = key(&signer, spec, "SIGN_VERIFY");
        round_trip(&signer, &id, "ML_DSA_SHAKE_256", "EXTERNAL_MU", &[9; 64]);
        for (message_type, length) in [("DIGEST", 64), ("EXTERNAL_MU", 63), ("EXTERNAL_MU", 65)] {
            let request = json!({"KeyId": id, "Message": b64(vec![9; length]), "MessageType": message_type, "SigningAlgorithm": "ML_DSA_SHAKE_256"});
            assert_eq!(refused(&signer, "Sign", request).0, "ValidationException", "{message_type} {length}");
        }
    }
}

#[test]
fn a_high_s_is_a_valid_secp256k1_signature() {
    // n - s in place of s: other signers do not normalise. The order of secp256k1, SEC 2, section 2.4.1.
    let n = hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let signer = signer();
    let id = key(&signer, "ECC_SECG_P256K1", "SIGN_VERIFY");
    let request = json!({"KeyId": id, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256"});
    let der = unb64(&ok(&signer, "Sign", request.clone())["Signature"]);
    let (r, s) = integers(&der);
    let mut high = vec![0; 32];
    let mut borrow = 0i16;
    for index in (0..32).rev() {
        let s_byte = if index + s.len() >= 32 { s[index + s.len() - 32] } else { 0 };
        let difference = i16::from(n[index]) - i16::from(s_byte) - borrow;
        borrow = i16::from(difference < 0);
        high[index] = difference.rem_euclid(256) as u8;
    }
    assert!(high[0] >= 0x80, "s was not low");
    high.insert(0, 0);
    let mut der = vec![0x30, (4 + r.len() + high.len()) as u8, 2, r.len() as u8];
    der.extend(&r);
    der.extend([2, high.len() as u8]);
    der.extend(&high);
    let mut request = request;
    request["Signature"] = json!(b64(der));
    assert_eq!(ok(&signer, "Verify", request)["SignatureValid"], true);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// r as in the DER, s without leading zeros.
fn integers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let r_len = usize::from(der[3]);
    let s = &der[4 + r_len + 2..];
    (der[4..4 + r_len].to_vec(), s.iter().copied().skip_while(|byte| *byte == 0).collect())
}

#[test]
fn keys_and_algorithms_must_fit() {
    let signer = signer();
    let p256 = key(&signer, "ECC_NIST_P256", "SIGN_VERIFY");
    let symmetric = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let request =
        |id: &str, algorithm: &str| json!({"KeyId": id, "Message": "AA==", "SigningAlgorithm": algorithm});
    let (kind, message) = refused(&signer, "Sign", request(&p256, "ECDSA_SHA_384"));
    assert_eq!(
        (kind.as_str(), message.as_str()),
        ("InvalidKeyUsageException", "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256.")
    );
    let (kind, message) = refused(&signer, "Sign", request(&symmetric, "ECDSA_SHA_256"));
    assert_eq!(kind, "InvalidKeyUsageException");
    assert!(message.ends_with("key usage is ENCRYPT_DECRYPT which is not valid for Sign."), "{message}");
    assert_eq!(refused(&signer, "Sign", request(&p256, "SM2DSA")).0, "InvalidKeyUsageException");
    for (operation, request, errors) in [
        ("Sign", json!({}), 3),
        ("Verify", json!({}), 4),
        ("Sign", json!({"KeyId": p256, "Message": "", "SigningAlgorithm": "ECDSA_SHA_256"}), 1),
        (
            "Sign",
            json!({"KeyId": p256, "Message": b64([0; 4097]), "SigningAlgorithm": "X", "MessageType": "Y"}),
            3,
        ),
        (
            "Sign",
            json!({"KeyId": p256, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256", "GrantTokens": vec!["t"; 11]}),
            1,
        ),
        (
            "Sign",
            json!({"KeyId": p256, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256", "GrantTokens": [""]}),
            1,
        ),
    ] {
        let (kind, message) = refused(&signer, operation, request);
        assert_eq!(kind, "ValidationException");
        assert!(message.starts_with(&format!("{errors} validation error")), "{message}");
    }
    let mut tokens = request(&p256, "ECDSA_SHA_256");
    tokens["GrantTokens"] = json!(["token"]);
    assert_eq!(refused(&signer, "Sign", tokens).0, "InvalidGrantTokenException");
}

#[test]
fn one_key_does_not_verify_anothers_signature() {
    let signer = signer();
    for (spec, algorithm) in ECC_AND_MORE {
        let (one, other) = (key(&signer, spec, "SIGN_VERIFY"), key(&signer, spec, "SIGN_VERIFY"));
        let mut request = json!({"KeyId": one, "Message": "AA==", "SigningAlgorithm": algorithm});
        let signature = ok(&signer, "Sign", request.clone())["Signature"].clone();
        request["Signature"] = signature;
        request["KeyId"] = json!(other);
        assert_eq!(refused(&signer, "Verify", request).0, "KMSInvalidSignatureException", "{spec}");
    }
}

#[test]
fn a_dry_run_checks_everything_and_signs_nothing() {
    let signer = signer();
    let id = key(&signer, "ECC_NIST_P256", "SIGN_VERIFY");
    let request =
        json!({"KeyId": id, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256", "DryRun": true});
    assert_eq!(refused(&signer, "Sign", request.clone()).0, "DryRunOperationException");
    ok(&signer, "DisableKey", json!({"KeyId": id}));
    assert_eq!(refused(&signer, "Sign", request).0, "DisabledException");
}

#[test]
fn macs_are_made_and_verified() {
    let signer = signer();
    for (bits, length) in [("224", 28), ("256", 32), ("384", 48), ("512", 64)] {
        let id = key(&signer, &format!("HMAC_{bits}"), "GENERATE_VERIFY_MAC");
        let mut request =
            json!({"KeyId": id, "Message": b64("casemate"), "MacAlgorithm": format!("HMAC_SHA_{bits}")});
        let made = ok(&signer, "GenerateMac", request.clone());
        let mac = unb64(&made["Mac"]);
        assert_eq!(mac.len(), length);
        request["Mac"] = made["Mac"].clone();
        assert_eq!(ok(&signer, "VerifyMac", request.clone())["MacValid"], true);
        request["Mac"] = json!(b64(&mac[..length - 1]));
        assert_eq!(refused(&signer, "VerifyMac", request.clone()).0, "KMSInvalidMacException");
        request["Mac"] = made["Mac"].clone();
        request["Message"] = json!(b64("casemates"));
        assert_eq!(refused(&signer, "VerifyMac", request.clone()).0, "KMSInvalidMacException");
        request["MacAlgorithm"] = json!(if bits == "224" { "HMAC_SHA_256" } else { "HMAC_SHA_224" });
        assert_eq!(refused(&signer, "GenerateMac", request).0, "InvalidKeyUsageException");
    }
    assert!(text(&json!(refused(&signer, "VerifyMac", json!({})).1)).starts_with("4 validation errors"));
}
