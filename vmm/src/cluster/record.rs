//! What is written down about a cluster and a backup.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Days that a backup is kept if nobody says otherwise.
pub const DEFAULT_RETENTION: u64 = 90;
/// Days that a backup can be kept, as CloudHSM has it.
pub const RETENTION: RangeInclusive<u64> = 7..=379;
/// Milliseconds of a day.
pub(super) const DAY_MS: u64 = 24 * 3600 * 1000;

/// How far a cluster has got, in CloudHSM's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterState {
    /// Its signer has no owner.
    #[default]
    Uninitialized,
    /// Its signer has an owner, and no token.
    Initialized,
    /// It has a token with users.
    Active,
}

/// A token's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cluster {
    /// `cluster-…`.
    pub id: String,
    /// The name of its guest; the identifier if nobody gave one.
    pub name: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// What was asked for; there is one kind.
    pub hsm_type: String,
    /// What was asked for: there are no subnets here, and each availability zone is this host.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Days that its backups are kept.
    pub retention: u64,
    /// The backup that it began with.
    #[serde(default)]
    pub source_backup: Option<String>,
    /// The user's own.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Where its HSM is served.
    pub address: SocketAddr,
    /// Its HSM.
    #[serde(default)]
    pub hsm: Option<Hsm>,
    /// As last seen.
    #[serde(default)]
    pub state: ClusterState,
}

/// A signer of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hsm {
    /// `hsm-…`.
    pub id: String,
    /// `eni-…`.
    pub eni: String,
    /// What was asked for.
    #[serde(default)]
    pub zone: Option<String>,
}

/// What becomes of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackupState {
    /// It can be used.
    Ready,
    /// It is gone in seven days, and can be brought back until then.
    PendingDeletion,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Backup {
    /// `backup-…`.
    pub id: String,
    /// Whose.
    pub cluster: String,
    /// The cluster's name.
    pub name: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// What the cluster was asked to be.
    pub hsm_type: String,
    /// Where its HSM was served, and will be: the certificate names it.
    pub address: SocketAddr,
    /// How far the cluster had got.
    pub state: ClusterState,
    /// Days that it is kept.
    pub retention: u64,
    /// It is kept for ever.
    #[serde(default)]
    pub never_expires: bool,
    /// When it will be gone, in milliseconds since 1970: somebody has deleted it, or it has expired.
    #[serde(default)]
    pub delete_at: Option<u64>,
    /// When it was copied here, in milliseconds since 1970.
    #[serde(default)]
    pub copied: Option<u64>,
    /// What it is a copy of.
    #[serde(default)]
    pub source: Option<Source>,
    /// The user's own.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What can be seen of the volume in it.
    pub sealed: super::Sealed,
}

/// What a backup is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Source {
    /// The region it came from.
    pub region: String,
    /// The backup.
    pub backup: String,
    /// Whose that is.
    pub cluster: String,
}

impl Cluster {
    /// One about which nothing is said: it gets its identifier and its address from the store.
    pub fn new(now: u64) -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            created: now,
            hsm_type: "hsm2m.medium".to_owned(),
            subnets: Vec::new(),
            retention: DEFAULT_RETENTION,
            source_backup: None,
            tags: BTreeMap::new(),
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            hsm: None,
            state: ClusterState::Uninitialized,
        }
    }

    /// One that begins with a backup, at the address that the backup's certificate names.
    pub fn of(backup: &Backup, now: u64) -> Self {
        Self {
            hsm_type: backup.hsm_type.clone(),
            retention: backup.retention,
            source_backup: Some(backup.id.clone()),
            address: backup.address,
            state: backup.state,
            ..Self::new(now)
        }
    }
}

impl Backup {
    /// What becomes of it.
    pub fn status(&self) -> BackupState {
        match self.delete_at {
            None => BackupState::Ready,
            Some(_) => BackupState::PendingDeletion,
        }
    }

    /// Whether its days are over.
    pub fn has_expired(&self, now: u64) -> bool {
        let last = self.copied.unwrap_or(self.created).saturating_add(self.retention.saturating_mul(DAY_MS));
        !self.never_expires && last <= now
    }
}
