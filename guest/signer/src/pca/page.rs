//! Listings, page by page. A token is the name of the last entry of the page before; that entry may be gone by now.

use crate::errors::{ErrorKind, KmsError};

/// How many entries a page has if the request does not say.
const DEFAULT: usize = 100;

/// One page.
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    pub(super) next: Option<String>,
}

/// The entries of one page; `token` names an entry.
pub(super) fn take<T>(
    mut entries: impl Iterator<Item = T>,
    max_results: Option<i64>,
    token: impl Fn(&T) -> String,
) -> Page<T> {
    let limit = max_results.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT);
    let page: Vec<T> = entries.by_ref().take(limit).collect();
    let more = entries.next().is_some();
    let next = page.last().filter(|_| more).map(token);
    Page { entries: page, next }
}

/// What a token names, as `read` reads it.
pub(super) fn after<'a, T>(
    token: Option<&'a str>,
    read: impl FnOnce(&'a str) -> Option<T>,
) -> Result<Option<T>, KmsError> {
    let Some(token) = token else { return Ok(None) };
    read(token).map(Some).ok_or_else(|| {
        let message = "The token is not one that this operation returned as NextToken.";
        KmsError::new(ErrorKind::InvalidNextToken, message)
    })
}
