//! A policy as JSON: each element as it was written, lists in their order, objects sorted by name.

use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::document::{Action, Effect, Element, PolicyDocument, Resources, Statement, Subject, Version};
use crate::pattern::Template;
use crate::principal::Named;

impl PolicyDocument {
    /// This policy as JSON. Reading it back as the same [`kind`](Self::kind) gives the same policy.
    pub fn to_json(&self) -> String {
        let mut elements = Map::new();
        elements.insert("Version".to_owned(), self.version().as_str().into());
        if let Some(id) = self.id() {
            elements.insert("Id".to_owned(), id.into());
        }
        let statements = self.statements().iter().map(statement).collect();
        elements.insert("Statement".to_owned(), Value::Array(statements));
        Value::Object(elements).to_string()
    }
}

impl Version {
    /// The date that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2008 => "2008-10-17",
            Self::V2012 => "2012-10-17",
        }
    }
}

fn statement(statement: &Statement) -> Value {
    let mut elements = Map::new();
    let mut put = |name: &str, value: Value| elements.insert(name.to_owned(), value);
    if let Some(sid) = &statement.sid {
        put("Sid", sid.as_str().into());
    }
    put("Effect", if statement.effect() == Effect::Allow { "Allow" } else { "Deny" }.into());
    match statement.subject() {
        Subject::Holder => {}
        Subject::Only(named) => drop(put("Principal", principals(named))),
        Subject::AllBut(named) => drop(put("NotPrincipal", principals(named))),
    }
    match statement.actions() {
        Element::Only(listed) => put("Action", texts(listed, Action::as_str)),
        Element::AllBut(listed) => put("NotAction", texts(listed, Action::as_str)),
    };
    match statement.resources() {
        Resources::Itself => {}
        Resources::Listed(Element::Only(listed)) => drop(put("Resource", texts(listed, Template::as_str))),
        Resources::Listed(Element::AllBut(listed)) => {
            drop(put("NotResource", texts(listed, Template::as_str)))
        }
    }
    if !statement.conditions().is_empty() {
        put("Condition", conditions(statement.conditions()));
    }
    Value::Object(elements)
}

fn texts<T>(listed: &[T], text: fn(&T) -> &str) -> Value {
    listed.iter().map(text).collect()
}

/// An object of lists, whose keys are made as they come.
fn append(object: &mut Map<String, Value>, key: &str, value: Value) {
    if let Value::Array(list) = object.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        list.push(value);
    }
}

fn principals(named: &[Named]) -> Value {
    let mut types = Map::new();
    for named in named {
        let (kind, text) = match named {
            Named::Anyone => ("AWS", "*"),
            Named::Account(text) | Named::UniqueId(text) => ("AWS", text.as_str()),
            Named::Arn(arn) => ("AWS", arn.as_str()),
            Named::Service(text) => ("Service", text.as_str()),
            Named::Federated(text) => ("Federated", text.as_str()),
            Named::CanonicalUser(text) => ("CanonicalUser", text.as_str()),
        };
        append(&mut types, kind, text.into());
    }
    Value::Object(types)
}

fn conditions(conditions: &[Condition]) -> Value {
    let mut operators = Map::new();
    for condition in conditions {
        let keys = operators.entry(condition.operator()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(keys) = keys {
            keys.insert(condition.key().to_owned(), condition.values().iter().map(String::as_str).collect());
        }
    }
    Value::Object(operators)
}
