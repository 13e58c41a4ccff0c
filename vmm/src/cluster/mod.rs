//! Clusters and backups: what a token is while nothing of it runs.
//!
//! A *cluster* is a token's identity, with at most one *HSM*: a signer that is served, and whose volume lies in the cluster's
//! folder. When the HSM is deleted, its volume becomes a *backup*; when one is created again, the newest backup becomes its
//! volume. So a backup is the sealed state itself: it needs nobody's password to be made, and opens where the volume did and
//! nowhere else. Words and rules are AWS CloudHSM's (API of 2017-04-28), where they fit.
//!
//! ```text
//! <store>/lock                                 held by whoever changes something
//! <store>/clusters/cluster-…/cluster.json      [`Cluster`]
//!                            state.volume      the HSM's volume ⎫ while there is an HSM
//!                            image.eif         its image        ⎬
//!                            hsm.log           what it says     ⎭
//! <store>/backups/backup-…/backup.json         [`Backup`]
//!                          state.volume        ciphertext, sealed for the image and the platform
//!                          image.eif           the image that opens it
//! ```
//!
//! There is no index: a backup's folder is all of it, and can be copied with `cp -r`. Trusts the file system, and whoever runs as
//! the same user: they can delete and put back, and can read nothing.

mod access;
mod backup;
mod live;
mod record;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use access::Access;
pub use backup::{Place, Sealed, rolls_back};
pub use live::{Running, running};
pub use record::{Backup, BackupState, Cluster, ClusterState, DEFAULT_RETENTION, Hsm, RETENTION, Source};

/// Name of the store's folder, beside the platform key.
pub const FOLDER: &str = "hsm";
/// The port of every HSM, on an address of its own.
pub const PORT: u16 = 8443;
/// How many HSMs a cluster can have: a signer's volume is one signer's.
pub const HSMS: usize = 1;

const CLUSTERS: &str = "clusters";
const BACKUPS: &str = "backups";
const VOLUME: &str = "state.volume";
const IMAGE: &str = "image.eif";
const LOG: &str = "hsm.log";

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record could not be understood.
    #[error("{} is not a record of this store: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A volume could not be read.
    #[error("{}: {reason}", path.display())]
    Volume {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no such cluster, HSM or backup.
    #[error("there is no {what} `{id}` in this store")]
    NotFound {
        /// `cluster`, `backup` …
        what: &'static str,
        /// What was looked for.
        id: String,
    },
    /// It cannot be done as things stand.
    #[error("{0}")]
    State(String),
}

