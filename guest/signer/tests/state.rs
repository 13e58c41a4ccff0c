//! What survives a restart, and what is made of a file that is not as it was left.

mod common;
#[path = "common/volume.rs"]
mod volume;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use casemate_signer::Signer;
use casemate_volume::layout::{Grant, RootPrefix, digest};
use casemate_volume::{Anchor, Header, Name, Record, Request, Response, frame};
use common::{b64, key, ok, text};
use proptest::prelude::*;
use serde_bytes::{ByteArray, ByteBuf};
use serde_json::{Value, json};
use volume::{GUEST, Guest, Memory, Place, Say, converse, keep, run};

async fn create(signer: &Signer, spec: &str, usage: &str) -> String {
    let request = json!({"KeySpec": spec, "KeyUsage": usage, "Description": "a telling description"});
    text(&keep(signer, "CreateKey", request).await.expect("created")["KeyMetadata"]["KeyId"])
}

fn ids(signer: &Signer) -> BTreeSet<String> {
    let listed = ok(signer, "ListKeys", json!({"Limit": 1000}));
    listed["Keys"].as_array().expect("keys").iter().map(|key| text(&key["KeyId"])).collect()
}

#[test]
fn keys_of_every_kind_survive() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let _attached = place.attach(&first).await;
        let kinds = [
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
            ("RSA_2048", "ENCRYPT_DECRYPT"),
            ("RSA_2048", "SIGN_VERIFY"),
            ("ECC_NIST_P256", "SIGN_VERIFY"),
            ("ECC_NIST_P384", "KEY_AGREEMENT"),
            ("ECC_SECG_P256K1", "SIGN_VERIFY"),
            ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
            ("HMAC_384", "GENERATE_VERIFY_MAC"),
            ("ML_DSA_65", "SIGN_VERIFY"),
            ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
        ];
        let mut keys = Vec::new();
        for (spec, usage) in kinds {
            keys.push((create(&first, spec, usage).await, spec, usage));
        }
        let [symmetric, .., ending] = keys.as_slice() else { panic!() };
        let ciphertext =
            ok(&first, "Encrypt", json!({"KeyId": symmetric.0, "Plaintext": b64("kept")}))["CiphertextBlob"]
                .clone();
        keep(&first, "DisableKey", json!({"KeyId": keys[3].0})).await.expect("disabled");
        keep(&first, "ScheduleKeyDeletion", json!({"KeyId": ending.0})).await.expect("scheduled");
        let described: Vec<Value> =
            keys.iter().map(|(id, ..)| ok(&first, "DescribeKey", json!({"KeyId": id}))).collect();
        let public =
            |signer: &Signer, id: &str| ok(signer, "GetPublicKey", json!({"KeyId": id}))["PublicKey"].clone();
        let publics: Vec<_> = [1, 2, 4, 5, 6, 8].map(|at: usize| public(&first, &keys[at].0)).into();
        let mac = json!({"KeyId": keys[7].0, "Message": b64("m"), "MacAlgorithm": "HMAC_SHA_384"});
        let tag = ok(&first, "GenerateMac", mac.clone())["Mac"].clone();
        // The machine dies: nothing is said to the guest or by it.
        _attached.kill().await;

        let second = GUEST.launch();
        let _attached = place.attach(&second).await;
        assert_eq!(ids(&second), keys.iter().map(|(id, ..)| id.clone()).collect());
        for ((id, ..), before) in keys.iter().zip(described) {
            assert_eq!(ok(&second, "DescribeKey", json!({"KeyId": id})), before);
        }
        let again: Vec<_> = [1, 2, 4, 5, 6, 8].map(|at: usize| public(&second, &keys[at].0)).into();
        assert_eq!(publics, again);
        let plaintext = ok(&second, "Decrypt", json!({"CiphertextBlob": ciphertext}))["Plaintext"].clone();
        assert_eq!(plaintext, b64("kept"));
        assert_eq!(ok(&second, "GenerateMac", mac)["Mac"], tag);
        keep(&second, "EnableKey", json!({"KeyId": keys[3].0})).await.expect("enabled");
        let sign = json!({"KeyId": keys[3].0, "Message": b64("m"), "SigningAlgorithm": "ECDSA_SHA_256"});
        let signature = ok(&second, "Sign", sign.clone())["Signature"].clone();
        let mut verify = sign;
        verify["Signature"] = signature;
        assert_eq!(ok(&second, "Verify", verify)["SignatureValid"], true);
        keep(&second, "CancelKeyDeletion", json!({"KeyId": ending.0})).await.expect("cancelled");
    });
}

