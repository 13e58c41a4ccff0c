//! JSON as a policy is written in it: an element that stands twice in an object is an error, not a choice.
//!
//! serde_json's own value keeps the last of two members with one name. A reviewer who reads the first would be
//! deceived, so this tree refuses them. Nesting is limited by serde_json to 128 levels.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::{PolicyError, Problem, excerpt};

/// An object of named members.
pub(crate) type Object = BTreeMap<String, Json>;

/// A JSON value without repeated names. Numbers are kept as they are written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Object),
}

impl Json {
    /// All of `text` as one value.
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyError> {
        serde_json::from_str(text).map_err(|error| PolicyError::new(Problem::Json(error.to_string())))
    }

    /// What this is, for messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn unexpected(&self, expected: &'static str) -> PolicyError {
        PolicyError::new(Problem::Type { expected, got: self.name() })
    }

    /// This as an object.
    pub(crate) fn into_object(self) -> Result<Object, PolicyError> {
        match self {
            Self::Object(members) => Ok(members),
            other => Err(other.unexpected("an object")),
        }
    }

    /// This as a string.
    pub(crate) fn into_string(self) -> Result<String, PolicyError> {
        match self {
            Self::String(text) => Ok(text),
            other => Err(other.unexpected("a string")),
        }
    }

    /// This as the text that a condition compares with: numbers and booleans may stand without quotes.
    pub(crate) fn into_scalar(self) -> Result<String, PolicyError> {
        match self {
            Self::String(text) | Self::Number(text) => Ok(text),
            Self::Bool(value) => Ok(value.to_string()),
            other => Err(other.unexpected("a string, number or boolean")),
        }
    }

    /// The members of a list that is not empty. Where there is only one member, the brackets may be left out.
    pub(crate) fn into_members(self) -> Result<Vec<Self>, PolicyError> {
        match self {
            Self::Array(members) if members.is_empty() => Err(PolicyError::new(Problem::Empty)),
            Self::Array(members) => Ok(members),
            one => Ok(vec![one]),
        }
    }

    /// Each member of such a list, read by `read`; what is wrong with one is reported with its place.
    pub(crate) fn each<T>(
        self,
        mut read: impl FnMut(Self) -> Result<T, PolicyError>,
    ) -> Result<Vec<T>, PolicyError> {
        let listed = matches!(self, Self::Array(_));
        let mut all = Vec::new();
        for (index, member) in self.into_members()?.into_iter().enumerate() {
            all.push(read(member).map_err(|error| match listed {
                true => error.within(format!("[{index}]")),
                false => error,
            })?);
        }
        Ok(all)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

/// Builds [`Json`] from what the deserializer finds.
struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = members.next_element()? {
            all.push(member);
        }
        Ok(Json::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut all = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            match all.entry(name) {
                Entry::Occupied(entry) => {
                    return Err(Error::custom(format!(
                        "the element `{}` stands twice",
                        excerpt(entry.key())
                    )));
                }
                Entry::Vacant(entry) => drop(entry.insert(members.next_value()?)),
            }
        }
        Ok(Json::Object(all))
    }
}
