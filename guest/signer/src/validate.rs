//! The constraints of the service model, reported as AWS reports them: all that are broken, in one message.

use std::collections::BTreeMap;

use crate::errors::KmsError;
use crate::names::Named;

/// Collects what is wrong with a request. Member names are given in AWS's lower camel case.
#[derive(Default)]
pub(crate) struct Check {
    broken: Vec<String>,
}

impl Check {
    /// The verdict: nothing broken, or one `ValidationException` that lists everything.
    pub(crate) fn done(self) -> Result<(), KmsError> {
        if self.broken.is_empty() {
            return Ok(());
        }
        let (count, s) = (self.broken.len(), if self.broken.len() == 1 { "" } else { "s" });
        Err(KmsError::validation(format!("{count} validation error{s} detected: {}", self.broken.join("; "))))
    }

    fn fails(&mut self, value: Option<&str>, member: &str, constraint: &str) {
        let value = value.map(|v| format!(" '{}'", excerpt(v))).unwrap_or_default();
        self.broken.push(format!("Value{value} at '{member}' failed to satisfy constraint: {constraint}"));
    }

    /// The member breaks a constraint that has no function of its own here.
    pub(crate) fn broken(&mut self, member: &str, constraint: &str) {
        self.fails(None, member, constraint);
    }

    /// The member must be there.
    pub(crate) fn required<T>(&mut self, member: &str, value: &Option<T>) {
        if value.is_none() {
            self.fails(None, member, "Member must not be null");
        }
    }

    /// A text of `min..=max` characters, if there.
    pub(crate) fn text(&mut self, member: &str, value: Option<&str>, min: usize, max: usize) {
        if let Some(value) = value {
            self.length(Some(value), member, value.chars().count(), min, max);
        }
    }

    /// Bytes, `min..=max` of them, if there. Their value is never repeated in the message.
    pub(crate) fn blob<T: AsRef<[u8]>>(&mut self, member: &str, value: &Option<T>, min: usize, max: usize) {
        if let Some(value) = value {
            self.length(None, member, value.as_ref().len(), min, max);
        }
    }

    /// A list of `min..=max` members, if there.
    pub(crate) fn list<T>(&mut self, member: &str, value: &Option<Vec<T>>, min: usize, max: usize) {
        if let Some(value) = value {
            self.length(None, member, value.len(), min, max);
        }
    }

    fn length(&mut self, value: Option<&str>, member: &str, length: usize, min: usize, max: usize) {
        if length < min {
            self.fails(value, member, &format!("Member must have length greater than or equal to {min}"));
        } else if length > max {
            self.fails(value, member, &format!("Member must have length less than or equal to {max}"));
        }
    }

    /// A number in `min..=max`, if there.
    pub(crate) fn number(&mut self, member: &str, value: Option<i64>, min: i64, max: i64) {
        let Some(value) = value else { return };
        let text = value.to_string();
        if value < min {
            self.fails(
                Some(&text),
                member,
                &format!("Member must have value greater than or equal to {min}"),
            );
        } else if value > max {
            self.fails(Some(&text), member, &format!("Member must have value less than or equal to {max}"));
        }
    }

    /// A member of the enumeration, if there.
    pub(crate) fn one_of<E: Named>(&mut self, member: &str, value: Option<&str>) -> Option<E> {
        let value = value?;
        let found = E::from_name(value);
        if found.is_none() {
            let set = E::value_set();
            self.fails(Some(value), member, &format!("Member must satisfy enum value set: {set}"));
        }
        found
    }

    /// The key that nearly every request names.
    pub(crate) fn key_id(&mut self, value: &Option<String>) {
        self.required("keyId", value);
        self.text("keyId", value.as_deref(), 1, 2048);
    }

    /// Grant tokens: at most ten, of 1 to 8192 characters.
    pub(crate) fn grant_tokens(&mut self, value: &Option<Vec<String>>) {
        self.list("grantTokens", value, 0, 10);
        if value.iter().flatten().any(|token| token.is_empty() || token.chars().count() > 8192) {
            self.fails(
                None,
                "grantTokens",
                "Member must satisfy constraint: [Member must have length less than or equal to 8192, \
                 Member must have length greater than or equal to 1]",
            );
        }
    }

    /// The encryption context, whose keys and values together AWS limits to 8 KiB.
    pub(crate) fn context(&mut self, value: &Option<BTreeMap<String, String>>) {
        let total: usize =
            value.iter().flatten().map(|(key, value)| key.len().saturating_add(value.len())).sum();
        if total > 8192 {
            self.fails(None, "encryptionContext", "Member must have length less than or equal to 8192");
        }
    }
}

/// The beginning of a caller's own text, so that a long one does not come back in full.
fn excerpt(value: &str) -> String {
    const SHOWN: usize = 256;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    }
}
