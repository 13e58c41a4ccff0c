//! What a policy can know of a request: the condition keys and their values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::effort::Effort;
use crate::principal::Principal;

/// Condition keys and their values. Names are not case-sensitive; a key without values is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `key` this one value, whatever it had before.
    ///
    /// Not for names that a caller chose (tags, an encryption context): those are [added](Self::add), so that none hides
    /// another.
    ///
    /// What [`Principal`] tells (`aws:PrincipalArn`, `aws:username` …) is not set here: it cannot be contradicted.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(key.to_ascii_lowercase(), vec![value.into()]);
    }

    /// Adds a value to those that `key` has.
    ///
    /// Names that differ only in case are one key, so `kms:EncryptionContext:App` and `kms:EncryptionContext:app` of
    /// one request come together here, and a condition on them is unclear if they differ. A policy that must tell them
    /// apart tests `kms:EncryptionContextKeys`, as on AWS.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        self.values.entry(key.to_ascii_lowercase()).or_default().push(value.into());
    }

    /// The values of `key`, whose name is in lower case.
    fn get(&self, key: &str) -> Option<&[String]> {
        self.values.get(key).map(Vec::as_slice).filter(|values| !values.is_empty())
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut context = Self::new();
        for (key, value) in entries {
            context.add(key.as_ref(), value);
        }
        context
    }
}

/// The values of a condition key that is present: one at least.
pub(crate) enum Values<'a> {
    /// One that the principal tells.
    Own(Cow<'a, str>),
    /// Those of the context.
    Listed(&'a [String]),
}

impl Values<'_> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let (own, listed): (Option<&str>, &[String]) = match self {
            Self::Own(value) => (Some(value), &[]),
            Self::Listed(values) => (None, values),
        };
        own.into_iter().chain(listed.iter().map(String::as_str))
    }
}

/// Where condition keys are looked up: what the principal tells first, then the context.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) context: &'a Context,
    /// What comparing may still cost.
    pub(crate) effort: &'a Effort,
}

impl<'a> Lookup<'a> {
    /// The values of `key`, whose name is in lower case.
    pub(crate) fn values(&self, key: &str) -> Option<Values<'a>> {
        match self.principal.tells(key) {
            Some(told) => told.map(Values::Own),
            None => self.context.get(key).map(Values::Listed),
        }
    }

    /// The value of a key that has exactly one: only such a key can be a variable.
    pub(crate) fn only(&self, key: &str) -> Option<Cow<'a, str>> {
        match self.values(key)? {
            Values::Own(value) => Some(value),
            Values::Listed([value]) => Some(Cow::Borrowed(value)),
            Values::Listed(_) => None,
        }
    }
}
