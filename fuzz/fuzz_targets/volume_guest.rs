//! What a host says to a signer that it offers a volume: the signer takes none of it for a key, and goes on.
#![no_main]

use casemate_fuzz::{signer, volume};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let signer = signer::new();
    volume::offer(&signer, input);
    let keys = signer.call("ListKeys", b"{}").expect("a list");
    assert!(keys.windows(9).any(|window| window == br#""Keys":[]"#), "a key came from nowhere");
});
