//! Documents from the NSM before our own verifier: what it establishes, and the exact reason for each refusal.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use casemate_attestation::document::{self, DocumentSigner};
use casemate_attestation::nsm::Nsm;
use casemate_attestation::pcr::{Launch, Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::policy::Policy;
use casemate_attestation::posture::Posture;
use casemate_attestation::verify::{
    CertificateFault, CertificatePosition, Established, Evidence, Expectations, VerifyError, verify,
};
use coset::cbor::{self, Value};
use coset::{CborSerializable as _, CoseSign1};
use support::{EXPIRED, FixedClock, Leaf, MODULE_ID, NOW, attest, launch, nsm, posture, security_module};

const NONCE: &[u8] = b"nonce of the verifier";

#[derive(Clone)]
struct Case {
    document: Vec<u8>,
    posture: Option<Vec<u8>>,
    roots: Vec<Vec<u8>>,
    nonce: Option<Vec<u8>>,
    now: u64,
}

impl Case {
    fn new(mode: Mode) -> Self {
        let platform = PlatformKey::generate(NOW).unwrap();
        Self::of(&platform, attest(&mut nsm(&platform, mode, NOW), NONCE, b"user data"))
    }

    fn of(platform: &PlatformKey, document: Vec<u8>) -> Self {
        Self {
            document,
            posture: Some(posture().encode()),
            roots: vec![platform.root().to_vec()],
            nonce: Some(NONCE.to_vec()),
            now: NOW,
        }
    }

    /// A document whose certificates are chosen by the test, signed with the leaf's key.
    fn signed_by(platform: &PlatformKey, leaf: Leaf) -> Self {
        let mut nsm = Nsm::new(MODULE_ID.into(), &launch(Mode::Production), leaf, FixedClock(NOW));
        Self::of(platform, attest(&mut nsm, NONCE, b""))
    }

    fn verify(&self, policy: &str) -> Result<Established, VerifyError> {
        verify(
            Evidence { document: &self.document, posture: self.posture.as_deref() },
            Expectations {
                roots: &self.roots,
                policy: &Policy::parse(policy.as_bytes()).unwrap(),
                nonce: self.nonce.as_deref(),
                now: self.now * 1000,
            },
        )
    }

    fn refusal(&self, policy: &str) -> VerifyError {
        self.verify(policy).unwrap_err()
    }

    fn chain_fault(&self) -> (CertificatePosition, CertificateFault) {
        match self.refusal("{}") {
            VerifyError::Chain { position, fault } => (position, fault),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_document_establishes_what_the_guest_is() {
    let pcr0 = Pcr::measure(b"image");
    let other = Pcr::measure(b"another image");
    let established = Case::new(Mode::Production)
        .verify(&format!(
            r#"{{"module_id": ["{MODULE_ID}", "x"], "pcrs": {{"0": ["{other}", "{pcr0}"]}},
                "nonce_required": true, "max_age_seconds": 300,
                "posture": {{"sealed_memory": "guest_memfd", "lockdown": ["integrity", "confidentiality"],
                            "landlock": {{"at_least": 4}}, "swap": false}}}}"#
        ))
        .unwrap();
    assert!(established.nonce_matched && !established.debug);
    assert_eq!(established.user_data.as_deref(), Some(&b"user data"[..]));
    assert_eq!(established.posture, Some(posture()));
    assert_eq!(established.pcrs.keys().copied().collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    let text = established.to_string();
    assert!(text.contains(&format!("{pcr0}  as demanded")), "{text}");
    assert!(text.contains("sealed_memory = guest_memfd  as demanded"), "{text}");
    let json = serde_json::to_value(&established).unwrap();
    assert_eq!(json["pcrs"]["0"], pcr0.to_string());
    assert_eq!(json["user_data"], "757365722064617461");
}

#[test]
fn every_changed_byte_is_noticed() {
    let case = Case::new(Mode::Production);
    for index in 0..case.document.len() {
        let mut changed = case.clone();
        changed.document[index] ^= 1;
        assert!(changed.verify("{}").is_err(), "byte {index}");
    }
    for length in 0..case.document.len() {
        let mut cut = case.clone();
        cut.document.truncate(length);
        assert!(matches!(cut.refusal("{}"), VerifyError::Document(_)), "length {length}");
    }
    let mut signature = case.clone();
    *signature.document.last_mut().unwrap() ^= 1;
    assert_eq!(signature.refusal("{}"), VerifyError::Signature);
}

#[test]
fn a_tagged_or_padded_document_is_refused() {
    let case = Case::new(Mode::Production);
    let mut tagged = case.clone();
    tagged.document.insert(0, 0xd2);
    assert!(matches!(tagged.refusal("{}"), VerifyError::Document(_)));
    let mut padded = case.clone();
    padded.document.push(0);
    assert!(matches!(padded.refusal("{}"), VerifyError::Document(_)));
}

#[test]
fn a_root_must_be_trusted() {
    let mut case = Case::new(Mode::Production);
    case.roots = vec![PlatformKey::generate(NOW).unwrap().root().to_vec()];
    let (position, fault) = case.chain_fault();
    assert_eq!(position, CertificatePosition::Bundle(0));
    assert!(matches!(fault, CertificateFault::Untrusted(_)));
    case.roots.clear();
    assert!(matches!(case.chain_fault().1, CertificateFault::Untrusted(_)));
}

#[test]
fn certificates_must_be_in_date() {
    let mut case = Case::new(Mode::Production);
    case.now = EXPIRED;
    assert!(matches!(case.chain_fault(), (CertificatePosition::Leaf, CertificateFault::Expired { .. })));
    case.now = NOW - 100_000;
    let fault = case.chain_fault();
    assert!(matches!(fault, (CertificatePosition::Bundle(0), CertificateFault::NotYetValid { .. })));
}

#[test]
fn a_leaf_cannot_act_as_an_authority() {
    let platform = PlatformKey::generate(NOW).unwrap();
    let first = Leaf::new(&platform, MODULE_ID, NOW);
    let mut second = Leaf::new(&platform, MODULE_ID, NOW);
    second.cabundle.push(first.certificate);
    let case = Case::signed_by(&platform, second);
    assert_eq!(case.chain_fault(), (CertificatePosition::Bundle(1), CertificateFault::NotAnAuthority));
}

#[test]
fn an_authority_must_be_one_that_signs_certificates() {
    let platform = PlatformKey::generate(NOW).unwrap();
    let mut leaf = Leaf::new(&platform, MODULE_ID, NOW);
    // Nobody has to have signed a root that is trusted. Its key usage: one for documents instead of certificates.
    let mut root = platform.root().to_vec();
    let usage = b"\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02";
    let at = root.windows(usage.len()).position(|part| part == usage).unwrap() + usage.len();
    root[at..at + 2].copy_from_slice(&[7, 0x80]);
    leaf.cabundle = vec![root.clone()];
    let case = Case { roots: vec![root], ..Case::signed_by(&platform, leaf) };
    assert_eq!(case.chain_fault(), (CertificatePosition::Bundle(0), CertificateFault::NotAnAuthority));
}

#[test]
fn a_document_says_each_thing_once_and_in_a_map() {
    let document = Case::new(Mode::Production).document;
    let altered = |change: &dyn Fn(&mut CoseSign1)| {
        let mut cose = CoseSign1::from_slice(&document).unwrap();
        change(&mut cose);
        document::parse(&cose.to_vec().unwrap()).unwrap_err().to_string()
    };
    let payload = |change: &dyn Fn(Vec<(Value, Value)>) -> Value| {
        altered(&|cose| {
            let fields: Value = cbor::from_reader(&cose.payload.take().unwrap()[..]).unwrap();
            let mut bytes = Vec::new();
            cbor::into_writer(&change(fields.into_map().unwrap()), &mut bytes).unwrap();
            cose.payload = Some(bytes);
        })
    };
    let twice = payload(&|mut fields| {
        let nonce = (Value::Text("nonce".into()), Value::Bytes(b"another".to_vec()));
        fields.push(nonce);
        Value::Map(fields)
    });
    assert_eq!(twice, "field `nonce` appears twice");
    let list = payload(&|fields| Value::Array(fields.into_iter().map(|(_, value)| value).collect()));
    assert_eq!(list, document::ParseError::NotAMap.to_string());
    let number = payload(&|mut fields| {
        fields
            .iter_mut()
            .filter(|(name, _)| name.as_text() == Some("nonce"))
            .for_each(|(_, value)| *value = 1.into());
        Value::Map(fields)
    });
    assert_eq!(number, "field `nonce` is not null or at most 512 bytes");
    let short = altered(&|cose| cose.signature.truncate(95));
    assert_eq!(short, document::ParseError::SignatureLength(95).to_string());
    let long = document::parse(&vec![0; 1 << 20]).unwrap_err();
    assert_eq!(long.to_string(), document::ParseError::TooLong(1 << 20).to_string());
}

#[test]
fn an_authority_cannot_act_as_a_leaf() {
    let platform = PlatformKey::generate(NOW).unwrap();
    let mut leaf = Leaf::new(&platform, MODULE_ID, NOW);
    leaf.certificate = platform.root().to_vec();
    let case = Case::signed_by(&platform, leaf);
    assert_eq!(case.chain_fault(), (CertificatePosition::Leaf, CertificateFault::NotALeaf));
}

#[test]
fn a_path_length_is_kept() {
    // The root allows one intermediate; two more copies of it make two.
    let platform = PlatformKey::generate(NOW).unwrap();
    let mut leaf = Leaf::new(&platform, MODULE_ID, NOW);
    leaf.cabundle = vec![platform.root().to_vec(); 3];
    let case = Case::signed_by(&platform, leaf);
    let fault = CertificateFault::PathLength { allowed: 1, found: 2 };
    assert_eq!(case.chain_fault(), (CertificatePosition::Bundle(0), fault));
}

#[test]
fn a_certificate_must_stand_under_its_issuer() {
    let (platform, other) = (PlatformKey::generate(NOW).unwrap(), PlatformKey::generate(NOW).unwrap());
    let mut foreign = Leaf::new(&other, MODULE_ID, NOW);
    foreign.cabundle = vec![platform.root().to_vec()];
    let case = Case::signed_by(&platform, foreign);
    assert!(matches!(case.chain_fault(), (CertificatePosition::Leaf, CertificateFault::Issuer { .. })));

    // The right issuer's name, but the certificate's own signature is damaged.
    let mut leaf = Leaf::new(&platform, MODULE_ID, NOW);
    let at = leaf.certificate.len() - 1;
    leaf.certificate[at] ^= 1;
    let case = Case::signed_by(&platform, leaf);
    assert_eq!(case.chain_fault(), (CertificatePosition::Leaf, CertificateFault::Signature));
}

#[test]
fn a_certificate_for_another_guest_is_refused() {
    let platform = PlatformKey::generate(NOW).unwrap();
    for name in ["another", "i-casemate-enc0123456789abcdefg", "i-casemate"] {
        let case = Case::signed_by(&platform, Leaf::new(&platform, name, NOW));
        assert!(matches!(case.refusal("{}"), VerifyError::OtherModule { .. }), "{name}");
    }
    // As Nitro names them.
    let regional = format!("{MODULE_ID}.eu-central-1.aws");
    Case::signed_by(&platform, Leaf::new(&platform, &regional, NOW)).verify("{}").unwrap();
}

#[test]
fn a_leaf_that_signs_for_another_key_is_refused() {
    struct Liar(Leaf, Leaf);
    impl DocumentSigner for Liar {
        fn certificate(&self) -> &[u8] {
            self.0.certificate()
        }
        fn cabundle(&self) -> &[Vec<u8>] {
            self.0.cabundle()
        }
        fn sign(&mut self, bytes: &[u8]) -> Result<[u8; 96], casemate_attestation::document::SignerError> {
            self.1.sign(bytes)
        }
    }
    let platform = PlatformKey::generate(NOW).unwrap();
    let mut liar = Liar(Leaf::new(&platform, MODULE_ID, NOW), Leaf::new(&platform, MODULE_ID, NOW));
    let claims = casemate_attestation::document::Claims {
        module_id: MODULE_ID.into(),
        timestamp: NOW * 1000,
        pcrs: [(0, Pcr::measure(b"x"))].into(),
        public_key: None,
        user_data: None,
        nonce: None,
    };
    let document = casemate_attestation::document::seal(claims, &mut liar).unwrap();
    assert_eq!(Case::of(&platform, document).refusal("{}"), VerifyError::Signature);
}

#[test]
fn the_nonce_must_be_the_one_that_was_sent() {
    let mut case = Case::new(Mode::Production);
    case.nonce = Some(b"another".to_vec());
    assert!(matches!(case.refusal("{}"), VerifyError::Nonce { .. }));
    case.nonce = None;
    assert_eq!(case.refusal(r#"{"nonce_required": true}"#), VerifyError::NonceNotGiven);
    assert!(!case.verify("{}").unwrap().nonce_matched);
}

#[test]
fn old_and_future_documents_are_refused() {
    let mut case = Case::new(Mode::Production);
    case.now = NOW + 301;
    let refusal = case.refusal(r#"{"max_age_seconds": 300}"#);
    assert_eq!(refusal, VerifyError::TooOld { age: 301, allowed: 300 });
    case.now = NOW - 61;
    assert_eq!(case.refusal("{}"), VerifyError::Future { seconds: 61 });
    case.now = NOW - 60;
    case.verify("{}").unwrap();
}

#[test]
fn registers_must_have_the_values_demanded() {
    let case = Case::new(Mode::Production);
    let wrong = Pcr::measure(b"something else");
    let refusal = case.refusal(&format!(r#"{{"pcrs": {{"1": "{wrong}"}}}}"#));
    let found = Pcr::measure(b"bootstrap");
    assert_eq!(refusal, VerifyError::Pcr { index: 1, found, wanted: wrong.to_string() });
    let refusal = case.refusal(&format!(r#"{{"pcrs": {{"16": "{}"}}}}"#, Pcr::ZERO));
    assert_eq!(refusal, VerifyError::PcrMissing(16));
    assert!(matches!(case.refusal(r#"{"module_id": "other"}"#), VerifyError::Module { .. }));
}

/// Whoever has a key that a VMM held signs whatever he likes with it, but its certificate does not say that a module had it.
#[test]
fn the_certificate_says_whether_the_security_module_has_the_key() {
    let platform = PlatformKey::generate(NOW).unwrap();
    let (module, other) = (security_module(), Pcr::measure(b"another one"));
    let verified = |certified: Option<&Pcr>, leaf_key: &str, named: Option<Pcr>| {
        let mut facts = Posture::new();
        facts.set("leaf_key", leaf_key).unwrap();
        if let Some(pcr0) = named {
            facts.set("module_pcr0", pcr0.to_string()).unwrap();
        }
        let launch = Launch { posture: facts.pcr(), ..launch(Mode::Production) };
        let leaf = Leaf::kept_by(certified, &platform, MODULE_ID, NOW);
        let mut nsm = Nsm::new(MODULE_ID.into(), &launch, leaf, FixedClock(NOW));
        let document = attest(&mut nsm, NONCE, b"");
        Case { posture: Some(facts.encode()), ..Case::of(&platform, document) }.verify("{}").map(drop)
    };
    assert_eq!(verified(None, "memfd_secret", None), Ok(()));
    assert_eq!(verified(Some(&module), "module", Some(module)), Ok(()));
    for (certified, leaf_key, named) in [
        (None, "module", Some(module)),
        (None, "module", None),
        (Some(&other), "module", Some(module)),
        (Some(&module), "module", None),
        (Some(&module), "memfd_secret", None),
        (Some(&module), "memfd_secret", Some(module)),
    ] {
        let refusal = verified(certified, leaf_key, named).unwrap_err();
        assert!(matches!(refusal, VerifyError::KeyPlace { .. }), "{refusal}");
    }
    let refusal = verified(None, "module", Some(module)).unwrap_err().to_string();
    assert!(
        refusal.contains(&format!("the security module {module}")) && refusal.contains("the guest's VMM")
    );
}

#[test]
fn the_posture_must_be_the_one_that_was_measured() {
    let mut case = Case::new(Mode::Production);
    let refusal = case.refusal(r#"{"posture": {"sealed_memory": "anonymous"}}"#);
    assert!(matches!(refusal, VerifyError::Posture { ref name, .. } if name == "sealed_memory"), "{refusal}");
    assert!(matches!(case.refusal(r#"{"posture": {"smt": false}}"#), VerifyError::Posture { .. }));
    assert!(matches!(
        case.refusal(r#"{"posture": {"landlock": {"at_least": 7}}}"#),
        VerifyError::Posture { .. }
    ));

    let mut better = posture();
    better.set("lockdown", "confidentiality").unwrap();
    case.posture = Some(better.encode());
    assert!(matches!(case.refusal("{}"), VerifyError::PostureMismatch { .. }));
    case.posture = Some(b"\xa1".to_vec());
    assert!(matches!(case.refusal("{}"), VerifyError::PostureMalformed(_)));
    case.posture = None;
    case.verify("{}").unwrap();
    let refusal = case.refusal(r#"{"posture": {"swap": false}}"#);
    assert_eq!(refusal, VerifyError::PostureNotGiven("swap".into()));
}

#[test]
fn a_debug_guest_proves_nothing_and_is_refused() {
    let case = Case::new(Mode::Debug);
    assert_eq!(case.refusal("{}"), VerifyError::Debug);
    let established = case.verify(r#"{"allow_debug": true}"#).unwrap();
    assert!(established.debug && established.posture.is_none());
    assert!(established.pcrs.values().all(Pcr::is_zero));
    let pcr0 = Pcr::measure(b"image");
    let refusal = case.refusal(&format!(r#"{{"allow_debug": true, "pcrs": {{"0": "{pcr0}"}}}}"#));
    assert!(matches!(refusal, VerifyError::Pcr { index: 0, .. }));
    let refusal = case.refusal(r#"{"allow_debug": true, "posture": {"swap": false}}"#);
    assert!(matches!(refusal, VerifyError::PostureNotGiven(_)));
}

#[test]
fn a_policy_says_what_is_wrong_with_it() {
    for (policy, reason) in [
        (r#"{"allow_degub": true}"#, "unknown field"),
        (r#"{"pcrs": {"32": []}}"#, "PCR32"),
        (r#"{"pcrs": {"0": []}}"#, "no accepted value for PCR0"),
        (r#"{"posture": {"swap": []}}"#, "no accepted value for `swap`"),
        (r#"{"module_id": []}"#, "no accepted value"),
        (r#"{"pcrs": {"0": "abc"}}"#, "did not match"),
        ("", "EOF"),
    ] {
        let error = Policy::parse(policy.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{policy}: {error}");
    }
}

#[test]
fn a_posture_has_one_encoding() {
    let mut facts = Posture::new();
    facts.set("b", true).unwrap();
    facts.set("aa", 24).unwrap();
    facts.set("a", "x").unwrap();
    // By hand (RFC 8949, 4.2.1): "a" and "b" before "aa", because shorter text has the smaller first byte.
    let encoding = b"\xa3\x61a\x61x\x61b\xf5\x62aa\x18\x18";
    assert_eq!(facts.encode(), encoding);
    assert_eq!(Posture::parse(encoding), Ok(facts));
    for other in [
        &b"\xa3\x61b\xf5\x61a\x61x\x62aa\x18\x18"[..], // another order
        b"\xa3\x61a\x61x\x61b\xf5\x62aa\x19\x00\x18",  // a longer integer
        b"\xbf\x61a\x61x\x61b\xf5\x62aa\x18\x18\xff",  // indefinite length
        b"\xa2\x61a\x61x\x61a\x61x",                   // a name twice
        b"\xa1\x61a\x61x\x00",                         // something follows
        b"\xa1\x61A\x61x",                             // no name
        b"\xa1\x61a\xf6",                              // null
        b"\xa1\x61a\x20",                              // a negative number
    ] {
        assert!(Posture::parse(other).is_err(), "{other:02x?}");
    }
}
