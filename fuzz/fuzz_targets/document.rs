//! An attestation document, up to and including the chain under a root that it brings along.
#![no_main]

use casemate_attestation::document;
use casemate_attestation::policy::Policy;
use casemate_attestation::verify::{Evidence, Expectations, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(signed) = document::parse(input) else {
        return;
    };
    let (roots, policy) = (
        signed.cabundle,
        Policy {
            allow_debug: true,
            ..Policy::default()
        },
    );
    let now = signed.claims.timestamp;
    let expected = Expectations {
        roots: &roots,
        policy: &policy,
        nonce: None,
        now,
    };
    let _ = verify(
        Evidence {
            document: input,
            posture: None,
        },
        expected,
    );
});
