//! What holds for every policy and every request.
//!
//! Policies are made of few names, so that they often apply. `PROPTEST_CASES=50000 cargo test -p casemate-policy` is
//! the long run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use casemate_policy::{
    Context, Decision, Kind, Policies, PolicyDocument, Principal, Request, ResourcePolicy, Tags, evaluate,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use support::ACCOUNT;

const KEYS: [&str; 2] =
    ["arn:aws:kms:us-east-1:111122223333:key/one", "arn:aws:kms:us-east-1:111122223333:key/two"];
const ACTIONS: [&str; 3] = ["kms:Sign", "kms:Verify", "sts:AssumeRole"];
const CALLERS: [&str; 8] = [
    "root",
    "user/ann",
    "user/bob",
    "role/app/s1",
    "role/app/s2",
    "federated/bob",
    "service/ec2.amazonaws.com",
    "444455556666:user/ann",
];

/// Policies of all layers, as JSON statements.
#[derive(Debug, Clone)]
struct World {
    /// That of the resource, and whether it is the root of trust.
    resource: Option<(bool, Vec<Value>)>,
    identity: Vec<Vec<Value>>,
    boundary: Option<Vec<Value>>,
    session: Vec<Vec<Value>>,
    caller: String,
    action: String,
    key: String,
    context: Vec<(String, String)>,
}

/// One of the policies of a [`World`].
#[derive(Debug, Clone, Copy)]
enum Slot {
    Resource,
    Identity(Index),
    Boundary,
    Session(Index),
}

fn sublist(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![
        select(names).prop_map(|name| json!(name)),
        prop::collection::vec(select(names), 1..3).prop_map(|names| json!(names)),
    ]
}

fn action() -> impl Strategy<Value = Value> {
    sublist(&["kms:Sign", "kms:Verify", "kms:*", "kms:?ign", "*", "*", "*", "sts:Assume*"])
}

fn resource() -> impl Strategy<Value = Value> {
    sublist(&[
        "*",
        "*",
        "*",
        "arn:aws:kms:us-east-1:111122223333:key/one",
        "arn:aws:kms:*:*:key/t?o",
        "arn:aws:kms:us-east-1:111122223333:key/${aws:PrincipalTag/key}",
        "arn:aws:kms:us-east-1:111122223333:key/${k:v, 'two'}",
    ])
}

fn aws_principal() -> impl Strategy<Value = Value> {
    sublist(&[
        "*",
        "111122223333",
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::111122223333:user/ann",
        "arn:aws:iam::111122223333:user/bob",
        "arn:aws:iam::111122223333:role/app",
        "arn:aws:sts::111122223333:assumed-role/app/s1",
        "arn:aws:sts::111122223333:federated-user/bob",
        "arn:aws:iam::444455556666:user/ann",
        "444455556666",
        "AROADBQP57FF2AEXAMPLE",
    ])
}

fn who() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => aws_principal().prop_map(|aws| json!({"AWS": aws})),
        1 => aws_principal().prop_map(|aws| json!({"AWS": aws, "Service": "ec2.amazonaws.com"})),
        1 => Just(json!("*")),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({}),
        json!({}),
        json!({}),
        json!({}),
        json!({}),
        json!({}),
        json!({}),
        json!({"StringEquals": {"k:v": "one"}}),
        json!({"StringNotLike": {"K:V": "t*"}}),
        json!({"StringEqualsIfExists": {"k:v": ["one", "two"]}}),
        json!({"ForAllValues:StringEquals": {"k:v": ["one", "${aws:username}"]}}),
        json!({"ForAnyValue:StringNotEquals": {"k:v": "one"}}),
        json!({"NumericLessThan": {"k:n": 5}}),
        json!({"Null": {"k:n": true}}),
        json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:*/a*"}}),
        json!({"Bool": {"k:v": true}, "StringLike": {"aws:userid": "A*"}}),
    ])
}

/// A statement; with a principal where `named`.
fn statement(named: bool) -> BoxedStrategy<Value> {
    let (mostly, often) = (|| prop::bool::weighted(0.9), || prop::bool::weighted(0.75));
    let parts = (often(), action(), mostly(), resource(), mostly(), condition(), who(), often());
    let put = move |(allow, action, only, resource, those, condition, who, them)| {
        let mut statement = json!({
            "Effect": if allow { "Allow" } else { "Deny" },
            if only { "Action" } else { "NotAction" }: action,
            if those { "Resource" } else { "NotResource" }: resource,
            "Condition": condition,
        });
        if named {
            let element = if allow || them { "Principal" } else { "NotPrincipal" };
            statement[element] = who;
        }
        statement
    };
    parts.prop_map(put).boxed()
}

