//! ReEncrypt, between keys of all kinds.

mod common;

use casemate_signer::Signer;
use common::{b64, key, ok, refused, signer, unb64};
use serde_json::{Value, json};

/// A key, with the members that name it as source and as destination, and those of Encrypt and Decrypt.
struct Party {
    id: String,
    algorithm: &'static str,
    context: Value,
}

impl Party {
    fn encrypt(&self, signer: &Signer, plaintext: &[u8]) -> Value {
        let request = json!({
            "KeyId": self.id, "Plaintext": b64(plaintext), "EncryptionAlgorithm": self.algorithm,
            "EncryptionContext": self.context,
        });
        ok(signer, "Encrypt", request)["CiphertextBlob"].clone()
    }

    fn decrypt(&self, signer: &Signer, blob: &Value) -> Vec<u8> {
        let request = json!({
            "KeyId": self.id, "CiphertextBlob": blob, "EncryptionAlgorithm": self.algorithm,
            "EncryptionContext": self.context,
        });
        unb64(&ok(signer, "Decrypt", request)["Plaintext"])
    }
}

fn request(from: &Party, to: &Party, blob: &Value) -> Value {
    json!({
        "CiphertextBlob": blob,
        "SourceKeyId": from.id,
        "SourceEncryptionAlgorithm": from.algorithm,
        "SourceEncryptionContext": from.context,
        "DestinationKeyId": to.id,
        "DestinationEncryptionAlgorithm": to.algorithm,
        "DestinationEncryptionContext": to.context,
    })
}

fn symmetric(signer: &Signer, context: Value) -> Party {
    Party { id: key(signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), algorithm: "SYMMETRIC_DEFAULT", context }
}

#[test]
fn every_kind_of_key_to_every_other() {
    let signer = signer();
    let rsa = key(&signer, "RSA_2048", "ENCRYPT_DECRYPT");
    let parties = [
        symmetric(&signer, json!({"a": "1"})),
        symmetric(&signer, json!({})),
        Party { id: rsa.clone(), algorithm: "RSAES_OAEP_SHA_1", context: json!({}) },
        Party { id: rsa, algorithm: "RSAES_OAEP_SHA_256", context: json!({}) },
    ];
    for from in &parties {
        for to in &parties {
            let blob = from.encrypt(&signer, b"on the move");
            let moved = ok(&signer, "ReEncrypt", request(from, to, &blob));
            assert_eq!(to.decrypt(&signer, &moved["CiphertextBlob"]), b"on the move");
            assert!(moved["SourceKeyId"].as_str().is_some_and(|arn| arn.ends_with(&from.id)));
            assert!(moved["KeyId"].as_str().is_some_and(|arn| arn.ends_with(&to.id)));
            assert_eq!(moved["SourceEncryptionAlgorithm"], from.algorithm);
            assert_eq!(moved["DestinationEncryptionAlgorithm"], to.algorithm);
            assert_eq!(moved.get("SourceKeyMaterialId").is_some(), from.algorithm == "SYMMETRIC_DEFAULT");
            assert_eq!(moved.get("DestinationKeyMaterialId").is_some(), to.algorithm == "SYMMETRIC_DEFAULT");
        }
    }
}

#[test]
fn a_symmetric_blob_names_its_source() {
    let signer = signer();
    let (from, to) = (symmetric(&signer, json!({"k": "v"})), symmetric(&signer, json!({})));
    let blob = from.encrypt(&signer, b"text");
    let short = json!({
        "CiphertextBlob": blob, "SourceEncryptionContext": {"k": "v"}, "DestinationKeyId": to.id,
    });
    assert_eq!(to.decrypt(&signer, &ok(&signer, "ReEncrypt", short)["CiphertextBlob"]), b"text");
}

#[test]
fn what_decrypt_refuses_re_encrypt_refuses() {
    let signer = signer();
    let (from, to) = (symmetric(&signer, json!({"k": "v"})), symmetric(&signer, json!({})));
    let blob = from.encrypt(&signer, b"text");
    let cases = [
        ("SourceEncryptionContext", json!({}), "InvalidCiphertextException"),
        ("SourceKeyId", json!(to.id), "IncorrectKeyException"),
        ("SourceEncryptionAlgorithm", json!("RSAES_OAEP_SHA_256"), "InvalidKeyUsageException"),
        ("DestinationEncryptionAlgorithm", json!("RSAES_OAEP_SHA_256"), "InvalidKeyUsageException"),
        ("DestinationEncryptionAlgorithm", json!("AES"), "ValidationException"),
        ("DestinationKeyId", json!("00000000-0000-4000-8000-000000000000"), "NotFoundException"),
        ("CiphertextBlob", json!(b64([9; 200])), "InvalidCiphertextException"),
        ("DryRunModifiers", json!(["IGNORE_CIPHERTEXT"]), "ValidationException"),
        ("DryRun", json!(true), "DryRunOperationException"),
    ];
    for (member, value, kind) in cases {
        let mut changed = request(&from, &to, &blob);
        changed[member] = value;
        assert_eq!(refused(&signer, "ReEncrypt", changed.clone()).0, kind, "{changed}");
    }
    let mac = key(&signer, "HMAC_256", "GENERATE_VERIFY_MAC");
    let mut changed = request(&from, &to, &blob);
    changed["DestinationKeyId"] = json!(mac);
    assert_eq!(refused(&signer, "ReEncrypt", changed).0, "InvalidKeyUsageException");
}

#[test]
fn what_is_too_long_for_rsa_stays_where_it_is() {
    let signer = signer();
    let from = symmetric(&signer, json!({}));
    let id = key(&signer, "RSA_2048", "ENCRYPT_DECRYPT");
    let to = Party { id, algorithm: "RSAES_OAEP_SHA_256", context: json!({}) };
    let blob = from.encrypt(&signer, &[1; 191]);
    let (kind, message) = refused(&signer, "ReEncrypt", request(&from, &to, &blob));
    assert_eq!(kind, "ValidationException");
    assert!(message.contains("190 bytes"), "{message}");
}

#[test]
fn a_dry_run_can_do_without_a_ciphertext() {
    let signer = signer();
    let (from, to) = (symmetric(&signer, json!({})), symmetric(&signer, json!({})));
    let request = json!({
        "SourceKeyId": from.id, "DestinationKeyId": to.id, "DryRun": true,
        "DryRunModifiers": ["IGNORE_CIPHERTEXT"],
    });
    assert_eq!(refused(&signer, "ReEncrypt", request).0, "DryRunOperationException");
    let request = json!({"KeyId": from.id, "DryRun": true, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]});
    assert_eq!(refused(&signer, "Decrypt", request).0, "DryRunOperationException");
    let request = json!({"KeyId": from.id, "DryRun": true});
    assert_eq!(refused(&signer, "Decrypt", request).0, "ValidationException");
    let request = json!({"KeyId": from.id, "DryRun": true, "DryRunModifiers": ["NONE"]});
    assert_eq!(refused(&signer, "Decrypt", request).0, "ValidationException");
}
