//! Texts with wildcards (`*`, `?`) and policy variables (`${aws:username}`), and how they match.
//!
//! Time: a match takes at most as many steps as the product of both lengths. It keeps one place to go back to, that of
//! the last `*`; going further back would never help, because what an earlier `*` could take, the last one can take too.
//! Every step is paid for from the [`Effort`] of the whole decision, so that many long patterns do not add up either.
//!
//! Memory: a variable's value is put into the pattern only as far as the text is long that it is compared with.

use std::borrow::Cow;
use std::str::Chars;

use crate::context::Lookup;
use crate::effort::Effort;
use crate::error::PolicyError;

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Char(char),
    /// `?`: any one character.
    One,
    /// `*`: any characters, or none.
    Many,
}

/// When two characters are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Same {
    /// Only when they are identical.
    Exactly,
    /// Also when they differ only in case.
    IgnoringCase,
}

impl Same {
    fn holds(self, a: char, b: char) -> bool {
        a == b
            || (self == Self::IgnoringCase
                && match a.is_ascii() && b.is_ascii() {
                    true => a.eq_ignore_ascii_case(&b),
                    false => a.to_lowercase().eq(b.to_lowercase()),
                })
    }
}

/// Whether all of `text` matches all of `pattern`; `false` as well where the effort is used up.
pub(crate) fn matches(pattern: &[Token], text: &str, same: Same, effort: &Effort) -> bool {
    let (mut pattern, mut text) = (pattern, text.chars());
    // What follows the last `*`, and the first place where that has not been tried yet.
    let mut again: Option<(&[Token], Chars<'_>)> = None;
    while effort.spend(1) {
        match pattern.split_first() {
            Some((Token::Many, [])) => return true,
            Some((Token::Many, rest)) => {
                again = Some((rest, text.clone()));
                pattern = rest;
                continue;
            }
            Some((token, rest)) => {
                let mut following = text.clone();
                // A `*` that takes more leaves even less text, so there is nothing left to try.
                let Some(next) = following.next() else { return false };
                let accepted = match token {
                    Token::Char(expected) => same.holds(*expected, next),
                    Token::One | Token::Many => true,
                };
                if accepted {
                    (pattern, text) = (rest, following);
                    continue;
                }
            }
            None if text.as_str().is_empty() => return true,
            None => {}
        }
        let Some((rest, start)) = &mut again else { return false };
        if start.next().is_none() {
            return false;
        }
        (pattern, text) = (*rest, start.clone());
    }
    false
}

/// `text` with each `*` and `?` as a wildcard.
pub(crate) fn wildcards(text: &str) -> impl Iterator<Item = Token> {
    text.chars().map(|c| match c {
        '*' => Token::Many,
        '?' => Token::One,
        c => Token::Char(c),
    })
}

/// Which special characters a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(crate) wildcards: bool,
    /// `${…}` is replaced by the value of a condition key. So it is since 2012-10-17.
    pub(crate) variables: bool,
}

/// A text in a policy that a value of the request is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As it is written in the policy.
    source: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Nothing special: the source itself.
    Plain,
    /// Wildcards or escaped characters, but nothing that depends on the request.
    Fixed(Vec<Token>),
    /// At least one variable.
    Variable(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Tokens(Vec<Token>),
    /// The value of a condition key (in lower case), else the default.
    Variable {
        key: String,
        default: Option<String>,
    },
}

