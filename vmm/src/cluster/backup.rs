//! Backups: making them of a cluster's state, putting them back, copying, keeping and deleting them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use casemate_attestation::eif::Eif;
use casemate_volume::anchor::AnchorFile;
use casemate_volume::layout::{RootPrefix, VolumeId};
use casemate_volume::store::Store as Volume;
use casemate_volume::{Anchor, Header};
use serde::{Deserialize, Serialize};

use super::record::DAY_MS;
use super::{
    BACKUPS, Backup, BackupState, Cluster, Error, IMAGE, Lock, Source, Store, VOLUME, io_error, new_id,
};

/// Days between deleting a backup and its end.
const REGRET: u64 = 7;

/// What anybody can see of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sealed {
    /// The volume's identity: 32 hexadecimal digits.
    pub volume: String,
    /// PCR0 of the image that opens it.
    pub image: String,
    /// How many commits led there.
    pub commits: u64,
}

/// Where a backup is to be copied to.
#[derive(Debug)]
pub struct Place<'a> {
    /// The other store.
    pub store: &'a Store,
    /// The name of the region that it comes from.
    pub from: String,
}

impl Sealed {
    /// Reads what lies open in a volume that nobody has open; `None`: nothing was ever written to it.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Volume {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let head = Volume::open_existing(path).and_then(|volume| volume.head()).map_err(|e| failed(&e))?;
        let (Some(header), Some(root)) = (head.header, head.root) else { return Ok(None) };
        let header = Header::parse(&header).map_err(|error| failed(&error))?;
        let root = RootPrefix::split(&root).map_err(|error| failed(&error))?;
        Ok(Some(Self {
            volume: header.volume.to_string(),
            image: hex::encode(header.sealed.measurement.as_slice()),
            commits: root.prefix.counter,
        }))
    }
}

/// The anchor that stands against putting this state back, where there is one: the volume has got further. `anchors` is the
/// folder of anchors.
pub fn rolls_back(sealed: &Sealed, anchors: &Path) -> Result<Option<PathBuf>, Error> {
    let path = anchors.join(&sealed.volume);
    let id = hex::decode(&sealed.volume).ok().and_then(|id| <[u8; 16]>::try_from(id).ok()).map(VolumeId::new);
    let Some(id) = id.filter(|_| path.is_file()) else { return Ok(None) };
    let anchor = AnchorFile::open(anchors, id)
        .map_err(|error| Error::Volume { path: path.clone(), reason: error.to_string() })?;
    let ahead = |anchor: Anchor| anchor.counter > sealed.commits;
    Ok(anchor.last().is_some_and(ahead).then_some(path))
}

impl Store {
    /// The newest backup that an HSM of this cluster can begin with.
    pub fn newest(&self, cluster: &Cluster) -> Result<Option<Backup>, Error> {
        let mut ready = self.backups()?;
        ready.retain(|backup| backup.status() == BackupState::Ready);
        let own = ready.iter().rposition(|backup| backup.cluster == cluster.id && backup.source.is_none());
        let source = || ready.iter().position(|backup| cluster.source_backup.as_ref() == Some(&backup.id));
        let copy = || ready.iter().rposition(|backup| backup.cluster == cluster.id);
        Ok(own.or_else(source).or_else(copy).map(|index| ready.swap_remove(index)))
    }

    /// Makes a backup of the cluster's state, which no process has open, and of the image that opens it: `image`, or the one
    /// that is there. `None` if the cluster has no state. What the cluster's folder had of it is gone then.
    pub fn back_up(
        &self,
        _: &Lock,
        cluster: &Cluster,
        image: Option<&Path>,
        now: u64,
    ) -> Result<Option<Backup>, Error> {
        let volume = self.volume(cluster);
        if !volume.exists() {
            return Ok(None);
        }
        let Some(sealed) = Sealed::read(&volume)? else {
            self.clear(cluster)?;
            return Ok(None);
        };
        let backup = Backup {
            id: new_id("backup")?,
            cluster: cluster.id.clone(),
            name: cluster.name.clone(),
            created: now,
            hsm_type: cluster.hsm_type.clone(),
            address: cluster.address,
            state: cluster.state,
            retention: cluster.retention,
            never_expires: false,
            delete_at: None,
            copied: None,
            source: None,
            tags: cluster.tags.clone(),
            sealed,
        };
        let image = image.map_or_else(|| self.image(cluster), Path::to_owned);
        self.add(&backup, &volume, &image)?;
        self.clear(cluster)?;
        Ok(Some(backup))
    }

    /// Makes the backup the state of its cluster, which must have none.
    pub fn put_back(&self, _: &Lock, cluster: &Cluster, backup: &Backup) -> Result<(), Error> {
        if backup.status() != BackupState::Ready {
            return Err(Error::State(format!("backup {} is to be deleted: restore it first", backup.id)));
        }
        let from = self.backup_dir(&backup.id);
        if from.join(IMAGE).is_file() {
            copy(&from.join(IMAGE), &self.image(cluster))?;
        }
        copy(&from.join(VOLUME), &self.volume(cluster))
    }

    /// Whether the cluster's state has got further than the backup that was put back.
    pub fn is_beyond(&self, cluster: &Cluster, backup: &Backup) -> bool {
        let state = Sealed::read(&self.volume(cluster));
        matches!(state, Ok(Some(sealed)) if sealed.commits > backup.sealed.commits)
    }

