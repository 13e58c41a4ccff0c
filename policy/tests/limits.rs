//! What AWS leaves open, or leaves to its machines: what is not clear is refused, work is limited, and no text is taken
//! for more than it says.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Instant;

use casemate_policy::{
    Arn, Context, Deciding, Decision, Kind, Layer, Named, Policies, PolicyDocument, PolicyError, Principal,
    Problem, Request, ResourcePolicy, Tags, evaluate,
};
use serde_json::{Value, json};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn parse(statements: Value, kind: Kind) -> PolicyDocument {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    PolicyDocument::parse(&policy, kind).unwrap_or_else(|error| panic!("{policy}: {error}"))
}

fn ann() -> Principal {
    support::principal("user/ann", Tags::default())
}

/// The decision on ann's kms:Sign with this one identity-based policy.
fn decide<'p>(policy: &'p PolicyDocument, context: &Context) -> Decision<'p> {
    let principal = ann();
    let request = Request { principal: &principal, action: "kms:Sign", resource: KEY, context };
    evaluate(&request, &Policies { identity: &[policy], ..Policies::default() })
}

#[test]
fn what_is_not_of_the_operators_type_is_taken_so_that_access_is_refused() {
    let operators = [
        ("NumericEquals", json!("1"), "one"),
        ("NumericNotEquals", json!("1"), "one"),
        ("NumericLessThanIfExists", json!("1"), ""),
        ("DateGreaterThan", json!("2026-01-01"), "yesterday"),
        ("DateNotEquals", json!("2026-01-01"), "2026-99-99"),
        ("Bool", json!("true"), "yes"),
        ("BinaryEquals", json!("QQ=="), "%"),
        ("IpAddress", json!("0.0.0.0/0"), "unix"),
        ("NotIpAddress", json!("10.0.0.0/8"), "10.0.0"),
        ("ArnLike", json!("arn:*:*:*:*:*"), "arn:aws:iam::x"),
        ("ArnNotEquals", json!("arn:aws:iam::1:user/x"), "user/x"),
        ("ArnNotEquals", json!("arn:aws:iam::1:user/x"), "urn:aws:iam::1:user/y"),
        ("ForAllValues:NumericLessThan", json!("5"), "four"),
        ("ForAnyValue:NumericLessThan", json!("5"), "four"),
    ];
    for (operator, value, unclear) in operators {
        let context = Context::from_iter([("k:v", unclear)]);
        let conditions = json!({operator: {"k:v": value}});
        let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": conditions});
        let deny = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": conditions});
        let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let (allow, deny) = (parse(allow, Kind::Identity), parse(json!([all, deny]), Kind::Identity));
        assert_eq!(decide(&allow, &context), Decision::ImplicitDeny(Layer::Identity), "{operator} {unclear}");
        assert!(matches!(decide(&deny, &context), Decision::ExplicitDeny(_)), "{operator} {unclear}");
    }
}

/// AWS wants a set operator before a key with several values, and does not say what happens without. Whoever chooses
/// the values (tags, an encryption context) must not get further with two of them than with either.
#[test]
fn several_values_without_set_operator_must_agree() {
    let context = Context::from_iter([("k:Tag/x", "a"), ("k:tag/X", "b")]);
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    for (conditions, allows, denies) in [
        (json!({"StringLike": {"k:tag/x": "?"}}), true, true),
        (json!({"StringEquals": {"k:tag/x": "c"}}), false, false),
        (json!({"StringNotEquals": {"k:tag/x": "c"}}), true, true),
        (json!({"StringEquals": {"k:tag/x": "b"}}), false, true),
        (json!({"StringNotEquals": {"k:tag/x": "b"}}), false, true),
        (json!({"StringNotLikeIfExists": {"k:tag/x": "b*"}}), false, true),
        (json!({"ForAnyValue:StringEquals": {"k:tag/x": "b"}}), true, true),
    ] {
        let statement =
            |effect| json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": conditions});
        let allow = parse(statement("Allow"), Kind::Identity);
        let deny = parse(json!([all, statement("Deny")]), Kind::Identity);
        assert_eq!(decide(&allow, &context).is_allowed(), allows, "{conditions}");
        assert_eq!(!decide(&deny, &context).is_allowed(), denies, "{conditions}, to deny");
    }
}

#[test]
fn a_policy_in_the_wrong_place_permits_nothing_and_forbids_all_it_can() {
    let (principal, context) = (ann(), Context::new());
    let request = Request { principal: &principal, action: "kms:Sign", resource: KEY, context: &context };
    let all = parse(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}), Kind::Identity);
    let none = parse(json!({"Effect": "Deny", "Action": "*", "Resource": "*"}), Kind::Identity);
    let decide = |policy| {
        let resource = ResourcePolicy::RootOfTrust(policy);
        evaluate(&request, &Policies { resource, identity: &[&all], ..Policies::default() })
    };
    assert_eq!(decide(&all), Decision::ImplicitDeny(Layer::Resource));
    assert!(matches!(decide(&none), Decision::ExplicitDeny(Deciding { layer: Layer::Resource, .. })));
}