impl Template {
    pub(crate) fn parse(source: &str, syntax: Syntax) -> Result<Self, PolicyError> {
        let mut parts = Vec::new();
        let mut tokens = Vec::new();
        let mut rest = source;
        while let Some(next) = rest.chars().next() {
            if let Some(inside) = rest.strip_prefix("${").filter(|_| syntax.variables) {
                let (variable, after) = variable(inside).map_err(|why| PolicyError::value(source, why))?;
                match variable {
                    Variable::Char(c) => tokens.push(Token::Char(c)),
                    Variable::Key { key, default } => {
                        parts.push(Part::Tokens(std::mem::take(&mut tokens)));
                        parts.push(Part::Variable { key, default });
                    }
                }
                rest = after;
                continue;
            }
            tokens.push(match next {
                '*' if syntax.wildcards => Token::Many,
                '?' if syntax.wildcards => Token::One,
                c => Token::Char(c),
            });
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        let form = if !parts.is_empty() {
            parts.push(Part::Tokens(tokens));
            Form::Variable(parts)
        } else if tokens.iter().copied().eq(source.chars().map(Token::Char)) {
            Form::Plain
        } else {
            Form::Fixed(tokens)
        };
        Ok(Self { source: source.to_owned(), form })
    }

    /// As it is written in the policy.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether what it matches depends on the request.
    pub fn has_variables(&self) -> bool {
        matches!(self.form, Form::Variable(_))
    }

    /// Whether all of `text` matches.
    pub(crate) fn matches(&self, text: &str, same: Same, lookup: &Lookup<'_>) -> Match {
        let matched = match &self.form {
            Form::Plain => lookup.effort.spend(1) && same_text(&self.source, text, same),
            _ => match self.tokens(text, lookup) {
                Ok(tokens) => matches(&tokens, text, same, lookup.effort),
                Err(unmatched) => return unmatched,
            },
        };
        if matched { Match::Yes } else { Match::No }
    }

    /// The pattern for this request, if it can match anything as short as `text`; else why it does not match.
    pub(crate) fn tokens(&self, text: &str, lookup: &Lookup<'_>) -> Result<Cow<'_, [Token]>, Match> {
        match &self.form {
            Form::Plain => Ok(Cow::Owned(self.source.chars().map(Token::Char).collect())),
            Form::Fixed(tokens) => Ok(Cow::Borrowed(tokens)),
            Form::Variable(parts) => resolve(parts, text, lookup).map(Cow::Owned),
        }
    }
}

/// The pattern with its variables replaced. What a variable stands for is matched as it is: an asterisk in somebody's
/// name is no wildcard.
fn resolve(parts: &[Part], text: &str, lookup: &Lookup<'_>) -> Result<Vec<Token>, Match> {
    /// What looking up a key costs, in comparisons of characters.
    const LOOKUP: usize = 16;
    if !lookup.effort.spend(parts.len().saturating_mul(LOOKUP)) {
        return Err(Match::No);
    }
    let has_value = |part: &Part| match part {
        Part::Variable { key, default: None } => lookup.only(key).is_some(),
        Part::Variable { .. } | Part::Tokens(_) => true,
    };
    if !parts.iter().all(has_value) {
        return Err(Match::NoValue);
    }
    let mut all: Vec<Token> = Vec::new();
    // A pattern that is longer than the text does not match it, however much longer it is.
    let mut room = text.len().saturating_add(1);
    for part in parts {
        match part {
            Part::Tokens(tokens) => all.extend(tokens),
            Part::Variable { key, default } => {
                let value = lookup.only(key).or(default.as_deref().map(Cow::Borrowed)).unwrap_or_default();
                let before = all.len();
                all.extend(value.chars().take(room).map(Token::Char));
                room = room.saturating_sub(all.len().saturating_sub(before));
            }
        }
    }
    match lookup.effort.spend(all.len()) {
        true => Ok(all),
        false => Err(Match::No),
    }
}

fn same_text(a: &str, b: &str, same: Same) -> bool {
    let mut b = b.chars();
    match same {
        Same::Exactly => a == b.as_str(),
        Same::IgnoringCase => {
            a.chars().all(|a| b.next().is_some_and(|b| same.holds(a, b))) && b.next().is_none()
        }
    }
}

/// Whether a text matched a [`Template`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Yes,
    No,
    /// A variable without value: neither.
    NoValue,
}

/// What stands between `${` and `}`.
enum Variable {
    Char(char),
    Key { key: String, default: Option<String> },
}

/// Reads a variable after its `${`; gives it and what follows it.
fn variable(inside: &str) -> Result<(Variable, &str), &'static str> {
    const UNCLOSED: &str = "a text in which every `${` is closed by `}`";
    const QUOTED: &str = "a text whose variables have their default values in single quotes";
    for c in ['*', '?', '$'] {
        if let Some(after) = inside.strip_prefix(c).and_then(|rest| rest.strip_prefix('}')) {
            return Ok((Variable::Char(c), after));
        }
    }
    let end = inside.find(['}', ',']).ok_or(UNCLOSED)?;
    let (name, rest) = inside.split_at_checked(end).ok_or(UNCLOSED)?;
    let odd = |c: char| "*?${'\"\\".contains(c);
    let key = key(name).filter(|key| !key.contains(odd));
    let key = key.ok_or("a text whose variables are names of condition keys")?;
    if let Some(after) = rest.strip_prefix('}') {
        return Ok((Variable::Key { key, default: None }, after));
    }
    let quoted = rest.strip_prefix(',').and_then(|rest| rest.trim_start_matches(' ').strip_prefix('\''));
    let (default, after) = quoted.and_then(|rest| rest.split_once("'}")).ok_or(QUOTED)?;
    match default.contains('\'') {
        true => Err(QUOTED),
        false => Ok((Variable::Key { key, default: Some(default.to_owned()) }, after)),
    }
}

/// A condition key's name in lower case, if it is one: `service:name`, where the name may contain a tag's.
pub(crate) fn key(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let named = !prefix.is_empty() && prefix.chars().all(plain) && !rest.is_empty();
    (named && !rest.contains(char::is_control)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word, and as slow as it is obvious.
    fn naive(pattern: &[Token], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([Token::Many, rest @ ..], _) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            ([Token::One, pattern @ ..], [_, text @ ..]) => naive(pattern, text),
            ([Token::Char(c), pattern @ ..], [first, text @ ..]) => c == first && naive(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab\u{e9}*?]{0,9}", text in "[ab\u{e9}]{0,12}") {
            let tokens: Vec<Token> = wildcards(&pattern).collect();
            let characters: Vec<char> = text.chars().collect();
            prop_assert_eq!(matches(&tokens, &text, Same::Exactly, &Effort::new()), naive(&tokens, &characters));
        }
    }

    /// Would take longer than the age of the universe if every `*` were gone back to.
    #[test]
    fn many_wildcards_take_no_longer_than_the_product_of_both_lengths() {
        let pattern: Vec<Token> = wildcards(&"*a".repeat(500)).chain([Token::Char('b')]).collect();
        for (text, expected) in [("a".repeat(5000), false), (format!("{}b", "a".repeat(5000)), true)] {
            let effort = Effort::new();
            assert_eq!(matches(&pattern, &text, Same::Exactly, &effort), expected);
            assert!(effort.spent() <= pattern.len() * text.len());
        }
    }
}
