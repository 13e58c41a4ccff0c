//! What is known about a request: condition keys and values, as policies see them.

use std::borrow::Cow;

use casemate_policy::Context;

use crate::types::{EncryptionContext, Tags};

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

    /// What policies may know about the tags of a request.
    pub(crate) fn of_request_tags(tags: &Tags) -> Self {
        let mut facts = Self::default();
        if !tags.is_empty() {
            facts.set_all("aws:TagKeys", tags.keys().cloned().collect());
        }
        for (key, value) in tags {
            facts.set(format!("aws:RequestTag/{key}"), value);
        }
        facts
    }

    /// Adds an encryption context, whose members conditions can demand.
    pub(crate) fn set_context(&mut self, context: Option<&EncryptionContext>) {
        let Some(context) = context else { return };
        self.set_all("kms:EncryptionContextKeys", context.keys().cloned().collect());
        for (name, value) in context {
            self.set(format!("kms:EncryptionContext:{name}"), value);
        }
    }

    /// Adds those of `others`.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// The value of a condition key that has exactly one.
    pub(crate) fn only(&self, key: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(key));
        let (_, values) = values.next().filter(|_| values.next().is_none())?;
        match values.as_slice() {
            [value] => Some(value),
            _ => None,
        }
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
