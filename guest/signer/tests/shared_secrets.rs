//! DeriveSharedSecret, Encapsulate, Decapsulate.

mod common;

use common::{b64, key, ok, refused, signer, unb64};
use serde_json::json;

#[test]
fn two_keys_agree_on_a_secret() {
    let signer = signer();
    for (spec, length) in [("ECC_NIST_P256", 32), ("ECC_NIST_P384", 48), ("ECC_NIST_P521", 66)] {
        let keys = [key(&signer, spec, "KEY_AGREEMENT"), key(&signer, spec, "KEY_AGREEMENT")];
        let public = keys.each_ref().map(|id| ok(&signer, "GetPublicKey", json!({"KeyId": id})));
        assert_eq!(public[0]["KeyAgreementAlgorithms"], json!(["ECDH"]));
        assert!(public[0].get("SigningAlgorithms").is_none());
        let derive = |id: &str, peer: &serde_json::Value| {
            ok(
                &signer,
                "DeriveSharedSecret",
                json!({"KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer}),
            )
        };
        let secret = derive(&keys[0], &public[1]["PublicKey"]);
        assert_eq!(secret["SharedSecret"], derive(&keys[1], &public[0]["PublicKey"])["SharedSecret"]);
        assert_eq!(unb64(&secret["SharedSecret"]).len(), length);
        assert_eq!(secret["KeyOrigin"], "AWS_KMS");
        assert_eq!(secret["KeyAgreementAlgorithm"], "ECDH");
        assert!(secret.get("CiphertextForRecipient").is_none());
    }
}

#[test]
fn only_a_public_key_of_the_same_curve_will_do() {
    let signer = signer();
    let id = key(&signer, "ECC_NIST_P256", "KEY_AGREEMENT");
    let own = unb64(&ok(&signer, "GetPublicKey", json!({"KeyId": id}))["PublicKey"]);
    let other_curve = key(&signer, "ECC_NIST_P384", "KEY_AGREEMENT");
    let other_curve = unb64(&ok(&signer, "GetPublicKey", json!({"KeyId": other_curve}))["PublicKey"]);
    let point = own[own.len() - 65..].to_vec();
    let mut off_curve = own.clone();
    *off_curve.last_mut().expect("not empty") ^= 1;
    let longer = [&own[..], &[0]].concat();
    for wrong in [&other_curve, &point, &off_curve, &longer, &vec![0; 91]] {
        let request = json!({"KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": b64(wrong)});
        let (kind, message) = refused(&signer, "DeriveSharedSecret", request);
        assert_eq!(kind, "ValidationException");
        assert!(message.contains("ECC_NIST_P256"), "{message}");
    }
    let missing = json!({"KeyId": id, "PublicKey": b64(&own)});
    assert_eq!(refused(&signer, "DeriveSharedSecret", missing).0, "ValidationException");
}

#[test]
fn a_key_derives_or_signs_never_both() {
    let signer = signer();
    let (signing, agreeing) =
        (key(&signer, "ECC_NIST_P256", "SIGN_VERIFY"), key(&signer, "ECC_NIST_P256", "KEY_AGREEMENT"));
    let public = ok(&signer, "GetPublicKey", json!({"KeyId": agreeing}))["PublicKey"].clone();
    let request = json!({"KeyId": signing, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public});
    assert_eq!(refused(&signer, "DeriveSharedSecret", request).0, "InvalidKeyUsageException");
    let request = json!({"KeyId": agreeing, "Message": b64("m"), "SigningAlgorithm": "ECDSA_SHA_256"});
    assert_eq!(refused(&signer, "Sign", request).0, "InvalidKeyUsageException");
    let metadata = ok(&signer, "DescribeKey", json!({"KeyId": agreeing}))["KeyMetadata"].clone();
    assert_eq!(metadata["KeyAgreementAlgorithms"], json!(["ECDH"]));
    assert!(metadata.get("SigningAlgorithms").is_none());
}

#[test]
fn what_is_encapsulated_is_decapsulated() {
    let signer = signer();
    for (spec, length, public) in
        [("ML_KEM_512", 768, 800), ("ML_KEM_768", 1088, 1184), ("ML_KEM_1024", 1568, 1568)]
    {
        let id = key(&signer, spec, "ENCAPSULATE_DECAPSULATE");
        let described = ok(&signer, "GetPublicKey", json!({"KeyId": id}));
        assert_eq!(described["EncapsulationAlgorithms"], json!(["ML_KEM"]));
        assert_eq!(unb64(&described["PublicKey"]).len(), 22 + public);
        assert!(described.get("CustomerMasterKeySpec").is_none());
        let request = json!({"KeyId": id, "EncapsulationAlgorithm": "ML_KEM"});
        let made = ok(&signer, "Encapsulate", request);
        let mut ciphertext = unb64(&made["SharedSecretCiphertextBlob"]);
        assert_eq!(ciphertext.len(), length);
        assert_eq!(unb64(&made["SharedSecret"]).len(), 32);
        let open = |ciphertext: &[u8]| json!({"KeyId": id, "EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": b64(ciphertext)});
        assert_eq!(ok(&signer, "Decapsulate", open(&ciphertext))["SharedSecret"], made["SharedSecret"]);
        let (kind, _) = refused(&signer, "Decapsulate", open(&ciphertext[1..]));
        assert_eq!(kind, "InvalidCiphertextException");
        // Implicit rejection: another secret, always the same, and no error.
        ciphertext[0] ^= 1;
        let rejected = ok(&signer, "Decapsulate", open(&ciphertext))["SharedSecret"].clone();
        assert_ne!(rejected, made["SharedSecret"]);
        assert_eq!(rejected, ok(&signer, "Decapsulate", open(&ciphertext))["SharedSecret"]);
    }
}

#[test]
fn a_dry_run_gives_no_secret() {
    let signer = signer();
    let id = key(&signer, "ML_KEM_768", "ENCAPSULATE_DECAPSULATE");
    let request = json!({"KeyId": id, "EncapsulationAlgorithm": "ML_KEM", "DryRun": true});
    assert_eq!(refused(&signer, "Encapsulate", request).0, "DryRunOperationException");
    let id = key(&signer, "ECC_NIST_P521", "KEY_AGREEMENT");
    let public = ok(&signer, "GetPublicKey", json!({"KeyId": id}))["PublicKey"].clone();
    let request = json!({"KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public, "DryRun": true});
    assert_eq!(refused(&signer, "DeriveSharedSecret", request).0, "DryRunOperationException");
}
