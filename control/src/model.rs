//! The service's own model, as botocore has it (`model.json`, which `model.py` makes): what a request must look like.
//!
//! All constraints that are broken are told in one message, in the words of AWS's services.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fault::{Fault, Kind};

/// Longest value that a message repeats, in characters.
const EXCERPT: usize = 128;

/// Operations and the shapes of their requests.
pub struct Model {
    target: String,
    operations: BTreeMap<String, String>,
    shapes: BTreeMap<String, Shape>,
}

/// A shape of the model.
struct Shape {
    kind: String,
    required: Vec<String>,
    members: BTreeMap<String, String>,
    /// Of a list's members, or of a map's values.
    member: Option<String>,
    key: Option<String>,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<(String, Regex)>,
    variants: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    target: String,
    operations: BTreeMap<String, String>,
    shapes: BTreeMap<String, Described>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: BTreeMap<String, String>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    #[serde(default, rename = "enum")]
    variants: Vec<String>,
}

impl Model {
    /// The model that was built in.
    pub fn load() -> Result<Self, Box<dyn std::error::Error>> {
        let file: File = serde_json::from_str(include_str!("../model.json"))?;
        let shapes = file.shapes.into_iter().map(|(name, described)| Ok((name, described.shape()?)));
        let shapes = shapes.collect::<Result<_, regex::Error>>()?;
        Ok(Self { target: file.target, operations: file.operations, shapes })
    }

    /// The operation that `X-Amz-Target` names.
    pub fn operation(&self, target: &str) -> Option<&str> {
        let name = target.strip_prefix(&self.target)?.strip_prefix('.')?;
        self.operations.get_key_value(name).map(|(name, _)| name.as_str())
    }

    /// Whether a text is one of that shape.
    pub fn fits(&self, shape: &str, text: &str) -> bool {
        let mut broken = Vec::new();
        self.check(shape, &Value::from(text), "", &mut broken).is_ok() && broken.is_empty()
    }

    /// The members of a request, which break no constraint.
    pub fn request(&self, operation: &str, body: &[u8]) -> Result<Map<String, Value>, Fault> {
        let malformed = |error: &dyn std::fmt::Display| Fault::new(Kind::Serialization, error);
        let value: Value = match body.is_empty() {
            true => Value::Object(Map::new()),
            false => serde_json::from_slice(body).map_err(|error| malformed(&error))?,
        };
        let mut broken = Vec::new();
        let shape = self.operations.get(operation).map_or("", String::as_str);
        self.check(shape, &value, "", &mut broken)?;
        if !broken.is_empty() {
            let (count, s) = (broken.len(), if broken.len() == 1 { "" } else { "s" });
            let message = format!("{count} validation error{s} detected: {}", broken.join("; "));
            return Err(Fault::invalid(message));
        }
        match value {
            Value::Object(members) => Ok(members.into_iter().filter(|(_, value)| !value.is_null()).collect()),
            _ => Err(malformed(&"A request is an object.")),
        }
    }

    /// Adds what `value` breaks, and fails if it is not of the shape's type.
    fn check(&self, name: &str, value: &Value, path: &str, broken: &mut Vec<String>) -> Result<(), Fault> {
        let Some(shape) = self.shapes.get(name) else { return Ok(()) };
        match (shape.kind.as_str(), value) {
            ("structure", Value::Object(members)) => self.structure(shape, members, path, broken),
            ("list", Value::Array(members)) => {
                shape.length(members.len(), None, path, broken);
                self.list(shape, members, path, broken)
            }
            ("map", Value::Object(members)) => {
                shape.length(members.len(), None, path, broken);
                members.iter().try_for_each(|(key, value)| {
                    self.check(
                        shape.key.as_deref().unwrap_or_default(),
                        &Value::from(key.as_str()),
                        path,
                        broken,
                    )?;
                    self.check(shape.member.as_deref().unwrap_or_default(), value, path, broken)
                })
            }
            ("string", Value::String(text)) => {
                shape.text(text, path, broken);
                Ok(())
            }
            ("integer", Value::Number(number)) if number.is_i64() => {
                shape.number(number.as_i64().unwrap_or_default(), path, broken);
                Ok(())
            }
            ("boolean", Value::Bool(_)) => Ok(()),
            (kind, _) => Err(Fault::new(Kind::Serialization, format!("'{path}' must be a {kind}."))),
        }
    }

