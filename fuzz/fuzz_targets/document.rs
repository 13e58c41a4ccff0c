//! An attestation document, up to and including the chain under a root that it brings along.
#![no_main]

use casemate_attestation::document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(signed) = document::parse(input) {
        let _ = casemate_fuzz::verify_by_itself(input, &signed);
    }
});
