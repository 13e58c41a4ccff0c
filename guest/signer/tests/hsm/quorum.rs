//! What takes more than one person: signatures made outside, by openssl.

use casemate_hsm::attribute::CKA_CASEMATE_QUORUM;
use casemate_hsm::ck::*;
use casemate_hsm::message::{Approval, Service, UserType};
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Request};
use zeroize::Zeroizing;

use crate::client::run;
use crate::mechanisms::known;
use crate::scratch::Scratch;
use crate::token::{Application, PASSWORD, rv, token};

fn name(user: &str) -> Option<String> {
    Some(user.to_owned())
}

/// Makes a key for a user with openssl, and registers it.
async fn register(scratch: &Scratch, application: &Application, user: &str, kind: &str) {
    scratch.succeeds(&format!("genpkey -algorithm {kind} -out {user}.pem"));
    scratch.succeeds(&format!("pkey -in {user}.pem -pubout -outform DER -out {user}.der"));
    let public_key = Some(Bytes::from(scratch.read(&format!("{user}.der"))));
    let request = Request { public_key, ..Request::default() };
    application.ask(Operation::RegisterQuorumKey, request).await.expect("registered");
}

/// A user's signature over the text of a quorum token.
fn approval(scratch: &Scratch, user: &str, text: &[u8]) -> Approval {
    scratch.write("text", text);
    scratch.succeeds(&format!("dgst -sha256 -sign {user}.pem -out sig text"));
    Approval { user: user.to_owned(), signature: Bytes::from(scratch.read("sig")) }
}

#[test]
fn a_key_that_asks_for_two_leaves_with_two() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-quorum"));
        let officer = Application::officer(&signer).await;
        officer.user(Operation::CreateUser, "carol", PASSWORD).await.expect("a user");
        let alice = Application::of(&signer, "alice").await;
        register(&scratch, &alice, "alice", "RSA").await;
        let bob = Application::of(&signer, "bob").await;
        register(&scratch, &bob, "bob", "EC -pkeyopt ec_paramgen_curve:P-384").await;
        register(&scratch, &officer, "officer", "RSA -pkeyopt rsa_keygen_bits:3072").await;
        let kek = known(&alice, CKK_AES, &[1; 32], &[Attribute::flag(CKA_WRAP, true)]).await;
        let two = [Attribute::flag(CKA_EXTRACTABLE, true), Attribute::number(CKA_CASEMATE_QUORUM, 2)];
        let key = known(&alice, CKK_AES, &[2; 32], &two).await;
        let request = Request {
            mechanism: Some(Mechanism::plain(CKM_AES_KEY_WRAP_KWP)),
            wrapping_object: Some(kek),
            object: Some(key),
            ..Request::default()
        };
        let wrap = |token: Option<&str>| {
            let request = Request { quorum_token: token.map(str::to_owned), ..request.clone() };
            let alice = alice.clone();
            async move { alice.ask(Operation::WrapKey, request).await }
        };
        assert_eq!(rv(&wrap(None).await), Some(CKR_FUNCTION_REJECTED));
        let about = Request { operation: name("WrapKey"), ..request.clone() };
        let asked = alice.ask(Operation::GetQuorumToken, about.clone()).await.expect("a token");
        let (id, data) = (asked.quorum_token.expect("a token"), asked.data.expect("a text"));
        let lines = String::from_utf8(data.to_vec()).expect("text");
        for line in ["operation WrapKey", "asked-by alice", &format!("object {key}"), "mechanism 0x210b"] {
            assert!(lines.lines().any(|found| found == line), "{line} is not in {lines}");
        }
        assert_eq!(rv(&wrap(Some(&id)).await), Some(CKR_FUNCTION_REJECTED), "nobody has approved");
        let approve = |token: &str, approvals: Vec<Approval>| {
            let request = Request {
                quorum_token: Some(token.to_owned()),
                approvals: Some(approvals),
                ..Request::default()
            };
            let bob = bob.clone();
            async move { bob.ask(Operation::ApproveQuorumToken, request).await }
        };
        let own = approval(&scratch, "alice", &data);
        let (of_bob, of_officer) = (approval(&scratch, "bob", &data), approval(&scratch, "officer", &data));
        let stolen = Approval { user: "officer".to_owned(), ..of_bob.clone() };
        let unregistered = Approval { user: "carol".to_owned(), ..of_bob.clone() };
        let elsewhere = approval(&scratch, "officer", b"another text");
        for wrong in [own, stolen, unregistered, elsewhere] {
            let refused = approve(&id, vec![of_bob.clone(), wrong]).await;
            assert_eq!(rv(&refused), Some(CKR_SIGNATURE_INVALID));
        }
        approve(&id, vec![of_bob.clone()]).await.expect("one");
        approve(&id, vec![of_bob.clone()]).await.expect("the same again");
        assert_eq!(rv(&wrap(Some(&id)).await), Some(CKR_FUNCTION_REJECTED), "one is not two");
        approve(&id, vec![of_officer]).await.expect("two");
        // It is good for that request alone, and for whoever asked.
        let other = Request {
            quorum_token: Some(id.clone()),
            object: Some(known(&alice, CKK_AES, &[3; 32], &two).await),
            ..request.clone()
        };
        assert_eq!(rv(&alice.ask(Operation::WrapKey, other).await), Some(CKR_FUNCTION_REJECTED));
        wrap(Some(&id)).await.expect("wrapped");
        assert_eq!(rv(&wrap(Some(&id)).await), Some(CKR_FUNCTION_REJECTED), "good once");
        // A request that names none takes the one that is good for it, once.
        let unapproved = alice.ask(Operation::GetQuorumToken, about.clone()).await.expect("a token");
        let asked = alice.ask(Operation::GetQuorumToken, about.clone()).await.expect("a token");
        let (id, data) = (asked.quorum_token.expect("a token"), asked.data.expect("a text"));
        assert_eq!(rv(&wrap(None).await), Some(CKR_FUNCTION_REJECTED), "nobody has approved");
        let both = vec![approval(&scratch, "bob", &data), approval(&scratch, "officer", &data)];
        approve(&id, both).await.expect("two");
        // Those who asked, and those who can approve, are told of it; carol, who has no key, is not.
        let carol = Application::of(&signer, "carol").await;
        for (who, told) in [(&alice, 2), (&bob, 2), (&officer, 2), (&carol, 0)] {
            let answer = who.ask(Operation::GetQuorum, Request::default()).await.expect("quorums");
            let tokens = answer.quorum_tokens.expect("tokens");
            assert_eq!(tokens.len(), told);
            let approved =
                tokens.iter().find(|token| token.quorum_token == id).map(|token| &token.approved[..]);
            assert!(told == 0 || approved == Some(&["bob".to_owned(), "officer".to_owned()]));
        }
        let named = wrap(unapproved.quorum_token.as_deref()).await;
        assert_eq!(rv(&named), Some(CKR_FUNCTION_REJECTED), "another one is named");
        wrap(None).await.expect("wrapped");
        assert_eq!(rv(&wrap(None).await), Some(CKR_FUNCTION_REJECTED), "good once");
        // A new key for approving takes back what the old one approved.
        let asked = alice.ask(Operation::GetQuorumToken, about).await.expect("a token");
        let (id, data) = (asked.quorum_token.expect("a token"), asked.data.expect("a text"));
        let both = vec![approval(&scratch, "bob", &data), approval(&scratch, "officer", &data)];
        approve(&id, both).await.expect("two");
        register(&scratch, &bob, "bob", "RSA").await;
        assert_eq!(rv(&wrap(Some(&id)).await), Some(CKR_FUNCTION_REJECTED));
    });
}

