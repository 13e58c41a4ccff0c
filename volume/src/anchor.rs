//! Anchors: how far each volume had got, kept apart from the volumes.
//!
//! A copy of a volume's file that is put back later is a valid volume. What tells that it is old is the anchor: a small
//! file, elsewhere (beside the platform key), with the number of commits and the digest of the last root. It is written
//! after each commit, so that the volume may be ahead of its anchor by what a crash cut off, and never behind.
//!
//! **Whoever can write both files can roll back both.** An anchor protects against old copies: from a backup, a snapshot, a
//! disk put back by mistake. Where there is a counter that nobody can turn back, a [`ratchet`](crate::ratchet) keeps both from
//! being put back together.
//!
//! ```text
//! offset 0     "<counter> <digest of the root> <check>\n", padded with spaces to 512 bytes
//! offset 512   the same for another commit; the valid one with the higher counter counts
//! ```
//!
//! The two are written in turn, in place, so that an interrupted write leaves one of them. Nothing waits for the disk: after
//! a power failure the anchor may be older than the volume, which is allowed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_bytes::ByteArray;

use crate::layout::{Hex, VolumeId, digest};
use crate::message::Anchor;

/// Bytes of one of the two places: what disks write whole.
pub(crate) const SLOT: usize = 512;

/// Why an anchor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file makes no sense.
    #[error(
        "the anchor {} is damaged, so nobody can tell whether the volume is an old copy: remove it only if you know that it is not",
        .0.display()
    )]
    Damaged(PathBuf),
}

/// The anchor of one volume.
#[derive(Debug)]
pub struct AnchorFile {
    path: PathBuf,
    file: File,
    last: Option<Anchor>,
}

impl AnchorFile {
    /// The anchor of `volume` in `directory`, which is made if it is not there.
    pub fn open(directory: &Path, volume: VolumeId) -> Result<Self, AnchorError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| AnchorError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
        let path = directory.join(volume.to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        let mut bytes = [0; 2 * SLOT];
        let length = read_full(&file, &mut bytes).map_err(at(&path))?;
        let (first, second) = bytes.split_at(SLOT);
        let valid = [first, second].into_iter().filter_map(|slot| parse(slot, volume));
        let last = valid.max_by_key(|anchor| anchor.counter);
        if last.is_none() && length > 0 {
            return Err(AnchorError::Damaged(path));
        }
        Ok(Self { path, file, last })
    }

    /// What it says; `None` for a volume that has none yet.
    pub fn last(&self) -> Option<Anchor> {
        self.last
    }

    /// Notes a commit. An anchor never goes back.
    pub fn advance(&mut self, volume: VolumeId, counter: u64, root: &[u8]) -> Result<(), AnchorError> {
        let anchor = Anchor { counter, root: digest(root) };
        if self.last.is_some_and(|last| last.counter >= counter) {
            return Ok(());
        }
        let slot = counter % 2;
        self.file
            .write_all_at(&format(&anchor, volume), slot.saturating_mul(SLOT as u64))
            .map_err(|source| AnchorError::Io { path: self.path.clone(), source })?;
        self.last = Some(anchor);
        Ok(())
    }
}

pub(crate) fn read_full(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// The check covers the volume too: an anchor that was copied to another name is none.
fn check(text: &str, volume: VolumeId) -> String {
    let digest = digest(format!("{volume} {text}").as_bytes());
    let digest = Hex(digest.as_slice()).to_string();
    digest.chars().take(16).collect()
}

fn format(anchor: &Anchor, volume: VolumeId) -> [u8; SLOT] {
    let text = format!("{} {}", anchor.counter, Hex(anchor.root.as_slice()));
    let line = format!("{text} {}\n", check(&text, volume));
    let mut slot = [b' '; SLOT];
    slot.iter_mut().zip(line.bytes()).for_each(|(to, from)| *to = from);
    slot
}

fn parse(slot: &[u8], volume: VolumeId) -> Option<Anchor> {
    let line = std::str::from_utf8(slot).ok()?.lines().next()?;
    let (text, given) = line.rsplit_once(' ')?;
    if given != check(text, volume) {
        return None;
    }
    let (counter, root) = text.split_once(' ')?;
    Some(Anchor { counter: counter.parse().ok()?, root: parse_digest(root)? })
}

pub(crate) fn parse_digest(text: &str) -> Option<ByteArray<32>> {
    let digits = text.as_bytes().as_chunks::<2>().0;
    let bytes = digits.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    Some(ByteArray::new(bytes.try_into().ok()?))
}

#[cfg(test)]
#[path = "anchor_tests.rs"]
mod tests;
