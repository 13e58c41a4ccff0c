//! Wrapped key material: what openssl wraps, as AWS's documentation has it done, is unwrapped.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_signer::crypto::{KeySpec, KeyUsage, Material, WrappingAlgorithm, WrappingKey, WrappingKeySpec};

/// A folder of the test's own, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wrapping-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).expect("a file");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).expect("a file that openssl wrote")
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .output()
            .expect("the openssl command");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    }

    /// RSAES-OAEP under the wrapping key.
    fn oaep(&self, key: &WrappingKey, hash: &str, material: &[u8]) -> Vec<u8> {
        self.write("public.der", key.public_key());
        self.write("plain", material);
        self.openssl(&format!(
            "pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in plain -out wrapped \
             -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash} -pkeyopt rsa_mgf1_md:{hash}"
        ));
        self.read("wrapped")
    }

    /// RSA_AES_KEY_WRAP: an AES key under the wrapping key, and the material under the AES key.
    fn key_wrap(&self, key: &WrappingKey, hash: &str, material: &[u8]) -> Vec<u8> {
        let aes = [0x5a; 32];
        let head = self.oaep(key, hash, &aes);
        self.write("material", material);
        let hex: String = aes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.openssl(&format!("enc -id-aes256-wrap-pad -iv A65959A6 -K {hex} -in material -out tail"));
        [head, self.read("tail")].concat()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every kind of key that openssl can make, as its private key in PKCS #8.
const KEYS: [(KeySpec, KeyUsage, &str); 9] = [
    (KeySpec::Rsa2048, KeyUsage::SignVerify, "RSA -pkeyopt rsa_keygen_bits:2048"),
    (KeySpec::Rsa3072, KeyUsage::EncryptDecrypt, "RSA -pkeyopt rsa_keygen_bits:3072"),
    (KeySpec::Rsa4096, KeyUsage::EncryptDecrypt, "RSA -pkeyopt rsa_keygen_bits:4096"),
    (KeySpec::P256, KeyUsage::SignVerify, "EC -pkeyopt ec_paramgen_curve:P-256"),
    (KeySpec::P384, KeyUsage::KeyAgreement, "EC -pkeyopt ec_paramgen_curve:P-384"),
    (KeySpec::P521, KeyUsage::SignVerify, "EC -pkeyopt ec_paramgen_curve:P-521"),
    (KeySpec::P521, KeyUsage::KeyAgreement, "EC -pkeyopt ec_paramgen_curve:P-521"),
    (KeySpec::Secp256k1, KeyUsage::SignVerify, "EC -pkeyopt ec_paramgen_curve:secp256k1"),
    (KeySpec::Ed25519, KeyUsage::SignVerify, "ED25519"),
];

#[test]
fn every_kind_of_key_that_openssl_makes_travels_wrapped() {
    let scratch = Scratch::new("keys");
    let key = WrappingKey::generate(WrappingKeySpec::Rsa2048).expect("a wrapping key");
    for (spec, usage, generation) in KEYS {
        scratch.openssl(&format!("genpkey -algorithm {generation} -outform DER -out key.der"));
        scratch.openssl("pkcs8 -topk8 -nocrypt -inform DER -outform DER -in key.der -out private.der");
        scratch.openssl("pkey -inform DER -in private.der -pubout -outform DER -out expected.der");
        let wrapped = scratch.key_wrap(&key, "sha256", &scratch.read("private.der"));
        let bytes = key.unwrap(WrappingAlgorithm::AesKeyWrapSha256, &wrapped).expect("unwrap");
        let material = Material::from_bytes(spec, usage, &bytes).expect("a key");
        assert_eq!(material.public_key(), Some(&scratch.read("expected.der")[..]), "{spec}");
    }
}

#[test]
fn every_wrapping_key_and_algorithm() {
    use WrappingAlgorithm as A;
    let scratch = Scratch::new("algorithms");
    for spec in [WrappingKeySpec::Rsa2048, WrappingKeySpec::Rsa3072, WrappingKeySpec::Rsa4096] {
        let key = WrappingKey::generate(spec).expect("a wrapping key");
        // As if it had been kept in a token meanwhile.
        let key = WrappingKey::from_bytes(spec, &key.to_bytes().expect("write")).expect("read");
        for (algorithm, hash) in [(A::OaepSha1, "sha1"), (A::OaepSha256, "sha256")] {
            let wrapped = scratch.oaep(&key, hash, &[7; 32]);
            assert_eq!(key.unwrap(algorithm, &wrapped).expect("unwrap").as_slice(), [7; 32]);
        }
        for (algorithm, hash) in [(A::AesKeyWrapSha1, "sha1"), (A::AesKeyWrapSha256, "sha256")] {
            for length in [1, 7, 8, 9, 32, 2400] {
                let wrapped = scratch.key_wrap(&key, hash, &vec![8; length]);
                assert_eq!(key.unwrap(algorithm, &wrapped).expect("unwrap").as_slice(), vec![8; length]);
            }
        }
    }
}

#[test]
fn what_was_not_wrapped_so_is_refused() {
    use WrappingAlgorithm as A;
    let scratch = Scratch::new("refused");
    let spec = WrappingKeySpec::Rsa2048;
    let (key, other) =
        (WrappingKey::generate(spec).expect("a key"), WrappingKey::generate(spec).expect("a key"));
    let oaep = scratch.oaep(&key, "sha256", &[7; 32]);
    let wrapped = scratch.key_wrap(&key, "sha256", &[7; 32]);
    for algorithm in [A::OaepSha1, A::AesKeyWrapSha1, A::AesKeyWrapSha256, A::RsaesPkcs1, A::Sm2Pke] {
        assert!(key.unwrap(algorithm, &oaep).is_err(), "{algorithm}");
    }
    assert!(other.unwrap(A::OaepSha256, &oaep).is_err());
    assert!(other.unwrap(A::AesKeyWrapSha256, &wrapped).is_err());
    for at in [0, 255, 256, wrapped.len() - 1] {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        assert!(key.unwrap(A::AesKeyWrapSha256, &changed).is_err(), "byte {at}");
    }
    for length in [0, 1, 255, 256, 257, 264, wrapped.len() - 8] {
        assert!(key.unwrap(A::AesKeyWrapSha256, &wrapped[..length]).is_err(), "{length} bytes");
    }
    // AES-128 under the RSA key: another algorithm than the one that is offered.
    let short = [scratch.oaep(&key, "sha256", &[1; 16]), wrapped[256..].to_vec()].concat();
    assert!(key.unwrap(A::AesKeyWrapSha256, &short).is_err());
}

#[test]
fn what_is_in_the_model_and_not_offered_says_so() {
    assert!(!WrappingKeySpec::Sm2.offered() && WrappingKeySpec::Rsa4096.offered());
    assert!(WrappingKey::generate(WrappingKeySpec::Sm2).is_err());
    assert!(!WrappingAlgorithm::Sm2Pke.offered() && !WrappingAlgorithm::RsaesPkcs1.offered());
    assert!(WrappingAlgorithm::OaepSha1.offered() && WrappingAlgorithm::AesKeyWrapSha256.offered());
}