/// A condition that nearly matches, again and again; before it a statement that would allow at once.
fn laborious(patterns: usize) -> (PolicyDocument, Context) {
    let nearly = format!("*{}b", "a".repeat(100));
    let all = json!({"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"});
    let condition = json!({"ForAnyValue:StringLike": {"k:v": vec![nearly; patterns]}});
    let deny = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition});
    let context = (0..8).map(|_| ("k:v", "a".repeat(1000))).collect();
    (parse(json!([all, deny]), Kind::Identity), context)
}

#[test]
fn a_decision_that_takes_too_long_is_a_refusal() {
    let (policy, context) = laborious(5);
    assert!(decide(&policy, &context).is_allowed(), "five patterns are nothing");
    // 32 KiB of policy before 8 KiB of request.
    let (policy, context) = laborious(300);
    let decision = decide(&policy, &context);
    assert_eq!(decision, Decision::TooComplex);
    assert!(!decision.is_allowed() && !decision.leaves_room_for_grants());
    assert_eq!(
        decision.refusal("kms:Sign").as_deref(),
        Some("because its policies are too complex for this request")
    );
}

/// A variable that stands a thousand times in a pattern, with a long value, must not be written out a thousand times.
#[test]
fn long_values_of_variables_do_not_multiply() {
    let pattern = "${k:long}".repeat(1000);
    let condition = json!({"ForAnyValue:StringLike": {"k:v": vec![pattern; 3]}});
    let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition});
    let policy = parse(allow, Kind::Identity);
    let mut context = Context::from_iter([("k:long", "x".repeat(8192))]);
    (0..100).for_each(|index| context.add("k:v", format!("value {index}")));
    // Written out, one pattern would have eight million characters, and 300 comparisons are made.
    assert_eq!(decide(&policy, &context), Decision::ImplicitDeny(Layer::Identity));
    let mut context = Context::from_iter([("k:long", "x")]);
    context.set("k:v", "x".repeat(1000));
    assert!(decide(&policy, &context).is_allowed());
}

#[test]
fn nesting_is_limited() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let error = PolicyDocument::parse(&deep, Kind::Identity).unwrap_err();
        assert!(matches!(error.problem(), Problem::Json(_)), "{error}");
    }
}

#[test]
fn messages_repeat_only_the_beginning_of_what_they_refuse() {
    let long = "é".repeat(100_000);
    for statement in [
        json!({"Effect": long, "Action": "*", "Resource": "*"}),
        json!({"Effect": "Allow", "Action": long, "Resource": "*"}),
        json!({"Effect": "Allow", "Action": "*", "Resource": long}),
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"k:v": long}}}),
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {long.as_str(): {"k:v": "x"}}}),
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {long.as_str(): "x"}}}),
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", long.as_str(): 1}),
    ] {
        let policy = json!({"Statement": statement}).to_string();
        let error = PolicyDocument::parse(&policy, Kind::Identity).unwrap_err().to_string();
        assert!(error.chars().count() < 400, "{} characters", error.chars().count());
    }
}

#[test]
fn principals_can_be_bound_to_their_identifiers_and_shown_by_their_names() {
    let statement = json!({
        "Effect": "Allow", "Action": "*", "Resource": "*",
        "Principal": {"AWS": ["111122223333", "arn:aws:iam::111122223333:user/ann"]},
    });
    let policy = parse(statement, Kind::Resource);
    let arn = Arn::parse("arn:aws:iam::111122223333:user/ann").unwrap();
    let bind = |named| match named {
        Named::Arn(named) if named == arn => Ok(Named::UniqueId(support::USER_ID.to_owned())),
        Named::Arn(named) => Err(named),
        other => Ok(other),
    };
    let bound = policy.clone().rename_principals(bind).unwrap();
    let text = bound.to_json();
    assert!(text.contains(support::USER_ID) && !text.contains("user/ann"), "{text}");
    assert_eq!(PolicyDocument::parse(&text, Kind::Resource).as_ref(), Ok(&bound));

    let context = Context::new();
    let allowed = |id: &str| {
        let principal = Principal::User { arn: arn.clone(), id: id.to_owned(), tags: Tags::default() };
        let request = Request { principal: &principal, action: "kms:Sign", resource: KEY, context: &context };
        let resource = ResourcePolicy::RootOfTrust(&bound);
        evaluate(&request, &Policies { resource, ..Policies::default() }).is_allowed()
    };
    assert!(allowed(support::USER_ID));
    assert!(!allowed("AIDACKCEVSQ6C2ANOTHER"), "somebody else got the name");

    let shown = bound.rename_principals(|named| match named {
        Named::UniqueId(_) => Ok::<_, PolicyError>(Named::Arn(arn.clone())),
        other => Ok(other),
    });
    assert_eq!(shown.as_ref(), Ok(&policy));
    let unknown = json!({"Effect": "Allow", "Action": "*", "Resource": "*",
        "Principal": {"AWS": "arn:aws:iam::111122223333:user/nobody"}});
    assert_eq!(
        parse(unknown, Kind::Resource).rename_principals(bind).unwrap_err().as_str(),
        "arn:aws:iam::111122223333:user/nobody"
    );
}

