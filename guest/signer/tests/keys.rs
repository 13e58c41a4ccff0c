//! CreateKey, DescribeKey, ListKeys, GetPublicKey, and the life of a key.

mod common;

use casemate_signer::{Limits, Signer};
use common::{Transcript, key, ok, refused, signer, text};
use serde_json::json;

#[test]
fn a_key_is_described_as_it_was_created() {
    let signer = signer();
    let created = ok(
        &signer,
        "CreateKey",
        json!({"Description": "für alle", "KeySpec": "HMAC_384", "KeyUsage": "GENERATE_VERIFY_MAC"}),
    );
    let metadata = &created["KeyMetadata"];
    let id = text(&metadata["KeyId"]);
    assert_eq!(metadata["Arn"], format!("arn:aws:kms:us-east-1:000000000000:key/{id}"));
    assert_eq!(metadata["AWSAccountId"], "000000000000");
    assert_eq!(metadata["Description"], "für alle");
    assert_eq!(metadata["KeyState"], "Enabled");
    assert_eq!(metadata["Enabled"], true);
    assert_eq!(metadata["Origin"], "AWS_KMS");
    assert_eq!(metadata["KeyManager"], "CUSTOMER");
    assert_eq!(metadata["CustomerMasterKeySpec"], "HMAC_384");
    assert_eq!(metadata["MacAlgorithms"], json!(["HMAC_SHA_384"]));
    assert!(metadata.get("SigningAlgorithms").is_none() && metadata.get("DeletionDate").is_none());
    for name in [id, text(&metadata["Arn"])] {
        assert_eq!(ok(&signer, "DescribeKey", json!({"KeyId": name})), created);
    }
}

