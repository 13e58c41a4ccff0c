//! A policy document: what is accepted survives being written and read again, and a `Deny` wins over it.
#![no_main]

use casemate_fuzz::policies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &str)| {
    let (kind, caller, text) = input;
    policies::check(usize::from(kind), usize::from(caller), text);
});