fn statements(named: bool) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(statement(named), 1..4)
}

fn context() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = select(vec!["one", "two", "true", "", "3", "7", "ann"]);
    prop::collection::vec((select(vec!["k:v", "k:n"]), value), 0..4)
        .prop_map(|all| all.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

fn world() -> impl Strategy<Value = World> {
    let resource = prop::option::weighted(0.8, (any::<bool>(), statements(true)));
    let identity = prop::collection::vec(statements(false), 0..3);
    let boundary = prop::option::weighted(0.3, statements(false));
    let session = prop::collection::vec(statements(false), 0..3);
    let request = (select(&CALLERS[..]), select(&ACTIONS[..]), select(&KEYS[..]), context());
    (resource, identity, boundary, session, request).prop_map(
        |(resource, identity, boundary, session, (caller, action, key, context))| World {
            resource,
            identity,
            boundary,
            session,
            caller: caller.to_owned(),
            action: action.to_owned(),
            key: key.to_owned(),
            context,
        },
    )
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        Just(Slot::Resource),
        any::<Index>().prop_map(Slot::Identity),
        Just(Slot::Boundary),
        any::<Index>().prop_map(Slot::Session),
    ]
}

/// What came out, without the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Denied,
    Silent,
}

fn outcome(decision: Decision<'_>) -> Outcome {
    match decision {
        Decision::Allowed(_) | Decision::AllowedToRoot => Outcome::Allowed,
        Decision::ExplicitDeny(_) => Outcome::Denied,
        Decision::ImplicitDeny(_) => Outcome::Silent,
        Decision::TooComplex => panic!("none of these is complex"),
    }
}

fn parse(statements: &[Value], kind: Kind) -> PolicyDocument {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    PolicyDocument::parse(&policy, kind).unwrap_or_else(|error| panic!("{policy}: {error}"))
}

impl World {
    fn principal(&self) -> Principal {
        support::principal(&self.caller, Tags::from_iter([("Key", "one")]))
    }

    fn outcome(&self) -> Outcome {
        let identity: Vec<_> = self.identity.iter().map(|policy| parse(policy, Kind::Identity)).collect();
        let session: Vec<_> = self.session.iter().map(|policy| parse(policy, Kind::Session)).collect();
        let boundary = self.boundary.as_ref().map(|policy| parse(policy, Kind::Identity));
        let resource = self.resource.as_ref().map(|(root, policy)| (*root, parse(policy, Kind::Resource)));
        let context: Context = self.context.iter().map(|(key, value)| (key, value.as_str())).collect();
        let principal = self.principal();
        let (action, resource_arn) = (self.action.as_str(), self.key.as_str());
        let request = Request { principal: &principal, action, resource: resource_arn, context: &context };
        let policies = Policies {
            resource: match &resource {
                None => ResourcePolicy::None,
                Some((true, policy)) => ResourcePolicy::RootOfTrust(policy),
                Some((false, policy)) => ResourcePolicy::Ordinary(policy),
            },
            identity: &identity.iter().collect::<Vec<_>>(),
            boundary: boundary.as_ref(),
            session: &session.iter().collect::<Vec<_>>(),
        };
        outcome(evaluate(&request, &policies))
    }

    /// The statements of a policy that is there.
    fn slot(&mut self, slot: Slot) -> Option<&mut Vec<Value>> {
        fn pick(list: &mut [Vec<Value>], index: Index) -> Option<&mut Vec<Value>> {
            if list.is_empty() { None } else { list.get_mut(index.index(list.len())) }
        }
        match slot {
            Slot::Resource => self.resource.as_mut().map(|(_, statements)| statements),
            Slot::Identity(index) => pick(&mut self.identity, index),
            Slot::Boundary => self.boundary.as_mut(),
            Slot::Session(index) => pick(&mut self.session, index),
        }
    }

    /// This world with one more statement of that effect in one of its policies, at any place.
    fn with(&self, slot: Slot, effect: &str, mut statement: Value, at: Index) -> Option<Self> {
        let mut changed = self.clone();
        let named = matches!(slot, Slot::Resource);
        let statements = changed.slot(slot)?;
        let object = statement.as_object_mut()?;
        object.insert("Effect".to_owned(), json!(effect));
        // Only a Deny may except principals; only a resource's policy names any.
        let except = object.remove("NotPrincipal");
        if let (true, Some(except)) = (named, except) {
            object.insert(if effect == "Deny" { "NotPrincipal" } else { "Principal" }.to_owned(), except);
        }
        if !named {
            object.remove("Principal");
        }
        let at = at.index(statements.len() + 1);
        statements.insert(at, statement);
        Some(changed)
    }

