//! The body of a request to the token, of a user, an officer or somebody with a session alone: answered or refused.
#![no_main]

use std::cell::RefCell;

use casemate_fuzz::client::run;
use casemate_fuzz::token::{Application, on_token, post, token};
use casemate_hsm::ck::{CKA_DESTROYABLE, CKA_EC_PARAMS, CKA_VALUE_LEN, CKM_AES_KEY_GEN, CKM_EC_KEY_PAIR_GEN};
use casemate_hsm::{Attribute, Operation};
use casemate_signer::Door;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SCENE: RefCell<Option<[Application; 3]>> = const { RefCell::new(None) };
}

/// A token with keys that stay: an AES key is object 1, a pair of P-256 are 2 and 3.
async fn scene() -> [Application; 3] {
    let signer = token().await;
    let alice = Application::of(&signer, "alice").await;
    let stays = || Attribute::flag(CKA_DESTROYABLE, false);
    let aes = [on_token("k"), vec![Attribute::number(CKA_VALUE_LEN, 32), stays()]].concat();
    alice.generate(CKM_AES_KEY_GEN, aes).await.expect("a key");
    let p256 = vec![Attribute::bytes(CKA_EC_PARAMS, b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"), stays()];
    alice.pair(CKM_EC_KEY_PAIR_GEN, p256, vec![stays()]).await.expect("a pair");
    [alice, Application::officer(&signer).await, Application::open(&signer).await]
}

fuzz_target!(|input: (u8, u8, &str)| {
    let (operation, who, body) = input;
    let operation = Operation::ALL[usize::from(operation) % Operation::ALL.len()];
    run(async {
        let people = SCENE.take();
        let people = if let Some(people) = people { people } else { scene().await };
        let asks = &people[usize::from(who) % people.len()];
        // No fuzzer guesses a session.
        let body = body.replace('$', asks.session.as_deref().map_or("", |session| session));
        let (status, answer) = post(&asks.signer, Door::Tls, operation.name(), &body).await;
        assert!(status == 200 || status == 400, "{operation:?} {body}: {answer}");
        // Whoever ended a session, or the token itself, leaves the next one a new one.
        let mut alive = true;
        let questions = [
            (Operation::FindObjects, r#""Objects":[1,2,3"#),
            (Operation::ListUsers, r#""User":"alice""#),
            (Operation::FindObjects, "Objects"),
        ];
        for (one, (question, expected)) in people.iter().zip(questions) {
            let session = one.session.as_deref().map_or("", |session| session);
            let asked = format!(r#"{{"SessionToken":"{session}"}}"#);
            alive &= post(&one.signer, Door::Tls, question.name(), &asked).await.1.contains(expected);
        }
        SCENE.set(alive.then_some(people));
    });
});
