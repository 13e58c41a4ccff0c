//! What a TPM, or whoever speaks for it on the bus, answers: it is read, or refused as malformed, and nothing waits for ever.
#![no_main]

use casemate_fuzz::answering::ask;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (command, first, bytes) = input;
    let (first, second) = bytes.split_at(bytes.len().min(first.into()));
    if let Err(error) = ask(command, &[first, second]) {
        assert!(!error.to_string().is_empty());
    }
});
