//! Bytes on a connection to the signer: they are answered or refused, and the next client is served.
#![no_main]

use casemate_fuzz::signer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let signer = signer::new();
    let response = signer::exchange(&signer, input);
    assert!(response.is_empty() || response.starts_with(b"HTTP/1."));
    let health = signer::exchange(&signer, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(health.starts_with(b"HTTP/1.1 200 "));
});