#[test]
fn names_tags_policies_grants_and_rotations_survive() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attached = place.attach(&first).await;
        let id = create(&first, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
        let gone = create(&first, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
        let blob =
            ok(&first, "Encrypt", json!({"KeyId": id, "Plaintext": b64("kept")}))["CiphertextBlob"].clone();
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*",
            "Resource": "*", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}}]});
        let ann = "arn:aws:iam::000000000000:user/ann";
        let grant = json!({"KeyId": id, "GranteePrincipal": ann, "RetiringPrincipal": ann, "Name": "n",
            "Operations": ["Encrypt"], "Constraints": {"EncryptionContextEquals": {"a": "b"}}});
        for (operation, request) in [
            ("CreateAlias", json!({"AliasName": "alias/kept/one", "TargetKeyId": id})),
            ("CreateAlias", json!({"AliasName": "alias/moved", "TargetKeyId": gone})),
            ("CreateAlias", json!({"AliasName": "alias/gone", "TargetKeyId": gone})),
            ("UpdateAlias", json!({"AliasName": "alias/moved", "TargetKeyId": id})),
            ("DeleteAlias", json!({"AliasName": "alias/gone"})),
            ("TagResource", json!({"KeyId": id, "Tags": [{"TagKey": "Ω", "TagValue": "ω"}]})),
            ("PutKeyPolicy", json!({"KeyId": id, "Policy": policy.to_string()})),
            ("EnableKeyRotation", json!({"KeyId": id, "RotationPeriodInDays": 100})),
            ("RotateKeyOnDemand", json!({"KeyId": id})),
            ("CreateGrant", grant.clone()),
        ] {
            keep(&first, operation, request).await.unwrap_or_else(|error| panic!("{operation}: {error}"));
        }
        let mut other = grant;
        other["Name"] = json!("other");
        let other = keep(&first, "CreateGrant", other).await.expect("granted")["GrantToken"].clone();
        keep(&first, "RetireGrant", json!({"GrantToken": other})).await.expect("retired");
        let lock = json!({"Policy": policy.to_string(), "MultiRegion": true,
            "Tags": [{"TagKey": "casemate:policy-locked", "TagValue": "true"}]});
        let locked = text(&keep(&first, "CreateKey", lock).await.expect("locked")["KeyMetadata"]["KeyId"]);
        let waiting = json!({"Origin": "EXTERNAL"});
        let waiting =
            text(&keep(&first, "CreateKey", waiting).await.expect("external")["KeyMetadata"]["KeyId"]);

        let look = |signer: &Signer| -> Vec<Value> {
            let mut seen = vec![ok(signer, "ListAliases", json!({}))];
            for id in [&id, &locked, &waiting] {
                for operation in ["DescribeKey", "ListGrants", "ListResourceTags", "GetKeyPolicy"] {
                    seen.push(ok(signer, operation, json!({"KeyId": id})));
                }
            }
            for operation in ["GetKeyRotationStatus", "ListKeyRotations"] {
                seen.push(ok(signer, operation, json!({"KeyId": id})));
            }
            seen
        };
        let before = look(&first);
        attached.kill().await;

        let second = GUEST.launch();
        let _attached = place.attach(&second).await;
        for (before, after) in before.iter().zip(look(&second)) {
            assert_eq!(*before, after);
        }
        assert_eq!(before[0]["Aliases"].as_array().map(Vec::len), Some(2));
        assert_eq!(ok(&second, "Decrypt", json!({"CiphertextBlob": blob}))["Plaintext"], b64("kept"));
        let put = json!({"KeyId": locked, "Policy": policy.to_string()});
        let refused = keep(&second, "PutKeyPolicy", put).await.expect_err("the lock is gone");
        assert!(refused.to_string().starts_with("AccessDeniedException"), "{refused}");
    });
}

