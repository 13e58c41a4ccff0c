//! That management obeys policies: grants, aliases, tags and key policies, and what each lets others know and do.

use serde_json::{Value, json};

use super::tests::{ACCOUNT, allow, ask, session, signer};
use super::{Caller, Facts};
use crate::signer::Signer;

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn owner(signer: &Signer, operation: &str, request: Value) -> Value {
    ask(signer, &Caller::LocalOwner, operation, &request)
        .unwrap_or_else(|error| panic!("{operation}: {error:?}"))
}

fn key(signer: &Signer, request: Value) -> String {
    owner(signer, "CreateKey", request)["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

fn statement(effect: &str, principal: &str, action: &str, condition: Value) -> Value {
    json!({"Effect": effect, "Principal": {"AWS": principal}, "Action": action, "Resource": "*",
        "Condition": condition})
}

fn policy(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn denied(signer: &Signer, caller: &Caller, operation: &str, request: &Value) -> String {
    let (kind, message) = ask(signer, caller, operation, request).expect_err("was answered");
    assert_eq!(kind, "AccessDeniedException", "{operation}: {message}");
    message
}

fn encrypt(id: &str, context: Value) -> Value {
    json!({"KeyId": id, "Plaintext": "AA==", "EncryptionContext": context})
}

#[test]
fn a_grant_permits_its_operations_under_its_constraints_until_it_is_revoked() {
    let signer = signer();
    let id =
        key(&signer, json!({"Policy": policy(&[statement("Allow", &role("Owner"), "kms:*", json!({}))])}));
    let (ann, bob) = (session("Ann", &[], &[]), session("Bob", &[], &[]));
    let red = json!({"team": "red"});
    denied(&signer, &ann, "Encrypt", &encrypt(&id, red.clone()));
    let grant = owner(
        &signer,
        "CreateGrant",
        json!({"KeyId": id, "GranteePrincipal": role("Ann"), "Operations": ["Encrypt", "DescribeKey"],
            "Constraints": {"EncryptionContextSubset": red}}),
    );
    ask(&signer, &ann, "Encrypt", &encrypt(&id, red.clone())).expect("granted");
    ask(&signer, &ann, "Encrypt", &encrypt(&id, json!({"team": "red", "x": "y"}))).expect("granted");
    for context in [json!({}), json!({"team": "blue"}), json!({"Team": "red"}), json!({"x": "red"})] {
        denied(&signer, &ann, "Encrypt", &encrypt(&id, context));
    }
    ask(&signer, &ann, "DescribeKey", &json!({"KeyId": id})).expect("granted, and not about a context");
    denied(
        &signer,
        &ann,
        "GenerateDataKey",
        &json!({"KeyId": id, "KeySpec": "AES_256", "EncryptionContext": red}),
    );
    denied(&signer, &bob, "Encrypt", &encrypt(&id, red.clone()));
    // The token is nothing that somebody else could use.
    let mut with_token = encrypt(&id, red.clone());
    with_token["GrantTokens"] = json!([grant["GrantToken"]]);
    denied(&signer, &bob, "Encrypt", &with_token);
    // What limits the session limits what is granted to its role.
    let limited = session("Ann", &[], &[allow("kms:DescribeKey")]);
    ask(&signer, &limited, "DescribeKey", &json!({"KeyId": id}))
        .expect("granted, and in the session's policy");
    denied(&signer, &limited, "Encrypt", &encrypt(&id, red.clone()));
    owner(&signer, "RevokeGrant", json!({"KeyId": id, "GrantId": grant["GrantId"]}));
    denied(&signer, &ann, "Encrypt", &encrypt(&id, red));
}

#[test]
fn an_explicit_deny_outweighs_a_grant() {
    let signer = signer();
    let deny = statement("Deny", &role("Ann"), "kms:Encrypt", json!({}));
    let id = key(
        &signer,
        json!({"Policy": policy(&[statement("Allow", &role("Owner"), "kms:*", json!({})), deny])}),
    );
    let grant = json!({"KeyId": id, "GranteePrincipal": role("Ann"), "Operations": ["Encrypt", "Decrypt"]});
    let blob = owner(&signer, "Encrypt", encrypt(&id, json!({})))["CiphertextBlob"].clone();
    owner(&signer, "CreateGrant", grant);
    let ann = session("Ann", &[], &[]);
    let message = denied(&signer, &ann, "Encrypt", &encrypt(&id, json!({})));
    assert!(message.ends_with("with an explicit deny in a resource-based policy"), "{message}");
    ask(&signer, &ann, "Decrypt", &json!({"CiphertextBlob": blob})).expect("granted");
}

#[test]
fn a_grant_to_the_account_lets_its_own_policies_decide() {
    let signer = signer();
    let id =
        key(&signer, json!({"Policy": policy(&[statement("Allow", &role("Owner"), "kms:*", json!({}))])}));
    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    owner(&signer, "CreateGrant", json!({"KeyId": id, "GranteePrincipal": root, "Operations": ["Encrypt"]}));
    let (may, may_not) = (session("Ann", &[allow("kms:Encrypt")], &[]), session("Bob", &[], &[]));
    ask(&signer, &may, "Encrypt", &encrypt(&id, json!({}))).expect("granted and allowed");
    denied(&signer, &may_not, "Encrypt", &encrypt(&id, json!({})));
}

#[test]
fn who_was_granted_create_grant_passes_on_what_the_grant_permits_and_no_more() {
    let signer = signer();
    let id =
        key(&signer, json!({"Policy": policy(&[statement("Allow", &role("Owner"), "kms:*", json!({}))])}));
    owner(
        &signer,
        "CreateGrant",
        json!({"KeyId": id, "GranteePrincipal": role("Ann"), "Operations": ["Encrypt", "CreateGrant"],
            "Constraints": {"EncryptionContextSubset": {"team": "red"}}}),
    );
    let ann = session("Ann", &[], &[]);
    let passed_on = |operations: Value, constraints: Value| json!({"KeyId": id, "GranteePrincipal": role("Bob"), "Operations": operations, "Constraints": constraints});
    let red = json!({"EncryptionContextSubset": {"team": "red"}});
    for request in [
        passed_on(json!(["Decrypt"]), red.clone()),
        passed_on(json!(["Encrypt", "Decrypt"]), red.clone()),
        passed_on(json!(["Encrypt"]), json!({})),
        passed_on(json!(["Encrypt"]), json!({"EncryptionContextSubset": {"team": "blue"}})),
    ] {
        denied(&signer, &ann, "CreateGrant", &request);
    }
    ask(&signer, &ann, "CreateGrant", &passed_on(json!(["Encrypt"]), red)).expect("as strict");
    let bob = session("Bob", &[], &[]);
    ask(&signer, &bob, "Encrypt", &encrypt(&id, json!({"team": "red"}))).expect("passed on");
    denied(&signer, &bob, "Encrypt", &encrypt(&id, json!({})));
}

#[test]
fn a_grant_is_retired_by_those_whom_it_names_and_by_nobody_else() {
    let signer = signer();
    let deny = statement("Deny", &role("Denied"), "kms:RetireGrant", json!({}));
    let id = key(
        &signer,
        json!({"Policy": policy(&[statement("Allow", &role("Owner"), "kms:*", json!({})), deny])}),
    );
    let grant = |retiring: &str, operations: Value| {
        let request = json!({"KeyId": id, "GranteePrincipal": role("Ann"), "RetiringPrincipal": role(retiring),
            "Operations": operations});
        json!({"GrantToken": owner(&signer, "CreateGrant", request)["GrantToken"]})
    };
    let by = |name: &str| session(name, &[], &[]);
    let plain = grant("Retirer", json!(["Encrypt"]));
    denied(&signer, &by("Bob"), "RetireGrant", &plain);
    denied(&signer, &by("Ann"), "RetireGrant", &plain);
    ask(&signer, &by("Retirer"), "RetireGrant", &plain).expect("the retiring principal");
    let own = grant("Retirer", json!(["Encrypt", "RetireGrant"]));
    ask(&signer, &by("Ann"), "RetireGrant", &own).expect("the grantee, who may");
    let other = grant("Denied", json!(["Encrypt"]));
    denied(&signer, &by("Denied"), "RetireGrant", &other);
    ask(&signer, &by("Owner"), "RetireGrant", &other).expect("the key policy allows it");
    assert_eq!(owner(&signer, "ListGrants", json!({"KeyId": id}))["Grants"], json!([]));
}

#[test]
fn policies_see_the_alias_that_a_key_was_named_by_and_all_that_it_has() {
    let signer = signer();
    let by_name = statement(
        "Allow",
        &role("ByName"),
        "kms:*",
        json!({"StringEquals": {"kms:RequestAlias": "alias/a"}}),
    );
    let named = json!({"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/pay/*"}});
    let id = key(
        &signer,
        json!({"Policy": policy(&[by_name, statement("Allow", &role("Named"), "kms:*", named)])}),
    );
    for alias in ["alias/a", "alias/b"] {
        owner(&signer, "CreateAlias", json!({"AliasName": alias, "TargetKeyId": id}));
    }
    let (by_name, named) = (session("ByName", &[], &[]), session("Named", &[], &[]));
    ask(&signer, &by_name, "Encrypt", &encrypt("alias/a", json!({}))).expect("by that alias");
    denied(&signer, &by_name, "Encrypt", &encrypt("alias/b", json!({})));
    denied(&signer, &by_name, "Encrypt", &encrypt(&id, json!({})));
    denied(&signer, &named, "Encrypt", &encrypt(&id, json!({})));
    owner(&signer, "CreateAlias", json!({"AliasName": "alias/pay/eu", "TargetKeyId": id}));
    ask(&signer, &named, "Encrypt", &encrypt(&id, json!({}))).expect("by an alias that it has");
}

#[test]
fn an_alias_is_changed_by_whoever_may_change_it_and_both_its_keys() {
    let signer = signer();
    let mine =
        |action: &str| json!({"Policy": policy(&[statement("Allow", &role("Ann"), action, json!({}))])});
    let (one, two) = (key(&signer, mine("kms:*Alias")), key(&signer, mine("kms:*Alias")));
    let foreign = key(&signer, mine("kms:DescribeKey"));
    let on_aliases = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*Alias",
        "Resource": format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/ann/*")}]});
    let ann = session("Ann", &[on_aliases], &[]);
    let alias = |name: &str, target: &str| json!({"AliasName": name, "TargetKeyId": target});
    ask(&signer, &ann, "CreateAlias", &alias("alias/ann/a", &one)).expect("her key, her alias");
    denied(&signer, &ann, "CreateAlias", &alias("alias/bob/a", &one));
    denied(&signer, &ann, "CreateAlias", &alias("alias/ann/b", &foreign));
    denied(&signer, &ann, "UpdateAlias", &alias("alias/ann/a", &foreign));
    ask(&signer, &ann, "UpdateAlias", &alias("alias/ann/a", &two)).expect("from her key to her key");
    owner(&signer, "UpdateAlias", alias("alias/ann/a", &foreign));
    denied(&signer, &ann, "UpdateAlias", &alias("alias/ann/a", &one));
    denied(&signer, &ann, "DeleteAlias", &json!({"AliasName": "alias/ann/a"}));
}

#[test]
fn nobody_changes_a_locked_policy() {
    let signer = signer();
    let all = policy(&[statement("Allow", &role("Ann"), "kms:*", json!({}))]);
    let lock = json!([{"TagKey": "casemate:policy-locked", "TagValue": "true"}]);
    let id = key(&signer, json!({"Policy": all, "Tags": lock}));
    let ann = session("Ann", &[allow("*")], &[]);
    let put = json!({"KeyId": id, "Policy": all, "BypassPolicyLockoutSafetyCheck": true});
    for caller in [&ann, &Caller::LocalOwner] {
        let message = denied(&signer, caller, "PutKeyPolicy", &put);
        assert!(message.contains("locked"), "{message}");
        for (operation, request) in [
            ("UntagResource", json!({"KeyId": id, "TagKeys": ["casemate:policy-locked"]})),
            ("UntagResource", json!({"KeyId": id, "TagKeys": ["Casemate:Policy-Locked"]})),
            (
                "TagResource",
                json!({"KeyId": id, "Tags": [{"TagKey": "casemate:policy-locked", "TagValue": ""}]}),
            ),
        ] {
            assert_eq!(ask(&signer, caller, operation, &request).expect_err("changed").0, "TagException");
        }
    }
    // A policy that leaves nobody the right to change it can be locked without further ado: nobody could anyway.
    let narrow = policy(&[statement("Allow", &role("Ann"), "kms:Encrypt", json!({}))]);
    let maker = session("Maker", &[allow("kms:CreateKey"), allow("kms:TagResource")], &[]);
    let request = json!({"Policy": narrow, "Tags": lock});
    let made = ask(&signer, &maker, "CreateKey", &request).expect("a locked key");
    let id = made["KeyMetadata"]["KeyId"].clone();
    ask(&signer, &ann, "Encrypt", &json!({"KeyId": id, "Plaintext": "AA=="})).expect("in the policy");
    denied(&signer, &ann, "ScheduleKeyDeletion", &json!({"KeyId": id}));
}

#[test]
fn nobody_locks_itself_out_by_mistake() {
    let signer = signer();
    let (of_ann, of_bob) = (
        policy(&[statement("Allow", &role("Ann"), "kms:*", json!({}))]),
        policy(&[statement("Allow", &role("Bob"), "kms:*", json!({}))]),
    );
    let ann = session("Ann", &[allow("kms:CreateKey")], &[]);
    for request in
        [json!({"Policy": of_bob}), json!({"Policy": of_bob, "BypassPolicyLockoutSafetyCheck": false})]
    {
        let (kind, message) = ask(&signer, &ann, "CreateKey", &request).expect_err("locked out");
        assert_eq!(kind, "MalformedPolicyDocumentException");
        assert_eq!(message, "The new key policy will not allow you to update the key policy in the future.");
    }
    let made = ask(&signer, &ann, "CreateKey", &json!({"Policy": of_ann})).expect("her own");
    let id = made["KeyMetadata"]["KeyId"].clone();
    let put = json!({"KeyId": id, "Policy": of_bob});
    assert_eq!(
        ask(&signer, &ann, "PutKeyPolicy", &put).expect_err("locked out").0,
        "MalformedPolicyDocumentException"
    );
    let mut deliberate = put;
    deliberate["BypassPolicyLockoutSafetyCheck"] = json!(true);
    ask(&signer, &ann, "PutKeyPolicy", &deliberate).expect("deliberately");
    denied(&signer, &ann, "GetKeyPolicy", &json!({"KeyId": id}));
}

#[test]
fn policies_see_what_key_is_to_be_made() {
    let signer = signer();
    let create = |condition: Value| {
        let statement = json!({"Effect": "Allow", "Action": ["kms:CreateKey", "kms:TagResource"], "Resource": "*", "Condition": condition});
        session("Maker", &[json!({"Version": "2012-10-17", "Statement": [statement]})], &[])
    };
    let red = json!([{"TagKey": "team", "TagValue": "red"}]);
    for (condition, yes, no) in [
        (
            json!({"kms:KeySpec": "ECC_NIST_P256"}),
            json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
            json!({}),
        ),
        (
            json!({"kms:KeyUsage": "ENCRYPT_DECRYPT"}),
            json!({}),
            json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}),
        ),
        (json!({"kms:KeyOrigin": "EXTERNAL"}), json!({"Origin": "EXTERNAL"}), json!({})),
        (json!({"kms:MultiRegion": "true"}), json!({"MultiRegion": true}), json!({})),
        (json!({"kms:MultiRegionKeyType": "PRIMARY"}), json!({"MultiRegion": true}), json!({})),
        (json!({"aws:RequestTag/team": "red"}), json!({"Tags": red}), json!({})),
        (
            json!({"aws:TagKeys": "team"}),
            json!({"Tags": red}),
            json!({"Tags": [{"TagKey": "x", "TagValue": ""}]}),
        ),
    ] {
        let condition = match condition.get("aws:TagKeys") {
            Some(_) => json!({"ForAllValues:StringEquals": condition}),
            None => json!({"StringEquals": condition}),
        };
        let maker = create(condition);
        ask(&signer, &maker, "CreateKey", &yes).unwrap_or_else(|error| panic!("{yes}: {error:?}"));
        denied(&signer, &maker, "CreateKey", &no);
    }
    // Tags at creation are tagging.
    let only_creates = session("Maker", &[allow("kms:CreateKey")], &[]);
    let message = denied(&signer, &only_creates, "CreateKey", &json!({"Tags": red}));
    assert!(message.contains("kms:TagResource"), "{message}");
}

#[test]
fn a_source_is_what_the_request_says_and_nothing_else() {
    let mut facts = Facts::default();
    assert_eq!(facts.only("aws:SourceArn"), None);
    facts.set("aws:SourceArn", "arn:aws:s3:::a");
    assert_eq!(facts.only("AWS:sourcearn"), Some("arn:aws:s3:::a"));
    facts.set("aws:SourceArn", "arn:aws:s3:::b");
    assert_eq!(facts.only("aws:SourceArn"), None, "two are none");
}
