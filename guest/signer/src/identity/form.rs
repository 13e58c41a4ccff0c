//! The parameters of a request in AWS's Query protocol, and the shapes that they must have.
//!
//! A [`Form`] is read parameter by parameter; whatever is wrong is collected, and [`Form::done`] reports all of it at once,
//! as AWS does. What was read before that is worth nothing if it fails.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use crate::validate::Check;

use super::entity::Kind;
use super::fault::{Code, Fault};
use super::sigv4::Query;

/// The most parameters of a request: fifty tags take a hundred.
const PARAMETERS_MAX: usize = 400;
/// A page has so many items where the caller does not say.
const PAGE: usize = 100;

const NAME: &str = "[\\w+=,.@-]+";
const PATH: &str = "(\\u002F)|(\\u002F[\\u0021-\\u007E]+\\u002F)";

/// Parameters by name.
#[derive(Debug, Default)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// The parameters of a request: those of its query, but for the signature's, and those of its body.
    pub(crate) fn read(query: &Query, body: &[u8]) -> Result<Self, Fault> {
        let malformed = |message: &str| Fault::new(Code::MalformedQueryString, message);
        let mut parameters = BTreeMap::new();
        let query = query.pairs().ok_or_else(|| malformed("The query string is not UTF-8."))?;
        let query = query.into_iter().filter(|(name, _)| !name.starts_with("X-Amz-"));
        let body = decode(body).ok_or_else(|| malformed("The body is not form-encoded UTF-8."))?;
        for (name, value) in query.chain(body) {
            if parameters.len() >= PARAMETERS_MAX {
                return Err(malformed("There are too many parameters."));
            }
            if parameters.insert(name, value).is_some() {
                return Err(malformed("A parameter is given twice."));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The values under `NAME.member.1`, `NAME.member.2` …, or below them.
    fn members(&self, name: &str, below: &str) -> Vec<Option<&str>> {
        let member = |number: usize, below: &str| self.get(&format!("{name}.member.{number}{below}"));
        let exists = |number: &usize| {
            let start = format!("{name}.member.{number}");
            self.0.range(start.clone()..).next().is_some_and(|(known, _)| {
                known.strip_prefix(&start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        (1..=PARAMETERS_MAX).take_while(exists).map(|number| member(number, below)).collect()
    }
}

/// `application/x-www-form-urlencoded` (WHATWG URL, 5.1), of text.
fn decode(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = |bytes: &[u8]| {
        let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        String::from_utf8(percent_decode(&spaced).collect()).ok()
    };
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at_checked(at)?;
            Some((text(name)?, text(value.get(1..).unwrap_or_default())?))
        })
        .collect()
}

/// Where a page begins, and how long it is.
pub(crate) struct Paging {
    after: Option<String>,
    limit: usize,
}

impl Paging {
    /// The items of one page out of all, sorted by their names, and the name that the next page begins after.
    pub(crate) fn page<T>(&self, all: impl Iterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
        let mut rest =
            all.filter(|(name, _)| self.after.as_ref().is_none_or(|after| name > after)).peekable();
        let (mut items, mut last) = (Vec::new(), None);
        while items.len() < self.limit
            && let Some((name, item)) = rest.next()
        {
            items.push(item);
            last = Some(name);
        }
        let more = rest.peek().is_some();
        (items, last.filter(|_| more))
    }
}

/// Parameters as they are looked at.
pub(crate) struct Form<'a> {
    parameters: &'a Parameters,
    check: Check,
}

impl<'a> Form<'a> {
    pub(crate) fn new(parameters: &'a Parameters) -> Self {
        Self { parameters, check: Check::default() }
    }

    /// The verdict on everything that was read.
    pub(crate) fn done(&mut self) -> Result<(), Fault> {
        Ok(std::mem::take(&mut self.check).done()?)
    }

    /// A text of `min..=max` characters.
    pub(crate) fn optional(&mut self, name: &str, min: usize, max: usize) -> Option<&'a str> {
        let value = self.parameters.get(name);
        self.check.text(&member(name), value, min, max);
        value
    }

    /// The same, which must be there.
    pub(crate) fn text(&mut self, name: &str, min: usize, max: usize) -> &'a str {
        let value = self.optional(name, min, max);
        self.check.required(&member(name), &value);
        value.unwrap_or_default()
    }

    /// The name of something, which must be there.
    pub(crate) fn name(&mut self, name: &str, max: usize) -> &'a str {
        let value = self.text(name, 1, max);
        self.shaped(name, value);
        value
    }

    /// The name of something, if there.
    pub(crate) fn optional_name(&mut self, name: &str, min: usize, max: usize) -> Option<&'a str> {
        let value = self.optional(name, min, max);
        if let Some(value) = value {
            self.shaped(name, value);
        }
        value
    }

    /// The name of a user, group or role, which must be there: `UserName` and so on.
    pub(crate) fn entity(&mut self, kind: Kind) -> &'a str {
        self.name(&format!("{}Name", kind.title()), 128)
    }

    fn shaped(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.check.matches(&member(name), Some(value), NAME, is_name);
        }
    }

    /// The path of a user, group, role or policy.
    pub(crate) fn path(&mut self, name: &str) -> Option<&'a str> {
        let value = self.optional(name, 1, 512);
        self.check.matches(&member(name), value, PATH, |path| {
            path == "/"
                || (path.len() > 2
                    && path.starts_with('/')
                    && path.ends_with('/')
                    && path.bytes().all(|byte| (0x21..=0x7e).contains(&byte)))
        });
        value
    }

    /// The beginning of paths, for listings.
    pub(crate) fn path_prefix(&mut self) -> &'a str {
        let value = self.optional("PathPrefix", 1, 512);
        self.check.matches("pathPrefix", value, "\\u002F[\\u0021-\\u007F]*", |path| {
            path.starts_with('/') && path.bytes().all(|byte| (0x21..=0x7f).contains(&byte))
        });
        value.unwrap_or("/")
    }

    /// The ARN of something.
    pub(crate) fn arn(&mut self, name: &str) -> &'a str {
        self.text(name, 20, 2048)
    }

    /// The text of a policy.
    pub(crate) fn document(&mut self, name: &str) -> &'a str {
        let value = self.text(name, 1, 131_072);
        self.latin(name, value);
        value
    }

    /// A description.
    pub(crate) fn description(&mut self) -> Option<&'a str> {
        let value = self.optional("Description", 0, 1000);
        self.latin("Description", value.unwrap_or_default());
        value
    }

    fn latin(&mut self, name: &str, value: &str) {
        const PATTERN: &str = "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+";
        self.check.matches(&member(name), Some(value), PATTERN, |text| {
            text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}'))
        });
    }

    /// A number in a range.
    pub(crate) fn number(&mut self, name: &str, min: i64, max: i64) -> Option<u64> {
        let value = self.check.digits(&member(name), self.parameters.get(name));
        self.check.number(&member(name), value, min, max);
        value.and_then(|value| u64::try_from(value).ok())
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let value = self.parameters.get(name);
        self.check.matches(&member(name), value, "true|false", |text| {
            text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
        });
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let value = self.parameters.get(name)?;
        let found = words.iter().copied().find(|word| *word == value);
        if found.is_none() {
            self.check.matches(&member(name), Some(value), &words.join("|"), |_| false);
        }
        found
    }

    /// Tags, none of them twice; AWS's own prefix is not for callers.
    pub(crate) fn tags(&mut self, max: usize) -> Vec<(&'a str, &'a str)> {
        let keys = self.parameters.members("Tags", ".Key");
        let values = self.parameters.members("Tags", ".Value");
        self.check.list("tags", &Some(keys.clone()), 0, max);
        let mut tags = Vec::new();
        for (number, (key, value)) in keys.into_iter().zip(values).enumerate() {
            let place = |what: &str| format!("tags.{}.member.{what}", number.saturating_add(1));
            self.check.required(&place("key"), &key);
            self.check.required(&place("value"), &value);
            self.check.text(&place("value"), value, 0, 256);
            self.check.matches(&place("value"), value, "[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*", is_tag_text);
            self.tag_key(&place("key"), key);
            tags.push((key.unwrap_or_default(), value.unwrap_or_default()));
        }
        tags
    }

    /// Names of tags.
    pub(crate) fn tag_keys(&mut self, name: &str) -> Vec<&'a str> {
        let keys = self.list(name, 50);
        for (number, key) in keys.iter().enumerate() {
            self.tag_key(&format!("{}.{}.member", member(name), number.saturating_add(1)), Some(key));
        }
        keys
    }

    fn tag_key(&mut self, place: &str, key: Option<&str>) {
        self.check.text(place, key, 1, 128);
        self.check.matches(place, key, "[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+", is_tag_text);
        self.check.matches(place, key, "(?!aws:).*", |key| {
            !key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
        });
    }

    /// The texts of a list.
    pub(crate) fn list(&mut self, name: &str, max: usize) -> Vec<&'a str> {
        let members = self.parameters.members(name, "");
        self.check.list(&member(name), &Some(members.clone()), 0, max);
        members.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The texts of a list of structures that have one member.
    pub(crate) fn list_of(&mut self, name: &str, below: &str) -> Vec<&'a str> {
        self.parameters.members(name, below).into_iter().map(Option::unwrap_or_default).collect()
    }

    /// `Marker` and `MaxItems`.
    pub(crate) fn paging(&mut self) -> Paging {
        let after = self.optional("Marker", 1, 1024).map(str::to_owned);
        let limit = self.number("MaxItems", 1, 1000).and_then(|limit| usize::try_from(limit).ok());
        Paging { after, limit: limit.unwrap_or(PAGE) }
    }

    /// Parameters that would change what the operation does, and that this signer does not know how to obey.
    pub(crate) fn refuse(&mut self, names: &[&str]) -> Result<(), Fault> {
        let given = names.iter().find(|name| {
            self.parameters.get(name).is_some() || !self.parameters.members(name, "").is_empty()
        });
        match given {
            Some(name) => {
                Err(Fault::new(Code::InvalidInput, format!("This signer does not support {name}.")))
            }
            None => Ok(()),
        }
    }
}

/// `[\w+=,.@-]+`
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`
fn is_tag_text(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c))
}

/// The name of a parameter as AWS's messages have it.
fn member(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}