#[test]
fn an_empty_volume_takes_what_the_signer_already_holds() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let before = key(&first, "HMAC_256", "GENERATE_VERIFY_MAC");
        let attached = place.attach(&first).await;
        let after = create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;
        let second = GUEST.launch();
        let attached = place.attach(&second).await;
        assert_eq!(ids(&second), BTreeSet::from([before, after]));
        attached.kill().await;

        let third = GUEST.launch();
        key(&third, "HMAC_256", "GENERATE_VERIFY_MAC");
        let reason = place.refused(&third).await;
        assert!(reason.contains("already holds"), "{reason}");
        assert_eq!(ids(&third).len(), 1, "nothing has changed");
    });
}

#[test]
fn a_thousand_keys_are_written_and_read_in_pieces() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        for _ in 0..1500 {
            key(&first, "HMAC_256", "GENERATE_VERIFY_MAC");
        }
        place.attach(&first).await.kill().await;
        let second = GUEST.launch();
        let attached = place.attach(&second).await;
        assert_eq!(ok(&second, "ListKeys", json!({"Limit": 1000}))["Truncated"], true);
        attached.kill().await;
        assert_eq!(place.store().statistics().expect("statistics").records, 1500);
    });
}

#[test]
fn requests_at_once_share_commits() {
    run(async {
        let place = Place::new();
        let signer = GUEST.launch();
        let attached = place.attach(&signer).await;
        let created: Vec<_> = (0..64)
            .map(|_| {
                let signer = Rc::clone(&signer);
                tokio::task::spawn_local(
                    async move { create(&signer, "HMAC_256", "GENERATE_VERIFY_MAC").await },
                )
            })
            .collect();
        for created in created {
            created.await.expect("created");
        }
        attached.kill().await;
        let root = place.store().head().expect("head").root.expect("a root");
        let commits = RootPrefix::split(&root).expect("a root").prefix.counter;
        assert!((2..=8).contains(&commits), "{commits} commits for 64 requests at once");
        let second = GUEST.launch();
        let _attached = place.attach(&second).await;
        assert_eq!(ids(&second).len(), 64);
    });
}

#[test]
fn without_its_volume_a_signer_changes_nothing_and_goes_on_when_it_is_back() {
    run(async {
        let place = Place::new();
        let signer = GUEST.launch();
        let attached = place.attach(&signer).await;
        let kept = create(&signer, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;

        let error = keep(&signer, "CreateKey", json!({})).await.expect_err("refused");
        assert_eq!((error.kind.name(), error.status()), ("KMSInternalException", 500));
        assert!(error.message.contains("volume is not connected"), "{error}");
        assert_eq!(ids(&signer), BTreeSet::from([kept.clone()]), "nothing was created");
        let mac = json!({"KeyId": kept, "Message": b64("m"), "MacAlgorithm": "HMAC_SHA_256"});
        keep(&signer, "GenerateMac", mac).await.expect("what changes nothing goes on");

        let other = place.offer_file(&signer, &place.path("other")).refused().await;
        assert!(other.contains("not the volume that the signer used"), "{other}");
        let attached = place.attach(&signer).await;
        let more = create(&signer, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;
        let second = GUEST.launch();
        let _attached = place.attach(&second).await;
        assert_eq!(ids(&second), BTreeSet::from([kept, more]));
    });
}

#[test]
fn a_second_connection_is_turned_away() {
    run(async {
        let place = Place::new();
        let signer = GUEST.launch();
        let _attached = place.attach(&signer).await;
        let reason = place.offer_file(&signer, &place.path("other")).refused().await;
        assert!(reason.contains("has a volume already"), "{reason}");
        create(&signer, "HMAC_256", "GENERATE_VERIFY_MAC").await;
    });
}

#[test]
fn a_signer_that_expects_a_volume_waits_for_it() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attached = place.attach(&first).await;
        let kept = create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;

        let second = Guest { awaits_volume: true, ..GUEST }.launch();
        let early = {
            let second = Rc::clone(&second);
            let request = json!({"KeyId": kept});
            tokio::task::spawn_local(async move { keep(&second, "DescribeKey", request).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!early.is_finished(), "answered before the volume was there");
        let _attached = place.attach(&second).await;
        assert_eq!(early.await.expect("no panic").expect("found")["KeyMetadata"]["KeyId"], kept);
    });
}

#[test]
fn other_guests_do_not_open_it_and_are_told_why() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attached = place.attach(&first).await;
        create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;
        let key = Some([8; 32]);
        for (guest, expected) in [
            (Guest { sealing_key: key, measurement: [2; 48], ..GUEST }, "casemate state grant"),
            (Guest { sealing_key: key, measurement: [0; 48], ..GUEST }, "debug mode"),
            (Guest { sealing_key: key, ..GUEST }, "another platform key"),
            (Guest { sealing_key: None, ..GUEST }, "no sealing key"),
        ] {
            let signer = guest.launch();
            let reason = place.refused(&signer).await;
            assert!(reason.contains(expected), "{reason}");
            assert!(ids(&signer).is_empty());
            // It is not worse off than before.
            keep(&signer, "CreateKey", json!({})).await.expect("created");
        }
        let debug = Place::new();
        let attached = debug.attach(&Guest { measurement: [0; 48], ..GUEST }.launch()).await;
        attached.kill().await;
        let reason = debug.refused(&Guest { sealing_key: key, ..GUEST }.launch()).await;
        assert!(reason.contains("production does not open it"), "{reason}");
    });
}

