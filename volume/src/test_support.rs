//! What the tests of several modules share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_bytes::{ByteArray, ByteBuf};

use crate::FORMAT;
use crate::layout::{Header, Name, RootPrefix, Sealed, VolumeId};
use crate::message::{Changes, Record};

/// A folder that goes when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("casemate-volume-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) const VOLUME: VolumeId = VolumeId::new([0xa5; 16]);

pub(crate) fn name(number: u32) -> Name {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Name::new(bytes)
}

pub(crate) fn record(number: u32, value: &[u8]) -> Record {
    Record { name: name(number), value: ByteBuf::from(value) }
}

pub(crate) fn puts(records: impl IntoIterator<Item = Record>) -> Changes {
    Changes { puts: records.into_iter().collect(), deletes: Vec::new() }
}

pub(crate) fn root(counter: u64) -> Vec<u8> {
    let mut root = RootPrefix { volume: VOLUME, counter }.to_bytes().to_vec();
    root.extend([7; 60]);
    root
}

pub(crate) fn header() -> Vec<u8> {
    let sealed = Sealed {
        measurement: ByteArray::new([1; 48]),
        key_id: ByteArray::new([2; 16]),
        key: ByteBuf::from([3; 60]),
    };
    Header { format: FORMAT, volume: VOLUME, sealed, grant: None }.to_bytes()
}
