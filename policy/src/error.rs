//! Why a policy is refused, and where in it.

use std::fmt;

use crate::document::Kind;

/// A policy that AWS would call malformed: what is wrong, and where.
///
/// The texts name the element by its path (`Statement[2].Condition.StringEquals.aws:username`) and repeat at most a
/// short excerpt of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Names of the elements from the outermost to the faulty one; empty for the document itself.
    path: Vec<String>,
    problem: Problem,
}

/// What is wrong with an element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not JSON, or an element stands twice in one object.
    #[error("{0}")]
    Json(String),
    /// An element that the language does not have, or not here.
    #[error("unknown element `{0}`")]
    Unknown(String),
    /// An element that this kind of policy must not have.
    #[error("`{element}` is not allowed in {kind}")]
    Prohibited {
        /// The element.
        element: &'static str,
        /// The kind of policy.
        kind: Kind,
    },
    /// An element that must be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Two elements that exclude each other.
    #[error("`{0}` and `{1}` exclude each other")]
    Conflict(&'static str, &'static str),
    /// JSON of another type.
    #[error("expected {expected}, got {got}")]
    Type {
        /// What should be here.
        expected: &'static str,
        /// What is.
        got: &'static str,
    },
    /// A list or an object with nothing in it.
    #[error("must not be empty")]
    Empty,
    /// A value that the element cannot have.
    #[error("`{value}` is not {expected}")]
    Value {
        /// The beginning of the value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A principal that cannot be one.
    #[error("invalid principal `{value}`: {reason}")]
    Principal {
        /// The beginning of the principal.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// A statement identifier that another statement has.
    #[error("the statement identifier `{0}` is used twice")]
    RepeatedSid(String),
}

impl PolicyError {
    pub(crate) fn new(problem: Problem) -> Self {
        Self { path: Vec::new(), problem }
    }

    /// `value` is not what was `expected`.
    pub(crate) fn value(value: &str, expected: &'static str) -> Self {
        Self::new(Problem::Value { value: excerpt(value), expected })
    }

    /// The same, seen from the element `name` that contains it.
    pub(crate) fn within(mut self, name: impl Into<String>) -> Self {
        self.path.insert(0, name.into());
        self
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Where, as a path; empty for the document as a whole.
    pub fn place(&self) -> String {
        let mut place = String::new();
        for name in &self.path {
            if !place.is_empty() && !name.starts_with('[') {
                place.push('.');
            }
            place.push_str(name);
        }
        place
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            place if place.is_empty() => self.problem.fmt(f),
            place => write!(f, "{place}: {}", self.problem),
        }
    }
}

impl std::error::Error for PolicyError {}

/// The beginning of a text that came from outside.
pub(crate) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
