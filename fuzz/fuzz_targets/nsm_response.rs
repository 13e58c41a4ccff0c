//! What a hostile VMM answers to a guest's request for a document: a response or an error, and what decodes can be said again.
#![no_main]

use casemate_attestation::nsm::{RESPONSE_MAX, api};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The guest refuses longer ones before it looks.
    let Some(input) = input.get(..input.len().min(RESPONSE_MAX)) else { return };
    if let Ok(response) = api::decode_response(input) {
        let again = api::encode_response(&response);
        let same = api::decode_response(&again).expect("what we write, we read");
        assert_eq!(format!("{response:?}"), format!("{same:?}"));
    }
});
