//! Clusters, and the one HSM that each can have.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use casemate::cluster::{Cluster, Hsm, RETENTION, running};
use serde_json::{Map, Value, json};

use super::{Asked, seconds, tags, without_nulls};
use crate::fault::{Fault, Kind};

const FILTERS: [&str; 3] = ["clusterIds", "vpcIds", "states"];
/// Clusters in a page if nobody says how many.
const PAGE: usize = 25;

impl Asked<'_> {
    fn shown(&self, mut cluster: Cluster) -> Result<Value, Fault> {
        let runs = running(self.store, &cluster).map_err(|error| Fault::new(Kind::InternalFailure, error))?;
        if let Some(state) = runs.as_ref().and_then(|hsm| hsm.state()) {
            cluster.state = state;
        }
        let hsms: Vec<Value> =
            cluster.hsm.iter().map(|hsm| self.shown_hsm(&cluster, hsm, runs.is_some())).collect();
        Ok(without_nulls(json!({
            "BackupPolicy": "DEFAULT",
            "BackupRetentionPolicy": {"Type": "DAYS", "Value": cluster.retention.to_string()},
            "ClusterId": cluster.id,
            "CreateTimestamp": seconds(cluster.created),
            "Hsms": hsms,
            "HsmType": cluster.hsm_type,
            "SourceBackupId": cluster.source_backup,
            "State": cluster.state,
            "SubnetMapping": self.subnets(&cluster),
            "NetworkType": "IPV4",
            "TagList": tags::listed(&cluster.tags),
            "Mode": "NON_FIPS",
        })))
    }

    fn shown_hsm(&self, cluster: &Cluster, hsm: &Hsm, runs: bool) -> Value {
        let subnet = hsm.zone.as_ref().and_then(|zone| self.subnets(cluster).remove(zone));
        let (state, message) = match runs {
            true => ("ACTIVE", format!("https://{}", cluster.address)),
            false => ("DEGRADED", "It has ended: CreateHsm launches it again.".to_owned()),
        };
        without_nulls(json!({
            "AvailabilityZone": hsm.zone,
            "ClusterId": cluster.id,
            "SubnetId": subnet,
            "EniId": hsm.eni,
            "EniIp": cluster.address.ip().is_ipv4().then(|| cluster.address.ip().to_string()),
            "EniIpV6": cluster.address.ip().is_ipv6().then(|| cluster.address.ip().to_string()),
            "HsmId": hsm.id,
            "HsmType": cluster.hsm_type,
            "State": state,
            "StateMessage": message,
        }))
    }

    /// Each subnet in a zone of its own: there is one host, and nothing to tell them apart.
    fn subnets(&self, cluster: &Cluster) -> Map<String, Value> {
        let zones = ('a'..='z').map(|letter| format!("{}{letter}", self.region));
        zones.zip(cluster.subnets.iter().map(|subnet| Value::from(subnet.as_str()))).collect()
    }

    /// The days of a BackupRetentionPolicy.
    fn retention(&self) -> Result<Option<u64>, Fault> {
        let Some(policy) = self.members.get("BackupRetentionPolicy") else { return Ok(None) };
        let days = policy.get("Value").and_then(Value::as_str).and_then(|days| days.parse().ok());
        match days.filter(|days| RETENTION.contains(days)) {
            Some(days) => Ok(Some(days)),
            None => Err(Fault::invalid(format!(
                "A BackupRetentionPolicy has a Value of {} to {} days.",
                RETENTION.start(),
                RETENTION.end()
            ))),
        }
    }

    /// `casemate hsm …`, and the JSON that it prints.
    fn casemate(&self, arguments: &[&OsStr]) -> Result<Value, Fault> {
        let failed = |error: &dyn std::fmt::Display| {
            Fault::new(Kind::InternalFailure, format!("{}: {error}", self.control.casemate.display()))
        };
        let mut command = Command::new(&self.control.casemate);
        command.arg("hsm").args(arguments).args(["--json", "--store"]).arg(self.store.dir());
        let output = command.stdin(Stdio::null()).output().map_err(|error| failed(&error))?;
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).map_err(|error| failed(&error));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("casemate: ");
        // nitro-cli's code for an argument that cannot be used.
        match said.strip_prefix("[ E03 ] ") {
            Some(why) => Err(Fault::invalid(why)),
            None => Err(Fault::new(Kind::InternalFailure, said)),
        }
    }
}

/// CreateCluster.
pub(super) fn create(asked: &Asked<'_>) -> Result<Value, Fault> {
    if asked.text("Mode") == Some("FIPS") {
        return Err(Fault::invalid("Nothing here is validated after FIPS 140: Mode is NON_FIPS."));
    }
    if asked.text("NetworkType") == Some("DUALSTACK") {
        return Err(Fault::invalid("An HSM has one address here: NetworkType is IPV4."));
    }
    let retention = asked.retention()?;
    let tags = asked.tags()?;
    let lock = asked.store.lock()?;
    let now = casemate::cluster::now_ms();
    let mut cluster = match asked.text("SourceBackupId") {
        Some(source) => {
            let id = source.rsplit('/').next().unwrap_or_default();
            if source != id && source != asked.arn("backup", id) {
                return Err(Fault::new(Kind::ResourceNotFound, format!("There is no {source} here.")));
            }
            Cluster::of(&asked.store.backup(id)?, now)
        }
        None => Cluster::new(now),
    };
    cluster.hsm_type = asked.required("HsmType").to_owned();
    cluster.subnets = asked.texts("SubnetIds").into_iter().map(str::to_owned).collect();
    cluster.retention = retention.unwrap_or(cluster.retention);
    cluster.tags = tags;
    let cluster = asked.store.create_cluster(&lock, cluster)?;
    Ok(json!({"Cluster": asked.shown(cluster)?}))
}

