//! Encrypt, Decrypt, GenerateDataKey, GenerateRandom.

mod common;

use common::{b64, key, ok, refused, signer, unb64};
use serde_json::json;

#[test]
fn what_is_encrypted_is_decrypted() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    for plaintext in [&b"x"[..], &[0x5a; 4096]] {
        let context = json!({"b": "2", "a": "1"});
        let sealed = ok(
            &signer,
            "Encrypt",
            json!({"KeyId": id, "Plaintext": b64(plaintext), "EncryptionContext": context}),
        );
        assert_eq!(sealed["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
        let blob = &sealed["CiphertextBlob"];
        assert!(unb64(blob).len() <= 6144);
        // Without a key id, and with: the blob names its key.
        let opened = ok(
            &signer,
            "Decrypt",
            json!({"CiphertextBlob": blob, "EncryptionContext": {"a": "1", "b": "2"}}),
        );
        assert_eq!(unb64(&opened["Plaintext"]), plaintext);
        assert_eq!(opened["KeyId"], sealed["KeyId"]);
        ok(&signer, "Decrypt", json!({"KeyId": id, "CiphertextBlob": blob, "EncryptionContext": context}));
    }
}

#[test]
fn equal_plaintexts_give_different_ciphertexts() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let request = json!({"KeyId": id, "Plaintext": b64([0; 32])});
    let blobs: Vec<Vec<u8>> =
        (0..2).map(|_| unb64(&ok(&signer, "Encrypt", request.clone())["CiphertextBlob"])).collect();
    assert_ne!(blobs[0][49..81], blobs[1][17..49], "the salt repeats");
    assert_ne!(blobs[0][81..], blobs[1][49..], "the ciphertext repeats");
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let blob =
        unb64(&ok(&signer, "Encrypt", json!({"KeyId": id, "Plaintext": b64("casemate")}))["CiphertextBlob"]);
    for at in 0..blob.len() {
        for bit in 0..8 {
            let mut changed = blob.clone();
            changed[at] ^= 1 << bit;
            let (kind, _) = refused(&signer, "Decrypt", json!({"CiphertextBlob": b64(&changed)}));
            let expected =
                if (1..17).contains(&at) { "NotFoundException" } else { "InvalidCiphertextException" };
            assert_eq!(kind, expected, "byte {at} bit {bit}");
        }
    }
    for length in 1..blob.len() {
        let (kind, _) = refused(&signer, "Decrypt", json!({"CiphertextBlob": b64(&blob[..length])}));
        assert_eq!(kind, "InvalidCiphertextException", "{length} bytes");
    }
}

#[test]
fn a_ciphertext_belongs_to_its_key_and_context() {
    let signer = signer();
    let (one, other) = (
        key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
        key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    );
    let seal = |id: &str| {
        unb64(
            &ok(
                &signer,
                "Encrypt",
                json!({"KeyId": id, "Plaintext": b64("x"), "EncryptionContext": {"ab": "c"}}),
            )["CiphertextBlob"],
        )
    };
    let (mine, theirs) = (seal(&one), seal(&other));
    let named = json!({"KeyId": other, "CiphertextBlob": b64(&mine), "EncryptionContext": {"ab": "c"}});
    assert_eq!(refused(&signer, "Decrypt", named).0, "IncorrectKeyException");
    // The other key's id before this key's ciphertext: the swap that unbound blobs allow.
    let swapped = [&theirs[..17], &mine[17..]].concat();
    let request = json!({"CiphertextBlob": b64(swapped), "EncryptionContext": {"ab": "c"}});
    assert_eq!(refused(&signer, "Decrypt", request).0, "InvalidCiphertextException");
    for context in [json!({}), json!({"a": "bc"}), json!({"ab": "C"}), json!({"ab": "c", "d": "e"})] {
        let request = json!({"CiphertextBlob": b64(&mine), "EncryptionContext": context});
        assert_eq!(refused(&signer, "Decrypt", request).0, "InvalidCiphertextException", "{context}");
    }
}