    /// Whether `statement` is about this request, whoever makes it: asked of a policy that has no other statement.
    fn is_met_by(&self, statement: &Value) -> bool {
        let mut alone = statement.clone();
        let object = alone.as_object_mut().unwrap();
        object.remove("NotPrincipal");
        object.insert("Principal".to_owned(), json!("*"));
        let deny = statement["Effect"] == "Deny";
        let all = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
        let world = Self {
            resource: Some((true, if deny { vec![all, alone] } else { vec![alone] })),
            identity: vec![vec![json!({"Effect": "Allow", "Action": "*", "Resource": "*"})]],
            boundary: None,
            session: vec![vec![json!({"Effect": "Allow", "Action": "*", "Resource": "*"})]],
            ..self.clone()
        };
        world.outcome() == if deny { Outcome::Denied } else { Outcome::Allowed }
    }
}

/// The names of a caller, from the least to the most direct one.
fn names(caller: &str) -> [Vec<String>; 3] {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let account = own(&[ACCOUNT, "arn:aws:iam::111122223333:root"]);
    let iam = format!("arn:aws:iam::111122223333:{caller}");
    match caller {
        "root" => [vec![], vec![], account],
        "role/app/s1" | "role/app/s2" => {
            let session = caller.replace("role/", "arn:aws:sts::111122223333:assumed-role/");
            [account, own(&["arn:aws:iam::111122223333:role/app", support::ROLE_ID]), vec![session]]
        }
        "federated/bob" => [
            account,
            own(&["arn:aws:iam::111122223333:user/ann"]),
            own(&["arn:aws:sts::111122223333:federated-user/bob"]),
        ],
        "service/ec2.amazonaws.com" => [vec![], vec![], own(&["ec2.amazonaws.com"])],
        "444455556666:user/ann" => {
            [own(&["444455556666"]), vec![], own(&["arn:aws:iam::444455556666:user/ann"])]
        }
        _ => [account, vec![], vec![iam]],
    }
}

/// Who is listed in a `Principal` or `NotPrincipal`.
fn listed(element: &Value) -> Vec<&str> {
    match element {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(listed).collect(),
        Value::Object(types) => types.values().flat_map(listed).collect(),
        _ => vec![],
    }
}

/// The documented logic once more, from the statements one by one, in the order of the documentation.
fn by_the_book(world: &World) -> Outcome {
    let names = names(&world.caller);
    let is_named = |statement: &Value, level: usize| {
        let listed = listed(&statement["Principal"]);
        (level == 2 && listed.contains(&"*"))
            || names[level].iter().any(|name| listed.contains(&name.as_str()))
    };
    let is_meant = |statement: &Value| match statement.get("NotPrincipal") {
        None => (0..3).any(|level| is_named(statement, level)),
        Some(except) => {
            let listed = listed(except);
            let level_is_excepted = |level: &Vec<String>| {
                level.is_empty() || level.iter().any(|name| listed.contains(&name.as_str()))
            };
            let excepted = names.iter().all(level_is_excepted) && world.boundary.is_none();
            !(excepted || listed.contains(&"*"))
        }
    };
    let applies =
        |statement: &Value, effect: &str| statement["Effect"] == effect && world.is_met_by(statement);
    let own = || world.identity.iter().chain(&world.boundary).chain(&world.session).flatten();
    let on_resource = || world.resource.iter().flat_map(|(_, statements)| statements);
    if own().any(|statement| applies(statement, "Deny"))
        || on_resource().any(|statement| is_meant(statement) && applies(statement, "Deny"))
    {
        return Outcome::Denied;
    }
    let permits =
        |policies: &[Vec<Value>]| policies.iter().flatten().any(|statement| applies(statement, "Allow"));
    let root = world.caller == "root";
    let federated = world.caller.starts_with("federated");
    let in_bounds = world.boundary.as_ref().is_none_or(|policy| permits(std::slice::from_ref(policy)));
    let in_session = if world.session.is_empty() { !federated } else { permits(&world.session) };
    let by_identity = root || (permits(&world.identity) && in_bounds && in_session);
    let grants =
        |level| on_resource().any(|statement| is_named(statement, level) && applies(statement, "Allow"));
    let foreign = world.caller.starts_with("444455556666");
    let allowed = match &world.resource {
        None => by_identity && !foreign,
        Some(_) if foreign => (0..3).any(grants) && by_identity,
        Some((root_of_trust, _)) => {
            grants(2)
                || (grants(1) && in_bounds && in_session)
                || ((grants(0) || !root_of_trust) && by_identity)
        }
    };
    if allowed { Outcome::Allowed } else { Outcome::Silent }
}

