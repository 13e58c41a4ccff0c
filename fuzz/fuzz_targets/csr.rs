//! What strangers let an authority sign, and certificates that it is to take for its own: a certificate that can be read
//! again, or a refusal whose reason is not "internal error".
#![no_main]

use casemate_fuzz::authority::{Authority, signed_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, subject, bytes) = input;
    let authority = Authority::new();
    let answer = match kind % 8 {
        0 => authority.certify(bytes, 0),
        1 => authority.install(bytes).map(|_| panic!("somebody else's certificate was taken")),
        // No fuzzer guesses a signature: the key that signs is here.
        template => {
            let (subject, rest) = bytes.split_at(bytes.len().min(subject.into()));
            authority.certify(&signed_request(subject, rest), usize::from(template - 2))
        }
    };
    if let Err(error) = answer {
        assert!(error.kind.name() != "KMSInternalException", "{error}");
    }
});
