//! That operations obey key policies, identity policies and session policies. What these mean is tested in
//! `casemate-policy`.

use std::rc::Rc;

use casemate_policy::{Arn, Kind, PolicyDocument, Tags};
use serde_json::{Value, json};

use super::{Call, Caller, Facts, Principal};
use crate::platform::Nowhere;
use crate::signer::Signer;

pub(super) const ACCOUNT: &str = "000000000000";

pub(crate) fn signer() -> Rc<Signer> {
    Signer::new(Box::new(Nowhere))
}

fn policy(kind: Kind, document: &Value) -> Rc<PolicyDocument> {
    Rc::new(PolicyDocument::parse(&document.to_string(), kind).expect("a policy"))
}

/// Somebody in a session of that role, with these identity policies and session policies.
pub(crate) fn session(role: &str, identity: &[Value], passed: &[Value]) -> Caller {
    let arn = |text: String| Arn::parse(&text).expect("an ARN");
    let parse = |kind: Kind, all: &[Value]| all.iter().map(|one| policy(kind, one)).collect();
    Caller::Principal(Rc::new(Principal {
        who: casemate_policy::Principal::AssumedRole {
            role: arn(format!("arn:aws:iam::{ACCOUNT}:role/{role}")),
            role_id: "AROAEXAMPLE".to_owned(),
            session: arn(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/me")),
            tags: Tags::default(),
        },
        access_key_id: "ASIAEXAMPLE".to_owned(),
        identity: parse(Kind::Identity, identity),
        boundary: None,
        session: parse(Kind::Session, passed),
        issued: None,
    }))
}

/// The error's type and message, or the answer.
pub(super) fn ask(
    signer: &Signer,
    caller: &Caller,
    operation: &str,
    request: &Value,
) -> Result<Value, (String, String)> {
    let facts = Facts::NONE;
    let call = Call::new(signer, caller, &facts);
    match signer.answer(&call, operation, request.to_string().as_bytes()) {
        Ok(answer) => Ok(serde_json::from_slice(&answer).expect("JSON")),
        Err(error) => Err((error.kind.name().to_owned(), error.message)),
    }
}

fn key(signer: &Signer, policy: Option<&Value>) -> String {
    let request = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
    let made = ask(signer, &Caller::LocalOwner, "CreateKey", &request).expect("a key");
    let id = made["KeyMetadata"]["KeyId"].as_str().expect("text").to_owned();
    if let Some(policy) = policy {
        let parsed = crate::store::KeyId::parse(&id).expect("an id");
        let record = signer.store.borrow().find(&parsed).expect("the key");
        record.meta_mut().policy = policy.to_string();
    }
    id
}

fn sign(id: &str, algorithm: &str) -> Value {
    json!({"KeyId": id, "Message": "AA==", "SigningAlgorithm": algorithm})
}

pub(super) fn allow(action: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})
}

#[test]
fn under_the_default_policy_identity_policies_decide() {
    let signer = Signer::new(Box::new(Nowhere));
    let id = key(&signer, None);
    let request = sign(&id, "ECDSA_SHA_256");
    let (may, may_not) = (session("Signs", &[allow("kms:Sign")], &[]), session("Idle", &[], &[]));
    ask(&signer, &may, "Sign", &request).expect("allowed");
    let (kind, message) = ask(&signer, &may_not, "Sign", &request).expect_err("nothing allows it");
    assert_eq!(kind, "AccessDeniedException");
    let arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{id}");
    let start = format!(
        "User: arn:aws:sts::{ACCOUNT}:assumed-role/Idle/me is not authorized to perform: kms:Sign on resource: {arn} because no "
    );
    assert!(message.starts_with(&start), "{message}");
    let limited = session("Signs", &[allow("kms:*")], &[allow("kms:DescribeKey")]);
    ask(&signer, &limited, "DescribeKey", &json!({"KeyId": id})).expect("the session may");
    assert!(ask(&signer, &limited, "Sign", &request).is_err(), "a session beyond its policy");
    assert!(ask(&signer, &may, "ListKeys", &json!({})).is_err(), "without a key, without a policy");
}

