//! The `Condition` element: operators, what each compares, and when a condition is met.
//!
//! IAM user guide, "Condition operators" and "Creating a condition with multiple keys or values". All conditions of a
//! statement must be met; one is met when any of its values matches (for negated operators: when none does).
//!
//! A value of the request that is not of the operator's type (a tag `abc` before `NumericEquals`) is neither equal nor
//! unequal to anything; several values without a set operator may not agree. Such a condition is *unclear*, and is
//! taken so that access is refused: not met in an `Allow`, met in a `Deny`.

use std::cmp::Ordering;

use ipnet::IpNet;

use crate::context::{Lookup, Values};
use crate::error::{PolicyError, Problem, excerpt};
use crate::json::Json;
use crate::pattern::{self, Match, Same, Syntax, Template, Token};
use crate::values::{self, Moment, Number};

/// One key of a `Condition` element with what it is tested for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The operator with its prefix and suffix, the key and the values, as they are written in the policy.
    operator: String,
    key: String,
    values: Vec<String>,
    /// The key in lower case: keys are not case-sensitive.
    folded_key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// `Null`: whether the key is absent.
    Absent(bool),
    Compare {
        set: Option<Set>,
        if_exists: bool,
        negated: bool,
        values: Comparison,
    },
}

/// How a key with several values is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// `ForAllValues:` every value of the request must pass; none is fine.
    All,
    /// `ForAnyValue:` one value of the request must pass.
    Any,
}

/// What the values of the request are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Comparison {
    /// The whole text, with or without wildcards.
    Text(Vec<Template>),
    /// The whole text, whatever its case.
    TextIgnoringCase(Vec<Template>),
    /// The six parts of an ARN, each by itself.
    Arn(Vec<Template>),
    Number(Relation, Vec<Number>),
    Date(Relation, Vec<Moment>),
    Bool(Vec<bool>),
    Binary(Vec<Vec<u8>>),
    Address(Vec<IpNet>),
}

/// How a value of the request must stand to one of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// From what follows `Numeric` or `Date` in an operator's name; the flag says that the operator is negated.
    fn parse(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "Equals" => (Self::Equal, false),
            "NotEquals" => (Self::Equal, true),
            "LessThan" => (Self::Less, false),
            "LessThanEquals" => (Self::LessOrEqual, false),
            "GreaterThan" => (Self::Greater, false),
            "GreaterThanEquals" => (Self::GreaterOrEqual, false),
            _ => return None,
        })
    }
}

/// What an operator's name says.
#[derive(Clone, Copy)]
enum Family {
    Text { wildcards: bool },
    TextIgnoringCase,
    Arn,
    Number(Relation),
    Date(Relation),
    Bool,
    Binary,
    Address,
}

/// The family of an operator without prefix and suffix, and whether it is negated.
fn family(name: &str) -> Option<(Family, bool)> {
    if let Some((relation, negated)) = name.strip_prefix("Numeric").and_then(Relation::parse) {
        return Some((Family::Number(relation), negated));
    }
    if let Some((relation, negated)) = name.strip_prefix("Date").and_then(Relation::parse) {
        return Some((Family::Date(relation), negated));
    }
    Some(match name {
        "StringEquals" => (Family::Text { wildcards: false }, false),
        "StringNotEquals" => (Family::Text { wildcards: false }, true),
        "StringEqualsIgnoreCase" => (Family::TextIgnoringCase, false),
        "StringNotEqualsIgnoreCase" => (Family::TextIgnoringCase, true),
        "StringLike" => (Family::Text { wildcards: true }, false),
        "StringNotLike" => (Family::Text { wildcards: true }, true),
        "ArnEquals" | "ArnLike" => (Family::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Family::Arn, true),
        "Bool" => (Family::Bool, false),
        "BinaryEquals" => (Family::Binary, false),
        "IpAddress" => (Family::Address, false),
        "NotIpAddress" => (Family::Address, true),
        _ => return None,
    })
}

