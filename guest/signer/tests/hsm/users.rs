//! Users: logins, lock-out, and who sees what.

use casemate_hsm::ck::*;
use casemate_hsm::message::UserType;
use casemate_hsm::{Attribute, Mechanism, Operation, Request};
use casemate_signer::Door;

use crate::client::run;
use crate::token::{Application, OFFICER, PASSWORD, on_token, post, read, rv, token};

#[test]
fn the_token_is_initialised_by_the_owner_and_once() {
    run(async {
        let signer = token().await;
        let body = "{\"Label\":\"x\",\"User\":\"mallory\",\"Pin\":\"a long password\"}";
        let (status, answer) = post(&signer, Door::Tls, "InitializeToken", body).await;
        assert!(status == 400 && answer.contains("MissingAuthenticationToken"), "{answer}");
        let stranger = Application::open(&signer).await;
        let described = stranger.ask(Operation::DescribeToken, Request::default()).await.expect("a token");
        let described = described.token.expect("a token");
        assert_eq!((described.label.as_str(), described.serial.len()), ("test", 16));
        assert_ne!(described.flags & CKF_TOKEN_INITIALIZED, 0);
    });
}

#[test]
fn nothing_of_it_is_served_in_the_clear() {
    run(async {
        let signer = token().await;
        for operation in Operation::ALL {
            let (status, answer) = post(&signer, Door::Plain, operation.name(), "{}").await;
            assert!(status == 400 && answer.contains("TLS"), "{operation:?}: {answer}");
        }
    });
}

#[test]
fn wrong_passwords_lock_a_user_out_until_an_officer_sets_another() {
    run(async {
        let signer = token().await;
        let application = Application::open(&signer).await;
        let wrong = application.login("alice", "wrong password", UserType::CryptoUser).await;
        let nobody = application.login("nobody", "wrong password", UserType::CryptoUser).await;
        assert_eq!(wrong.err(), nobody.err(), "an unknown user is a wrong password");
        // A right one in between begins anew.
        application.login("alice", PASSWORD, UserType::CryptoUser).await.expect("right");
        application.ask(Operation::Logout, Request::default()).await.expect("logged in");
        for _ in 0..5 {
            let wrong = application.login("alice", "wrong password", UserType::CryptoUser).await;
            assert_eq!(rv(&wrong), Some(CKR_PIN_INCORRECT));
        }
        let right = application.login("alice", PASSWORD, UserType::CryptoUser).await;
        assert_eq!(rv(&right), Some(CKR_PIN_LOCKED));
        let officer = Application::officer(&signer).await;
        let users = officer.ask(Operation::ListUsers, Request::default()).await.expect("users").users;
        assert!(users.expect("users").iter().any(|user| user.user == "alice" && user.locked));
        officer.user(Operation::ChangePassword, "alice", "another password").await.expect("an officer may");
        application.login("alice", "another password", UserType::CryptoUser).await.expect("unlocked");
    });
}

#[test]
fn a_reset_takes_an_officers_password_and_leaves_nothing_but_that_officer() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let key = [on_token("k"), vec![Attribute::number(CKA_VALUE_LEN, 32)]].concat();
        alice.generate(CKM_AES_KEY_GEN, key).await.expect("a key");
        let stranger = Application::open(&signer).await;
        let describe = async || {
            let described = stranger.ask(Operation::DescribeToken, Request::default()).await;
            described.expect("a description").token.expect("a token")
        };
        let reset = async |user: &str, pin: &str, label: &str| {
            let body = format!(r#"{{"Label":"{label}","User":"{user}","Pin":"{pin}"}}"#);
            read(post(&signer, Door::Tls, "ResetToken", &body).await)
        };
        let before = describe().await;
        assert_eq!((before.objects, before.flags & CKF_SO_PIN_COUNT_LOW), (1, 0));
        for (user, pin, label, expected) in [
            ("officer", "wrong password", "new", CKR_PIN_INCORRECT),
            ("nobody", OFFICER, "new", CKR_PIN_INCORRECT),
            ("alice", PASSWORD, "new", CKR_USER_TYPE_INVALID),
            ("officer", OFFICER, "", CKR_ARGUMENTS_BAD),
        ] {
            assert_eq!(rv(&reset(user, pin, label).await), Some(expected), "{user} {label}");
        }
        let described = describe().await;
        assert_eq!((described.serial == before.serial, described.objects), (true, 1), "nothing happened");
        assert_ne!(described.flags & CKF_SO_PIN_COUNT_LOW, 0, "a wrong password counts");
        reset("officer", OFFICER, "new").await.expect("a reset");
        let after = describe().await;
        assert_eq!((after.label.as_str(), after.objects, after.sessions), ("new", 0, 0));
        assert_ne!(after.serial, before.serial);
        let dead = alice.ask(Operation::FindObjects, Request::default()).await;
        assert_eq!(rv(&dead), Some(CKR_SESSION_HANDLE_INVALID));
        let gone = Application::open(&signer).await.login("alice", PASSWORD, UserType::CryptoUser).await;
        assert_eq!(rv(&gone), Some(CKR_PIN_INCORRECT));
        let officer = Application::officer(&signer).await;
        let users = officer.ask(Operation::ListUsers, Request::default()).await.expect("users").users;
        assert_eq!(users.expect("users").len(), 1);
        assert_eq!(officer.find(vec![]).await, [0; 0]);
    });
}

