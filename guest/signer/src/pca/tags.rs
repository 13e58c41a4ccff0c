//! TagCertificateAuthority, UntagCertificateAuthority, ListTags.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access::{Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::types::{Empty, Tags};
use crate::validate::Check;

use super::ask::Ask;
use super::types::{AuthorityRequest, ListTagsResponse, Tag};
use super::{check, page};

/// Tags on one authority, as on AWS.
const MOST: usize = 50;

/// The tags of a request: beside what [`check::tags`] finds, a key must not be repeated or be AWS's.
pub(super) fn collect(tags: Option<Vec<Tag>>) -> Result<Tags, KmsError> {
    let mut all = Tags::new();
    for Tag { key, value } in tags.unwrap_or_default() {
        let key = key.unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            let message = format!("The tag key {key} is reserved: it begins with aws:.");
            return Err(KmsError::new(ErrorKind::InvalidTag, message));
        }
        if all.contains_key(&key) {
            let message = format!("The tag key {key} is given twice.");
            return Err(KmsError::new(ErrorKind::InvalidTag, message));
        }
        all.insert(key, value.unwrap_or_default());
    }
    Ok(all)
}

/// Checks a request, whose tags must be there.
fn checked(request: &AuthorityRequest) -> Result<(), KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken.required("tags", &request.tags);
    check::tags(&mut broken, &request.tags);
    broken.done()
}

pub(super) fn tag(call: &Call<'_>, request: AuthorityRequest) -> Result<Empty, KmsError> {
    checked(&request)?;
    let tags = collect(request.tags)?;
    let ask = Ask::new("TagCertificateAuthority").facts(Facts::of_request_tags(&tags));
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    let mut all = authority.meta().tags.clone();
    all.extend(tags);
    if all.len() > MOST {
        let message = format!("A certificate authority has {MOST} tags at most.");
        return Err(KmsError::new(ErrorKind::TooManyTags, message));
    }
    authority.meta_mut().tags = all;
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

/// A tag with a value goes only if it has that value.
pub(super) fn untag(call: &Call<'_>, request: AuthorityRequest) -> Result<Empty, KmsError> {
    checked(&request)?;
    let tags = request.tags.unwrap_or_default();
    let mut facts = Facts::default();
    facts.set_all("aws:TagKeys", tags.iter().filter_map(|tag| tag.key.clone()).collect());
    let ask = Ask::new("UntagCertificateAuthority").facts(facts);
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    let named = |key: &String, value: &String| {
        let mut tags = tags.iter();
        tags.any(|tag| tag.key.as_ref() == Some(key) && tag.value.as_ref().is_none_or(|given| given == value))
    };
    authority.meta_mut().tags.retain(|key, value| !named(key, value));
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn list(call: &Call<'_>, request: AuthorityRequest) -> Result<ListTagsResponse, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    check::page(&mut broken, request.max_results, request.next_token.as_deref());
    broken.done()?;
    let after = page::after(request.next_token.as_deref(), |token| {
        String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
    })?;
    let authority = Ask::new("ListTags").living(call, &request.certificate_authority_arn)?;
    let meta = authority.meta();
    let rest = meta.tags.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let page = page::take(rest, request.max_results, |(key, _)| URL_SAFE_NO_PAD.encode(key));
    let tag = |(key, value): (&String, &String)| Tag { key: Some(key.clone()), value: Some(value.clone()) };
    Ok(ListTagsResponse {
        tags: Some(page.entries.into_iter().map(tag).collect()),
        next_token: page.next_marker,
    })
}
