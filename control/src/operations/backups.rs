//! Backups, which HSMs leave when they are deleted.

use casemate::cluster::{Backup, Place, now_ms};
use serde_json::{Value, json};

use super::{Asked, seconds, tags, without_nulls};
use crate::fault::Fault;

const FILTERS: [&str; 5] = ["backupIds", "sourceBackupIds", "clusterIds", "states", "neverExpires"];
/// Backups in a page if nobody says how many.
const PAGE: usize = 50;

impl Asked<'_> {
    fn shown_backup(&self, backup: &Backup) -> Value {
        let source = backup.source.as_ref();
        without_nulls(json!({
            "BackupId": backup.id,
            "BackupArn": self.arn("backup", &backup.id),
            "BackupState": backup.status(),
            "ClusterId": backup.cluster,
            "CreateTimestamp": seconds(backup.created),
            "CopyTimestamp": backup.copied.map(seconds),
            "NeverExpires": backup.never_expires,
            "SourceRegion": source.map(|source| &source.region),
            "SourceBackup": source.map(|source| &source.backup),
            "SourceCluster": source.map(|source| &source.cluster),
            "DeleteTimestamp": backup.delete_at.map(seconds),
            "TagList": tags::listed(&backup.tags),
            "HsmType": backup.hsm_type,
            "Mode": "NON_FIPS",
        }))
    }
}

/// What a filter looks at.
fn matches(backup: &Value, filter: &str, values: &[&str]) -> bool {
    let member = match filter {
        "backupIds" => "BackupId",
        "sourceBackupIds" => "SourceBackup",
        "clusterIds" => "ClusterId",
        "states" => "BackupState",
        _ => "NeverExpires",
    };
    match backup.get(member) {
        Some(Value::String(text)) => values.contains(&text.as_str()),
        Some(Value::Bool(flag)) => values.contains(&flag.to_string().as_str()),
        _ => false,
    }
}

/// DescribeBackups: newest first, as nobody says otherwise.
pub(super) fn describe(asked: &Asked<'_>) -> Result<Value, Fault> {
    let filters = asked.filters(&FILTERS)?;
    // Nobody shares backups with this account.
    let mut backups = if asked.flag("Shared") == Some(true) { Vec::new() } else { asked.store.backups()? };
    if asked.flag("SortAscending") != Some(true) {
        backups.reverse();
    }
    let mut shown: Vec<Value> = backups.iter().map(|backup| asked.shown_backup(backup)).collect();
    shown.retain(|backup| filters.iter().all(|(filter, values)| matches(backup, filter, values)));
    let (page, next) = asked.page(shown, "BackupId", PAGE)?;
    Ok(without_nulls(json!({"Backups": page, "NextToken": next})))
}

/// ModifyBackupAttributes.
pub(super) fn modify(asked: &Asked<'_>) -> Result<Value, Fault> {
    let for_ever = asked.flag("NeverExpires").unwrap_or_default();
    let backup = asked.store.keep_backup(&asked.store.lock()?, asked.required("BackupId"), for_ever)?;
    Ok(json!({"Backup": asked.shown_backup(&backup)}))
}

/// DeleteBackup.
pub(super) fn delete(asked: &Asked<'_>) -> Result<Value, Fault> {
    let backup = asked.store.delete_backup(&asked.store.lock()?, asked.required("BackupId"), now_ms())?;
    Ok(json!({"Backup": asked.shown_backup(&backup)}))
}

/// RestoreBackup: of one that is to be deleted.
pub(super) fn restore(asked: &Asked<'_>) -> Result<Value, Fault> {
    let backup = asked.store.undelete_backup(&asked.store.lock()?, asked.required("BackupId"))?;
    Ok(json!({"Backup": asked.shown_backup(&backup)}))
}

/// CopyBackupToRegion.
pub(super) fn copy(asked: &Asked<'_>) -> Result<Value, Fault> {
    let region = asked.required("DestinationRegion");
    let there = asked.control.regions.get(region).filter(|_| region != asked.region).ok_or_else(|| {
        Fault::invalid(format!(
            "DestinationRegion must be another region of this endpoint's: it has {}.",
            asked.control.names()
        ))
    })?;
    let tags = asked.tags()?;
    let place = Place { store: there, from: asked.region.to_owned() };
    let _lock = there.lock()?;
    let mut copy = asked.store.copy_backup(asked.required("BackupId"), &place, now_ms())?;
    if copy.tags != tags {
        copy.tags = tags;
        there.put_backup(&copy)?;
    }
    let source = copy.source.as_ref();
    Ok(json!({"DestinationBackup": without_nulls(json!({
        "CreateTimestamp": copy.copied.map(seconds),
        "SourceRegion": source.map(|source| &source.region),
        "SourceBackup": source.map(|source| &source.backup),
        "SourceCluster": source.map(|source| &source.cluster),
    }))}))
}
