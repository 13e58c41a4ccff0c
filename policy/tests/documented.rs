//! What AWS documents, case by case. The cases are data, in `tests/cases`: each file names its source, each section the
//! section of it, each case what the source says there.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;

use casemate_policy::{
    Context, Decision, Kind, Policies, PolicyDocument, Request, ResourcePolicy, Tags, evaluate,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<C> {
    source: String,
    sections: Vec<Section<C>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section<C> {
    section: String,
    cases: Vec<C>,
}

/// Each case of `tests/cases/NAME.json`, under the place it comes from.
fn each<C: DeserializeOwned>(name: &str, at_least: usize, check: impl Fn(&str, C)) {
    let path = format!("{}/tests/cases/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let file: File<C> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut count = 0;
    for Section { section, cases } in file.sections {
        for case in cases {
            check(&format!("{}, \"{section}\"", file.source), case);
            count += 1;
        }
    }
    assert!(count >= at_least, "{path} has only {count} cases");
}

/// Values of condition keys: one, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn context(values: BTreeMap<String, OneOrMore>) -> Context {
    let mut context = Context::new();
    for (key, values) in values {
        match values {
            OneOrMore::One(value) => context.set(&key, value),
            OneOrMore::More(values) => values.into_iter().for_each(|value| context.add(&key, value)),
        }
    }
    context
}

/// A document around `statements`, which may be a whole document already.
fn document(statements: Value, kind: Kind) -> PolicyDocument {
    let policy = match statements.get("Statement") {
        Some(_) => statements,
        None => json!({"Version": "2012-10-17", "Statement": statements}),
    };
    PolicyDocument::parse(&policy.to_string(), kind).unwrap_or_else(|error| panic!("{policy}: {error}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionCase {
    says: String,
    condition: Value,
    #[serde(default)]
    context: BTreeMap<String, OneOrMore>,
    #[serde(default = "ann")]
    principal: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "current_version")]
    version: String,
    met: bool,
}

fn ann() -> String {
    "user/ann".to_owned()
}

fn current_version() -> String {
    "2012-10-17".to_owned()
}

/// A condition is met or not, whatever the effect of its statement.
fn check_condition(place: &str, case: ConditionCase) {
    let principal = support::principal(&case.principal, Tags::from_iter(&case.tags));
    let context = context(case.context);
    let request = Request { principal: &principal, action: "kms:Sign", resource: KEY, context: &context };
    let version = &case.version;
    let statement = |effect: &str, condition: &Value| json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition});
    let policy =
        |statements: Value| document(json!({"Version": version, "Statement": statements}), Kind::Identity);
    let allow = policy(statement("Allow", &case.condition));
    let deny = policy(json!([statement("Allow", &json!({})), statement("Deny", &case.condition)]));
    let allowed =
        |policy| evaluate(&request, &Policies { identity: &[policy], ..Policies::default() }).is_allowed();
    let (met, says) = (case.met, &case.says);
    assert_eq!(allowed(&allow), met, "{place}: {says}: {}", case.condition);
    assert_eq!(!allowed(&deny), met, "{place}: {says}, to deny: {}", case.condition);
}

#[test]
fn condition_operators_are_as_documented() {
    each("operators", 113, check_condition);
}

#[test]
fn sets_of_values_are_compared_as_documented() {
    each("sets", 31, check_condition);
}

#[test]
fn policy_variables_are_as_documented() {
    each("variables", 34, check_condition);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionCase {
    says: String,
    #[serde(default = "ann")]
    principal: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "sign")]
    action: String,
    #[serde(default = "key")]
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, OneOrMore>,
    key_policy: Option<Value>,
    trust_policy: Option<Value>,
    resource_policy: Option<Value>,
    #[serde(default)]
    identity: Vec<Value>,
    boundary: Option<Value>,
    #[serde(default)]
    session: Vec<Value>,
    decision: String,
}

fn sign() -> String {
    "kms:Sign".to_owned()
}

fn key() -> String {
    KEY.to_owned()
}

fn documents(policies: Vec<Value>, kind: Kind) -> Vec<PolicyDocument> {
    policies.into_iter().map(|policy| document(policy, kind)).collect()
}

fn name(decision: Decision<'_>) -> String {
    match decision {
        Decision::Allowed(by) => match by.sid {
            Some(sid) => format!("allowed by {sid} of {} {}", by.layer, by.policy),
            None => format!("allowed by statement {} of {} {}", by.statement, by.layer, by.policy),
        },
        Decision::AllowedToRoot => "allowed to root".to_owned(),
        Decision::ExplicitDeny(by) => {
            format!("denied by statement {} of {} {}", by.statement, by.layer, by.policy)
        }
        Decision::ImplicitDeny(layer) => format!("no {layer} allows it"),
        Decision::TooComplex => "too complex".to_owned(),
    }
}

fn check_decision(place: &str, case: DecisionCase) {
    let principal = support::principal(&case.principal, Tags::from_iter(&case.tags));
    let context = context(case.context);
    let (identity, session) =
        (documents(case.identity, Kind::Identity), documents(case.session, Kind::Session));
    let boundary = case.boundary.map(|policy| document(policy, Kind::Identity));
    let root_of_trust = case.key_policy.map(|policy| document(policy, Kind::Resource));
    let root_of_trust = root_of_trust.or(case.trust_policy.map(|policy| document(policy, Kind::Trust)));
    let ordinary = case.resource_policy.map(|policy| document(policy, Kind::Resource));
    let policies = Policies {
        resource: match (&root_of_trust, &ordinary) {
            (Some(policy), None) => ResourcePolicy::RootOfTrust(policy),
            (None, Some(policy)) => ResourcePolicy::Ordinary(policy),
            (None, None) => ResourcePolicy::None,
            (Some(_), Some(_)) => panic!("two policies on one resource"),
        },
        identity: &identity.iter().collect::<Vec<_>>(),
        boundary: boundary.as_ref(),
        session: &session.iter().collect::<Vec<_>>(),
    };
    let (action, resource) = (case.action.as_str(), case.resource.as_str());
    let request = Request { principal: &principal, action, resource, context: &context };
    assert_eq!(name(evaluate(&request, &policies)), case.decision, "{place}: {}", case.says);
}

#[test]
fn requests_are_decided_as_documented() {
    each("evaluation", 41, check_decision);
}

#[test]
fn key_policies_are_the_root_of_trust() {
    each("key_policies", 46, check_decision);
}

#[test]
fn roles_are_assumed_as_their_trust_policies_say() {
    each("trust_policies", 13, check_decision);
}

#[test]
fn elements_match_as_documented() {
    each("elements", 48, check_decision);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextCase {
    says: String,
    kind: String,
    policy: Value,
    /// What is wrong with it, if anything.
    error: Option<String>,
}

/// `policy` is the text itself where it is a string, else JSON.
fn check_text(place: &str, case: TextCase) {
    let kind = match case.kind.as_str() {
        "identity" => Kind::Identity,
        "session" => Kind::Session,
        "resource" => Kind::Resource,
        "trust" => Kind::Trust,
        other => panic!("no kind of policy is called {other}"),
    };
    let text = case.policy.as_str().map_or_else(|| case.policy.to_string(), str::to_owned);
    let error = PolicyDocument::parse(&text, kind).err().map(|error| error.to_string());
    assert_eq!(error, case.error, "{place}: {}: {text}", case.says);
}

#[test]
fn malformed_policies_are_refused_and_told_where() {
    each("grammar", 113, check_text);
}