    /// Removes what a cluster without an HSM has no use for.
    pub fn clear(&self, cluster: &Cluster) -> Result<(), Error> {
        [self.volume(cluster), self.image(cluster), self.log(cluster)].iter().try_for_each(|path| {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
                _ => Ok(()),
            }
        })
    }

    /// Copies a backup to another store, and returns the copy.
    pub fn copy_backup(&self, id: &str, to: &Place<'_>, now: u64) -> Result<Backup, Error> {
        let original = self.backup(id)?;
        if original.status() != BackupState::Ready {
            return Err(Error::State(format!("backup {id} is to be deleted: restore it first")));
        }
        let source = Source {
            region: to.from.clone(),
            backup: original.id.clone(),
            cluster: original.cluster.clone(),
        };
        let mut backup = Backup { id: new_id("backup")?, copied: Some(now), ..original };
        // A copy in the same store is one more of the same cluster's.
        backup.source = Some(source);
        let from = self.backup_dir(id);
        to.store.add(&backup, &from.join(VOLUME), &from.join(IMAGE))?;
        Ok(backup)
    }

    /// Takes in a backup's folder from elsewhere, under its own name.
    pub fn take_in(&self, folder: &Path) -> Result<Backup, Error> {
        let record = folder.join("backup.json");
        let backup: Option<Backup> = super::read_json(&record)?;
        let backup =
            backup.ok_or_else(|| Error::NotFound { what: "backup", id: folder.display().to_string() })?;
        if !is_id(&backup.id, "backup-") || !is_id(&backup.cluster, "cluster-") {
            let reason = "it has no identifier of a backup, or none of a cluster".to_owned();
            return Err(Error::Volume { path: record, reason });
        }
        match self.backup(&backup.id) {
            Ok(there) => Ok(there),
            Err(Error::NotFound { .. }) => {
                self.add(&backup, &folder.join(VOLUME), &folder.join(IMAGE))?;
                Ok(backup)
            }
            Err(other) => Err(other),
        }
    }

    /// Says whether a backup is kept for ever.
    pub fn keep_backup(&self, _: &Lock, id: &str, for_ever: bool) -> Result<Backup, Error> {
        let mut backup = self.backup(id)?;
        if backup.status() != BackupState::Ready {
            return Err(Error::State(format!("backup {id} is to be deleted: restore it first")));
        }
        backup.never_expires = for_ever;
        self.put_backup(&backup)?;
        Ok(backup)
    }

    /// Deletes a backup: it is gone in seven days.
    pub fn delete_backup(&self, _: &Lock, id: &str, now: u64) -> Result<Backup, Error> {
        let mut backup = self.backup(id)?;
        if backup.delete_at.is_some() {
            return Err(Error::State(format!("backup {id} is to be deleted already")));
        }
        backup.delete_at = Some(now.saturating_add(REGRET * DAY_MS));
        self.put_backup(&backup)?;
        Ok(backup)
    }

    /// Brings a backup back that is to be deleted.
    pub fn undelete_backup(&self, _: &Lock, id: &str) -> Result<Backup, Error> {
        let mut backup = self.backup(id)?;
        if backup.delete_at.take().is_none() {
            return Err(Error::State(format!(
                "backup {id} is not to be deleted: there is nothing to restore"
            )));
        }
        self.put_backup(&backup)?;
        Ok(backup)
    }

    /// Deletes backups whose days are over, but for the newest of each cluster, and removes those that were deleted seven
    /// days ago. Returns the identifiers of both.
    pub fn prune(&self, _: &Lock, now: u64) -> Result<(Vec<String>, Vec<String>), Error> {
        let (mut expired, mut gone) = (Vec::new(), Vec::new());
        let backups = self.backups()?;
        for mut backup in backups.iter().cloned() {
            if backup.delete_at.is_some_and(|at| at <= now) {
                let folder = self.backup_dir(&backup.id);
                fs::remove_dir_all(&folder).map_err(io_error("remove", &folder))?;
                gone.push(backup.id);
                continue;
            }
            let is_newer = |other: &Backup| {
                other.cluster == backup.cluster
                    && other.status() == BackupState::Ready
                    && (other.created, &other.id) > (backup.created, &backup.id)
            };
            if backup.delete_at.is_none() && backup.has_expired(now) && backups.iter().any(is_newer) {
                backup.delete_at = Some(now.saturating_add(REGRET * DAY_MS));
                self.put_backup(&backup)?;
                expired.push(backup.id);
            }
        }
        Ok((expired, gone))
    }

    /// All of a backup is there, or nothing.
    fn add(&self, backup: &Backup, volume: &Path, image: &Path) -> Result<(), Error> {
        let new = self.dir.join(BACKUPS).join(format!(".{}", backup.id));
        let folder = self.backup_dir(&backup.id);
        DirBuilder::new().mode(0o700).create(&new).map_err(io_error("make", &new))?;
        let fill = || {
            copy(volume, &new.join(VOLUME))?;
            // Without it whoever puts the backup back has to name the image.
            if is_image(image, &backup.sealed.image) {
                copy(image, &new.join(IMAGE))?;
            }
            super::write_json(&new.join("backup.json"), backup)?;
            fs::rename(&new, &folder).map_err(io_error("make", &folder))
        };
        fill().inspect_err(|_| {
            let _ = fs::remove_dir_all(&new);
        })
    }
}

/// Whether the file is the image with this PCR0: it may have been built anew since.
fn is_image(file: &Path, pcr0: &str) -> bool {
    let measured = fs::read(file).ok().and_then(|bytes| Eif::parse(&bytes).ok()?.measure().ok());
    measured.is_some_and(|measured| measured.pcr0.to_string() == pcr0)
}

fn is_id(text: &str, prefix: &str) -> bool {
    let letters = text.strip_prefix(prefix).unwrap_or_default();
    (11..=16).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Copies a file, durably and for this user alone.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let new = to.with_extension("new");
    let write = || {
        let mut source = fs::File::open(from)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        io::copy(&mut source, &mut file)?;
        file.sync_all()?;
        fs::rename(&new, to)
    };
    write().map_err(io_error("copy", from))
}
