//! What a verifier demands of a guest, as JSON:
//!
//! ```json
//! {
//!   "module_id": "signer-1",
//!   "pcrs": { "0": ["<96 hex digits>", "<another accepted image>"], "8": "<96 hex digits>" },
//!   "nonce_required": true,
//!   "max_age_seconds": 300,
//!   "posture": { "sealed_memory": "guest_memfd", "lockdown": ["integrity", "confidentiality"],
//!                "landlock": { "at_least": 4 }, "swap": false },
//!   "allow_debug": false
//! }
//! ```
//!
//! Every field may be left out; an unknown one is an error, so that a slip of the pen demands something or fails.
//! A policy that names no PCR accepts any image under a trusted root: the first thing to put in is PCR0 or PCR8.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pcr::{self, Pcr};
use crate::posture::Fact;

/// A document may come from a clock that is this far ahead of the verifier's.
pub const CLOCK_SKEW_SECONDS: u64 = 60;

/// A verifier's demands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The guest's name, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_id: Option<OneOf<String>>,
    /// Values that registers must have.
    pub pcrs: BTreeMap<u16, OneOf<Pcr>>,
    /// Whether the document must carry the nonce that the verifier sent.
    pub nonce_required: bool,
    /// How old the document may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// What must be so on the host.
    pub posture: BTreeMap<String, Requirement>,
    /// Whether a guest in debug mode, which proves neither image nor posture, will do.
    pub allow_debug: bool,
}

/// A value, or several alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOf<T> {
    /// This one.
    One(T),
    /// Any of these.
    Any(Vec<T>),
}

impl<T: PartialEq> OneOf<T> {
    /// Whether `value` is among them.
    pub fn accepts(&self, value: &T) -> bool {
        match self {
            Self::One(one) => one == value,
            Self::Any(any) => any.contains(value),
        }
    }
}

impl<T: fmt::Display> fmt::Display for OneOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(one) => one.fmt(f),
            Self::Any(any) => {
                for (index, one) in any.iter().enumerate() {
                    write!(f, "{}{one}", if index == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
        }
    }
}

/// What a fact must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Requirement {
    /// A number of at least this.
    AtLeast(AtLeast),
    /// This value or one of these.
    Value(OneOf<Fact>),
}

/// See [`Requirement::AtLeast`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtLeast {
    /// The smallest number that will do.
    pub at_least: u64,
}

impl Requirement {
    /// Whether `fact` meets it. A fact that is not known meets nothing.
    pub fn is_met_by(&self, fact: Option<&Fact>) -> bool {
        match (self, fact) {
            (Self::AtLeast(AtLeast { at_least }), Some(Fact::Number(number))) => number >= at_least,
            (Self::Value(value), Some(fact)) => value.accepts(fact),
            _ => false,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(AtLeast { at_least }) => write!(f, "at least {at_least}"),
            Self::Value(value) => value.fmt(f),
        }
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not JSON, or not these fields.
    #[error("the policy cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A register that does not exist.
    #[error("the policy names PCR{0}; registers are 0 to 31")]
    NoSuchRegister(u16),
    /// An empty list, which nothing could satisfy.
    #[error("the policy lists no accepted value for {0}")]
    Nothing(String),
}

impl Policy {
    /// Reads a policy from JSON.
    pub fn parse(json: &[u8]) -> Result<Self, PolicyError> {
        let policy: Self = serde_json::from_slice(json)?;
        for (index, values) in &policy.pcrs {
            if *index >= pcr::COUNT {
                return Err(PolicyError::NoSuchRegister(*index));
            }
            if matches!(values, OneOf::Any(any) if any.is_empty()) {
                return Err(PolicyError::Nothing(format!("PCR{index}")));
            }
        }
        for (name, requirement) in &policy.posture {
            if matches!(requirement, Requirement::Value(OneOf::Any(any)) if any.is_empty()) {
                return Err(PolicyError::Nothing(format!("`{name}`")));
            }
        }
        if matches!(&policy.module_id, Some(OneOf::Any(any)) if any.is_empty()) {
            return Err(PolicyError::Nothing("`module_id`".into()));
        }
        Ok(policy)
    }
}