#[test]
fn rsa_encrypts_and_decrypts() {
    let signer = signer();
    let id = key(&signer, "RSA_2048", "ENCRYPT_DECRYPT");
    for (algorithm, longest) in [("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)] {
        let plaintext = vec![7; longest];
        let sealed = ok(
            &signer,
            "Encrypt",
            json!({"KeyId": id, "Plaintext": b64(&plaintext), "EncryptionAlgorithm": algorithm}),
        );
        let request = json!({"KeyId": id, "CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm});
        assert_eq!(unb64(&ok(&signer, "Decrypt", request)["Plaintext"]), plaintext);
        let (kind, message) = refused(
            &signer,
            "Encrypt",
            json!({"KeyId": id, "Plaintext": b64(vec![7; longest + 1]), "EncryptionAlgorithm": algorithm}),
        );
        assert_eq!(kind, "ValidationException");
        assert_eq!(
            message,
            format!(
                "Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {longest} bytes."
            )
        );
        let context = json!({"KeyId": id, "Plaintext": b64("x"), "EncryptionAlgorithm": algorithm, "EncryptionContext": {"a": "b"}});
        assert_eq!(refused(&signer, "Encrypt", context).0, "ValidationException");
        let unnamed = json!({"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm});
        assert_eq!(refused(&signer, "Decrypt", unnamed).0, "ValidationException");
        let mut broken = unb64(&sealed["CiphertextBlob"]);
        broken[100] ^= 1;
        let request = json!({"KeyId": id, "CiphertextBlob": b64(broken), "EncryptionAlgorithm": algorithm});
        assert_eq!(refused(&signer, "Decrypt", request).0, "InvalidCiphertextException");
    }
    let (kind, _) = refused(&signer, "Encrypt", json!({"KeyId": id, "Plaintext": b64("x")}));
    assert_eq!(kind, "InvalidKeyUsageException", "the default algorithm is not one of RSA's");
}

#[test]
fn data_keys_come_wrapped() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    for (member, value, length) in [
        ("KeySpec", json!("AES_256"), 32),
        ("KeySpec", json!("AES_128"), 16),
        ("NumberOfBytes", json!(1024), 1024),
    ] {
        let mut request = json!({"KeyId": id, "EncryptionContext": {"a": "b"}});
        request[member] = value;
        let made = ok(&signer, "GenerateDataKey", request.clone());
        let plaintext = unb64(&made["Plaintext"]);
        assert_eq!(plaintext.len(), length);
        assert!(plaintext.iter().any(|byte| *byte != 0));
        let open = json!({"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": {"a": "b"}});
        assert_eq!(unb64(&ok(&signer, "Decrypt", open)["Plaintext"]), plaintext);
        let without = ok(&signer, "GenerateDataKeyWithoutPlaintext", request.clone());
        assert!(without.get("Plaintext").is_none());
        let open = json!({"CiphertextBlob": without["CiphertextBlob"], "EncryptionContext": {"a": "b"}});
        assert_eq!(unb64(&ok(&signer, "Decrypt", open)["Plaintext"]).len(), length);
    }
    for request in [json!({"KeyId": id}), json!({"KeyId": id, "KeySpec": "AES_256", "NumberOfBytes": 1})] {
        assert_eq!(
            refused(&signer, "GenerateDataKey", request).1,
            "Please specify either number of bytes or key spec."
        );
    }
    for bytes in [0, 1025, -1] {
        assert_eq!(
            refused(&signer, "GenerateDataKey", json!({"KeyId": id, "NumberOfBytes": bytes})).0,
            "ValidationException"
        );
    }
    let rsa = key(&signer, "RSA_2048", "ENCRYPT_DECRYPT");
    assert_eq!(
        refused(&signer, "GenerateDataKey", json!({"KeyId": rsa, "KeySpec": "AES_256"})).0,
        "InvalidKeyUsageException"
    );
}

#[test]
fn random_bytes_are_random() {
    let signer = signer();
    let draw = |n: u32| unb64(&ok(&signer, "GenerateRandom", json!({"NumberOfBytes": n}))["Plaintext"]);
    assert_eq!(draw(1024).len(), 1024);
    assert_ne!(draw(32), draw(32));
    let ones: u32 = draw(1024).iter().map(|byte| byte.count_ones()).sum();
    assert!((3700..4500).contains(&ones), "{ones} of 8192 bits are set");
    for request in [json!({}), json!({"NumberOfBytes": 0}), json!({"NumberOfBytes": 1025})] {
        assert_eq!(refused(&signer, "GenerateRandom", request).0, "ValidationException");
    }
    let request = json!({"NumberOfBytes": 1, "CustomKeyStoreId": "cks"});
    assert_eq!(refused(&signer, "GenerateRandom", request).0, "CustomKeyStoreNotFoundException");
}

#[test]
fn constraints_are_checked() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let hmac = key(&signer, "HMAC_256", "GENERATE_VERIFY_MAC");
    for (operation, request, kind) in [
        ("Encrypt", json!({}), "ValidationException"),
        ("Encrypt", json!({"KeyId": id, "Plaintext": ""}), "ValidationException"),
        ("Encrypt", json!({"KeyId": id, "Plaintext": b64([0; 4097])}), "ValidationException"),
        (
            "Encrypt",
            json!({"KeyId": id, "Plaintext": "AA==", "EncryptionAlgorithm": "X"}),
            "ValidationException",
        ),
        (
            "Encrypt",
            json!({"KeyId": id, "Plaintext": "AA==", "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}),
            "InvalidKeyUsageException",
        ),
        (
            "Encrypt",
            json!({"KeyId": id, "Plaintext": "AA==", "EncryptionContext": {"a": "x".repeat(8192)}}),
            "ValidationException",
        ),
        ("Encrypt", json!({"KeyId": hmac, "Plaintext": "AA=="}), "InvalidKeyUsageException"),
        ("Encrypt", json!({"KeyId": id, "Plaintext": "AA==", "DryRun": true}), "DryRunOperationException"),
        ("Decrypt", json!({}), "ValidationException"),
        ("Decrypt", json!({"CiphertextBlob": b64([1; 6145])}), "ValidationException"),
        ("Decrypt", json!({"CiphertextBlob": b64([3; 120])}), "InvalidCiphertextException"),
        ("Decrypt", json!({"KeyId": hmac, "CiphertextBlob": b64([3; 120])}), "InvalidKeyUsageException"),
        (
            "GenerateDataKey",
            json!({"KeyId": id, "KeySpec": "AES_256", "DryRun": true}),
            "DryRunOperationException",
        ),
    ] {
        assert_eq!(refused(&signer, operation, request.clone()).0, kind, "{operation} {request}");
    }
}