#[test]
fn each_part_does_its_own_and_no_more() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let officer = Application::officer(&signer).await;
        for answer in [
            alice.user(Operation::CreateUser, "carol", PASSWORD).await,
            alice.user(Operation::DeleteUser, "bob", "").await,
            alice.user(Operation::ChangePassword, "bob", PASSWORD).await,
            alice.user(Operation::InitializePin, "bob", PASSWORD).await,
            alice.ask(Operation::ListUsers, Request::default()).await,
        ] {
            assert_eq!(rv(&answer), Some(CKR_USER_NOT_LOGGED_IN));
        }
        let template = vec![Attribute::number(CKA_VALUE_LEN, 32), Attribute::flag(CKA_PRIVATE, true)];
        let made = officer.generate(CKM_AES_KEY_GEN, template.clone()).await;
        assert_eq!(made.err().and_then(|refusal| refusal.rv), Some(CKR_USER_NOT_LOGGED_IN));
        let stranger = Application::open(&signer).await;
        let made = stranger.generate(CKM_AES_KEY_GEN, template).await;
        assert_eq!(made.err().and_then(|refusal| refusal.rv), Some(CKR_USER_NOT_LOGGED_IN));
        let as_officer = stranger.login("alice", PASSWORD, UserType::CryptoOfficer).await;
        assert_eq!(rv(&as_officer), Some(CKR_USER_TYPE_INVALID));
        let twice = alice.login("alice", PASSWORD, UserType::CryptoUser).await;
        assert_eq!(rv(&twice), Some(CKR_USER_ALREADY_LOGGED_IN));
        let another = alice.login("bob", PASSWORD, UserType::CryptoUser).await;
        assert_eq!(rv(&another), Some(CKR_USER_ANOTHER_ALREADY_LOGGED_IN));
        let short = officer.user(Operation::CreateUser, "carol", "1234567").await;
        assert_eq!(rv(&short), Some(CKR_PIN_LEN_RANGE));
        let last = officer.user(Operation::DeleteUser, "officer", "").await;
        assert_eq!(rv(&last), Some(CKR_FUNCTION_REJECTED));
    });
}

#[test]
fn without_a_login_a_session_has_its_own_public_objects_and_nothing_else() {
    run(async {
        let signer = token().await;
        let stranger = Application::open(&signer).await;
        let public = |more: &[Attribute]| [&[Attribute::flag(CKA_PRIVATE, false)], more].concat();
        let long = Attribute::number(CKA_VALUE_LEN, 32);
        let key =
            stranger.generate(CKM_AES_KEY_GEN, public(std::slice::from_ref(&long))).await.expect("a key");
        let copied = stranger
            .ask(
                Operation::CopyObject,
                Request { object: Some(key), template: Some(vec![]), ..Request::default() },
            )
            .await;
        stranger.destroy(copied.expect("a copy").object.expect("a handle")).await.expect("destroyed");
        stranger
            .compute(Operation::Encrypt, &Mechanism::plain(CKM_AES_ECB), key, &[0; 16])
            .await
            .expect("encrypted");
        for other in [Application::open(&signer).await, Application::of(&signer, "alice").await] {
            assert_eq!(other.find(vec![]).await, [0; 0], "it is its session's");
        }
        let key = stranger.generate(CKM_AES_KEY_GEN, vec![long.clone()]).await.expect("a key");
        assert_eq!(stranger.get(key, CKA_PRIVATE).await, Ok(vec![0]));
        for (template, expected) in [
            (vec![long.clone(), Attribute::flag(CKA_PRIVATE, true)], CKR_USER_NOT_LOGGED_IN),
            (vec![long.clone(), Attribute::flag(CKA_TOKEN, true)], CKR_USER_NOT_LOGGED_IN),
            (public(&[long.clone(), Attribute::flag(CKA_TOKEN, true)]), CKR_USER_NOT_LOGGED_IN),
            (public(&[long.clone(), Attribute::bytes(CKA_LABEL, &[1; 9000])]), CKR_TOKEN_RESOURCE_EXCEEDED),
        ] {
            let made = stranger.generate(CKM_AES_KEY_GEN, template).await;
            assert_eq!(made.err().and_then(|refusal| refusal.rv), Some(expected));
        }
        let rsa = vec![Attribute::number(CKA_MODULUS_BITS, 4096)];
        let made = stranger.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, rsa, public(&[])).await;
        assert_eq!(made.err().and_then(|refusal| refusal.rv), Some(CKR_USER_NOT_LOGGED_IN));
        // However many of them there are, those who log in have room.
        let mut refused = false;
        for _ in 0..520 {
            refused |= stranger.generate(CKM_AES_KEY_GEN, public(std::slice::from_ref(&long))).await.is_err();
        }
        assert!(refused);
        let alice = Application::of(&signer, "alice").await;
        alice.generate(CKM_AES_KEY_GEN, vec![long]).await.expect("a key");
    });
}

