//! Conditions on attestation, for every kind of operation, and documents in headers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_attestation::nsm::Nsm;
use casemate_attestation::pcr::{Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use hyper::HeaderMap;
use serde_json::{Value, json};

use super::Evidence;
use crate::access::tests::session;
use crate::access::{Call, Caller, Facts};
use crate::platform::{AttestError, Platform};
use crate::signer::Signer;

#[path = "../../../../attestation/tests/support/mod.rs"]
mod support;

struct Guest(RefCell<Nsm<support::Leaf, support::FixedClock>>);

impl Guest {
    fn new(platform: &PlatformKey, mode: Mode) -> Self {
        Self(RefCell::new(support::nsm(platform, mode, now())))
    }
}

impl Platform for Guest {
    fn attest(
        &self,
        data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError> {
        Ok(support::document(&mut self.0.borrow_mut(), data, nonce, key))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// A signer, a platform, and somebody whose every right depends on a condition.
struct Scene {
    platform: PlatformKey,
    signer: Rc<Signer>,
    caller: Caller,
    rsa: Vec<u8>,
}

/// The value of PCR0 in the documents of [`support`].
fn image() -> String {
    Pcr::measure(b"image").to_string()
}

impl Scene {
    fn under(condition: Value) -> Self {
        let platform = PlatformKey::generate(now()).expect("a platform key");
        let own = Guest(RefCell::new(support::nsm_of_another(&platform, now())));
        let signer = Signer::new(Box::new(own));
        let allow = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition},
        ]});
        let caller = session("Attested", &[allow], &[]);
        let rsa = {
            use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
            use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
            let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key").public_key();
            let der: PublicKeyX509Der<'_> = key.as_der().expect("DER");
            der.as_ref().to_vec()
        };
        Self { platform, signer, caller, rsa }
    }

    fn key(&self, spec: &str, usage: &str) -> String {
        let facts = Facts::NONE;
        let call = Call::new(&self.signer, &Caller::LocalOwner, &facts);
        let request = json!({"KeySpec": spec, "KeyUsage": usage}).to_string();
        let made = self.signer.answer(&call, "CreateKey", request.as_bytes()).expect("a key");
        let made: Value = serde_json::from_slice(&made).expect("JSON");
        made["KeyMetadata"]["KeyId"].as_str().expect("text").to_owned()
    }

    /// The answer, or the error's type.
    fn call(&self, operation: &str, request: &Value, headers: &HeaderMap) -> Result<Value, &'static str> {
        let (target, body) = (format!("TrentService.{operation}"), request.to_string());
        let evidence = Evidence::of(&self.signer, headers, &target, body.as_bytes());
        let evidence = evidence.map_err(|error| error.kind.name())?;
        let facts = evidence.facts();
        let mut call = Call::new(&self.signer, &self.caller, &facts);
        call.evidence = evidence;
        match self.signer.answer(&call, operation, body.as_bytes()) {
            Ok(answer) => Ok(serde_json::from_slice(&answer).expect("JSON")),
            Err(error) => Err(error.kind.name()),
        }
    }

    /// Headers with a document for exactly this request.
    fn headers(&self, mode: Mode, operation: &str, request: &Value, key: Option<&[u8]>) -> HeaderMap {
        let target = format!("TrentService.{operation}");
        let nonce = digest(&SHA256, format!("casemate:request\n{target}\n{request}").as_bytes());
        let document =
            Guest::new(&self.platform, mode).attest(None, Some(nonce.as_ref()), key).expect("a document");
        let mut headers = HeaderMap::new();
        headers.insert("x-casemate-attestation", STANDARD.encode(document).parse().expect("a header"));
        headers
    }

    fn with_document(&self, operation: &str, request: &Value) -> Result<Value, &'static str> {
        self.call(operation, request, &self.headers(Mode::Production, operation, request, Some(&self.rsa)))
    }

    fn without(&self, operation: &str, request: &Value) -> Result<Value, &'static str> {
        self.call(operation, request, &HeaderMap::new())
    }
}

fn demands_image() -> Value {
    json!({"StringEquals": {"kms:RecipientAttestation:ImageSha384": image()}})
}

const DENIED: &str = "AccessDeniedException";

