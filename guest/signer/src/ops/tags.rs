//! TagResource, UntagResource, ListResourceTags.
//!
//! Tags that begin with `casemate:` are the signer's: [`LOCKED`] can be given to a key when it is made, and no tag of
//! theirs can be given, changed or removed later.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access::{Ask, Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::types::{
    Empty, ListResourceTagsResponse, PageOfKeyRequest, Tag, TagResourceRequest, Tags, UntagResourceRequest,
};
use crate::validate::Check;

use super::{page, refusal};

/// The tag of a key whose policy can never be changed; its value is `true`.
pub(super) const LOCKED: &str = "casemate:policy-locked";
/// How the signer's own tags begin.
const RESERVED: &str = "casemate:";
/// Tags on one key, as on AWS.
const MOST: usize = 50;

/// Checks the members of tags.
pub(super) fn check(check: &mut Check, tags: &Option<Vec<Tag>>) {
    for (index, tag) in (1..).zip(tags.iter().flatten()) {
        let key = format!("tags.{index}.member.tagKey");
        check.required(&key, &tag.tag_key);
        check.text(&key, tag.tag_key.as_deref(), 1, 128);
        let value = format!("tags.{index}.member.tagValue");
        check.required(&value, &tag.tag_value);
        check.text(&value, tag.tag_value.as_deref(), 0, 256);
    }
}

/// The tags of a request. Beside what [`check`] finds, a key must not be repeated or be AWS's.
pub(super) fn collect(tags: Option<Vec<Tag>>) -> Result<Tags, KmsError> {
    let mut all = Tags::new();
    for Tag { tag_key, tag_value } in tags.unwrap_or_default() {
        let (key, value) = (tag_key.unwrap_or_default(), tag_value.unwrap_or_default());
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(refused(format!(
                "The tag key {key} is not valid: keys that begin with aws: are reserved."
            )));
        }
        for text in [&key, &value] {
            if !text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c)) {
                return Err(refused(
                    "Tags have letters, digits, white space and _ . : / = + - @ only.".to_owned(),
                ));
            }
        }
        if let Some(value) = all.insert(key.clone(), value) {
            return Err(refused(format!("The tag key {key} is given twice (once with value {value:?}).")));
        }
    }
    Ok(all)
}

/// A key has no more tags than AWS lets it have.
pub(super) fn not_too_many(count: usize) -> Result<(), KmsError> {
    match count <= MOST {
        true => Ok(()),
        false => Err(KmsError::new(
            ErrorKind::LimitExceeded,
            format!("A key has {MOST} tags at most; with these it would have {count}."),
        )),
    }
}

/// Whether the tags of a new key lock its policy; a reserved tag with any other meaning is refused.
pub(super) fn lock(tags: &Tags) -> Result<bool, KmsError> {
    let mut locked = false;
    for (key, value) in tags.iter().filter(|(key, _)| is_reserved(key)) {
        if key != LOCKED || value != "true" {
            return Err(refused(format!(
                "The tag {key} = {value:?} is not valid: of the tags that begin with {RESERVED} a new key can have \
                 {LOCKED} = \"true\" only."
            )));
        }
        locked = true;
    }
    Ok(locked)
}

pub(super) fn tag_resource(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    broken.key_id(&request.key_id);
    broken.required("tags", &request.tags);
    check(&mut broken, &request.tags);
    broken.done()?;
    let tags = collect(request.tags)?;
    let key = Ask::new("TagResource")
        .facts(Facts::of_request_tags(&tags))
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    refusal::if_pending_deletion(&key)?;
    not_reserved(tags.keys())?;
    let mut all = key.meta().tags.clone();
    all.extend(tags);
    not_too_many(all.len())?;
    key.meta_mut().tags = all;
    call.state.touch(key.record_name());
    Ok(Empty {})
}

pub(super) fn untag_resource(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("tagKeys", &request.tag_keys);
    check.texts("tagKeys", &request.tag_keys, 1, 128);
    check.done()?;
    let keys = request.tag_keys.unwrap_or_default();
    let mut facts = Facts::default();
    if !keys.is_empty() {
        facts.set_all("aws:TagKeys", keys.clone());
    }
    let key =
        Ask::new("UntagResource").facts(facts).find(call, request.key_id.as_deref().unwrap_or_default())?;
    refusal::if_pending_deletion(&key)?;
    not_reserved(keys.iter())?;
    // What is not there need not be removed.
    key.meta_mut().tags.retain(|tag, _| !keys.contains(tag));
    call.state.touch(key.record_name());
    Ok(Empty {})
}

pub(super) fn list_resource_tags(
    call: &Call<'_>,
    request: PageOfKeyRequest,
) -> Result<ListResourceTagsResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.page(request.limit, request.marker.as_deref());
    check.done()?;
    // Tag keys may have characters that markers cannot.
    let after = page::after(request.marker.as_deref(), |marker| {
        String::from_utf8(URL_SAFE_NO_PAD.decode(marker).ok()?).ok()
    })?;
    let key = Ask::new("ListResourceTags").find(call, request.key_id.as_deref().unwrap_or_default())?;
    let meta = key.meta();
    let rest = meta.tags.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let page = page::take(rest, request.limit, 50, |(key, _)| URL_SAFE_NO_PAD.encode(key));
    let tag =
        |(key, value): (&String, &String)| Tag { tag_key: Some(key.clone()), tag_value: Some(value.clone()) };
    Ok(ListResourceTagsResponse {
        tags: page.entries.into_iter().map(tag).collect(),
        next_marker: page.next_marker,
        truncated: page.truncated,
    })
}

fn is_reserved(key: &str) -> bool {
    key.to_ascii_lowercase().starts_with(RESERVED)
}

fn not_reserved<'a>(mut keys: impl Iterator<Item = &'a String>) -> Result<(), KmsError> {
    match keys.find(|key| is_reserved(key)) {
        None => Ok(()),
        Some(key) => Err(refused(format!(
            "The tag {key} cannot be given, changed or removed: tags that begin with {RESERVED} are settled when a key \
             is created."
        ))),
    }
}

fn refused(message: String) -> KmsError {
    KmsError::new(ErrorKind::Tag, message)
}