#[test]
fn old_copies_are_refused() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attached = place.attach(&first).await;
        create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;
        std::fs::copy(place.volume(), place.path("copy")).expect("copied");
        let attached = place.attach(&first).await;
        create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;
        std::fs::copy(place.volume(), place.path("newest")).expect("copied");

        std::fs::copy(place.path("copy"), place.volume()).expect("copied");
        let reason = place.refused(&GUEST.launch()).await;
        assert!(reason.contains("rolled back: it is at commit 2") && reason.contains("commit 3"), "{reason}");
        let reason = place.refused(&first).await;
        assert!(reason.contains("not in that state"), "the signer that used it: {reason}");

        // The copy is used elsewhere, and goes as far as the original.
        let elsewhere = Place::new();
        std::fs::copy(place.path("copy"), elsewhere.volume()).expect("copied");
        let fork = GUEST.launch();
        let attached = elsewhere.attach(&fork).await;
        create(&fork, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        attached.kill().await;
        std::fs::copy(elsewhere.volume(), place.volume()).expect("copied");
        let reason = place.refused(&GUEST.launch()).await;
        assert!(reason.contains("different content"), "{reason}");

        std::fs::copy(place.path("newest"), place.volume()).expect("copied");
        let attached = place.attach(&first).await;
        attached.kill().await;
        let second = GUEST.launch();
        let _attached = place.attach(&second).await;
        assert_eq!(ids(&second).len(), 2);
    });
}

/// A volume of two records that have both changed once, and what it was before that.
async fn with_history() -> (Memory, Memory) {
    let place = Place::new();
    let first = GUEST.launch();
    let attached = place.attach(&first).await;
    let keys = [
        create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await,
        create(&first, "HMAC_256", "GENERATE_VERIFY_MAC").await,
    ];
    attached.kill().await;
    let older = Memory::of(&place.store());
    let attached = place.attach(&first).await;
    for id in &keys {
        keep(&first, "DisableKey", json!({"KeyId": id})).await.expect("disabled");
    }
    attached.kill().await;
    let newest = Memory::of(&place.store());
    assert_eq!((older.records.len(), newest.records.len()), (2, 2));
    (newest, older)
}

/// Why a fresh signer refuses this volume. It is as good as new after that.
async fn refused(volume: &mut Memory) -> Option<String> {
    let signer = GUEST.launch();
    let reason = volume.offer(&signer).await.err()?;
    assert!(ids(&signer).is_empty(), "keys of a refused volume were used");
    keep(&signer, "CreateKey", json!({})).await.expect("created");
    Some(reason)
}

