//! Root certificates and signing keys that a user names on the command line.
#![no_main]

use casemate_attestation::platform;
use casemate_attestation::signing::SigningScalar;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(der) = platform::parse_root(input) {
        platform::encode_root(&der).expect("was a certificate");
    }
    if let Ok(key) = SigningScalar::from_pem(input) {
        key.public().expect("was a key");
    }
});
