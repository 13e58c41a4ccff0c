//! Backups open where they may, and nowhere else.

use std::rc::Rc;

use casemate_attestation::pcr::Mode;
use casemate_attestation::platform::PlatformKey;
use casemate_hsm::ck::*;
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Request, Response};
use casemate_signer::{Door, Signer};
use serde_json::Value;

use crate::client::{Client, send};
use crate::image::Image;
use crate::sealed;
use crate::token::{Answer, Application, initialize, on_token, read, rv};
use crate::volume::{Place, run};

/// The parts of a backup.
async fn backup(officer: &Application) -> Vec<Bytes> {
    let made = officer.ask(Operation::CreateBackup, Request::default()).await.expect("a backup");
    let (about, first) = (made.backup.expect("a backup"), made.data.expect("a part"));
    let mut parts = vec![first];
    for number in 1..about.parts {
        let request = Request { backup: Some(about.id.clone()), marker: Some(number), ..Request::default() };
        parts.push(officer.ask(Operation::ReadBackup, request).await.expect("a part").data.expect("data"));
    }
    let past = Request { backup: Some(about.id), marker: Some(about.parts), ..Request::default() };
    assert!(officer.ask(Operation::ReadBackup, past).await.is_err());
    parts
}

async fn owners(admin: &Client, operation: Operation, request: &Request) -> Answer {
    let target = format!("CasemateHsm.{}", operation.name());
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
    let body = serde_json::to_string(request).expect("JSON");
    read(send(&admin.signer, Door::Tls, admin.request("kms", &headers, &body).as_bytes()).await)
}

/// Restores into a signer; the last answer, or the first refusal.
async fn restore(admin: &Client, parts: &[Bytes], root: Option<&[u8]>) -> Answer {
    let mut last = Ok(Response::default());
    for (number, part) in parts.iter().enumerate() {
        let request = Request {
            data: Some(part.clone()),
            marker: Some(number as u64),
            platform_root: root.map(Bytes::copy),
            ..Request::default()
        };
        last = owners(admin, Operation::RestoreBackup, &request).await;
        last.as_ref().map_err(Clone::clone)?;
    }
    last
}

/// What a guest states about the key to which backups can be shared.
async fn statement(signer: &Rc<Signer>, nonce: &[u8]) -> Bytes {
    let body = serde_json::json!({"nonce": Bytes::copy(nonce)}).to_string();
    let request = format!(
        "POST /attestation/volume HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = send(signer, Door::Plain, request.as_bytes()).await;
    assert_eq!(status, 200, "{body}");
    let stated: Value = serde_json::from_str(&body).expect("JSON");
    serde_json::from_value(stated["document"].clone()).expect("a document")
}

async fn nonce(officer: &Application) -> Bytes {
    officer.ask(Operation::GetBackupNonce, Request::default()).await.expect("a nonce").data.expect("a nonce")
}

#[test]
fn a_backup_brings_everything_back_in_the_same_image() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = Image {
            platform: &platform,
            name: "i",
            mode: Mode::Production,
            signed_by: None,
            command_line: "",
        };
        let first = image.launch();
        initialize(&first).await;
        let alice = Application::of(&first, "alice").await;
        let set = [on_token("k"), vec![Attribute::number(CKA_PARAMETER_SET, CKP_ML_DSA_44)]].concat();
        let (public, private) =
            alice.pair(CKM_ML_DSA_KEY_PAIR_GEN, set, on_token("k")).await.expect("a pair");
        // More than fits into one part.
        for _ in 0..6 {
            let data = vec![
                Attribute::flag(CKA_TOKEN, true),
                Attribute::number(CKA_CLASS, CKO_DATA),
                Attribute::bytes(CKA_VALUE, &[7; 60_000]),
            ];
            alice.create(data).await.expect("kept");
        }
        let signature = alice.sign(&Mechanism::plain(CKM_ML_DSA), private, b"m").await.expect("signed");
        assert_eq!(
            rv(&alice.ask(Operation::CreateBackup, Request::default()).await),
            Some(CKR_USER_NOT_LOGGED_IN)
        );
        let stranger = Application { session: None, ..alice.clone() };
        assert!(stranger.ask(Operation::CreateBackup, Request::default()).await.is_err());
        let officer = Application::officer(&first).await;
        let parts = backup(&officer).await;
        assert!(parts.len() > 3, "{} parts", parts.len());
        let text: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        assert!(!text.windows(5).any(|window| window == b"alice"), "nothing of it is readable");

        let place = Place::new();
        let second = image.launch();
        let attached = place.attach(&second).await;
        let admin = Client::admin(&second).await;
        // Whatever is not the whole backup in order is refused, and leaves nothing.
        let mut swapped = parts.clone();
        swapped.swap(1, 2);
        let mut cut = parts.clone();
        cut.remove(2);
        let mut shorter = parts.clone();
        shorter.pop();
        let mut damaged = parts.clone();
        damaged[1][40] ^= 1;
        let mut relabelled = parts.clone();
        let at = relabelled[0].windows(4).position(|window| window == b"test").expect("the label");
        relabelled[0][at] = b'b';
        for wrong in [swapped, cut, damaged, relabelled, parts[1..].to_vec()] {
            assert!(restore(&admin, &wrong, None).await.is_err());
        }
        assert!(restore(&admin, &shorter, None).await.expect("so far").next_marker.is_some());
        let other = backup(&officer).await;
        let mixed = [&parts[..1], &other[1..]].concat();
        assert!(restore(&admin, &mixed, None).await.is_err());
        let unsigned = Request { data: Some(parts[0].clone()), marker: Some(0), ..Request::default() };
        let stranger = Application { signer: Rc::clone(&second), session: None };
        assert!(stranger.ask(Operation::RestoreBackup, unsigned).await.is_err());

        let restored = restore(&admin, &parts, None).await.expect("restored");
        assert_eq!(restored.token.expect("a token").label, "test");
        assert_eq!(rv(&restore(&admin, &parts, None).await), Some(CKR_ACTION_PROHIBITED), "once");
        attached.kill().await;
        let third = image.launch();
        place.attach(&third).await;
        let alice = Application::of(&third, "alice").await;
        assert_eq!(alice.find(vec![]).await.len(), 8);
        alice.verify(&Mechanism::plain(CKM_ML_DSA), public, b"m", &signature).await.expect("the same key");
        alice.sign(&Mechanism::plain(CKM_ML_DSA), private, b"m").await.expect("with its secret");
    });
}