/// A folder of clusters and backups.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// The right to change what is in the store; nobody else has it meanwhile.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its lock")] File);

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Store {
    /// The store in this folder, which is made if it is not there.
    pub fn at(dir: &Path) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(io_error("find", dir))?;
        for folder in [dir.clone(), dir.join(CLUSTERS), dir.join(BACKUPS)] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(io_error("make", &folder))?;
        }
        Ok(Self { dir })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until nobody else changes anything.
    pub fn lock(&self) -> Result<Lock, Error> {
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(Lock(file))
    }

    /// All clusters, oldest first.
    pub fn clusters(&self) -> Result<Vec<Cluster>, Error> {
        let mut clusters: Vec<Cluster> = self.records(CLUSTERS, "cluster-", "cluster.json")?;
        clusters.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(clusters)
    }

    /// The cluster with this identifier.
    pub fn cluster(&self, id: &str) -> Result<Cluster, Error> {
        let found = self.clusters()?.into_iter().find(|cluster| cluster.id == id);
        found.ok_or_else(|| Error::NotFound { what: "cluster", id: id.to_owned() })
    }

    /// The cluster that somebody means: by its identifier, its name, or its HSM's.
    pub fn meant(&self, key: &str) -> Result<Cluster, Error> {
        let is = |cluster: &Cluster| {
            cluster.id == key || cluster.name == key || cluster.hsm.as_ref().is_some_and(|hsm| hsm.id == key)
        };
        let found = self.clusters()?.into_iter().find(is);
        found.ok_or_else(|| Error::NotFound { what: "cluster, name or HSM", id: key.to_owned() })
    }

    /// All backups, oldest first.
    pub fn backups(&self) -> Result<Vec<Backup>, Error> {
        let mut backups: Vec<Backup> = self.records(BACKUPS, "backup-", "backup.json")?;
        backups.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(backups)
    }

    /// The backup with this identifier.
    pub fn backup(&self, id: &str) -> Result<Backup, Error> {
        let found = self.backups()?.into_iter().find(|backup| backup.id == id);
        found.ok_or_else(|| Error::NotFound { what: "backup", id: id.to_owned() })
    }

    /// Makes a cluster, of a backup if one is named; nothing runs yet.
    pub fn create_cluster(&self, _: &Lock, mut cluster: Cluster) -> Result<Cluster, Error> {
        if cluster.id.is_empty() {
            cluster.id = new_id("cluster")?;
        }
        if cluster.name.is_empty() {
            cluster.name.clone_from(&cluster.id);
        }
        let others = self.clusters()?;
        if others.iter().any(|other| other.name == cluster.name || other.id == cluster.id) {
            return Err(Error::State(format!("there is a cluster `{}` already", cluster.name)));
        }
        if cluster.address.ip().is_unspecified() && cluster.address.port() == 0 {
            cluster.address = free_address(&others)?;
        }
        let folder = self.cluster_dir(&cluster.id);
        DirBuilder::new().mode(0o700).create(&folder).map_err(io_error("make", &folder))?;
        self.put_cluster(&cluster)?;
        Ok(cluster)
    }

    /// Writes a cluster's record.
    pub fn put_cluster(&self, cluster: &Cluster) -> Result<(), Error> {
        write_json(&self.cluster_dir(&cluster.id).join("cluster.json"), cluster)
    }

    /// Writes a backup's record.
    pub fn put_backup(&self, backup: &Backup) -> Result<(), Error> {
        write_json(&self.backup_dir(&backup.id).join("backup.json"), backup)
    }

    /// Removes a cluster that has no HSM. Its backups stay.
    pub fn delete_cluster(&self, lock: &Lock, id: &str) -> Result<Cluster, Error> {
        let cluster = self.cluster(id)?;
        if cluster.hsm.is_some() {
            return Err(Error::State(format!("cluster {id} has an HSM: delete that first")));
        }
        // A launch that failed may have left a state that is newer than any backup.
        self.back_up(lock, &cluster, None, now_ms())?;
        let folder = self.cluster_dir(id);
        fs::remove_dir_all(&folder).map_err(io_error("remove", &folder))?;
        Ok(cluster)
    }

    /// Where an HSM of this cluster keeps its state.
    pub fn volume(&self, cluster: &Cluster) -> PathBuf {
        self.cluster_dir(&cluster.id).join(VOLUME)
    }

    /// The image of the cluster's HSM.
    pub fn image(&self, cluster: &Cluster) -> PathBuf {
        self.cluster_dir(&cluster.id).join(IMAGE)
    }

    /// What the cluster's HSM says on stderr.
    pub fn log(&self, cluster: &Cluster) -> PathBuf {
        self.cluster_dir(&cluster.id).join(LOG)
    }

    fn cluster_dir(&self, id: &str) -> PathBuf {
        self.dir.join(CLUSTERS).join(id)
    }

    fn backup_dir(&self, id: &str) -> PathBuf {
        self.dir.join(BACKUPS).join(id)
    }

    /// The records in the folders that begin with `prefix`. One that goes meanwhile is not there.
    fn records<T: DeserializeOwned>(&self, kind: &str, prefix: &str, file: &str) -> Result<Vec<T>, Error> {
        let dir = self.dir.join(kind);
        let mut records = Vec::new();
        for entry in fs::read_dir(&dir).map_err(io_error("list", &dir))? {
            let entry = entry.map_err(io_error("list", &dir))?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
                records.extend(read_json(&entry.path().join(file))?);
            }
        }
        Ok(records)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Record { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Renamed into place: a reader sees all of it or what was there.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json =
        serde_json::to_vec_pretty(value).map_err(|source| Error::Record { path: path.to_owned(), source })?;
    let new = path.with_extension("json.new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(io_error("write", path))
}

/// An identifier of CloudHSM's form: `[2-7a-zA-Z]{11,16}` behind the kind.
pub fn new_id(kind: &str) -> Result<String, Error> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let letters = random::<11>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    Ok(format!("{kind}-{}", letters.iter().collect::<String>()))
}

/// Bytes from the kernel.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| io_error("read", Path::new("/dev/urandom"))(errno.into()))?;
    Ok(bytes)
}

/// A loopback address that no other cluster here has. The certificate of the signer will name it, so it stays.
fn free_address(others: &[Cluster]) -> Result<SocketAddr, Error> {
    loop {
        let [a, b, c] = random()?;
        // 127.64.0.1 to 127.127.255.254: neither where people listen by hand, nor a network's first or last address.
        let ip = Ipv4Addr::new(127, 64 | (a & 63), b, c.clamp(1, 254));
        let address = SocketAddr::new(IpAddr::V4(ip), PORT);
        if others.iter().all(|other| other.address != address) {
            return Ok(address);
        }
    }
}
