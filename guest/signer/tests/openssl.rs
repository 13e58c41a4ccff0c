//! The signer and the `openssl` command agree: it verifies what the signer signs, the signer decrypts what it encrypts,
//! both derive the same secret, and it reads the private keys that the signer gives away.

mod common;
#[path = "common/scratch.rs"]
mod scratch;

use casemate_signer::Signer;
use common::{b64, key, ok, signer, unb64};
use scratch::Scratch;
use serde_json::json;

const MESSAGE: &[u8] = b"signed in a sealed guest";

/// Puts key, message and signature where openssl finds them, and another message beside.
fn sign(scratch: &Scratch, signer: &Signer, id: &str, algorithm: &str) {
    let public = ok(signer, "GetPublicKey", json!({"KeyId": id}));
    scratch.write("key.der", &unb64(&public["PublicKey"]));
    let request = json!({"KeyId": id, "Message": b64(MESSAGE), "SigningAlgorithm": algorithm});
    scratch.write("sig", &unb64(&ok(signer, "Sign", request)["Signature"]));
    scratch.write("message", MESSAGE);
    scratch.write("other", b"something else");
    scratch.succeeds("pkey -pubin -inform DER -in key.der -out key.pem");
}

#[test]
fn openssl_verifies_ecdsa() {
    let (signer, scratch) = (signer(), Scratch::new("ecdsa"));
    for (spec, algorithm, hash) in [
        ("ECC_NIST_P256", "ECDSA_SHA_256", "sha256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384", "sha384"),
        ("ECC_NIST_P521", "ECDSA_SHA_512", "sha512"),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256", "sha256"),
    ] {
        sign(&scratch, &signer, &key(&signer, spec, "SIGN_VERIFY"), algorithm);
        scratch.succeeds(&format!("dgst -{hash} -verify key.pem -signature sig message"));
        scratch.fails(&format!("dgst -{hash} -verify key.pem -signature sig other"));
    }
}

#[test]
fn openssl_verifies_rsa_of_every_size() {
    let (signer, scratch) = (signer(), Scratch::new("rsa"));
    for spec in ["RSA_2048", "RSA_3072", "RSA_4096"] {
        let id = key(&signer, spec, "SIGN_VERIFY");
        for bits in ["256", "384", "512"] {
            sign(&scratch, &signer, &id, &format!("RSASSA_PKCS1_V1_5_SHA_{bits}"));
            scratch.succeeds(&format!("dgst -sha{bits} -verify key.pem -signature sig message"));
            scratch.fails(&format!("dgst -sha{bits} -verify key.pem -signature sig other"));
            sign(&scratch, &signer, &id, &format!("RSASSA_PSS_SHA_{bits}"));
            let pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
            scratch.succeeds(&format!("dgst -sha{bits} {pss} -verify key.pem -signature sig message"));
            scratch.fails(&format!("dgst -sha{bits} {pss} -verify key.pem -signature sig other"));
        }
    }
}

#[test]
fn openssl_verifies_ed25519() {
    let (signer, scratch) = (signer(), Scratch::new("ed25519"));
    sign(&scratch, &signer, &key(&signer, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY"), "ED25519_SHA_512");
    scratch.succeeds("pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile sig");
    scratch.fails("pkeyutl -verify -pubin -inkey key.pem -rawin -in other -sigfile sig");
}

#[test]
fn the_signer_decrypts_what_openssl_encrypts() {
    let (signer, scratch) = (signer(), Scratch::new("oaep"));
    for spec in ["RSA_2048", "RSA_3072", "RSA_4096"] {
        let id = key(&signer, spec, "ENCRYPT_DECRYPT");
        let public = ok(&signer, "GetPublicKey", json!({"KeyId": id}));
        scratch.write("key.der", &unb64(&public["PublicKey"]));
        scratch.write("plaintext", MESSAGE);
        for (algorithm, hash) in [("RSAES_OAEP_SHA_1", "sha1"), ("RSAES_OAEP_SHA_256", "sha256")] {
            let padding = format!(
                "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash} -pkeyopt rsa_mgf1_md:{hash}"
            );
            scratch.succeeds(&format!(
                "pkeyutl -encrypt -pubin -keyform DER -inkey key.der {padding} -in plaintext -out ciphertext"
            ));
            let ciphertext = scratch.read("ciphertext");
            let request =
                json!({"KeyId": id, "CiphertextBlob": b64(ciphertext), "EncryptionAlgorithm": algorithm});
            assert_eq!(unb64(&ok(&signer, "Decrypt", request)["Plaintext"]), MESSAGE, "{spec} {algorithm}");
        }
    }
}

#[test]
fn openssl_derives_the_same_secret() {
    let (signer, scratch) = (signer(), Scratch::new("ecdh"));
    for (spec, curve) in
        [("ECC_NIST_P256", "prime256v1"), ("ECC_NIST_P384", "secp384r1"), ("ECC_NIST_P521", "secp521r1")]
    {
        let id = key(&signer, spec, "KEY_AGREEMENT");
        let public = ok(&signer, "GetPublicKey", json!({"KeyId": id}));
        scratch.write("key.der", &unb64(&public["PublicKey"]));
        scratch.succeeds("pkey -pubin -inform DER -in key.der -out key.pem");
        scratch.succeeds(&format!("ecparam -name {curve} -genkey -noout -out own.pem"));
        scratch.succeeds("pkey -in own.pem -pubout -outform DER -out own.der");
        scratch.succeeds("pkeyutl -derive -inkey own.pem -peerkey key.pem -out secret");
        let request =
            json!({"KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": b64(scratch.read("own.der"))});
        let derived = ok(&signer, "DeriveSharedSecret", request);
        assert_eq!(unb64(&derived["SharedSecret"]), scratch.read("secret"), "{spec}");
    }
}

#[test]
fn openssl_reads_data_key_pairs() {
    let (signer, scratch) = (signer(), Scratch::new("pairs"));
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    for spec in [
        "RSA_2048",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
    ] {
        let pair = ok(&signer, "GenerateDataKeyPair", json!({"KeyId": id, "KeyPairSpec": spec}));
        scratch.write("private.der", &unb64(&pair["PrivateKeyPlaintext"]));
        scratch.succeeds("pkey -inform DER -in private.der -check -noout");
        scratch.succeeds("pkey -inform DER -in private.der -pubout -outform DER -out public.der");
        assert_eq!(scratch.read("public.der"), unb64(&pair["PublicKey"]), "{spec}");
    }
}