#[test]
fn records_that_are_not_as_they_were_left_are_refused() {
    run(async {
        let (good, older) = with_history().await;
        let (other, _) = with_history().await;
        let names: Vec<Name> = good.records.keys().copied().collect();
        let [one, two] = names.as_slice() else { panic!() };
        let foreign = other.records.values().next().expect("a record");
        let value = |name: &Name| good.records[name].clone();
        let longer = [value(one), vec![0]].concat();
        let shorter = value(one)[..value(one).len() - 1].to_vec();
        for (changes, expected) in [
            (vec![(*one, None)], "truncated: it has 1 records, and its root says 2"),
            (vec![(*one, None), (*two, None)], "truncated: it has 0"),
            (vec![(*one, Some(value(two))), (*two, Some(value(one)))], "put in the place of another"),
            (vec![(*one, Some(value(two)))], "put in the place of another"),
            (vec![(Name::new([9; 32]), Some(value(one)))], "put in the place of another"),
            (vec![(*one, Some(older.records[one].clone()))], "older version"),
            (
                vec![(*one, Some(older.records[one].clone())), (*two, Some(older.records[two].clone()))],
                "older version",
            ),
            (vec![(*one, Some(foreign.clone()))], "another volume"),
            (vec![(Name::new([9; 32]), Some(foreign.clone()))], "another volume"),
            (vec![(*one, Some(longer))], "is damaged"),
            (vec![(*one, Some(shorter))], "is damaged"),
            (vec![(*one, Some(Vec::new()))], "is damaged"),
        ] {
            let mut volume = good.clone();
            for (name, value) in changes {
                match value {
                    Some(value) => volume.records.insert(name, value),
                    None => volume.records.remove(&name),
                };
            }
            let reason = refused(&mut volume).await.expect(expected);
            assert!(reason.contains(expected), "{reason}, not {expected}");
        }
        // Records of now under the root of then.
        let mut volume = Memory { records: good.records.clone(), ..older };
        let reason = refused(&mut volume).await.expect("a mixture");
        assert!(reason.contains("older version"), "{reason}");
        assert_eq!(refused(&mut good.clone()).await, None, "the control");
    });
}

#[test]
fn pages_that_are_not_in_order_or_have_no_end_are_refused() {
    run(async {
        let (good, _) = with_history().await;
        let records: Vec<Record> = good
            .records
            .iter()
            .map(|(name, value)| Record { name: *name, value: ByteBuf::from(value.clone()) })
            .collect();
        let backwards = records.iter().rev().cloned().collect();
        for (records, more, expected) in [
            (backwards, false, "not in order"),
            ([records.clone(), records.clone()].concat(), false, "not in order"),
            // The same page again and again.
            (records, true, "not in order"),
            (Vec::new(), true, "promises records and sends none"),
        ] {
            let signer = GUEST.launch();
            let mut reason = None;
            let page = Response::Records { records, more };
            let head = Response::Volume {
                header: good.header.clone().map(ByteBuf::from),
                root: good.root.clone().map(ByteBuf::from),
                anchor: None,
            };
            let taken = converse(&signer, |request| match request {
                Request::Hello { .. } => Say::Then(frame::encode(&head).expect("a frame")),
                Request::Page { .. } => Say::Then(frame::encode(&page).expect("a frame")),
                Request::Refused { reason: why } => {
                    reason = Some(why);
                    Say::Last(Vec::new())
                }
                other => panic!("{other:?}"),
            });
            taken.await;
            assert!(
                reason.as_deref().is_some_and(|reason| reason.contains(expected)),
                "{reason:?}, not {expected}"
            );
            assert!(ids(&signer).is_empty(), "keys of a refused volume were used");
        }
    });
}

/// A bit of `bytes`, flipped.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}

#[test]
fn every_flipped_bit_is_noticed() {
    run(async {
        let (good, _) = with_history().await;
        let (name, value) = good.records.iter().next().expect("a record");
        for bit in 0..value.len() * 8 {
            let mut volume = good.clone();
            volume.records.insert(*name, flipped(value, bit));
            assert!(refused(&mut volume).await.is_some(), "bit {bit} of a record");
        }
        let root = good.root.clone().expect("a root");
        for bit in 0..root.len() * 8 {
            let mut volume = Memory { root: Some(flipped(&root, bit)), ..good.clone() };
            let reason = refused(&mut volume).await.expect("refused");
            assert!(reason.contains("root is damaged"), "bit {bit}: {reason}");
        }
        let header = good.header.clone().expect("a header");
        for bit in 0..header.len() * 8 {
            let mut volume = Memory { header: Some(flipped(&header, bit)), ..good.clone() };
            assert!(refused(&mut volume).await.is_some(), "bit {bit} of the header");
        }
    });
}

