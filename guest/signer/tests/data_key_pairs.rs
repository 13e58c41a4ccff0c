//! GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.

mod common;

use casemate_signer::crypto::{KeySpec, KeyUsage, Material};
use common::{key, ok, refused, signer, unb64};
use serde_json::json;

const SPECS: [(&str, KeySpec, KeyUsage); 9] = [
    ("RSA_2048", KeySpec::Rsa2048, KeyUsage::SignVerify),
    ("ECC_NIST_P256", KeySpec::P256, KeyUsage::SignVerify),
    ("ECC_NIST_P384", KeySpec::P384, KeyUsage::SignVerify),
    ("ECC_NIST_P521", KeySpec::P521, KeyUsage::SignVerify),
    ("ECC_SECG_P256K1", KeySpec::Secp256k1, KeyUsage::SignVerify),
    ("ECC_NIST_EDWARDS25519", KeySpec::Ed25519, KeyUsage::SignVerify),
    ("ML_KEM_512", KeySpec::MlKem512, KeyUsage::EncapsulateDecapsulate),
    ("ML_KEM_768", KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate),
    ("ML_KEM_1024", KeySpec::MlKem1024, KeyUsage::EncapsulateDecapsulate),
];

#[test]
fn a_pair_comes_in_the_clear_and_encrypted() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    for (name, spec, usage) in SPECS {
        let context = json!({"pair": name});
        let request = json!({"KeyId": id, "KeyPairSpec": name, "EncryptionContext": context});
        let pair = ok(&signer, "GenerateDataKeyPair", request.clone());
        assert_eq!(pair["KeyPairSpec"], name);
        assert_eq!(pair["KeyMaterialId"].as_str().map(str::len), Some(64));
        let private = unb64(&pair["PrivateKeyPlaintext"]);
        let read = Material::from_bytes(spec, usage, &private).expect("PKCS #8");
        assert_eq!(read.public_key(), Some(&unb64(&pair["PublicKey"])[..]), "{name}");
        let open = json!({"CiphertextBlob": pair["PrivateKeyCiphertextBlob"], "EncryptionContext": context});
        assert_eq!(unb64(&ok(&signer, "Decrypt", open)["Plaintext"]), private);

        let sealed = ok(&signer, "GenerateDataKeyPairWithoutPlaintext", request);
        assert!(sealed.get("PrivateKeyPlaintext").is_none());
        assert_ne!(sealed["PublicKey"], pair["PublicKey"]);
        let open =
            json!({"CiphertextBlob": sealed["PrivateKeyCiphertextBlob"], "EncryptionContext": context});
        let private = unb64(&ok(&signer, "Decrypt", open)["Plaintext"]);
        let read = Material::from_bytes(spec, usage, &private).expect("PKCS #8");
        assert_eq!(read.public_key(), Some(&unb64(&sealed["PublicKey"])[..]), "{name}");
    }
}

#[test]
fn what_makes_no_pair_is_refused() {
    let signer = signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let rsa = key(&signer, "RSA_2048", "ENCRYPT_DECRYPT");
    for operation in ["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"] {
        let cases = [
            (json!({"KeyId": id, "KeyPairSpec": "SM2"}), "UnsupportedOperationException"),
            (json!({"KeyId": id, "KeyPairSpec": "ML_DSA_44"}), "ValidationException"),
            (json!({"KeyId": id}), "ValidationException"),
            (json!({"KeyId": rsa, "KeyPairSpec": "ECC_NIST_P256"}), "InvalidKeyUsageException"),
            (
                json!({"KeyId": id, "KeyPairSpec": "ECC_NIST_P256", "DryRun": true}),
                "DryRunOperationException",
            ),
        ];
        for (request, kind) in cases {
            assert_eq!(refused(&signer, operation, request.clone()).0, kind, "{request}");
        }
    }
}