#[test]
fn officers_who_have_agreed_on_a_quorum_need_it() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-quorum-users"));
        let first = Application::officer(&signer).await;
        let quorum =
            |count| Request { service: Some(Service::Users), count: Some(count), ..Request::default() };
        register(&scratch, &first, "officer", "RSA").await;
        let alone = first.ask(Operation::SetQuorum, quorum(1)).await;
        assert_eq!(rv(&alone), Some(CKR_ARGUMENTS_BAD), "nobody else could approve");
        let second = Request {
            user: name("second"),
            pin: Some(Zeroizing::new(PASSWORD.to_owned())),
            user_type: Some(UserType::CryptoOfficer),
            ..Request::default()
        };
        first.ask(Operation::CreateUser, second).await.expect("another officer");
        let second = Application::open(&signer).await;
        second.login("second", PASSWORD, UserType::CryptoOfficer).await.expect("a login");
        register(&scratch, &second, "second", "EC -pkeyopt ec_paramgen_curve:P-256").await;
        first.ask(Operation::SetQuorum, quorum(1)).await.expect("set");
        for answer in [
            first.user(Operation::CreateUser, "dave", PASSWORD).await,
            first.user(Operation::DeleteUser, "bob", "").await,
            first.user(Operation::ChangePassword, "bob", PASSWORD).await,
            first.user(Operation::InitializePin, "bob", PASSWORD).await,
            first.ask(Operation::SetQuorum, quorum(0)).await,
        ] {
            assert_eq!(rv(&answer), Some(CKR_FUNCTION_REJECTED));
        }
        let about = Request { operation: name("DeleteUser"), user: name("bob"), ..Request::default() };
        let asked = first.ask(Operation::GetQuorumToken, about).await.expect("a token");
        let (id, data) = (asked.quorum_token, asked.data.expect("a text"));
        let approvals = Some(vec![approval(&scratch, "second", &data)]);
        let request = Request { quorum_token: id.clone(), approvals, ..Request::default() };
        first.ask(Operation::ApproveQuorumToken, request).await.expect("approved");
        let delete =
            |user: &str| Request { user: name(user), quorum_token: id.clone(), ..Request::default() };
        let another = first.ask(Operation::DeleteUser, delete("alice")).await;
        assert_eq!(rv(&another), Some(CKR_FUNCTION_REJECTED));
        first.ask(Operation::DeleteUser, delete("bob")).await.expect("deleted");
        let quorums = first.ask(Operation::GetQuorum, Request::default()).await.expect("quorums").quorums;
        assert!(quorums.expect("quorums").iter().any(|q| q.service == Service::Users && q.count == 1));
    });
}
