//! Identities: that they survive, and that nothing else is taken for one.
#![allow(clippy::unwrap_used, reason = "a test may")]

use super::*;
use std::time::SystemTime;

#[test]
fn an_identity_survives_in_its_record() {
    let tls = Tls::default();
    assert!(tls.encode().is_none());
    let (_, new) = tls.identity(SystemTime::now()).unwrap();
    assert!(new);
    let identity = tls.generate(&["signer.example".to_owned()], SystemTime::now()).unwrap();
    let record = tls.encode().unwrap();
    let other = Tls::default();
    other.identity(SystemTime::now()).unwrap();
    other.restore(&record).unwrap();
    let (restored, new) = other.identity(SystemTime::now()).unwrap();
    assert!(!new);
    assert_eq!(restored.fingerprint(), identity.fingerprint());
    assert_eq!(restored.public(), identity.public());
    assert_eq!(restored.names(), ["signer.example"]);
    assert_eq!(restored.pem().unwrap(), identity.pem().unwrap());
}