#[test]
fn header_and_root_belong_together() {
    run(async {
        let (good, _) = with_history().await;
        let (other, _) = with_history().await;
        let mut header = Header::parse(good.header.as_deref().expect("a header")).expect("a header");
        header.grant = Some(Grant {
            measurement: ByteArray::new([3; 48]),
            to: ByteArray::new([4; 32]),
            from: ByteArray::new([5; 32]),
            key: ByteBuf::from([6; 60]),
            proof: ByteBuf::new(),
        });
        for (volume, expected) in [
            (Memory { header: Some(header.to_bytes()), ..good.clone() }, "header is damaged, or not the one"),
            (Memory { header: other.header.clone(), ..good.clone() }, "root is damaged or of another volume"),
            (Memory { root: other.root.clone(), ..good.clone() }, "root is damaged or of another volume"),
            (Memory { header: None, ..good.clone() }, "header is damaged"),
            (Memory { root: None, ..good.clone() }, "root is damaged"),
        ] {
            let reason = refused(&mut volume.clone()).await.expect(expected);
            assert!(reason.contains(expected), "{reason}, not {expected}");
        }
    });
}

#[test]
fn an_anchor_that_the_volume_is_behind_is_believed() {
    run(async {
        let (good, _) = with_history().await;
        let root = good.root.clone().expect("a root");
        let counter = RootPrefix::split(&root).expect("a root").prefix.counter;
        let same = digest(&root);
        let other = digest(b"other");
        for (counter, root, expected) in [
            (counter + 1, same, Some("rolled back")),
            (u64::MAX, other, Some("rolled back")),
            (counter, other, Some("different content")),
            (counter, same, None),
            (counter - 1, other, None),
        ] {
            let mut volume = Memory { anchor: Some(Anchor { counter, root }), ..good.clone() };
            let reason = refused(&mut volume).await;
            assert_eq!(reason.is_some(), expected.is_some(), "{reason:?}");
            assert!(reason.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a host says, the signer refuses or hangs up, and can be used after that.
    #[test]
    fn hosts_that_say_anything_are_refused(
        answers in prop::collection::vec((0..4_u8, prop::collection::vec(any::<u8>(), 0..80)), 0..8),
    ) {
        run(async {
            let signer = GUEST.launch();
            let mut answers = answers.into_iter();
            converse(&signer, |_| {
                let Some((kind, bytes)) = answers.next() else { return Say::Last(Vec::new()) };
                let value = ByteBuf::from(bytes.clone());
                let response = match kind {
                    0 => return Say::Last(bytes),
                    1 => {
                        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
                        return Say::Then([&length[..], &bytes].concat());
                    }
                    2 => Response::Volume { header: Some(value.clone()), root: Some(value), anchor: None },
                    _ => Response::Records { records: vec![Record { name: Name::new([1; 32]), value }], more: true },
                };
                Say::Then(frame::encode(&response).expect("a frame"))
            })
            .await;
            assert!(ids(&signer).is_empty());
            keep(&signer, "CreateKey", json!({})).await.expect("created");
        });
    }
}

#[test]
fn the_host_sees_neither_names_nor_contents_nor_exact_lengths() {
    run(async {
        let place = Place::new();
        let signer = GUEST.launch();
        let attached = place.attach(&signer).await;
        let id = create(&signer, "HMAC_256", "GENERATE_VERIFY_MAC").await;
        let longer = text(
            &keep(&signer, "CreateKey", json!({"Description": "x"})).await.expect("created")["KeyMetadata"]["KeyId"],
        );
        attached.kill().await;
        let file = std::fs::read(place.volume()).expect("the file");
        for known in ["a telling description", &id, &longer, "key/", "HMAC", "arn:aws", "us-east-1"] {
            assert!(
                !file.windows(known.len()).any(|window| window == known.as_bytes()),
                "{known} is in the file"
            );
        }
        let control = GUEST.launch();
        place.attach(&control).await.kill().await;
        assert_eq!(ids(&control).len(), 2, "the control: it is there");
        for record in place.store().page(None).expect("records").0 {
            assert_eq!((record.value.len() - 57 - 12 - 16) % 256, 0);
        }
    });
}