/// DescribeClusters.
pub(super) fn describe(asked: &Asked<'_>) -> Result<Value, Fault> {
    let filters = asked.filters(&FILTERS)?;
    let mut shown = Vec::new();
    for cluster in asked.store.clusters()? {
        let cluster = asked.shown(cluster)?;
        let is = |member: &str, values: &[&str]| {
            cluster.get(member).and_then(Value::as_str).is_some_and(|value| values.contains(&value))
        };
        let matches = filters.iter().all(|(filter, values)| match *filter {
            "clusterIds" => is("ClusterId", values),
            "states" => is("State", values),
            _ => is("VpcId", values),
        });
        shown.extend(matches.then_some(cluster));
    }
    let (page, next) = asked.page(shown, "ClusterId", PAGE)?;
    Ok(without_nulls(json!({"Clusters": page, "NextToken": next})))
}

/// ModifyCluster: the days that backups are kept, of those that there are too.
pub(super) fn modify(asked: &Asked<'_>) -> Result<Value, Fault> {
    let retention = asked.retention()?;
    let _lock = asked.store.lock()?;
    let mut cluster = asked.store.cluster(asked.required("ClusterId"))?;
    if asked.text("HsmType").is_some_and(|wanted| wanted != cluster.hsm_type) {
        return Err(Fault::invalid("There is one type of HSM here: HsmType stays."));
    }
    let days = retention
        .ok_or_else(|| Fault::invalid("There is nothing to modify: BackupRetentionPolicy is missing."))?;
    cluster.retention = days;
    asked.store.put_cluster(&cluster)?;
    for mut backup in asked.store.backups()? {
        if backup.cluster == cluster.id && backup.retention != days {
            backup.retention = days;
            asked.store.put_backup(&backup)?;
        }
    }
    Ok(json!({"Cluster": asked.shown(cluster)?}))
}

/// DeleteCluster. Its backups stay.
pub(super) fn delete(asked: &Asked<'_>) -> Result<Value, Fault> {
    let lock = asked.store.lock()?;
    let cluster = asked.store.delete_cluster(&lock, asked.required("ClusterId"))?;
    let mut shown = asked.shown(cluster)?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("State".to_owned(), "DELETED".into());
    }
    Ok(json!({"Cluster": shown}))
}

/// CreateHsm: with the cluster's newest backup, or the state that an HSM left that has ended.
pub(super) fn create_hsm(asked: &Asked<'_>) -> Result<Value, Fault> {
    let cluster = asked.store.cluster(asked.required("ClusterId"))?;
    let zone = asked.required("AvailabilityZone");
    let subnets = asked.subnets(&cluster);
    if !subnets.is_empty() && !subnets.contains_key(zone) {
        return Err(Fault::invalid(format!("Cluster {} has no subnet in {zone}.", cluster.id)));
    }
    let address = cluster.address.ip().to_string();
    if asked.text("IpAddress").is_some_and(|wanted| wanted != address) {
        return Err(Fault::invalid(format!(
            "The HSM of cluster {} is at {address}: its certificate names that address.",
            cluster.id
        )));
    }
    let mut arguments = vec!["create", "--cluster", &cluster.id, "--zone", zone]
        .into_iter()
        .map(OsStr::new)
        .collect::<Vec<_>>();
    let is_new = !asked.store.volume(&cluster).exists() && asked.store.newest(&cluster)?.is_none();
    if let Some(image) = asked.control.image.as_ref().filter(|_| is_new) {
        arguments.extend([OsStr::new("--eif-path"), image.as_os_str()]);
    }
    asked.casemate(&arguments)?;
    let cluster = asked.store.cluster(&cluster.id)?;
    let hsm = cluster.hsm.as_ref().ok_or_else(|| Fault::new(Kind::InternalFailure, "The HSM is gone."))?;
    Ok(json!({"Hsm": asked.shown_hsm(&cluster, hsm, true)}))
}

/// DeleteHsm: it becomes a backup.
pub(super) fn delete_hsm(asked: &Asked<'_>) -> Result<Value, Fault> {
    let cluster = asked.store.cluster(asked.required("ClusterId"))?;
    let wanted: Vec<(&str, &str)> =
        ["HsmId", "EniId", "EniIp"].into_iter().filter_map(|name| Some((name, asked.text(name)?))).collect();
    let [(name, wanted)] = wanted.as_slice() else {
        return Err(Fault::invalid("One of HsmId, EniId and EniIp says which HSM is meant."));
    };
    let ip = cluster.address.ip().to_string();
    let is = |hsm: &Hsm| match *name {
        "HsmId" => hsm.id == *wanted,
        "EniId" => hsm.eni == *wanted,
        _ => ip == *wanted,
    };
    if !cluster.hsm.as_ref().is_some_and(is) {
        let message = format!("Cluster {} has no HSM with the {name} {wanted}.", cluster.id);
        return Err(Fault::new(Kind::ResourceNotFound, message));
    }
    let deleted = asked.casemate(&[OsStr::new("delete"), OsStr::new(&cluster.id)])?;
    Ok(json!({"HsmId": deleted.get("HsmId")}))
}
