//! What is on the token outlives the guest; what is in a session does not.

use casemate_hsm::ck::*;
use casemate_hsm::message::UserType;
use casemate_hsm::{Attribute, Mechanism, Operation, Request};

use crate::token::{Application, PASSWORD, initialize, on_token, rv};
use crate::volume::{GUEST, Place, run};

#[test]
fn a_restart_keeps_users_objects_and_lock_outs() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attachment = place.attach(&first).await;
        initialize(&first).await;
        let alice = Application::of(&first, "alice").await;
        let public = [on_token("k"), vec![Attribute::number(CKA_PARAMETER_SET, CKP_ML_DSA_44)]].concat();
        let (public, private) =
            alice.pair(CKM_ML_DSA_KEY_PAIR_GEN, public, on_token("k")).await.expect("a pair");
        let gone = alice.pair(
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            vec![Attribute::number(CKA_MODULUS_BITS, 1024), Attribute::flag(CKA_TOKEN, true)],
            vec![],
        );
        let (gone, session) = gone.await.expect("a pair");
        alice.destroy(gone).await.expect("destroyed");
        alice.set(private, vec![Attribute::bytes(CKA_LABEL, b"changed")]).await.expect("changed");
        let request = Request { object: Some(private), user: Some("bob".to_owned()), ..Request::default() };
        alice.ask(Operation::ShareObject, request).await.expect("shared");
        let signature = alice.sign(&Mechanism::plain(CKM_ML_DSA), private, b"m").await.expect("signed");
        for _ in 0..5 {
            alice.ask(Operation::Logout, Request::default()).await.ok();
            assert!(alice.login("alice", "wrong password", UserType::CryptoUser).await.is_err());
        }
        attachment.kill().await;

        let second = GUEST.launch();
        place.attach(&second).await;
        let before = Application { signer: second.clone(), ..alice };
        let closed = before.ask(Operation::FindObjects, Request::default()).await;
        assert_eq!(rv(&closed), Some(CKR_SESSION_HANDLE_INVALID), "sessions end");
        let alice = Application::open(&second).await;
        let locked = alice.login("alice", PASSWORD, UserType::CryptoUser).await;
        assert_eq!(rv(&locked), Some(CKR_PIN_LOCKED), "a restart unlocks nobody");
        let bob = Application::of(&second, "bob").await;
        assert_eq!(bob.find(vec![]).await, [public, private], "neither erased nor of a session");
        assert_eq!(bob.get(private, CKA_LABEL).await, Ok(b"changed".to_vec()));
        bob.verify(&Mechanism::plain(CKM_ML_DSA), public, b"m", &signature).await.expect("the same key");
        bob.sign(&Mechanism::plain(CKM_ML_DSA), private, b"m").await.expect("with its secret");
        let new = bob.generate(CKM_SHA256_KEY_GEN, vec![]).await.expect("a key");
        assert!(new > session, "handles are never used again");
    });
}
