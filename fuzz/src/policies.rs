//! Policy documents, before a request that they nearly match.

use casemate_policy::{
    Arn, Context, Decision, Kind, Policies, PolicyDocument, Principal, Request, ResourcePolicy, Tags,
    evaluate,
};

/// Kinds of policies.
pub const KINDS: [Kind; 4] = [Kind::Identity, Kind::Session, Kind::Resource, Kind::Trust];

/// What everybody may do, and what nobody may.
const ALL: &str = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
const NOTHING: &str = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;

/// One of everybody.
fn principal(index: usize) -> Principal {
    let arn = |text: &str| Arn::parse(text).expect("an ARN");
    let user = arn("arn:aws:iam::111122223333:user/ann");
    let tags = Tags::from_iter([("team", "red")]);
    match index % 5 {
        0 => Principal::Root { account: "111122223333".to_owned() },
        1 => Principal::User { arn: user, id: "AIDACKCEVSQ6C2EXAMPLE".to_owned(), tags },
        2 => Principal::AssumedRole {
            role: arn("arn:aws:iam::111122223333:role/app"),
            role_id: "AROADBQP57FF2AEXAMPLE".to_owned(),
            session: arn("arn:aws:sts::111122223333:assumed-role/app/s1"),
            tags,
        },
        3 => Principal::FederatedUser {
            user,
            user_id: "AIDACKCEVSQ6C2EXAMPLE".to_owned(),
            session: arn("arn:aws:sts::111122223333:federated-user/bob"),
            tags,
        },
        _ => Principal::Anonymous,
    }
}

/// Panics unless `text`, if it is a policy of that kind, keeps what the evaluator promises.
pub fn check(kind: usize, caller: usize, text: &str) {
    let kind = KINDS[kind % KINDS.len()];
    let Ok(policy) = PolicyDocument::parse(text, kind) else { return };
    assert_eq!(PolicyDocument::parse(&policy.to_json(), kind).expect("was a policy"), policy);

    let own = |text| PolicyDocument::parse(text, Kind::Identity).expect("a policy");
    let (all, nothing) = (own(ALL), own(NOTHING));
    // Keys and values that the policy itself has, so that its conditions are met now and then.
    let mut context = Context::new();
    for condition in policy.statements().iter().flat_map(|statement| statement.conditions()) {
        condition.values().iter().for_each(|value| context.add(condition.key(), value.as_str()));
    }
    let principal = principal(caller);
    let resource = "arn:aws:kms:us-east-1:111122223333:key/1234abcd";
    let request = Request { principal: &principal, action: "kms:Sign", resource, context: &context };
    let decide = |resource, identity: &[&PolicyDocument]| {
        let policies = Policies { resource, identity, boundary: Some(&all), session: &[&all] };
        let decision = evaluate(&request, &policies);
        (decision.is_allowed(), matches!(decision, Decision::TooComplex))
    };
    for resource in [ResourcePolicy::RootOfTrust(&policy), ResourcePolicy::Ordinary(&policy)] {
        let (allowed, too_complex) = decide(resource, &[]);
        assert!(!decide(resource, &[&nothing]).0, "a deny wins");
        assert!(too_complex || !allowed || decide(resource, &[&all]).0, "an allow takes nothing away");
    }
    assert!(!decide(ResourcePolicy::None, &[&policy, &nothing]).0, "a deny wins");
}
