//! The body of a KMS request: answered in JSON, or refused with a reason that is not "internal error".
#![no_main]

use casemate_fuzz::signer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (operation, key, body) = input;
    let (signer, id) = signer::with_key(usize::from(key));
    let operations = signer::operations();
    let operation = operations[usize::from(operation) % operations.len()];
    // No fuzzer guesses the name of a key.
    let body = std::str::from_utf8(body).map_or(body.to_vec(), |text| text.replace("$", &id).into_bytes());
    match signer.call(operation, &body) {
        Ok(response) => assert!(response.is_empty() || response.starts_with(b"{")),
        Err(error) => assert!(error.kind.name() != "KMSInternalException", "{error}"),
    }
});