#[test]
fn private_objects_are_their_users_own() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let p256 = vec![Attribute::bytes(CKA_EC_PARAMS, &hex(P256))];
        let public = [on_token("k"), p256].concat();
        let (public, private) = alice.pair(CKM_EC_KEY_PAIR_GEN, public, on_token("k")).await.expect("a pair");
        let session = alice.generate(CKM_AES_KEY_GEN, vec![Attribute::number(CKA_VALUE_LEN, 16)]).await;
        let session = session.expect("a key");
        assert_eq!(alice.find(vec![]).await, [public, private, session]);
        let again = Application::of(&signer, "alice").await;
        assert_eq!(again.find(vec![]).await, [public, private], "a session object is its session's");
        let bob = Application::of(&signer, "bob").await;
        let officer = Application::officer(&signer).await;
        let stranger = Application::open(&signer).await;
        for other in [&bob, &officer, &stranger] {
            assert_eq!(other.find(vec![]).await, [public]);
            assert_eq!(other.get(private, CKA_LABEL).await, Err(CKR_OBJECT_HANDLE_INVALID));
            let signed = other.sign(&Mechanism::plain(CKM_ECDSA_SHA256), private, b"m").await;
            assert_eq!(signed.err().and_then(|refusal| refusal.rv), Some(CKR_KEY_HANDLE_INVALID));
            assert_eq!(rv(&other.destroy(private).await), Some(CKR_OBJECT_HANDLE_INVALID));
            assert!(other.destroy(public).await.is_err());
        }
        // A shared key is used, and nothing else.
        let share = |operation, user: &str| {
            let request =
                Request { object: Some(private), user: Some(user.to_owned()), ..Request::default() };
            let alice = alice.clone();
            async move { alice.ask(operation, request).await }
        };
        share(Operation::ShareObject, "bob").await.expect("shared");
        bob.sign(&Mechanism::plain(CKM_ECDSA_SHA256), private, b"m").await.expect("bob may");
        assert_eq!(rv(&bob.destroy(private).await), Some(CKR_ACTION_PROHIBITED));
        assert!(bob.set(private, vec![Attribute::bytes(CKA_LABEL, b"x")]).await.is_err());
        share(Operation::UnshareObject, "bob").await.expect("unshared");
        assert_eq!(bob.find(vec![]).await, [public]);
        assert!(share(Operation::ShareObject, "officer").await.is_err());
        // Who has keys is not deleted; a session that is over takes its objects along.
        assert_eq!(rv(&officer.user(Operation::DeleteUser, "alice", "").await), Some(CKR_FUNCTION_REJECTED));
        alice.ask(Operation::Logout, Request::default()).await.expect("logged in");
        assert_eq!(alice.find(vec![]).await, [public]);
        alice.login("alice", PASSWORD, UserType::CryptoUser).await.expect("again");
        assert_eq!(alice.find(vec![]).await, [public, private]);
        alice.ask(Operation::CloseSession, Request::default()).await.expect("closed");
        let closed = alice.ask(Operation::FindObjects, Request::default()).await;
        assert_eq!(rv(&closed), Some(CKR_SESSION_HANDLE_INVALID));
    });
}

/// DER of secp256r1's object identifier.
const P256: &str = "06082a8648ce3d030107";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}
