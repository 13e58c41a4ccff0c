//! What an attested guest can put into its document, and what somebody can make of it on its way: the secret comes in an
//! envelope or not at all, and the reason is not "internal error".
#![no_main]

use casemate_fuzz::recipient::{self, Bearer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, u8, &[u8])| {
    let (bearer, at, with, bytes) = input;
    let bearer = match bearer % 3 {
        0 => Bearer::Honest,
        1 => Bearer::Spoils { at: at.into(), with },
        _ => Bearer::Invents,
    };
    recipient::check(bearer, bytes);
});