#[test]
fn refusals_are_in_the_words_of_aws() {
    let by = |layer| Deciding { layer, policy: 0, statement: 0, sid: None };
    for (decision, text) in [
        (Decision::ExplicitDeny(by(Layer::Identity)), "with an explicit deny in an identity-based policy"),
        (Decision::ExplicitDeny(by(Layer::Resource)), "with an explicit deny in a resource-based policy"),
        (Decision::ExplicitDeny(by(Layer::Boundary)), "with an explicit deny in a permissions boundary"),
        (Decision::ImplicitDeny(Layer::Session), "because no session policy allows the kms:Sign action"),
    ] {
        assert_eq!(decision.refusal("kms:Sign").as_deref(), Some(text));
    }
    assert_eq!(Decision::Allowed(by(Layer::Identity)).refusal("kms:Sign"), None);
    assert_eq!(Decision::AllowedToRoot.refusal("kms:Sign"), None);
}

#[test]
fn the_examples_in_the_documentation_do_what_it_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policies.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut examples = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let key_policy = PolicyDocument::parse(examples.next().unwrap(), Kind::Resource).unwrap();
    let own = PolicyDocument::parse(examples.next().unwrap(), Kind::Identity).unwrap();
    assert_eq!(examples.next(), None, "an example without a test");

    let decide = |who, action, context: &Context, resource, identity: &[&PolicyDocument]| {
        let principal = support::principal(who, Tags::from_iter([("Project", "red")]));
        let request = Request { principal: &principal, action, resource: KEY, context };
        evaluate(&request, &Policies { resource, identity, ..Policies::default() }).is_allowed()
    };
    let all = parse(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}), Kind::Identity);
    let by_key_policy = |who, action, context: &Context| {
        decide(who, action, context, ResourcePolicy::RootOfTrust(&key_policy), &[&all])
    };
    let (nothing, mut measured) = (Context::new(), Context::new());
    let image =
        "0DF3FA803436B858BB5CA1E443F33E7967447C20F390A8C399D0A7AD908CAF74EAF236A247DEB1FB69818A4D08D31E74";
    measured.set("kms:RecipientAttestation:ImageSha384", image);
    assert!(by_key_policy("role/app/s1", "kms:Decrypt", &measured));
    assert!(!by_key_policy("role/app/s1", "kms:Decrypt", &nothing));
    assert!(!by_key_policy("role/other/s1", "kms:Decrypt", &measured));
    assert!(!by_key_policy("root", "kms:Decrypt", &measured));
    assert!(by_key_policy("root", "kms:DescribeKey", &nothing));
    for who in ["root", "user/ann", "role/app/s1"] {
        assert!(!by_key_policy(who, "kms:PutKeyPolicy", &measured), "{who} opens what is closed for good");
        assert!(!by_key_policy(who, "kms:CreateGrant", &measured), "{who} opens what is closed for good");
    }

    let facts = [
        ("aws:ResourceTag/project", "red"),
        ("kms:SigningAlgorithm", "ECDSA_SHA_384"),
        ("aws:SecureTransport", "true"),
    ];
    let by_own = |context: &Context| decide("user/ann", "kms:Sign", context, ResourcePolicy::None, &[&own]);
    assert!(by_own(&Context::from_iter(facts)));
    for (key, _) in facts {
        let mut changed = Context::from_iter(facts);
        changed.set(key, "blue");
        assert!(!by_own(&changed), "another {key}");
    }
}

/// `cargo test --release -p casemate-policy --test limits -- --ignored --nocapture`
#[test]
#[ignore = "measures; says nothing on a busy machine"]
fn how_long_a_decision_on_a_default_key_policy_takes() {
    const ROUNDS: u32 = 200_000;
    let statement = json!({
        "Sid": "Enable IAM policies", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
        "Action": "kms:*", "Resource": "*",
    });
    let key_policy = parse(statement, Kind::Resource);
    let own = parse(json!({"Effect": "Allow", "Action": "kms:Sign", "Resource": KEY}), Kind::Identity);
    let (principal, context) = (ann(), Context::from_iter([("kms:SigningAlgorithm", "ECDSA_SHA_384")]));
    let request = Request { principal: &principal, action: "kms:Sign", resource: KEY, context: &context };
    let resource = ResourcePolicy::RootOfTrust(&key_policy);
    let policies = Policies { resource, identity: &[&own], ..Policies::default() };
    let start = Instant::now();
    for _ in 0..ROUNDS {
        assert!(std::hint::black_box(evaluate(std::hint::black_box(&request), &policies)).is_allowed());
    }
    println!("{:?} a decision", start.elapsed() / ROUNDS);
}