#[test]
fn conditions_hold_for_operations_of_every_kind() {
    let scene = Scene::under(demands_image());
    let signing = scene.key("ECC_NIST_P256", "SIGN_VERIFY");
    let mac = scene.key("HMAC_256", "GENERATE_VERIFY_MAC");
    let data = scene.key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let requests = [
        ("Sign", json!({"KeyId": signing, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256"})),
        ("GenerateMac", json!({"KeyId": mac, "Message": "AA==", "MacAlgorithm": "HMAC_SHA_256"})),
        ("Encrypt", json!({"KeyId": data, "Plaintext": "AA=="})),
        ("GenerateDataKey", json!({"KeyId": data, "KeySpec": "AES_256"})),
        ("GenerateRandom", json!({"NumberOfBytes": 4})),
        ("DescribeKey", json!({"KeyId": data})),
        ("CreateKey", json!({})),
        ("ListKeys", json!({})),
        ("DisableKey", json!({"KeyId": mac})),
        ("ScheduleKeyDeletion", json!({"KeyId": mac})),
    ];
    for (operation, request) in requests {
        assert_eq!(scene.without(operation, &request), Err(DENIED), "{operation} without a document");
        let debug = scene.headers(Mode::Debug, operation, &request, Some(&scene.rsa));
        assert_eq!(scene.call(operation, &request, &debug), Err(DENIED), "{operation} in debug mode");
        scene.with_document(operation, &request).unwrap_or_else(|error| panic!("{operation}: {error}"));
    }
}

#[test]
fn another_image_is_denied() {
    let other =
        json!({"StringEquals": {"kms:RecipientAttestation:PCR0": Pcr::measure(b"other").to_string()}});
    let scene = Scene::under(other);
    assert_eq!(scene.with_document("ListKeys", &json!({})), Err(DENIED));
    let any = Scene::under(json!({"Null": {"kms:RecipientAttestation:PCR8": "false"}}));
    any.with_document("ListKeys", &json!({})).expect("any signed image");
    assert_eq!(any.without("ListKeys", &json!({})), Err(DENIED));
    let debug = any.headers(Mode::Debug, "ListKeys", &json!({}), None);
    assert_eq!(any.call("ListKeys", &json!({}), &debug), Err(DENIED), "debug mode proves no register");
}

#[test]
fn a_document_in_the_header_counts_for_its_request_alone() {
    let scene = Scene::under(demands_image());
    let id = scene.key("ECC_NIST_P256", "SIGN_VERIFY");
    let sign = |message: &str| json!({"KeyId": id, "Message": message, "SigningAlgorithm": "ECDSA_SHA_256"});
    let headers = scene.headers(Mode::Production, "Sign", &sign("AA=="), None);
    scene.call("Sign", &sign("AA=="), &headers).expect("what it was made for");
    assert_eq!(scene.call("Sign", &sign("AQ=="), &headers), Err("ValidationException"), "another message");
    assert_eq!(
        scene.call("Verify", &sign("AA=="), &headers),
        Err("ValidationException"),
        "another operation"
    );
    let mut twice = headers.clone();
    twice.append("x-casemate-attestation", "AA==".parse().expect("a header"));
    assert_eq!(scene.call("Sign", &sign("AA=="), &twice), Err("ValidationException"), "two documents");
    let mut broken = HeaderMap::new();
    broken.insert("x-casemate-attestation", "?".parse().expect("a header"));
    assert_eq!(scene.call("Sign", &sign("AA=="), &broken), Err("ValidationException"), "not base64");
}

#[test]
fn a_document_in_the_header_makes_its_guest_the_recipient() {
    let scene = Scene::under(demands_image());
    let random = json!({"NumberOfBytes": 8});
    let answer = scene.with_document("GenerateRandom", &random).expect("allowed");
    assert!(answer.get("Plaintext").is_none(), "whoever replays the document would get the secret");
    assert!(answer["CiphertextForRecipient"].is_string());
    let keyless = scene.headers(Mode::Production, "GenerateRandom", &random, None);
    assert_eq!(
        scene.call("GenerateRandom", &random, &keyless),
        Err("ValidationException"),
        "no key to encrypt to"
    );
    // Both at once could name two guests.
    let document =
        Guest::new(&scene.platform, Mode::Production).attest(None, None, Some(&scene.rsa)).expect("one");
    let both = json!({"NumberOfBytes": 8, "Recipient": {
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": STANDARD.encode(document),
    }});
    assert_eq!(scene.with_document("GenerateRandom", &both), Err("ValidationException"), "two recipients");
    scene.without("GenerateRandom", &both).expect("the Recipient member alone satisfies the condition");
}

#[test]
fn a_recipient_adds_its_condition_keys_to_its_operation() {
    let scene = Scene::under(demands_image());
    let id = scene.key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let guest =
        |mode| Guest::new(&scene.platform, mode).attest(None, None, Some(&scene.rsa)).expect("a document");
    let request = |mode| {
        json!({"KeyId": id, "KeySpec": "AES_256", "Recipient": {
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": STANDARD.encode(guest(mode)),
        }})
    };
    scene.without("GenerateDataKey", &request(Mode::Production)).expect("allowed");
    assert_eq!(scene.without("GenerateDataKey", &request(Mode::Debug)), Err(DENIED));
}

#[test]
fn posture_is_a_condition_where_pcr15_proves_it() {
    let scene = Scene::under(json!({
        "StringEquals": {"casemate:Posture/sealed_memory": "guest_memfd", "casemate:Posture/lockdown": "integrity"},
        "NumericGreaterThanEquals": {"casemate:Posture/landlock": "4"},
        "Bool": {"casemate:Posture/swap": "false"},
    }));
    let request = json!({});
    assert_eq!(scene.with_document("ListKeys", &request), Err(DENIED), "the facts did not come along");
    let with_posture = |posture: &[u8], mode| {
        let mut headers = scene.headers(mode, "ListKeys", &request, None);
        headers.insert("x-casemate-posture", STANDARD.encode(posture).parse().expect("a header"));
        scene.call("ListKeys", &request, &headers)
    };
    let posture = support::posture().encode();
    with_posture(&posture, Mode::Production).expect("allowed");
    assert_eq!(with_posture(&posture, Mode::Debug), Err(DENIED), "debug mode proves no posture");
    let mut better = support::posture();
    better.set("landlock", 7).expect("a fact");
    assert_eq!(
        with_posture(&better.encode(), Mode::Production),
        Err("ValidationException"),
        "not what was measured"
    );
}

#[test]
fn a_signers_own_document_proves_nothing_about_whoever_brings_it() {
    let scene = Scene::under(json!({"Null": {"kms:RecipientAttestation:PCR0": "false"}}));
    // As anybody gets one from `POST /attestation`.
    let request = json!({});
    let nonce = digest(&SHA256, format!("casemate:request\nTrentService.ListKeys\n{request}").as_bytes());
    let document =
        scene.signer.platform.attest(None, Some(nonce.as_ref()), Some(&scene.rsa)).expect("a document");
    let mut headers = HeaderMap::new();
    headers.insert("x-casemate-attestation", STANDARD.encode(document).parse().expect("a header"));
    assert_eq!(scene.call("ListKeys", &request, &headers), Err("ValidationException"));
    scene.with_document("ListKeys", &request).expect("another guest's document");
}