/// Text with a few of its characters set, inserted or removed.
fn damaged(text: &str, changes: &[(Index, u8, char)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (index, kind, character) in changes {
        if characters.is_empty() {
            break;
        }
        let at = index.index(characters.len());
        match kind % 3 {
            0 => characters[at] = *character,
            1 => characters.insert(at, *character),
            _ => drop(characters.remove(at)),
        }
    }
    characters.into_iter().collect()
}

/// Characters that mean something in JSON or in a policy, and others.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![select("\"\\{}[]:,*?$'/. 0e-true".chars().collect::<Vec<_>>()), any::<char>()]
}

const KINDS: [Kind; 4] = [Kind::Identity, Kind::Session, Kind::Resource, Kind::Trust];

/// Reads `text` as every kind of policy; what is one is written back, and evaluated for everybody.
fn check_any_text(text: &str) {
    for kind in KINDS {
        let Ok(policy) = PolicyDocument::parse(text, kind) else { continue };
        assert_eq!(PolicyDocument::parse(&policy.to_json(), kind).as_ref(), Ok(&policy));
        let context = Context::from_iter([("k:v", "one"), ("k:v", text), ("k:n", "3")]);
        for caller in CALLERS.into_iter().chain(["anonymous"]) {
            let principal = support::principal(caller, Tags::default());
            let request =
                Request { principal: &principal, action: ACTIONS[0], resource: KEYS[0], context: &context };
            for resource in [ResourcePolicy::RootOfTrust(&policy), ResourcePolicy::Ordinary(&policy)] {
                let policies =
                    Policies { resource, identity: &[&policy], session: &[&policy], ..Policies::default() };
                let _ = evaluate(&request, &policies);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_deny_always_wins(world in world(), slot in slot(), at in any::<Index>()) {
        let all = json!({"Principal": "*", "Action": "*", "Resource": "*"});
        if let Some(denied) = world.with(slot, "Deny", all, at) {
            prop_assert_eq!(denied.outcome(), Outcome::Denied);
        }
    }

    #[test]
    fn an_allow_more_never_takes_anything_away(
        world in world(), slot in slot(), statement in statement(true), at in any::<Index>(),
    ) {
        if let Some(changed) = world.with(slot, "Allow", statement, at) {
            match world.outcome() {
                Outcome::Silent => prop_assert_ne!(changed.outcome(), Outcome::Denied),
                before => prop_assert_eq!(changed.outcome(), before),
            }
        }
    }

    #[test]
    fn a_deny_more_never_permits_anything(
        world in world(), slot in slot(), statement in statement(true), at in any::<Index>(),
    ) {
        if let Some(changed) = world.with(slot, "Deny", statement, at) {
            prop_assert!(changed.outcome() == world.outcome() || changed.outcome() == Outcome::Denied);
        }
    }

    #[test]
    fn limits_never_permit_anything(world in world()) {
        let unlimited = World { boundary: None, session: vec![], ..world.clone() };
        let federated = world.caller.starts_with("federated");
        if world.outcome() == Outcome::Allowed && !federated {
            prop_assert_eq!(unlimited.outcome(), Outcome::Allowed);
        }
    }

    #[test]
    fn the_order_of_statements_and_policies_is_nothing(world in world()) {
        let mut reversed = world.clone();
        reversed.identity.reverse();
        reversed.session.reverse();
        let lists = reversed.identity.iter_mut().chain(&mut reversed.session).chain(&mut reversed.boundary);
        lists.chain(reversed.resource.iter_mut().map(|(_, list)| list)).for_each(|list| list.reverse());
        prop_assert_eq!(reversed.outcome(), world.outcome());
    }

    /// The decision on all policies together is the documented combination of their statements.
    #[test]
    fn decisions_are_by_the_book(world in world()) {
        prop_assert_eq!(world.outcome(), by_the_book(&world));
    }

    #[test]
    fn policies_survive_the_round_trip(statements in statements(true), own in statements(false)) {
        for (statements, kind) in [(statements, Kind::Resource), (own, Kind::Identity)] {
            let policy = parse(&statements, kind);
            prop_assert_eq!(PolicyDocument::parse(&policy.to_json(), kind), Ok(policy));
        }
    }

    #[test]
    fn noise_is_refused_or_evaluated(noise in ".{0,200}") {
        check_any_text(&noise);
    }

    #[test]
    fn damaged_policies_are_refused_or_evaluated(
        statements in statements(true), own in statements(false),
        changes in prop::collection::vec((any::<Index>(), any::<u8>(), character()), 1..4),
    ) {
        for statements in [statements, own] {
            let policy = json!({"Version": "2012-10-17", "Statement": statements});
            check_any_text(&damaged(&policy.to_string(), &changes));
        }
    }
}
