//! A posture: there is one encoding of each.
#![no_main]

use casemate_attestation::posture::Posture;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(posture) = Posture::parse(input) {
        assert_eq!(posture.encode(), input);
    }
});