    fn structure(
        &self,
        shape: &Shape,
        members: &Map<String, Value>,
        path: &str,
        broken: &mut Vec<String>,
    ) -> Result<(), Fault> {
        for (name, member) in &shape.members {
            let mut place = path.to_owned();
            // AWS's names begin with a small letter here.
            place.extend(name.chars().take(1).map(|first| first.to_ascii_lowercase()));
            place.extend(name.chars().skip(1));
            match members.get(name).filter(|value| !value.is_null()) {
                Some(value) => {
                    let is_inner = self.shapes.get(member).is_some_and(|shape| shape.kind == "structure");
                    let dot = if is_inner { "." } else { "" };
                    self.check(member, value, &format!("{place}{dot}"), broken)?;
                }
                None if shape.required.contains(name) => {
                    fails(None, &place, "Member must not be null", broken)
                }
                None => {}
            }
        }
        Ok(())
    }

    fn list(
        &self,
        shape: &Shape,
        members: &[Value],
        path: &str,
        broken: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let inner = shape.member.as_deref().unwrap_or_default();
        let structures = self.shapes.get(inner).is_some_and(|shape| shape.kind == "structure");
        (1..).zip(members).try_for_each(|(number, member)| match structures {
            true => self.check(inner, member, &format!("{path}.{number}.member."), broken),
            false => self.check(inner, member, path, broken),
        })
    }
}

impl Described {
    fn shape(self) -> Result<Shape, regex::Error> {
        // The whole text must match, and a digit is one of ten.
        let compiled = |pattern: String| {
            let whole = format!(r"\A(?:{})\z", pattern.replace(r"\d", "[0-9]"));
            Ok((pattern, Regex::new(&whole)?))
        };
        Ok(Shape {
            kind: self.kind,
            required: self.required,
            members: self.members,
            member: self.member.or(self.value),
            key: self.key,
            min: self.min,
            max: self.max,
            pattern: self.pattern.map(compiled).transpose()?,
            variants: self.variants,
        })
    }
}

impl Shape {
    fn text(&self, text: &str, path: &str, broken: &mut Vec<String>) {
        self.length(text.chars().count(), Some(text), path, broken);
        if let Some((pattern, _)) = self.pattern.as_ref().filter(|(_, regex)| !regex.is_match(text)) {
            let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
            fails(Some(text), path, &constraint, broken);
        }
        if !self.variants.is_empty() && !self.variants.iter().any(|variant| variant == text) {
            let set = self.variants.join(", ");
            fails(Some(text), path, &format!("Member must satisfy enum value set: [{set}]"), broken);
        }
    }

    fn length(&self, length: usize, text: Option<&str>, path: &str, broken: &mut Vec<String>) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.bounds(length, "have length ", text, path, broken);
    }

    fn number(&self, number: i64, path: &str, broken: &mut Vec<String>) {
        self.bounds(number, "have value ", Some(&number.to_string()), path, broken);
    }

    fn bounds(&self, is: i64, what: &str, value: Option<&str>, path: &str, broken: &mut Vec<String>) {
        if let Some(min) = self.min.filter(|min| is < *min) {
            fails(value, path, &format!("Member must {what}greater than or equal to {min}"), broken);
        }
        if let Some(max) = self.max.filter(|max| is > *max) {
            fails(value, path, &format!("Member must {what}less than or equal to {max}"), broken);
        }
    }
}

fn fails(value: Option<&str>, path: &str, constraint: &str, broken: &mut Vec<String>) {
    let value = value.map(|value| format!(" '{}'", value.chars().take(EXCERPT).collect::<String>()));
    let value = value.unwrap_or_default();
    broken.push(format!("Value{value} at '{path}' failed to satisfy constraint: {constraint}"));
}
