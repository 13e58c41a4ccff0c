//! A guest executable: what is accepted keeps the promises in the parser's documentation.
#![no_main]

use casemate::image::GuestElf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(elf) = GuestElf::parse(input) {
        casemate_fuzz::check_promises(&elf, input);
    }
});
