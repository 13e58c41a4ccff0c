//! Whatever clients ask, in whatever order, a signer's keys, names, grants and policies stay sound.

mod common;

use std::collections::BTreeSet;
use std::rc::Rc;

use casemate_signer::{Signer, operations};
use common::{b64, ok, signer, text};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*",
    "Principal": {"AWS": "arn:aws:iam::000000000000:root"}}]}"#;

/// A signer with keys of several kinds, aliases and grants, and what requests can name of it.
struct Scene {
    signer: Rc<Signer>,
    keys: Vec<String>,
    locked: String,
    grants: Vec<Value>,
    blob: Value,
}

fn scene() -> Scene {
    let signer = signer();
    let lock = json!([{"TagKey": "casemate:policy-locked", "TagValue": "true"}]);
    let keys: Vec<String> = [
        json!({}),
        json!({"Origin": "EXTERNAL"}),
        json!({"MultiRegion": true}),
        json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}),
        json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
        json!({"KeySpec": "ECC_NIST_P384", "KeyUsage": "KEY_AGREEMENT", "Origin": "EXTERNAL"}),
        json!({"KeySpec": "ML_KEM_512", "KeyUsage": "ENCAPSULATE_DECAPSULATE"}),
        json!({"Policy": POLICY, "Tags": lock}),
    ]
    .into_iter()
    .map(|request| text(&ok(&signer, "CreateKey", request)["KeyMetadata"]["KeyId"]))
    .collect();
    ok(&signer, "CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": keys[0]}));
    let grantee = "arn:aws:iam::000000000000:user/ann";
    let grants = (0..2)
        .map(|_| {
            let request = json!({"KeyId": keys[0], "GranteePrincipal": grantee, "RetiringPrincipal": grantee,
                "Operations": ["Encrypt"]});
            ok(&signer, "CreateGrant", request)
        })
        .collect();
    let blob =
        ok(&signer, "Encrypt", json!({"KeyId": keys[0], "Plaintext": b64("x")}))["CiphertextBlob"].clone();
    Scene { signer, locked: keys[7].clone(), keys, grants, blob }
}

/// A value for a member: a right one mostly, and sometimes one that is not.
fn value(scene: &Scene, member: &str, choice: usize) -> Value {
    let pick = |values: &[Value]| values[choice % values.len()].clone();
    let key = &scene.keys[choice % scene.keys.len()];
    let context = [json!({}), json!({"a": "b"}), json!({"a": "b", "c": "d"})];
    match member {
        "KeyId" | "TargetKeyId" | "SourceKeyId" | "DestinationKeyId" => pick(&[
            json!(key),
            json!(scene.keys[0]),
            json!("alias/a"),
            json!(format!("arn:aws:kms:us-east-1:000000000000:key/{key}")),
            json!("arn:aws:kms:us-east-1:000000000000:alias/b"),
            json!("nonsense"),
        ]),
        "AliasName" => pick(&[json!("alias/a"), json!("alias/b"), json!("alias/c/d"), json!("b")]),
        "Tags" => pick(&[
            json!([{"TagKey": "a", "TagValue": "b"}]),
            json!([{"TagKey": "casemate:policy-locked", "TagValue": "false"}]),
            json!([]),
        ]),
        "TagKeys" => pick(&[json!(["a"]), json!(["casemate:policy-locked"])]),
        "Policy" => pick(&[json!(POLICY), json!("{}"), json!(POLICY.replace("root", "user/bob"))]),
        "PolicyName" => json!("default"),
        "GranteePrincipal" | "RetiringPrincipal" => {
            pick(&[json!("arn:aws:iam::000000000000:user/ann"), json!("arn:aws:iam::000000000000:role/bob")])
        }
        "Operations" => pick(&[
            json!(["Encrypt", "Decrypt"]),
            json!(["Sign", "GetPublicKey"]),
            json!(["CreateGrant", "RetireGrant"]),
        ]),
        "Constraints" => json!({"EncryptionContextSubset": context[choice % 3]}),
        "Name" => pick(&[json!("one"), json!("two")]),
        "GrantId" => scene.grants[choice % 2]["GrantId"].clone(),
        "GrantToken" => scene.grants[choice % 2]["GrantToken"].clone(),
        "GrantTokens" => pick(&[json!([]), json!([scene.grants[0]["GrantToken"]]), json!(["x"])]),
        "EncryptionContext" | "SourceEncryptionContext" | "DestinationEncryptionContext" => pick(&context),
        "Plaintext" | "Message" => json!(b64("a message")),
        "CiphertextBlob" => pick(&[scene.blob.clone(), json!(b64("no ciphertext"))]),
        "NumberOfBytes" | "RotationPeriodInDays" => pick(&[json!(100), json!(2000)]),
        "PendingWindowInDays" => json!(7),
        "Limit" => pick(&[json!(1), json!(3)]),
        "IncludeKeyMaterial" => json!("ALL_KEY_MATERIAL"),
        "MacAlgorithm" => json!("HMAC_SHA_256"),
        "SigningAlgorithm" => json!("ECDSA_SHA_256"),
        "EncapsulationAlgorithm" => json!("ML_KEM"),
        "KeyPairSpec" => json!("ECC_NIST_P256"),
        "WrappingAlgorithm" => pick(&[json!("RSAES_OAEP_SHA_256"), json!("SM2PKE")]),
        // Nothing that takes long: RSA keys are made in other tests.
        "WrappingKeySpec" => json!("SM2"),
        "ReplicaRegion" | "PrimaryRegion" => pick(&[json!("us-east-1"), json!("eu-central-1")]),
        "ImportToken" | "EncryptedKeyMaterial" => json!(b64("no token")),
        "ExpirationModel" => json!("KEY_MATERIAL_DOES_NOT_EXPIRE"),
        "Origin" => pick(&[json!("AWS_KMS"), json!("EXTERNAL")]),
        "DryRun" | "MultiRegion" | "BypassPolicyLockoutSafetyCheck" => json!(choice.is_multiple_of(5)),
        _ => json!("x"),
    }
}

