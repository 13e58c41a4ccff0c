//! Forms that the administrator has signed: answered in XML, or refused with a reason that is not "internal failure".
#![no_main]

use casemate_fuzz::client::{Client, run, send};
use casemate_fuzz::signer;
use casemate_signer::Door;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    run(async {
        let signer = signer::new();
        let admin = Client::admin(&signer).await;
        let service = if input.contains("2011-06-15") { "sts" } else { "iam" };
        let (status, answer) = send(&signer, Door::Tls, admin.form(service, input).as_bytes()).await;
        assert!(status < 500 && answer.starts_with('<') && answer.ends_with('>'), "{status} {answer}");
    });
});
