//! Which volume a running guest has, for commands: `volume.json` in the guest's folder. It is the host's own note, written by
//! the volume service; the guest knows better.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use casemate_volume::Header;
use casemate_volume::store::Store;
use serde::{Deserialize, Serialize};

/// Name of the file.
pub const FILE: &str = "volume.json";

/// What a guest has attached, or had until its volume service died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The volume's file, an absolute path without symbolic links.
    pub file: PathBuf,
    /// The volume service.
    pub pid: u32,
    /// The volume's identity: 32 hexadecimal digits.
    pub volume: String,
    /// PCR0 of the guest that it is sealed for.
    pub sealed_for: String,
    /// How many records it has.
    pub records: u64,
    /// How many commits led there.
    pub commits: u64,
}

impl Attachment {
    /// What the guest in `folder` has.
    pub fn of(folder: &Path) -> Option<Self> {
        // It is written in place: whoever reads at that very moment reads again.
        let read = || serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok();
        (0..3).find_map(|_| read())
    }
}

/// Whether a process has the volume in this file open.
pub fn is_in_use(file: &Path) -> io::Result<bool> {
    match File::open(file)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The note, as the service writes it. It helps people; that it cannot be written is no reason to lose a volume.
pub(super) struct Notice {
    note: File,
    attachment: Attachment,
}

impl Notice {
    /// Opens it, and leaves what is there: another volume may be attached.
    pub(super) fn open(folder: &Path, file: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let note = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join(FILE))?;
        let attachment =
            Attachment { file: file.canonicalize()?, pid: std::process::id(), ..Attachment::default() };
        Ok(Self { note, attachment })
    }

    /// The guest has taken the volume.
    pub(super) fn put(&mut self, store: &Store, records: u64, commits: u64) {
        let header = store.head().ok().and_then(|head| Header::parse(&head.header?).ok());
        if let Some(header) = header {
            self.attachment.volume = header.volume.to_string();
            self.attachment.sealed_for = hex::encode(header.sealed.measurement.as_slice());
        }
        self.clear();
        self.update(records, commits);
    }

    /// The guest has changed it.
    pub(super) fn update(&mut self, records: u64, commits: u64) {
        (self.attachment.records, self.attachment.commits) = (records, commits);
        // Before the guest has taken it there is nothing to say.
        if self.attachment.volume.is_empty() {
            return;
        }
        let mut json = serde_json::to_vec(&self.attachment).unwrap_or_default();
        // Numbers of records go down too.
        json.resize(json.len().saturating_add(20), b' ');
        let _ = self.note.write_all_at(&json, 0);
    }

    /// The guest has let go of it.
    pub(super) fn clear(&mut self) {
        let _ = self.note.set_len(0);
    }
}