const MEMBERS: &[&str] = &[
    "KeyId",
    "TargetKeyId",
    "SourceKeyId",
    "DestinationKeyId",
    "AliasName",
    "Tags",
    "TagKeys",
    "Policy",
    "PolicyName",
    "GranteePrincipal",
    "RetiringPrincipal",
    "Operations",
    "Constraints",
    "Name",
    "GrantId",
    "GrantToken",
    "GrantTokens",
    "EncryptionContext",
    "SourceEncryptionContext",
    "DestinationEncryptionContext",
    "Plaintext",
    "Message",
    "CiphertextBlob",
    "NumberOfBytes",
    "RotationPeriodInDays",
    "PendingWindowInDays",
    "Limit",
    "IncludeKeyMaterial",
    "MacAlgorithm",
    "SigningAlgorithm",
    "EncapsulationAlgorithm",
    "KeyPairSpec",
    "WrappingAlgorithm",
    "WrappingKeySpec",
    "ReplicaRegion",
    "PrimaryRegion",
    "ImportToken",
    "EncryptedKeyMaterial",
    "ExpirationModel",
    "Origin",
    "DryRun",
    "MultiRegion",
    "BypassPolicyLockoutSafetyCheck",
    "Description",
];

/// An operation, and for each member whether it is sent and which of its values.
fn step() -> impl Strategy<Value = (&'static str, Vec<(u8, usize)>)> {
    let choices = proptest::collection::vec((0u8..10, 0usize..1000), MEMBERS.len());
    (select(operations().collect::<Vec<_>>()), choices)
}

fn request(scene: &Scene, operation: &str, choices: &[(u8, usize)]) -> Value {
    let mut request = Map::new();
    for (member, (sent, choice)) in MEMBERS.iter().zip(choices) {
        // A grant is named in one of two ways.
        let other_way =
            operation == "RetireGrant" && (*member == "GrantToken") == choices[0].1.is_multiple_of(2);
        if *sent > 0 && !other_way {
            request.insert((*member).to_owned(), value(scene, member, *choice));
        }
    }
    Value::Object(request)
}

/// What must hold at any time.
fn sound(scene: &Scene) {
    let signer = &*scene.signer;
    let listed = ok(signer, "ListKeys", json!({"Limit": 1000}));
    let ids: BTreeSet<String> =
        listed["Keys"].as_array().expect("keys").iter().map(|key| text(&key["KeyId"])).collect();
    for alias in ok(signer, "ListAliases", json!({"Limit": 1000}))["Aliases"].as_array().expect("aliases") {
        assert!(ids.contains(&text(&alias["TargetKeyId"])), "{alias} names no key");
    }
    for id in &ids {
        let metadata = ok(signer, "DescribeKey", json!({"KeyId": id}))["KeyMetadata"].clone();
        assert_eq!(metadata["Enabled"] == true, metadata["KeyState"] == "Enabled", "{metadata}");
        assert_eq!(
            metadata.get("DeletionDate").is_some(),
            metadata["KeyState"] == "PendingDeletion",
            "{metadata}"
        );
        let material = metadata.get("CurrentKeyMaterialId").is_some();
        assert!(
            material || metadata["KeySpec"] != "SYMMETRIC_DEFAULT" || metadata["Origin"] == "EXTERNAL",
            "{metadata}"
        );
        for grant in ok(signer, "ListGrants", json!({"KeyId": id}))["Grants"].as_array().expect("grants") {
            assert!(
                grant["KeyId"].as_str().is_some_and(|arn| arn.ends_with(id)),
                "{grant} is on another key"
            );
        }
    }
    assert_eq!(
        ok(signer, "GetKeyPolicy", json!({"KeyId": scene.locked}))["Policy"],
        POLICY,
        "the lock was picked"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_requests_leaves_anything_unsound(steps in proptest::collection::vec(step(), 1..60)) {
        let scene = scene();
        for (operation, choices) in steps {
            let request = request(&scene, operation, &choices);
            if let Err(error) = scene.signer.call(operation, request.to_string().as_bytes()) {
                prop_assert_ne!(error.kind.name(), "KMSInternalException", "{} {}: {}", operation, request, error);
            }
        }
        sound(&scene);
        // What was encrypted before can be decrypted as soon as its key may be used.
        let first = &scene.keys[0];
        let _ = scene.signer.call("CancelKeyDeletion", json!({"KeyId": first}).to_string().as_bytes());
        ok(&scene.signer, "EnableKey", json!({"KeyId": first}));
        prop_assert_eq!(&ok(&scene.signer, "Decrypt", json!({"CiphertextBlob": scene.blob}))["Plaintext"], &json!(b64("x")));
    }
}
