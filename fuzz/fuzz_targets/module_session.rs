//! What comes in at the security module: openings from nowhere, statements of a launch, requests of a guest or of somebody else.
#![no_main]

use casemate_attestation::nsm::session::{self, Hello, SessionError, accept, split_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (authority, hello) = casemate_fuzz::module();
    let (honest, bytes) = input;
    if honest {
        // The tag is right: the statement is what may be wrong.
        let channel = hello.channel(&authority, &[1; session::NONCE_LEN]).expect("our own hello");
        match accept(&authority, &hello, &session::open(&channel, &[1; session::NONCE_LEN], bytes)) {
            Ok(opened) => {
                opened.statement.encode().expect("what was read can be written");
                let mut line = opened.line;
                assert!(line.answer(bytes, <[u8]>::to_vec).is_none());
            }
            Err(error) => assert_eq!(error, SessionError::Statement),
        }
        return;
    }
    assert!(accept(&authority, &hello, bytes).is_err());
    let _ = split_request(bytes);
    if let Some(hello) = bytes.first_chunk().and_then(Hello::decode) {
        assert!(hello.channel(&authority, &[1; session::NONCE_LEN]).is_err());
    }
});
