//! The constraints of the service model, reported as AWS reports them: all that are broken, in one message.

use std::collections::BTreeMap;

use crate::errors::KmsError;
use crate::names::Named;

/// A set of characters, with the regular expression by which the service model names it.
#[derive(Clone, Copy)]
pub(crate) struct Characters {
    /// As in the service model.
    pub(crate) pattern: &'static str,
    /// Whether a character is one of them.
    pub(crate) test: fn(char) -> bool,
}

/// Aliases and names of grants.
pub(crate) const NAME: Characters =
    Characters { pattern: "^[a-zA-Z0-9:/_-]+$", test: |c| c.is_ascii_alphanumeric() || ":/_-".contains(c) };
/// Key material ids.
pub(crate) const HEX: Characters =
    Characters { pattern: "^[a-f0-9]+$", test: |c| c.is_ascii_digit() || ('a'..='f').contains(&c) };
/// Key policies.
pub(crate) const POLICY: Characters = Characters {
    pattern: r"[\u0009\u000A\u000D\u0020-\u00FF]+",
    test: |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'),
};
/// Names of key policies.
pub(crate) const WORD: Characters =
    Characters { pattern: r"[\w]+", test: |c| c.is_ascii_alphanumeric() || c == '_' };
/// Principals of grants.
pub(crate) const PRINCIPAL: Characters = Characters {
    pattern: r"^[\w+=,.@:/-]+$",
    test: |c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c),
};
/// Descriptions of key material.
pub(crate) const WORDS: Characters = Characters {
    pattern: r"^[a-zA-Z0-9:/_\s.-]+$",
    test: |c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":/_.-".contains(c),
};
/// Markers of pages.
const MARKER: Characters = Characters { pattern: r"[\u0020-\u00FF]*", test: |c| matches!(c, ' '..='\u{ff}') };
/// Names of external keys.
pub(crate) const XKS_KEY: Characters =
    Characters { pattern: "^[a-zA-Z0-9-_.]+$", test: |c| c.is_ascii_alphanumeric() || "-_.".contains(c) };

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

    /// The member is none of a set of words.
    pub(crate) fn not_in_set(&mut self, member: &str, value: &str, set: &str) {
        self.fails(Some(value), member, &format!("Member must satisfy enum value set: {set}"));
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

    /// A text of these characters alone, if there.
    pub(crate) fn characters(&mut self, member: &str, value: Option<&str>, allowed: Characters) {
        if let Some(value) = value.filter(|value| !value.chars().all(allowed.test)) {
            self.pattern_broken(member, value, allowed.pattern);
        }
    }

    /// A text of a form that is more than a set of characters.
    pub(crate) fn pattern_broken(&mut self, member: &str, value: &str, pattern: &str) {
        let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
        self.fails(Some(value), member, &constraint);
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
        self.one_of_some(member, value, |_| true)
    }

    /// A member of a part of the enumeration, if there.
    pub(crate) fn one_of_some<E: Named>(
        &mut self,
        member: &str,
        value: Option<&str>,
        part: impl Fn(E) -> bool,
    ) -> Option<E> {
        let value = value?;
        let found = E::from_name(value).filter(|found| part(*found));
        if found.is_none() {
            let set = E::value_set(part);
            self.fails(Some(value), member, &format!("Member must satisfy enum value set: {set}"));
        }
        found
    }

    /// A text that has the shape that AWS describes by `pattern`, if there.
    pub(crate) fn matches(
        &mut self,
        member: &str,
        value: Option<&str>,
        pattern: &str,
        shape: impl FnOnce(&str) -> bool,
    ) {
        if let Some(value) = value.filter(|value| !shape(value)) {
            let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
            self.fails(Some(value), member, &constraint);
        }
    }

    /// A whole number in decimal digits, if there.
    pub(crate) fn digits(&mut self, member: &str, value: Option<&str>) -> Option<i64> {
        let value = value?;
        let number = value.parse().ok();
        if number.is_none() {
            self.fails(Some(value), member, "Member must be an integer");
        }
        number
    }

    /// The key that nearly every request names.
    pub(crate) fn key_id(&mut self, value: &Option<String>) {
        self.required("keyId", value);
        self.text("keyId", value.as_deref(), 1, 2048);
    }

    /// A list of texts of `min..=max` characters each, if there. AWS names the list, not the text.
    pub(crate) fn texts(&mut self, member: &str, value: &Option<Vec<String>>, min: usize, max: usize) {
        let fits = |text: &String| (min..=max).contains(&text.chars().count());
        if !value.iter().flatten().all(fits) {
            let constraint = format!(
                "Member must satisfy constraint: [Member must have length less than or equal to {max}, \
                 Member must have length greater than or equal to {min}]"
            );
            self.fails(None, member, &constraint);
        }
    }

    /// A list of members of the enumeration, if there; each member once.
    pub(crate) fn some_of<E: Named + PartialEq>(
        &mut self,
        member: &str,
        value: &Option<Vec<String>>,
    ) -> Vec<E> {
        let mut all = Vec::new();
        for name in value.iter().flatten() {
            match E::from_name(name) {
                Some(found) if all.contains(&found) => {}
                Some(found) => all.push(found),
                None => {
                    let set = E::value_set(|_| true);
                    let constraint = format!(
                        "Member must satisfy constraint: [Member must satisfy enum value set: {set}]"
                    );
                    self.fails(Some(&format!("[{name}]")), member, &constraint);
                }
            }
        }
        all
    }

    /// Grant tokens: at most ten, of 1 to 8192 characters.
    pub(crate) fn grant_tokens(&mut self, value: &Option<Vec<String>>) {
        self.list("grantTokens", value, 0, 10);
        self.texts("grantTokens", value, 1, 8192);
    }

    /// How many entries a page has, and where it begins.
    pub(crate) fn page(&mut self, limit: Option<i64>, marker: Option<&str>) {
        self.number("limit", limit, 1, 1000);
        self.text("marker", marker, 1, 1024);
        self.characters("marker", marker, MARKER);
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
