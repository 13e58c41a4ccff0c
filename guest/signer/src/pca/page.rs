//! Listings as KMS has them ([`crate::ops::page`]), in Private CA's words: a token in place of a marker.

use crate::errors::{ErrorKind, KmsError};
use crate::ops::page::{self, Page};

/// How many entries a page has if the request does not say.
const DEFAULT: usize = 100;

/// The entries of one page; `token` names an entry.
pub(super) fn take<T>(
    entries: impl Iterator<Item = T>,
    max_results: Option<i64>,
    token: impl Fn(&T) -> String,
) -> Page<T> {
    page::take(entries, max_results, DEFAULT, token)
}

/// What a token names, as `read` reads it.
pub(super) fn after<'a, T>(
    token: Option<&'a str>,
    read: impl FnOnce(&'a str) -> Option<T>,
) -> Result<Option<T>, KmsError> {
    const MESSAGE: &str = "The token is not one that this operation returned as NextToken.";
    token
        .map(|token| read(token).ok_or_else(|| KmsError::new(ErrorKind::InvalidNextToken, MESSAGE)))
        .transpose()
}
