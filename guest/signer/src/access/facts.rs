//! What is known about a request: condition keys and values, as policies see them.

use std::borrow::Cow;

use casemate_policy::Context;

/// Condition keys and their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Vec<(Cow<'static, str>, Vec<String>)>);

impl Facts {
    /// No condition keys.
    pub(crate) const NONE: Self = Self(Vec::new());

    /// Adds a condition key with one value.
    pub(crate) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.set_all(key, vec![value.into()]);
    }

    /// Adds a condition key with all its values.
    pub(crate) fn set_all(&mut self, key: impl Into<Cow<'static, str>>, values: Vec<String>) {
        self.0.push((key.into(), values));
    }

    /// Adds all of another's.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Adds all of them to `context`.
    pub(super) fn tell(&self, context: &mut Context) {
        for (key, values) in &self.0 {
            for value in values {
                context.add(key, value.as_str());
            }
        }
    }
}
