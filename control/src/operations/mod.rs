//! What operations do: on the store themselves, and by `casemate hsm create` and `delete` where something is launched or ended.
//!
//! | file | operations |
//! | --- | --- |
//! | [`clusters`] | CreateCluster, DescribeClusters, ModifyCluster, DeleteCluster; CreateHsm, DeleteHsm |
//! | [`backups`] | DescribeBackups, ModifyBackupAttributes, CopyBackupToRegion, DeleteBackup, RestoreBackup |
//! | [`tags`] | TagResource, UntagResource, ListTags |
//! | here | what there is not: InitializeCluster, resource policies |

mod backups;
mod clusters;
mod tags;

use casemate::cluster::Store;
use serde_json::{Map, Value, json};

use crate::Control;
use crate::fault::{Fault, Kind};

/// The members of a request.
type Members = Map<String, Value>;

/// A request in its region.
struct Asked<'a> {
    control: &'a Control,
    region: &'a str,
    store: &'a Store,
    members: Members,
}

/// Does what was asked.
pub fn run(control: &Control, region: &str, operation: &str, members: Members) -> Result<Value, Fault> {
    let store = control.regions.get(region).ok_or_else(|| {
        Fault::invalid(format!("There is no region {region} here, but {}.", control.names()))
    })?;
    let asked = Asked { control, region, store, members };
    match operation {
        "CreateCluster" => clusters::create(&asked),
        "DescribeClusters" => clusters::describe(&asked),
        "ModifyCluster" => clusters::modify(&asked),
        "DeleteCluster" => clusters::delete(&asked),
        "CreateHsm" => clusters::create_hsm(&asked),
        "DeleteHsm" => clusters::delete_hsm(&asked),
        "DescribeBackups" => backups::describe(&asked),
        "ModifyBackupAttributes" => backups::modify(&asked),
        "CopyBackupToRegion" => backups::copy(&asked),
        "DeleteBackup" => backups::delete(&asked),
        "RestoreBackup" => backups::restore(&asked),
        "TagResource" => tags::tag(&asked),
        "UntagResource" => tags::untag(&asked),
        "ListTags" => tags::list(&asked),
        "InitializeCluster" => Err(Fault::invalid(
            "A cluster is initialised by whoever claims its signer, once that has proved what it is: `casemate claim`. Whoever runs \
             the host has no part in that.",
        )),
        "GetResourcePolicy" => asked.resource().map(|_| json!({})),
        "DeleteResourcePolicy" => asked.resource().map(|arn| json!({"ResourceArn": arn})),
        "PutResourcePolicy" => {
            asked.resource()?;
            Err(Fault::invalid("There is one account here, and nobody to share a backup with."))
        }
        _ => Err(Fault::new(Kind::UnknownOperation, "There is no such operation.")),
    }
}

impl<'a> Asked<'a> {
    fn text(&self, member: &str) -> Option<&str> {
        self.members.get(member).and_then(Value::as_str)
    }

    /// A member that the model requires: it is there.
    fn required(&self, member: &str) -> &str {
        self.text(member).unwrap_or_default()
    }

    fn flag(&self, member: &str) -> Option<bool> {
        self.members.get(member).and_then(Value::as_bool)
    }

    /// The texts in a list.
    fn texts(&self, member: &str) -> Vec<&str> {
        let list = self.members.get(member).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:cloudhsm:{}:{}:{kind}/{id}", self.region, self.control.access.account)
    }

    /// The backup's ARN that the request is about.
    fn resource(&self) -> Result<String, Fault> {
        let arn = self.text("ResourceArn").ok_or_else(|| Fault::invalid("ResourceArn is missing."))?;
        let id = arn.rsplit('/').next().unwrap_or_default();
        if self.arn("backup", id) != arn {
            return Err(Fault::new(Kind::ResourceNotFound, format!("There is no {arn} here.")));
        }
        self.store.backup(id)?;
        Ok(arn.to_owned())
    }

    /// The filters, of those that there are.
    fn filters(&self, known: &[&str]) -> Result<Vec<(&str, Vec<&str>)>, Fault> {
        let Some(filters) = self.members.get("Filters").and_then(Value::as_object) else {
            return Ok(Vec::new());
        };
        filters
            .iter()
            .map(|(name, values)| match known.contains(&name.as_str()) {
                true => {
                    let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
                    Ok((name.as_str(), values.collect()))
                }
                false => Err(Fault::invalid(format!("There is no filter {name}, but {}.", known.join(", ")))),
            })
            .collect()
    }

    /// A page of these, `usual` of them if nobody says how many, and where the next begins: after the one that the token names.
    fn page(&self, all: Vec<Value>, id: &str, usual: usize) -> Result<(Vec<Value>, Option<String>), Fault> {
        let after = match self.text("NextToken") {
            None => 0,
            Some(token) => {
                let named = |value: &Value| value.get(id).and_then(Value::as_str) == Some(token);
                let found = all.iter().position(named);
                found
                    .ok_or_else(|| Fault::invalid("NextToken is not what the last page gave."))?
                    .saturating_add(1)
            }
        };
        let most = self.members.get("MaxResults").and_then(Value::as_u64);
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usual);
        let more = all.len() > after.saturating_add(most);
        let page: Vec<Value> = all.into_iter().skip(after).take(most).collect();
        let last = page.last().and_then(|last| last.get(id)).and_then(Value::as_str);
        let token = last.filter(|_| more).map(str::to_owned);
        Ok((page, token))
    }
}

/// Seconds since 1970, as JSON 1.1 has points in time.
fn seconds(ms: u64) -> Value {
    Value::from(ms / 1000)
}

/// An answer without the members that have no value.
fn without_nulls(answer: Value) -> Value {
    match answer {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
