//! `Recipient`: secrets that only an attested guest can read. `openssl cms` is the guest's side.

mod common;
#[path = "common/sealed.rs"]
mod sealed;

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_attestation::pcr::{Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_signer::Signer;
use common::{b64, key, ok, refused, unb64};
use sealed::{Guest, now, sealed_signer};
use serde_json::{Value, json};

/// A guest's RSA key, in openssl's hands.
struct RsaKey {
    folder: PathBuf,
    spki: Vec<u8>,
}

impl RsaKey {
    fn new(name: &str, bits: u32) -> Self {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recipient-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut key = Self { folder, spki: Vec::new() };
        key.openssl(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out key.pem"));
        key.spki = key.openssl("pkey -in key.pem -pubout -outform DER");
        key
    }

    fn openssl(&self, arguments: &str) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .output()
            .expect("the openssl command");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
        output.stdout
    }

    fn open(&self, envelope: &Value) -> Vec<u8> {
        std::fs::write(self.folder.join("envelope.der"), unb64(envelope)).expect("a file");
        self.openssl("cms -decrypt -binary -inform DER -in envelope.der -inkey key.pem")
    }
}

impl Drop for RsaKey {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn recipient(document: &[u8]) -> Value {
    json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b64(document)})
}

/// Calls the operation for the guest, and gives the response with the secret, which must not be in the clear.
fn sealed_call(
    signer: &Signer,
    guest: &Guest,
    key: &RsaKey,
    operation: &str,
    mut request: Value,
) -> (Value, Vec<u8>) {
    request["Recipient"] = recipient(&guest.document(None, Some(&key.spki)));
    let response = ok(signer, operation, request);
    for member in ["Plaintext", "PrivateKeyPlaintext", "SharedSecret"] {
        assert!(response.get(member).is_none(), "{operation} gave {member} in the clear");
    }
    let secret = key.open(&response["CiphertextForRecipient"]);
    (response, secret)
}