/// Reads a whole `Condition` element. `variables`: whether `${…}` means a variable.
pub(crate) fn parse(element: Json, variables: bool) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in element.into_object()? {
        let within = |error: PolicyError| error.within(excerpt(&operator));
        for (name, values) in keys.into_object().map_err(within)? {
            let condition = Condition::parse(&operator, &name, values, variables);
            conditions.push(condition.map_err(|error| within(error.within(excerpt(&name))))?);
        }
    }
    Ok(conditions)
}

impl Condition {
    fn parse(operator: &str, name: &str, values: Json, variables: bool) -> Result<Self, PolicyError> {
        let unknown = || PolicyError::value(operator, "a condition operator");
        let folded_key = pattern::key(name).ok_or_else(|| PolicyError::value(name, "a condition key"))?;
        let (set, rest) = match operator.split_once(':') {
            None => (None, operator),
            Some(("ForAllValues", rest)) => (Some(Set::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
            Some(_) => return Err(unknown()),
        };
        let texts = values.each(Json::into_scalar)?;
        let test = if operator == "Null" {
            Test::Absent(one(each(&texts, values::boolean, "`true` or `false`")?)?)
        } else {
            let bare = rest.strip_suffix("IfExists");
            let (family, negated) = family(bare.unwrap_or(rest)).ok_or_else(unknown)?;
            let values = Comparison::parse(family, &texts, variables)?;
            Test::Compare { set, if_exists: bare.is_some(), negated, values }
        };
        Ok(Self { operator: operator.to_owned(), key: name.to_owned(), values: texts, folded_key, test })
    }

    /// The condition key, as it is written in the policy.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The operator, as it is written in the policy.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// The values, as they are written in the policy.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the request meets this; `None` where that is unclear.
    pub(crate) fn is_met(&self, lookup: &Lookup<'_>) -> Option<bool> {
        let present = lookup.values(&self.folded_key);
        let (set, if_exists, negated, values) = match &self.test {
            Test::Absent(wanted) => return Some(present.is_none() == *wanted),
            Test::Compare { set, if_exists, negated, values } => (*set, *if_exists, *negated, values),
        };
        let Some(present) = present else {
            return Some(if_exists || matches!(set, Some(Set::All)) || (set.is_none() && negated));
        };
        let passes = |value: &str| values.matches(value, lookup).map(|matched| matched != negated);
        match set {
            Some(Set::All) if is_null(&present) => Some(true),
            Some(Set::Any) if is_null(&present) => Some(false),
            Some(Set::All) => every(&present, passes),
            Some(Set::Any) => any(&present, passes),
            None => unanimous(&present, passes),
        }
    }
}

/// AWS calls a set of values null that has none, "such as an empty string".
fn is_null(values: &Values<'_>) -> bool {
    values.iter().all(str::is_empty)
}

/// Whether all pass; unclear as soon as one is.
fn every(values: &Values<'_>, passes: impl Fn(&str) -> Option<bool>) -> Option<bool> {
    values.iter().try_fold(true, |all, value| Some(passes(value)? && all))
}

/// Whether one passes; unclear as soon as one is.
fn any(values: &Values<'_>, passes: impl Fn(&str) -> Option<bool>) -> Option<bool> {
    values.iter().try_fold(false, |any, value| Some(passes(value)? || any))
}

/// AWS wants a set operator before a key with several values, and does not say what happens without. Two tags whose
/// names differ only in case come here too. Unclear unless all agree.
fn unanimous(values: &Values<'_>, passes: impl Fn(&str) -> Option<bool>) -> Option<bool> {
    let mut verdicts = values.iter().map(passes);
    let first = verdicts.next()??;
    verdicts.all(|verdict| verdict == Some(first)).then_some(first)
}

/// Each text as a value of the operator's type.
fn each<T>(
    texts: &[String],
    read: fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<Vec<T>, PolicyError> {
    texts.iter().map(|text| read(text).ok_or_else(|| PolicyError::value(text, expected))).collect()
}

/// The one value of a list that makes sense only with one.
fn one<T>(values: Vec<T>) -> Result<T, PolicyError> {
    let problem = Problem::Type { expected: "one value", got: "several" };
    match <[T; 1]>::try_from(values) {
        Ok([value]) => Ok(value),
        Err(_) => Err(PolicyError::new(problem)),
    }
}

impl Comparison {
    fn parse(family: Family, texts: &[String], variables: bool) -> Result<Self, PolicyError> {
        let templates = |wildcards| {
            let syntax = Syntax { wildcards, variables };
            texts.iter().map(|text| Template::parse(text, syntax)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match family {
            Family::Text { wildcards } => Self::Text(templates(wildcards)?),
            Family::TextIgnoringCase => Self::TextIgnoringCase(templates(false)?),
            Family::Arn => {
                let templates = templates(true)?;
                for template in templates.iter().filter(|template| !template.has_variables()) {
                    // It could never match, and its negation always would.
                    if template.as_str().splitn(6, ':').count() != 6 {
                        return Err(PolicyError::value(template.as_str(), "an ARN with its six parts"));
                    }
                }
                Self::Arn(templates)
            }
            Family::Number(relation) => Self::Number(relation, each(texts, Number::parse, "a number")?),
            Family::Date(relation) => {
                Self::Date(relation, each(texts, Moment::parse, "a date in ISO 8601 or epoch time")?)
            }
            Family::Bool => Self::Bool(each(texts, values::boolean, "`true` or `false`")?),
            Family::Binary => Self::Binary(each(texts, values::bytes, "base 64")?),
            Family::Address => {
                Self::Address(each(texts, values::network, "an IP address or a range of them")?)
            }
        })
    }

    /// How many values there are.
    fn len(&self) -> usize {
        match self {
            Self::Text(values) | Self::TextIgnoringCase(values) | Self::Arn(values) => values.len(),
            Self::Number(_, values) => values.len(),
            Self::Date(_, values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Binary(values) => values.len(),
            Self::Address(values) => values.len(),
        }
    }

    /// Whether `value` matches one of these; `None` if it is not of their type.
    fn matches(&self, value: &str, lookup: &Lookup<'_>) -> Option<bool> {
        if !lookup.effort.spend(self.len()) {
            return None;
        }
        match self {
            Self::Text(templates) => Some(text_matches(templates, value, Same::Exactly, lookup)),
            Self::TextIgnoringCase(templates) => {
                Some(text_matches(templates, value, Same::IgnoringCase, lookup))
            }
            Self::Arn(templates) => {
                let is_arn = value.starts_with("arn:") && value.splitn(6, ':').count() == 6;
                is_arn.then(|| templates.iter().any(|template| arn_matches(template, value, lookup)))
            }
            Self::Number(relation, numbers) => {
                let value = Number::parse(value)?;
                Some(numbers.iter().any(|number| relation.holds(value.cmp(number))))
            }
            Self::Date(relation, moments) => {
                let value = Moment::parse(value)?;
                Some(moments.iter().any(|moment| relation.holds(value.cmp(moment))))
            }
            Self::Bool(booleans) => Some(booleans.contains(&values::boolean(value)?)),
            Self::Binary(all) => Some(all.contains(&values::bytes(value)?)),
            Self::Address(networks) => {
                let address = values::address(value)?;
                Some(networks.iter().any(|network| network.contains(&address)))
            }
        }
    }
}

/// Whether `value` is like one of the texts. A variable without value is like nothing.
fn text_matches(templates: &[Template], value: &str, same: Same, lookup: &Lookup<'_>) -> bool {
    templates.iter().any(|template| template.matches(value, same, lookup) == Match::Yes)
}

/// Whether each of the six parts of `value` matches the part of the pattern in its place.
fn arn_matches(template: &Template, value: &str, lookup: &Lookup<'_>) -> bool {
    let Ok(tokens) = template.tokens(value, lookup) else { return false };
    let mut patterns = tokens.splitn(6, |token| *token == Token::Char(':'));
    let mut parts = value.splitn(6, ':');
    let six = (0..6).all(|_| match (patterns.next(), parts.next()) {
        (Some(pattern), Some(part)) => pattern::matches(pattern, part, Same::Exactly, lookup.effort),
        _ => false,
    });
    six && patterns.next().is_none() && parts.next().is_none()
}