#[test]
fn the_default_key_is_symmetric() {
    let signer = signer();
    let created = ok(&signer, "CreateKey", json!({}));
    assert_eq!(created["KeyMetadata"]["KeySpec"], "SYMMETRIC_DEFAULT");
    assert_eq!(created["KeyMetadata"]["KeyUsage"], "ENCRYPT_DECRYPT");
    assert_eq!(created["KeyMetadata"]["EncryptionAlgorithms"], json!(["SYMMETRIC_DEFAULT"]));
    let legacy = ok(
        &signer,
        "CreateKey",
        json!({"CustomerMasterKeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
    );
    assert_eq!(legacy["KeyMetadata"]["KeySpec"], "ECC_NIST_P256");
}

#[test]
fn key_ids_are_random_uuids() {
    let signer = signer();
    let ids: std::collections::BTreeSet<String> =
        (0..50).map(|_| text(&ok(&signer, "CreateKey", json!({}))["KeyMetadata"]["KeyId"])).collect();
    assert_eq!(ids.len(), 50);
    for id in ids {
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert!(parts[2].starts_with('4'), "{id} is not version 4");
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id} is not an RFC 9562 UUID");
    }
}

#[test]
fn what_create_key_cannot_honour_it_refuses() {
    let signer = signer();
    let locked = json!([{"TagKey": "casemate:policy-locked", "TagValue": "true"}]);
    let twice = json!([{"TagKey": "a", "TagValue": "b"}, {"TagKey": "a", "TagValue": "c"}]);
    let many: Vec<_> = (0..51).map(|n| json!({"TagKey": format!("k{n}"), "TagValue": ""})).collect();
    let cases = [
        (json!({"Policy": "{}"}), "MalformedPolicyDocumentException", "Statement"),
        (json!({"Policy": "x".repeat(32_769)}), "LimitExceededException", "32768"),
        (json!({"Tags": twice}), "TagException", "twice"),
        (json!({"Tags": many}), "LimitExceededException", "50"),
        (json!({"Tags": [{"TagKey": "aws:a", "TagValue": ""}]}), "TagException", "aws:"),
        (json!({"Tags": [{"TagKey": "a#", "TagValue": ""}]}), "TagException", "letters"),
        (json!({"Tags": [{"TagKey": "casemate:x", "TagValue": "true"}]}), "TagException", "casemate:x"),
        (json!({"Tags": locked}), "ValidationException", "policy"),
        (json!({"CustomKeyStoreId": "cks-1"}), "ValidationException", "CustomKeyStoreId"),
        (
            json!({"CustomKeyStoreId": "cks-1", "Origin": "AWS_CLOUDHSM"}),
            "CustomKeyStoreNotFoundException",
            "cks-1",
        ),
        (json!({"Origin": "AWS_CLOUDHSM"}), "ValidationException", "CustomKeyStoreId"),
        (json!({"XksKeyId": "x"}), "ValidationException", "XksKeyId"),
        (json!({"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}), "UnsupportedOperationException", "SM2"),
    ];
    for (request, kind, what) in cases {
        let (refused, message) = refused(&signer, "CreateKey", request);
        assert_eq!(refused, kind, "{message}");
        assert!(message.contains(what), "{message} does not name {what}");
    }
    assert_eq!(
        ok(&signer, "ListKeys", json!({}))["Keys"],
        json!([]),
        "a refused CreateKey left a key behind"
    );
}

#[test]
fn create_key_reports_broken_constraints_as_aws_does() {
    let signer = signer();
    let (kind, message) = refused(&signer, "CreateKey", json!({"KeySpec": "DES", "KeyUsage": "X"}));
    assert_eq!(kind, "ValidationException");
    assert!(message.starts_with("2 validation errors detected: Value 'X' at 'keyUsage' failed to satisfy constraint: Member must satisfy enum value set: [SIGN_VERIFY, "), "{message}");
    let (_, message) = refused(&signer, "CreateKey", json!({"Description": "x".repeat(8193)}));
    assert!(message.ends_with("at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192"), "{message}");
    assert!(message.len() < 600, "the message repeats all of a long value");
    let (_, message) = refused(&signer, "CreateKey", json!({"KeySpec": "RSA_2048"}));
    assert_eq!(
        message,
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
    );
    let (_, message) =
        refused(&signer, "CreateKey", json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "ENCRYPT_DECRYPT"}));
    assert_eq!(message, "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec ECC_NIST_P256");
    let newer = json!({"CustomerMasterKeySpec": "ML_DSA_44", "KeyUsage": "SIGN_VERIFY"});
    let (_, message) = refused(&signer, "CreateKey", newer.clone());
    assert!(message.ends_with("HMAC_384, HMAC_512, SM2]"), "{message}");
    assert_eq!(refused(&signer, "CreateKey", newer).0, "ValidationException");
    let both = json!({"KeySpec": "RSA_2048", "CustomerMasterKeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"});
    assert_eq!(refused(&signer, "CreateKey", both).0, "ValidationException");
}

#[test]
fn the_signer_holds_no_more_keys_than_its_limit() {
    let signer = Signer::with_limits(Box::new(Transcript), Limits { keys: 2, ..Limits::default() });
    for _ in 0..2 {
        ok(&signer, "CreateKey", json!({}));
    }
    assert_eq!(refused(&signer, "CreateKey", json!({})).0, "LimitExceededException");
}

#[test]
fn keys_that_do_not_exist_are_not_found() {
    let signer = signer();
    let unknown = "00000000-0000-4000-8000-000000000000";
    let cases = [
        (unknown.to_owned(), "NotFoundException"),
        ("no such key".to_owned(), "NotFoundException"),
        (unknown.to_uppercase().replace('0', "A"), "NotFoundException"),
        ("alias/none".to_owned(), "NotFoundException"),
        ("arn:aws:kms:us-east-1:000000000000:alias/none".to_owned(), "NotFoundException"),
        (format!("arn:aws:kms:us-east-1:000000000000:key/{unknown}"), "NotFoundException"),
        (format!("arn:aws:kms:eu-west-1:000000000000:key/{unknown}"), "NotFoundException"),
        ("arn:aws:kms".to_owned(), "InvalidArnException"),
        (format!("arn:aws:s3:us-east-1:000000000000:key/{unknown}"), "InvalidArnException"),
        ("arn:aws:kms:us-east-1:000000000000:key/x".to_owned(), "InvalidArnException"),
        (String::new(), "ValidationException"),
        ("x".repeat(2049), "ValidationException"),
    ];
    for (key_id, expected) in cases {
        assert_eq!(refused(&signer, "DescribeKey", json!({"KeyId": key_id})).0, expected, "{key_id}");
    }
    let (_, message) = refused(&signer, "DescribeKey", json!({}));
    assert_eq!(
        message,
        "1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must not be null"
    );
}

#[test]
fn listing_pages_through_every_key_once() {
    let signer = signer();
    let mut created: Vec<String> =
        (0..7).map(|_| text(&ok(&signer, "CreateKey", json!({}))["KeyMetadata"]["KeyId"])).collect();
    created.sort();
    let (mut listed, mut request) = (Vec::new(), json!({"Limit": 3}));
    for pages in 1.. {
        let page = ok(&signer, "ListKeys", request);
        listed.extend(page["Keys"].as_array().expect("keys").iter().map(|entry| text(&entry["KeyId"])));
        if page["Truncated"] == json!(false) {
            assert_eq!(pages, 3);
            assert!(page.get("NextMarker").is_none());
            break;
        }
        request = json!({"Limit": 3, "Marker": page["NextMarker"]});
    }
    assert_eq!(listed, created);
    assert_eq!(refused(&signer, "ListKeys", json!({"Limit": 0})).0, "ValidationException");
    assert_eq!(refused(&signer, "ListKeys", json!({"Limit": 1001})).0, "ValidationException");
    assert_eq!(refused(&signer, "ListKeys", json!({"Marker": "?"})).0, "InvalidMarkerException");
}

#[test]
fn symmetric_keys_have_no_public_key() {
    let signer = signer();
    for (spec, usage) in [("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("HMAC_256", "GENERATE_VERIFY_MAC")] {
        let id = key(&signer, spec, usage);
        assert_eq!(refused(&signer, "GetPublicKey", json!({"KeyId": id})).0, "UnsupportedOperationException");
    }
    assert_eq!(refused(&signer, "GetPublicKey", json!({})).0, "ValidationException");
}

#[test]
fn a_disabled_key_does_nothing_until_it_is_enabled() {
    let signer = signer();
    let id = key(&signer, "ECC_NIST_P256", "SIGN_VERIFY");
    let sign = json!({"KeyId": id, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256"});
    assert_eq!(ok(&signer, "DisableKey", json!({"KeyId": id})), json!({}));
    let (kind, message) = refused(&signer, "Sign", sign.clone());
    assert_eq!(
        (kind.as_str(), message),
        ("DisabledException", format!("arn:aws:kms:us-east-1:000000000000:key/{id} is disabled."))
    );
    assert_eq!(refused(&signer, "GetPublicKey", json!({"KeyId": id})).0, "DisabledException");
    assert_eq!(ok(&signer, "DescribeKey", json!({"KeyId": id}))["KeyMetadata"]["Enabled"], false);
    ok(&signer, "EnableKey", json!({"KeyId": id}));
    ok(&signer, "Sign", sign);
}

#[test]
fn a_key_waits_for_deletion_and_comes_back_disabled() {
    let signer = signer();
    let id = key(&signer, "ECC_NIST_P256", "SIGN_VERIFY");
    for days in [0, 6, 31, -1, i64::MAX] {
        let (kind, _) =
            refused(&signer, "ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": days}));
        assert_eq!(kind, "ValidationException");
    }
    let before = ok(&signer, "DescribeKey", json!({"KeyId": id}))["KeyMetadata"]["CreationDate"]
        .as_f64()
        .expect("date");
    let scheduled = ok(&signer, "ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7}));
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    assert_eq!(scheduled["PendingWindowInDays"], 7);
    let date = scheduled["DeletionDate"].as_f64().expect("date");
    assert!((date - before - 7.0 * 86_400.0).abs() < 60.0, "deletion is {} s away", date - before);
    let metadata = &ok(&signer, "DescribeKey", json!({"KeyId": id}))["KeyMetadata"];
    assert_eq!(metadata["KeyState"], "PendingDeletion");
    assert_eq!(metadata["DeletionDate"].as_f64(), Some(date));
    for operation in ["EnableKey", "DisableKey", "ScheduleKeyDeletion", "GetPublicKey"] {
        assert_eq!(
            refused(&signer, operation, json!({"KeyId": id})).0,
            "KMSInvalidStateException",
            "{operation}"
        );
    }
    assert_eq!(
        text(&ok(&signer, "CancelKeyDeletion", json!({"KeyId": id}))["KeyId"]),
        format!("arn:aws:kms:us-east-1:000000000000:key/{id}")
    );
    let metadata = &ok(&signer, "DescribeKey", json!({"KeyId": id}))["KeyMetadata"];
    assert_eq!(metadata["KeyState"], "Disabled");
    assert!(metadata.get("DeletionDate").is_none());
    assert_eq!(refused(&signer, "CancelKeyDeletion", json!({"KeyId": id})).0, "KMSInvalidStateException");
    let other = key(&signer, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    assert_eq!(ok(&signer, "ScheduleKeyDeletion", json!({"KeyId": other}))["PendingWindowInDays"], 30);
}

#[test]
fn malformed_requests_are_serialization_errors() {
    let signer = signer();
    for body in
        ["", "{", "[]", "null", "{\"KeyId\": 1}", "{\"GrantTokens\": \"x\"}", "\u{0}", "{\"KeyId\":\"a\"}x"]
    {
        let error = signer.call("DescribeKey", body.as_bytes()).expect_err(body);
        let expected = if body.is_empty() { "ValidationException" } else { "SerializationException" };
        assert_eq!(error.kind.name(), expected, "{body}: {}", error.message);
    }
    let error = signer.call("Sign", b"{\"Message\": \"no base64!\"}").expect_err("not base64");
    assert!(error.message.contains("not base64"), "{}", error.message);
}

#[test]
fn unknown_operations_are_named() {
    let signer = signer();
    let (kind, message) = refused(&signer, "SignEverything", json!({}));
    assert_eq!(kind, "UnknownOperationException");
    assert!(message.contains("SignEverything"));
    // That every name of the service model is found: tests/model.rs.
}
