//! A verifier's policy: what is accepted survives being written and read again.
#![no_main]

use casemate_attestation::policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(policy) = Policy::parse(input) {
        let json = casemate_fuzz::json(&policy);
        assert_eq!(Policy::parse(&json).expect("was a policy"), policy);
    }
});
