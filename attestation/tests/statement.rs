//! Statements: a document speaks for one TLS certificate and no other.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use casemate_attestation::nsm::api::{ByteBuf, Request, Response};
use casemate_attestation::pcr::Mode;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::policy::Policy;
use casemate_attestation::statement::{StatementError, check_tls, fingerprint};
use casemate_attestation::verify::{Established, Evidence, Expectations, verify};
use support::{NOW, ask, nsm};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

/// What a guest's document with these fields establishes.
fn established(user_data: &str, public_key: Option<Vec<u8>>) -> Established {
    let platform = PlatformKey::generate(NOW).unwrap();
    let request = Request::Attestation {
        user_data: Some(ByteBuf::from(user_data.as_bytes())),
        nonce: None,
        public_key: public_key.map(ByteBuf::from),
    };
    let Response::Attestation { document } = ask(&mut nsm(&platform, Mode::Production, NOW), &request) else {
        panic!("no document")
    };
    let expected = Expectations {
        roots: &[platform.root().to_vec()],
        policy: &Policy::default(),
        nonce: None,
        now: NOW * 1000,
    };
    verify(Evidence { document: &document, posture: None }, expected).unwrap()
}

/// Any certificate will do: a platform's root, and its key.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let der = PlatformKey::generate(NOW).unwrap().root().to_vec();
    let public = Certificate::from_der(&der).unwrap();
    let public = public.tbs_certificate().subject_public_key_info().to_der().unwrap();
    (der, public)
}

#[test]
fn a_document_speaks_for_one_certificate() {
    let ((own, key), (other, other_key)) = (certificate(), certificate());
    let statement = format!("casemate:tls:{}", fingerprint(&own));
    assert_eq!(check_tls(&established(&statement, Some(key.clone())), &own), Ok(()));
    // The document of a real guest, relayed by an endpoint that shows its own certificate.
    let relayed = check_tls(&established(&statement, Some(key.clone())), &other);
    assert!(matches!(relayed, Err(StatementError::OtherCertificate { .. })), "{relayed:?}");
    for public_key in [None, Some(other_key)] {
        assert_eq!(check_tls(&established(&statement, public_key), &own), Err(StatementError::OtherKey));
    }
    for other in ["", "casemate:audit:1:00", &statement.to_uppercase(), &format!(" {statement}")] {
        let other = established(other, Some(key.clone()));
        assert_eq!(check_tls(&other, &own), Err(StatementError::Other));
    }
    for near in [format!("{statement} "), statement.replace("tls:", "tls: ")] {
        let near = established(&near, Some(key.clone()));
        assert!(matches!(check_tls(&near, &own), Err(StatementError::OtherCertificate { .. })));
    }
}
