//! The body of a Private CA request: answered in JSON, or refused with a reason that is not "internal error".
#![no_main]

use casemate_fuzz::authority::Authority;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (operation, body) = input;
    match Authority::new().ask(operation.into(), body) {
        Ok(response) => assert!(response.is_empty() || response.starts_with(b"{")),
        Err(error) => assert!(error.kind.name() != "KMSInternalException", "{error}"),
    }
});
