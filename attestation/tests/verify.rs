//! Documents from the NSM, before our own verifier: what it accepts, and the reason for each refusal.

mod support;

use casemate_attestation::pcr::Mode;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::policy::Policy;
use casemate_attestation::verify::{Established, Evidence, Expectations, VerifyError, verify};
use support::{NOW, attest, nsm, posture};

const NONCE: &[u8] = b"nonce of the verifier";

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
        let document = attest(&mut nsm(&platform, mode, NOW), NONCE, b"user data");
        Self {
            document,
            posture: Some(posture().encode()),
            roots: vec![platform.root().to_vec()],
            nonce: Some(NONCE.to_vec()),
            now: NOW,
        }
    }

    fn verify(&self, policy: &str) -> Result<Established, VerifyError> {
        verify(
            Evidence {
                document: &self.document,
                posture: self.posture.as_deref(),
            },
            Expectations {
                roots: &self.roots,
                policy: &Policy::parse(policy.as_bytes()).unwrap(),
                nonce: self.nonce.as_deref(),
                now: self.now * 1000,
            },
        )
    }
}

#[test]
fn a_document_establishes_what_the_guest_is() {
    let case = Case::new(Mode::Production);
    let established = case
        .verify(
            r#"{"nonce_required": true, "max_age_seconds": 300,
                "posture": {"sealed_memory": "guest_memfd", "lockdown": ["integrity", "confidentiality"],
                            "landlock": {"at_least": 4}, "swap": false}}"#,
        )
        .unwrap();
    assert!(established.nonce_matched && !established.debug);
    assert_eq!(established.user_data.as_deref(), Some(&b"user data"[..]));
    assert_eq!(established.posture, Some(posture()));
    assert_eq!(established.pcrs.len(), 16);
}
