//! Tags of clusters and backups: words of the user's own.

use std::collections::BTreeMap;

use casemate::cluster::Store;
use serde_json::{Value, json};

use super::{Asked, without_nulls};
use crate::fault::{Fault, Kind};

/// The most tags of a resource.
const TAGS_MAX: usize = 50;

type Tags = BTreeMap<String, String>;

/// As answers have them.
pub(super) fn listed(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

impl Asked<'_> {
    /// The tags in the request.
    pub(super) fn tags(&self) -> Result<Tags, Fault> {
        let mut tags = Tags::new();
        for tag in self.members.get("TagList").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = part("Key");
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(Fault::new(
                    Kind::Tag,
                    format!("{key}: keys that begin with aws: are AWS's own."),
                ));
            }
            if tags.insert(key.clone(), part("Value")).is_some() {
                return Err(Fault::new(Kind::Tag, format!("{key} is there twice.")));
            }
        }
        Ok(tags)
    }
}

/// Changes the tags of a resource.
fn change(store: &Store, id: &str, change: impl FnOnce(&mut Tags)) -> Result<(), Fault> {
    let _lock = store.lock()?;
    let too_many = |tags: &Tags| {
        let message = format!("A resource has at most {TAGS_MAX} tags.");
        (tags.len() > TAGS_MAX).then(|| Fault::new(Kind::ResourceLimitExceeded, message))
    };
    if id.starts_with("backup-") {
        let mut backup = store.backup(id)?;
        change(&mut backup.tags);
        too_many(&backup.tags).map_or(Ok(()), Err)?;
        store.put_backup(&backup)?;
    } else {
        let mut cluster = store.cluster(id)?;
        change(&mut cluster.tags);
        too_many(&cluster.tags).map_or(Ok(()), Err)?;
        store.put_cluster(&cluster)?;
    }
    Ok(())
}

/// TagResource.
pub(super) fn tag(asked: &Asked<'_>) -> Result<Value, Fault> {
    let more = asked.tags()?;
    change(asked.store, asked.required("ResourceId"), |tags| tags.extend(more))?;
    Ok(json!({}))
}

/// UntagResource.
pub(super) fn untag(asked: &Asked<'_>) -> Result<Value, Fault> {
    let keys = asked.texts("TagKeyList");
    change(asked.store, asked.required("ResourceId"), |tags| {
        tags.retain(|key, _| !keys.contains(&key.as_str()));
    })?;
    Ok(json!({}))
}

/// ListTags.
pub(super) fn list(asked: &Asked<'_>) -> Result<Value, Fault> {
    let id = asked.required("ResourceId");
    let tags = match id.starts_with("backup-") {
        true => asked.store.backup(id)?.tags,
        false => asked.store.cluster(id)?.tags,
    };
    let (page, next) = asked.page(listed(&tags), "Key", TAGS_MAX)?;
    Ok(without_nulls(json!({"TagList": page, "NextToken": next})))
}
