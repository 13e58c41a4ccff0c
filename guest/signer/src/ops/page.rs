//! Listings, page by page.
//!
//! A marker is the name of the last entry of the page before; that entry may be gone by now.

use crate::errors::{ErrorKind, KmsError};

/// One page.
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<T>,
    pub(crate) next_marker: Option<String>,
    pub(crate) truncated: bool,
}

/// The entries of one page, `default` of them if the request does not say; `marker` names an entry.
pub(crate) fn take<T>(
    entries: impl Iterator<Item = T>,
    limit: Option<i64>,
    default: usize,
    marker: impl Fn(&T) -> String,
) -> Page<T> {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default);
    let mut entries = entries;
    let page: Vec<T> = entries.by_ref().take(limit).collect();
    let truncated = entries.next().is_some();
    let next_marker = page.last().filter(|_| truncated).map(marker);
    Page { entries: page, next_marker, truncated }
}

/// What a marker names, as `read` reads it.
pub(super) fn after<'a, T>(
    marker: Option<&'a str>,
    read: impl FnOnce(&'a str) -> Option<T>,
) -> Result<Option<T>, KmsError> {
    const MESSAGE: &str = "The marker is not one that this operation returned as NextMarker.";
    marker
        .map(|marker| read(marker).ok_or_else(|| KmsError::new(ErrorKind::InvalidMarker, MESSAGE)))
        .transpose()
}
