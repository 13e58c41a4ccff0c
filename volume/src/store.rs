//! The records of a volume in one file: an embedded database (redb) with transactions.
//!
//! Promises: a commit is whole or not there, whenever the process or the machine dies; once [`Batch::commit`] has
//! returned it is on the disk. One process uses a file at a time. A damaged file is an error, not a panic.
//!
//! What is in it means nothing here: names, values and root are bytes of the guest's.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};
use serde_bytes::ByteBuf;

use crate::layout::Name;
use crate::message::{Changes, Record};
use crate::{BATCH_BYTES, BATCH_RECORDS, FORMAT, RECORDS_MAX};

/// What there is one of.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("casemate volume");
/// The records by name.
const RECORDS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("records");

const KEY_FORMAT: &str = "format";
const KEY_HEADER: &str = "header";
const KEY_ROOT: &str = "root";

/// Bytes of memory for pages of the file.
const CACHE: usize = 8 << 20;

/// Why a file cannot be used. The path is for the caller to add.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another process uses the file.
    #[error(
        "it is in use by another process: a volume serves one guest at a time (`casemate volume serve` keeps it open)"
    )]
    InUse,
    /// Some other file.
    #[error("it is not a volume of Casemate's")]
    NotAVolume,
    /// A volume, but of a later version.
    #[error("it is a volume of format {0}, and this version knows format {FORMAT}")]
    Format(u8),
    /// The database's checksums do not match.
    #[error("it is damaged: {0}. Restore it from a copy")]
    Damaged(String),
    /// More records than a volume may have.
    #[error("a volume has at most {RECORDS_MAX} records")]
    Full,
}