#[test]
fn a_backup_opens_in_another_image_only_if_it_was_shared_with_it() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let elsewhere = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = Image {
            platform: &platform,
            name: "a",
            mode: Mode::Production,
            signed_by: None,
            command_line: "",
        };
        let first = image.launch();
        initialize(&first).await;
        let officer = Application::officer(&first).await;
        let mut parts = backup(&officer).await;
        for other in [Image { name: "b", ..image }, Image { platform: &elsewhere, ..image }] {
            let admin = Client::admin(&other.launch()).await;
            let refused = restore(&admin, &parts, None).await.expect_err("stolen");
            assert!(refused.message.contains("cannot be opened"), "{}", refused.message);
        }
        let share = |first: Bytes, document: Bytes, image: String, root: Option<&[u8]>| Request {
            data: Some(first),
            document: Some(document),
            image_sha384: Some(image),
            platform_root: root.map(Bytes::copy),
            ..Request::default()
        };
        // With another image on this platform.
        let other = Image { name: "b", ..image };
        let second = other.launch();
        let document = statement(&second, &nonce(&officer).await).await;
        let wrong = share(parts[0].clone(), document, image.pcr0().to_string(), None);
        assert!(officer.ask(Operation::ShareBackup, wrong).await.is_err(), "it is not that image");
        let document = statement(&second, &nonce(&officer).await).await;
        let right = share(parts[0].clone(), document, other.pcr0().to_string(), None);
        let stale = right.clone();
        let shared = officer.ask(Operation::ShareBackup, right).await.expect("shared").data.expect("a part");
        assert!(officer.ask(Operation::ShareBackup, stale).await.is_err(), "a nonce is good once");
        let own = std::mem::replace(&mut parts[0], shared);
        let third = Image { name: "c", ..image };
        let admin = Client::admin(&third.launch()).await;
        assert!(restore(&admin, &parts, None).await.is_err(), "it was shared with another");
        let admin = Client::admin(&second).await;
        restore(&admin, &parts, None).await.expect("restored");
        Application::of(&second, "alice").await;
        parts[0] = own;
        // With the same image on another platform, whose root the officer answers for.
        let far = Image { platform: &elsewhere, ..image };
        let second = far.launch();
        let roots = [&platform, &elsewhere].map(|platform| platform.root().to_vec());
        let document = statement(&second, &nonce(&officer).await).await;
        let unknown = share(parts[0].clone(), document, far.pcr0().to_string(), None);
        assert!(officer.ask(Operation::ShareBackup, unknown).await.is_err(), "nobody answers for the root");
        let document = statement(&second, &nonce(&officer).await).await;
        let known = share(parts[0].clone(), document, far.pcr0().to_string(), Some(&roots[1]));
        parts[0] = officer.ask(Operation::ShareBackup, known).await.expect("shared").data.expect("a part");
        let admin = Client::admin(&second).await;
        assert!(restore(&admin, &parts, None).await.is_err(), "nobody answers for where it comes from");
        restore(&admin, &parts, Some(&roots[0])).await.expect("restored");
        Application::of(&second, "alice").await;
    });
}

#[test]
fn a_signer_in_debug_mode_shares_nothing() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image =
            Image { platform: &platform, name: "a", mode: Mode::Debug, signed_by: None, command_line: "" };
        let first = image.launch();
        initialize(&first).await;
        let officer = Application::officer(&first).await;
        let parts = backup(&officer).await;
        let other = Image { mode: Mode::Production, ..image };
        let document = statement(&other.launch(), &nonce(&officer).await).await;
        let request = Request {
            data: Some(parts[0].clone()),
            document: Some(document),
            image_sha384: Some(other.pcr0().to_string()),
            ..Request::default()
        };
        let refused = officer.ask(Operation::ShareBackup, request).await.expect_err("shared");
        assert!(refused.message.contains("debug mode"), "{}", refused.message);
    });
}
