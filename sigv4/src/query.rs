//! The query of a request: read once, for the signature and for whoever looks for parameters.
//!
//! A plus sign is a plus sign here, not a space: SigV4 makes no difference between `+` and `%2B`, so neither may
//! whoever acts on a signed query.

use std::borrow::Cow;

use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Names and values, decoded, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    /// The query of a request.
    pub fn of(head: &Parts) -> Self {
        Self::parse(head.uri.query().unwrap_or_default())
    }

    /// What follows the question mark.
    pub fn parse(raw: &str) -> Self {
        let decode = |text: &str| Cow::from(percent_decode(text.as_bytes())).into_owned();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Self(raw.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    /// Names and values; `None` if one of them is not UTF-8.
    pub fn pairs(&self) -> Option<Vec<(String, String)>> {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).ok();
        self.0.iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect()
    }

    /// The values under `name`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| known == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// Encoded anew and sorted, without the parameter `except`.
    pub(super) fn canonical(&self, except: Option<&str>) -> String {
        let encode = |bytes: &[u8]| percent_encode(bytes, RESERVED).to_string();
        let mut pairs: Vec<(String, String)> = self
            .0
            .iter()
            .filter(|(name, _)| except.map(str::as_bytes) != Some(name))
            .map(|(name, value)| (encode(name), encode(value)))
            .collect();
        pairs.sort_unstable();
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}