#[test]
fn a_key_policy_decides_alone_and_its_conditions_see_the_request() {
    let signer = Signer::new(Box::new(Nowhere));
    let id = key(
        &signer,
        Some(&json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:role/Sender")},
            "Action": "kms:Sign",
            "Resource": "*",
            "Condition": {"StringEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_256", "kms:KeySpec": "ECC_NIST_P256"},
                "Null": {"kms:RecipientAttestation:ImageSha384": "true"}}
        }]})),
    );
    let (sender, other) = (session("Sender", &[], &[]), session("Other", &[allow("kms:*")], &[]));
    ask(&signer, &sender, "Sign", &sign(&id, "ECDSA_SHA_256")).expect("allowed");
    assert_eq!(
        ask(&signer, &sender, "Sign", &sign(&id, "ECDSA_SHA_384")).expect_err("algorithm").0,
        "AccessDeniedException"
    );
    assert!(ask(&signer, &sender, "GetPublicKey", &json!({"KeyId": id})).is_err(), "another action");
    assert!(
        ask(&signer, &other, "Sign", &sign(&id, "ECDSA_SHA_256")).is_err(),
        "the account has no say in this key"
    );
}

#[test]
fn a_policy_that_cannot_be_read_allows_nothing() {
    let signer = Signer::new(Box::new(Nowhere));
    let id = key(&signer, Some(&json!({"Statement": "nonsense"})));
    let caller = session("Signs", &[allow("*")], &[]);
    assert!(ask(&signer, &caller, "Sign", &sign(&id, "ECDSA_SHA_256")).is_err());
}

/// Names of tags are case-sensitive here and not in policies: no tag may hide another.
#[test]
fn two_tags_whose_names_differ_only_in_case_do_not_meet_a_condition_on_one() {
    let signer = Signer::new(Box::new(Nowhere));
    let id = key(&signer, None);
    let record =
        signer.store.borrow().find(&crate::store::KeyId::parse(&id).expect("an id")).expect("the key");
    for (tag, value) in [("Team", "a"), ("team", "b")] {
        record.meta_mut().tags.insert(tag.to_owned(), value.to_owned());
    }
    for team in ["a", "b"] {
        let statement = json!({"Effect": "Allow", "Action": "kms:Sign", "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/team": team}}});
        let caller = session("Signs", &[json!({"Version": "2012-10-17", "Statement": statement})], &[]);
        assert!(ask(&signer, &caller, "Sign", &sign(&id, "ECDSA_SHA_256")).is_err(), "team {team}");
    }
}

#[test]
fn conditions_see_the_callers_account() {
    let signer = signer();
    let by = |account: &str| {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*",
            "Resource": "*", "Condition": {"StringEquals": {"kms:CallerAccount": account}}}]})
    };
    let caller = session("App", &[], &[]);
    let Caller::Principal(own) = &caller else { panic!("a session") };
    let mut elsewhere = Principal::clone(own);
    elsewhere.identity = vec![policy(Kind::Identity, &allow("kms:*"))];
    elsewhere.who = casemate_policy::Principal::User {
        arn: Arn::parse("arn:aws:iam::999999999999:user/eve").expect("an ARN"),
        id: "AIDAEXAMPLE".to_owned(),
        tags: Tags::default(),
    };
    let elsewhere = Caller::Principal(Rc::new(elsewhere));
    let (ours, theirs) = (key(&signer, Some(&by(ACCOUNT))), key(&signer, Some(&by("999999999999"))));
    let may = |caller, id: &str| ask(&signer, caller, "Sign", &sign(id, "ECDSA_SHA_256")).is_ok();
    assert_eq!((may(&caller, &ours), may(&caller, &theirs)), (true, false));
    assert_eq!((may(&elsewhere, &ours), may(&elsewhere, &theirs)), (false, true));
    // Without a key it is known too.
    let listing = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:ListKeys",
        "Resource": "*", "Condition": {"StringEquals": {"kms:CallerAccount": ACCOUNT}}}]});
    ask(&signer, &session("App", &[listing], &[]), "ListKeys", &json!({})).expect("allowed");
}
