//! Two sealed guests: a signer, and another that gets secrets from it which nobody on the way can read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_tests::{Image, Lab, Running, can_seal};
use serde_json::{Value, json};

/// An RSA key in the lab, `key.pem`; its public half in DER.
fn rsa_key(lab: &Lab) -> Vec<u8> {
    lab.openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
    lab.openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"])
}

/// A document of the guest's over that key.
fn document(guest: &Running, key: &[u8]) -> Vec<u8> {
    let answer = guest.ask(&format!("ATTEST {}", hex::encode(key)));
    hex::decode(&answer).unwrap_or_else(|_| panic!("no document: {answer}"))
}

/// A document of the signer's over that key, as anybody gets one.
fn own_document(signer: &Running, key: &[u8]) -> Vec<u8> {
    let body = json!({"public_key": STANDARD.encode(key)}).to_string();
    let length = body.len();
    let request = format!(
        "POST /attestation HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = signer.connect(8000);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    let json: Value = serde_json::from_str(json).unwrap();
    STANDARD.decode(json["document"].as_str().unwrap()).unwrap()
}

fn recipient(document: &[u8]) -> Value {
    json!({
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        "AttestationDocument": STANDARD.encode(document),
    })
}

fn random_for(document: &[u8]) -> String {
    json!({"NumberOfBytes": 32, "Recipient": recipient(document)}).to_string()
}

#[test]
fn a_sealed_guest_gets_its_secrets_from_a_sealed_signer() {
    if !can_seal("secrets from guest to guest") {
        return;
    }
    let lab = Lab::new();
    let signer = lab.launch(Image::Signer, &[]);
    let guest = lab.launch(Image::Secret, &["--enclave-name", "notary"]);
    let key = rsa_key(&lab);
    let created = lab.json(&["kms", "--guest", signer.name(), "CreateKey"]);
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let request = json!({"KeyId": id, "KeySpec": "AES_256", "Recipient": recipient(&document(&guest, &key))});
    let answer = lab.json(&["kms", "--guest", signer.name(), "GenerateDataKey", &request.to_string()]);
    assert!(answer.get("Plaintext").is_none(), "{answer}");
    let envelope = STANDARD.decode(answer["CiphertextForRecipient"].as_str().unwrap()).unwrap();
    lab.write("envelope", &envelope);
    let secret = lab
        .openssl(&["cms", "-decrypt", "-binary", "-inform", "DER", "-in", "envelope", "-inkey", "key.pem"]);
    let request = json!({"CiphertextBlob": answer["CiphertextBlob"]}).to_string();
    let opened = lab.json(&["kms", "--guest", signer.name(), "Decrypt", &request]);
    assert_eq!(STANDARD.decode(opened["Plaintext"].as_str().unwrap()).unwrap(), secret);

    // The signer's own document, over a key of ours.
    let request = random_for(&own_document(&signer, &key));
    lab.fails(&["kms", "--guest", signer.name(), "GenerateRandom", &request], "is a signer's");
}

#[test]
fn a_guest_of_another_platform_gets_nothing() {
    if !can_seal("secrets from guest to guest") {
        return;
    }
    let (lab, elsewhere) = (Lab::new(), Lab::new());
    let signer = lab.launch(Image::Signer, &[]);
    let guest = elsewhere.launch(Image::Secret, &[]);
    let request = random_for(&document(&guest, &rsa_key(&lab)));
    lab.fails(&["kms", "--guest", signer.name(), "GenerateRandom", &request], "is not one that you trust");
}

#[test]
fn others_are_answered_while_a_sealed_signer_makes_an_rsa_key() {
    let lab = Lab::new();
    let signer = lab.launch(Image::Signer, &[]);
    let name = signer.name();
    let request = json!({"KeySpec": "RSA_4096", "KeyUsage": "SIGN_VERIFY"}).to_string();
    // A key is found after a time that nobody knows beforehand: several, so that one takes long enough.
    let most = (0..6).map(|_| {
        std::thread::scope(|scope| {
            let creating = scope.spawn(|| lab.ok(&["kms", "--guest", name, "CreateKey", &request]));
            let mut answered = 0;
            while !creating.is_finished() {
                lab.ok(&["kms", "--guest", name, "GenerateRandom", "{\"NumberOfBytes\": 8}"]);
                answered += 1;
            }
            creating.join().unwrap();
            answered
        })
    });
    let most = most.max().unwrap();
    assert!(most >= 3, "{most} answers at most while a key was made");
}
