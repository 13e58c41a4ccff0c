//! What a guest asks of its security module: every sequence of requests gets answers that a client can read.
#![no_main]

use casemate_attestation::nsm::{RESPONSE_MAX, api};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|requests: Vec<&[u8]>| {
    let mut nsm = casemate_fuzz::nsm();
    for request in requests {
        let response = nsm.handle(request);
        assert!(response.len() <= RESPONSE_MAX);
        api::decode_response(&response).expect("a response");
    }
});