#[test]
fn every_secret_goes_to_the_recipient_alone() {
    let (platform, signer) = sealed_signer();
    let guest = Guest::new(&platform, Mode::Production, 0);
    let rsa = RsaKey::new("all", 2048);
    let call = |operation: &str, request: Value| sealed_call(&signer, &guest, &rsa, operation, request);

    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    for plaintext in [&b"x"[..], &[7; 16], &[8; 4096]] {
        let sealed = ok(&signer, "Encrypt", json!({"KeyId": id, "Plaintext": b64(plaintext)}));
        let (response, secret) = call("Decrypt", json!({"CiphertextBlob": sealed["CiphertextBlob"]}));
        assert_eq!(secret, plaintext);
        assert_eq!(response["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    }
    let opened = |blob: &Value| unb64(&ok(&signer, "Decrypt", json!({"CiphertextBlob": blob}))["Plaintext"]);
    let (response, secret) = call("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"}));
    assert_eq!(secret, opened(&response["CiphertextBlob"]));
    for spec in ["RSA_2048", "ECC_NIST_P521", "ML_KEM_768"] {
        let (response, secret) = call("GenerateDataKeyPair", json!({"KeyId": id, "KeyPairSpec": spec}));
        assert_eq!(secret, opened(&response["PrivateKeyCiphertextBlob"]), "{spec}");
    }
    let (_, secret) = call("GenerateRandom", json!({"NumberOfBytes": 77}));
    assert_eq!(secret.len(), 77);

    let agreeing = key(&signer, "ECC_NIST_P384", "KEY_AGREEMENT");
    let public = ok(&signer, "GetPublicKey", json!({"KeyId": agreeing}))["PublicKey"].clone();
    let request = json!({"KeyId": agreeing, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public});
    let clear = unb64(&ok(&signer, "DeriveSharedSecret", request.clone())["SharedSecret"]);
    assert_eq!(call("DeriveSharedSecret", request).1, clear);

    // Beyond AWS, whose model has no Recipient for these two.
    let kem = key(&signer, "ML_KEM_1024", "ENCAPSULATE_DECAPSULATE");
    let (response, secret) = call("Encapsulate", json!({"KeyId": kem, "EncapsulationAlgorithm": "ML_KEM"}));
    let request = json!({
        "KeyId": kem, "EncapsulationAlgorithm": "ML_KEM",
        "SharedSecretCiphertextBlob": response["SharedSecretCiphertextBlob"],
    });
    assert_eq!(call("Decapsulate", request).1, secret);
}

#[test]
fn rsa_keys_of_every_size_are_encrypted_to() {
    let (platform, signer) = sealed_signer();
    let guest = Guest::new(&platform, Mode::Production, 0);
    for bits in [2048, 3072, 4096] {
        let rsa = RsaKey::new(&bits.to_string(), bits);
        let (_, secret) =
            sealed_call(&signer, &guest, &rsa, "GenerateRandom", json!({"NumberOfBytes": 1024}));
        assert_eq!(secret.len(), 1024);
    }
}

/// What the parser of the AWS Nitro Enclaves SDK (`source/cms.c`) insists on, read by another parser.
#[test]
fn the_envelope_is_the_one_that_the_enclaves_sdk_reads() {
    use cms::content_info::{CmsVersion, ContentInfo};
    use cms::enveloped_data::{EnvelopedData, RecipientIdentifier, RecipientInfo};
    use der::Decode;
    let (platform, signer) = sealed_signer();
    let guest = Guest::new(&platform, Mode::Production, 0);
    let rsa = RsaKey::new("sdk", 2048);
    let request = json!({
        "NumberOfBytes": 32, "Recipient": recipient(&guest.document(None, Some(&rsa.spki))),
    });
    let envelope = unb64(&ok(&signer, "GenerateRandom", request)["CiphertextForRecipient"]);
    let info = ContentInfo::from_der(&envelope).expect("ContentInfo");
    assert_eq!(info.content_type.to_string(), "1.2.840.113549.1.7.3");
    let data: EnvelopedData = info.content.decode_as().expect("EnvelopedData");
    assert_eq!(data.version, CmsVersion::V2);
    let [RecipientInfo::Ktri(recipient)] = data.recip_infos.0.as_slice() else {
        panic!("not one KeyTransRecipientInfo");
    };
    assert_eq!(recipient.version, CmsVersion::V2);
    assert!(matches!(recipient.rid, RecipientIdentifier::SubjectKeyIdentifier(_)));
    assert_eq!(recipient.key_enc_alg.oid.to_string(), "1.2.840.113549.1.1.7");
    assert_eq!(recipient.enc_key.as_bytes().len(), 256);
    let content = data.encrypted_content;
    assert_eq!(content.content_type.to_string(), "1.2.840.113549.1.7.1");
    assert_eq!(content.content_enc_alg.oid.to_string(), "2.16.840.1.101.3.4.1.42");
    let iv = content.content_enc_alg.parameters.expect("an IV");
    assert_eq!(iv.value().len(), 16);
    let text = content.encrypted_content.expect("content");
    assert_eq!(text.as_bytes().len(), 48);
    // The last element is the content, [0] of definite length: what the SDK calls the fixed-length form.
    let start = envelope.len() - 48 - 2;
    assert_eq!(envelope[start..start + 2], [0x80, 48]);
}

#[test]
fn documents_that_prove_nothing_are_refused() {
    let (platform, signer) = sealed_signer();
    let elsewhere = PlatformKey::generate(now()).expect("a platform key");
    let rsa = RsaKey::new("refused", 2048);
    let small = RsaKey::new("small", 1024);
    let guest = |ago| Guest::new(&platform, Mode::Production, ago);
    let good = guest(0).document(None, Some(&rsa.spki));
    let mut changed = good.clone();
    let at = changed.windows(4).position(|four| four == b"pcrs").expect("registers") + 40;
    changed[at] ^= 1;
    let longer_key = [&rsa.spki[..], &[0]].concat();
    let p256 = key(&signer, "ECC_NIST_P256", "SIGN_VERIFY");
    let p256 = unb64(&ok(&signer, "GetPublicKey", json!({"KeyId": p256}))["PublicKey"]);
    let kept_by = |module| Guest::kept_by(module, &platform).document(None, Some(&rsa.spki));
    let cases: [(&str, Vec<u8>, &str); 12] = [
        (
            "of another platform",
            Guest::new(&elsewhere, Mode::Production, 0).document(None, Some(&rsa.spki)),
            "trust",
        ),
        ("with a key that its VMM had", kept_by(None), "security module"),
        ("with a key in another module", kept_by(Some(&Pcr::measure(b"other"))), "security module"),
        ("changed", changed, "signature"),
        ("cut short", good[..good.len() - 1].to_vec(), "COSE"),
        ("tagged", [&[0xd2][..], &good].concat(), "untagged"),
        ("too old", guest(302).document(None, Some(&rsa.spki)), "old"),
        ("from the future", guest(-70).document(None, Some(&rsa.spki)), "clocks"),
        ("without a key", guest(0).document(None, None), "no public_key"),
        ("with a key of another kind", guest(0).document(None, Some(&p256)), "RSA"),
        ("with a small key", guest(0).document(None, Some(&small.spki)), "2048"),
        ("with more than a key", guest(0).document(None, Some(&longer_key)), "RSA"),
    ];
    for (what, document, why) in cases {
        let request = json!({"NumberOfBytes": 8, "Recipient": recipient(&document)});
        let (kind, message) = refused(&signer, "GenerateRandom", request);
        assert_eq!(kind, "ValidationException", "{what}");
        assert!(message.contains(why), "{what}: {message}");
    }
    ok(&signer, "GenerateRandom", json!({"NumberOfBytes": 8, "Recipient": recipient(&good)}));
    // Five minutes are allowed.
    let older = guest(295).document(None, Some(&rsa.spki));
    ok(&signer, "GenerateRandom", json!({"NumberOfBytes": 8, "Recipient": recipient(&older)}));
}

#[test]
fn a_recipient_without_its_members_is_refused() {
    let (platform, signer) = sealed_signer();
    let rsa = RsaKey::new("members", 2048);
    let document = b64(Guest::new(&platform, Mode::Production, 0).document(None, Some(&rsa.spki)));
    for recipient in [
        json!({}),
        json!({"AttestationDocument": document}),
        json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
        json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_1", "AttestationDocument": document}),
        json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": ""}),
    ] {
        let request = json!({"NumberOfBytes": 8, "Recipient": recipient});
        assert_eq!(refused(&signer, "GenerateRandom", request).0, "ValidationException", "{recipient}");
    }
}

#[test]
fn a_signer_that_is_not_sealed_believes_no_document() {
    let platform = PlatformKey::generate(now()).expect("a platform key");
    let rsa = RsaKey::new("unsealed", 2048);
    let document = Guest::new(&platform, Mode::Production, 0).document(None, Some(&rsa.spki));
    struct Process;
    impl casemate_signer::Platform for Process {
        fn attest(
            &self,
            _: Option<&[u8]>,
            _: Option<&[u8]>,
            _: Option<&[u8]>,
        ) -> Result<Vec<u8>, casemate_signer::AttestError> {
            Err(casemate_signer::AttestError::NotSealed)
        }
    }
    let signer = Signer::new(Box::new(Process));
    let request = json!({"NumberOfBytes": 8, "Recipient": recipient(&document)});
    assert_eq!(refused(&signer, "GenerateRandom", request).0, "UnsupportedOperationException");
}

#[test]
fn operations_without_plaintext_need_no_recipient() {
    let (_, signer) = sealed_signer();
    let id = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    for (operation, member) in [
        ("GenerateDataKeyWithoutPlaintext", json!({"KeySpec": "AES_128"})),
        ("GenerateDataKeyPairWithoutPlaintext", json!({"KeyPairSpec": "ECC_NIST_P256"})),
    ] {
        let mut request = member;
        request["KeyId"] = json!(id);
        let response = ok(&signer, operation, request);
        assert!(response.get("Plaintext").is_none() && response.get("PrivateKeyPlaintext").is_none());
        assert!(response.get("CiphertextForRecipient").is_none());
    }
}