impl StoreError {
    /// Errors of redb's, which has one type for each function and one for all.
    fn from_database(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::NotAVolume,
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => Self::NotAVolume,
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// A volume's file.
pub struct Store {
    database: Database,
}

/// What there is one of in a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The header; none: nothing has been committed yet.
    pub header: Option<Vec<u8>>,
    /// The root; none: nothing has been committed yet.
    pub root: Option<Vec<u8>>,
}

/// Sizes, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Number of records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Store {
    /// Opens the file, which is made if it is not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !fs::exists(path)? {
            Self::create(path)?;
        }
        Self::open_existing(path)
    }

    /// Opens the file, which must be there.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() == 0 {
            // redb would make a database of it.
            return Err(StoreError::NotAVolume);
        }
        let store = Self::of_file(file)?;
        store.check()?;
        Ok(store)
    }

    /// Makes the file under another name first: it is there completely or not at all. Processes that do so at once make
    /// one.
    fn create(path: &Path) -> Result<(), StoreError> {
        let folder = File::open(parent(path))?;
        folder.lock()?;
        if fs::exists(path)? {
            return Ok(());
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let partial = path.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        let store = Self::of_file(file)?;
        let batch = store.begin()?;
        let mut meta = batch.transaction.open_table(META).map_err(StoreError::from_database)?;
        meta.insert(KEY_FORMAT, [FORMAT].as_slice()).map_err(StoreError::from_database)?;
        drop(meta);
        batch.transaction.open_table(RECORDS).map_err(StoreError::from_database)?;
        batch.commit()?;
        store.database.close().map_err(StoreError::from_database)?;
        fs::rename(&partial, path)?;
        Ok(folder.sync_all()?)
    }

    fn of_file(file: File) -> Result<Self, StoreError> {
        let open = || {
            let backend = FileBackend::new(file)?;
            Builder::new()
                .set_cache_size(CACHE)
                .set_check_integrity_on_open(true)
                .create_with_backend(backend)
        };
        // Debug builds of redb assert what release builds report.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open));
        match opened.unwrap_or(Err(DatabaseError::RepairAborted)) {
            Ok(database) => Ok(Self { database }),
            Err(DatabaseError::UpgradeRequired(_)) => Err(StoreError::NotAVolume),
            Err(DatabaseError::RepairAborted) => {
                Err(StoreError::Damaged("its structure makes no sense".into()))
            }
            Err(error) => Err(StoreError::from_database(error)),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        let read = self.read()?;
        let meta = read.open_table(META).map_err(StoreError::from_database)?;
        let format = meta.get(KEY_FORMAT).map_err(StoreError::from_database)?;
        match format.as_ref().map(|format| format.value()) {
            Some([FORMAT]) => Ok(()),
            Some([other]) => Err(StoreError::Format(*other)),
            _ => Err(StoreError::NotAVolume),
        }
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.database.begin_read().map_err(StoreError::from_database)
    }

    /// Header and root.
    pub fn head(&self) -> Result<Head, StoreError> {
        let read = self.read()?;
        let meta = read.open_table(META).map_err(StoreError::from_database)?;
        let get = |key| {
            let value = meta.get(key).map_err(StoreError::from_database)?;
            Ok::<_, StoreError>(value.map(|value| value.value().to_vec()))
        };
        Ok(Head { header: get(KEY_HEADER)?, root: get(KEY_ROOT)? })
    }

    /// Records behind `after` in the order of their names, as many as fit in a message, and whether there are more.
    pub fn page(&self, after: Option<Name>) -> Result<(Vec<Record>, bool), StoreError> {
        use std::ops::Bound;
        let read = self.read()?;
        let table = read.open_table(RECORDS).map_err(StoreError::from_database)?;
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(*name.0));
        let rest = table.range::<[u8; 32]>((from, Bound::Unbounded)).map_err(StoreError::from_database)?;
        let (mut records, mut weight) = (Vec::new(), 0_usize);
        for entry in rest {
            if weight >= BATCH_BYTES || records.len() >= BATCH_RECORDS {
                return Ok((records, true));
            }
            let (name, value) = entry.map_err(StoreError::from_database)?;
            let record =
                Record { name: Name::new(name.value()), value: ByteBuf::from(value.value().to_vec()) };
            weight = weight.saturating_add(record.weight());
            if weight > BATCH_BYTES && !records.is_empty() {
                return Ok((records, true));
            }
            records.push(record);
        }
        Ok((records, false))
    }

    /// Number of the records.
    pub fn count(&self) -> Result<u64, StoreError> {
        let read = self.read()?;
        let table = read.open_table(RECORDS).map_err(StoreError::from_database)?;
        table.len().map_err(StoreError::from_database)
    }

    /// Number and size of the records.
    pub fn statistics(&self) -> Result<Statistics, StoreError> {
        let read = self.read()?;
        let table = read.open_table(RECORDS).map_err(StoreError::from_database)?;
        let records = table.len().map_err(StoreError::from_database)?;
        let bytes = table.stats().map_err(StoreError::from_database)?.stored_bytes();
        Ok(Statistics { records, bytes: bytes.saturating_sub(records.saturating_mul(32)) })
    }

    /// Begins a set of changes. Dropped, it changes nothing.
    pub fn begin(&self) -> Result<Batch, StoreError> {
        let mut transaction = self.database.begin_write().map_err(StoreError::from_database)?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(|error| StoreError::Damaged(error.to_string()))?;
        Ok(Batch { transaction })
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Changes that are made whole or not at all.
pub struct Batch {
    transaction: WriteTransaction,
}

impl Batch {
    /// Adds changes.
    pub fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(RECORDS).map_err(StoreError::from_database)?;
        for name in &changes.deletes {
            table.remove(*name.0).map_err(StoreError::from_database)?;
        }
        for record in &changes.puts {
            table.insert(*record.name.0, record.value.as_slice()).map_err(StoreError::from_database)?;
        }
        if table.len().map_err(StoreError::from_database)? > RECORDS_MAX {
            Err(StoreError::Full)
        } else {
            Ok(())
        }
    }

    /// Whether the root is still this one.
    pub fn root_is(&self, expected: Option<&[u8]>) -> Result<bool, StoreError> {
        let meta = self.transaction.open_table(META).map_err(StoreError::from_database)?;
        let root = meta.get(KEY_ROOT).map_err(StoreError::from_database)?;
        Ok(root.as_ref().map(|root| root.value()) == expected)
    }

    /// Sets the root, and the header if there is a new one.
    pub fn set_head(&self, root: &[u8], header: Option<&[u8]>) -> Result<(), StoreError> {
        let mut meta = self.transaction.open_table(META).map_err(StoreError::from_database)?;
        meta.insert(KEY_ROOT, root).map_err(StoreError::from_database)?;
        if let Some(header) = header {
            meta.insert(KEY_HEADER, header).map_err(StoreError::from_database)?;
        }
        Ok(())
    }

    /// Makes the changes durable.
    pub fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().map_err(StoreError::from_database)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
