//! Requests to a claimed signer from somebody without a secret: nothing is done for them.
#![no_main]

use casemate_fuzz::client::{Client, run, send};
use casemate_fuzz::signer;
use casemate_signer::Door;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    run(async {
        let signer = signer::new();
        let admin = Client::admin(&signer).await;
        // No fuzzer guesses an access key.
        let request = input.replace('$', &admin.id);
        let (_, answer) = send(&signer, Door::Tls, request.as_bytes()).await;
        assert!(!answer.contains("Result>") && !answer.contains("\"Keys\""), "{answer}");
        let (status, users) = admin.iam("ListUsers", "").await;
        assert!(status == 200 && users.matches("<UserName>").count() == 1, "{users}");
    });
});
