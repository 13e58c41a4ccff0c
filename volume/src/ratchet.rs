//! Ratchets: what keeps a volume **and its anchor** from being put back together, where the host has a counter that nobody can
//! turn back.
//!
//! Beside the anchor there is a file that says which count of the counter goes with which state of the anchor, under a MAC whose
//! key comes from where the counter is. To turn the ratchet is to write the next count with the state as it is, and then to move
//! the counter on: from then on no copy of the three files that was made before is accepted again.
//!
//! ```text
//! written   counted     after a crash                       opened as
//! n         n           -                                   fits
//! n + 1     n           between writing and counting        fits; the counter is moved on now
//! m < n     n           an older copy                       refused
//! ```
//!
//! Counters wear out, so one turn stands for many commits: at the first commit of each attachment, then once in [`PERIOD`] while
//! there are commits, and at the end of it. What can be put back is what was committed since the last turn, and only if the service
//! was killed or the power failed before the next.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::anchor::{SLOT, parse_digest, read_full};
use crate::layout::{Hex, VolumeId};
use crate::message::Anchor;

/// Longest time between two turns while there are commits.
pub const PERIOD: Duration = Duration::from_secs(3600);
/// Bytes of a MAC.
pub const MAC_LEN: usize = 32;
/// What follows the volume's identity in the file's name.
const SUFFIX: &str = ".ratchet";

/// Counters that go one way, and a key that belongs to them.
pub trait Counters: Send {
    /// What the volume's counter says; `None` if it has none.
    fn count(&self, volume: &[u8; 16]) -> Result<Option<u64>, String>;
    /// Moves the volume's counter on, and makes it first if there is none. Returns what it says then.
    fn advance(&self, volume: &[u8; 16]) -> Result<u64, String>;
    /// A MAC over `text` under a key that nobody has who has the files alone.
    fn mac(&self, text: &[u8]) -> [u8; MAC_LEN];
}

/// Why a ratchet does not fit, or cannot be turned.
#[derive(Debug, thiserror::Error)]
pub enum RatchetError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The counter cannot be used.
    #[error("the counter of the volume: {0}")]
    Counter(String),
    /// The files are from before.
    #[error(
        "the volume and its anchor are old copies: they are of count {written}, and the counter, which nobody can turn back, is at {counted}"
    )]
    RolledBack {
        /// What the file says.
        written: u64,
        /// What the counter says.
        counted: u64,
    },
    /// The anchor is from before.
    #[error(
        "the anchor is an old copy: it knows {found} commits, and there were {written} at the last count"
    )]
    OldAnchor {
        /// In the anchor.
        found: u64,
        /// In the ratchet.
        written: u64,
    },
    /// The anchor is of another copy.
    #[error("the anchor is of another copy of the volume than the last count")]
    OtherAnchor,
    /// The file is gone.
    #[error(
        "{} is missing or damaged, though the volume was counted: without it nobody can tell whether the volume is an old copy",
        .0.display()
    )]
    Missing(PathBuf),
    /// The counter is gone.
    #[error("the volume was counted, and its counter is gone: the TPM was cleared, or is another")]
    CounterGone,
}

/// The ratchet of one volume.
pub struct Ratchet {
    path: PathBuf,
    file: File,
    volume: VolumeId,
    counters: Box<dyn Counters>,
    /// The count that was written last, with what the anchor said then.
    last: Option<(u64, Anchor)>,
    turned: Option<Instant>,
}

impl std::fmt::Debug for Ratchet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ratchet").field("path", &self.path).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Ratchet {
    /// The ratchet of `volume` in the directory of anchors, if it fits the counter and the anchor, which says `anchor`.
    pub fn open(
        directory: &Path,
        volume: VolumeId,
        anchor: Option<Anchor>,
        counters: Box<dyn Counters>,
    ) -> Result<Self, RatchetError> {
        let path = directory.join(format!("{volume}{SUFFIX}"));
        let at = |source| RatchetError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at)?;
        let mut bytes = [0; 2 * SLOT];
        let length = read_full(&file, &mut bytes).map_err(at)?;
        let (first, second) = bytes.split_at(SLOT);
        let valid = [first, second].into_iter().filter_map(|slot| parse(slot, volume, &*counters));
        let last = valid.max_by_key(|(count, _)| *count);
        let counted = counters.count(&volume.0).map_err(RatchetError::Counter)?;
        match (last, counted) {
            (None, None) if length == 0 => {}
            (_, None) => return Err(RatchetError::CounterGone),
            (None, Some(_)) => return Err(RatchetError::Missing(path)),
            (Some((written, _)), Some(counted)) if written == counted => {}
            (Some((written, _)), Some(counted)) if counted.checked_add(1) == Some(written) => {
                counters.advance(&volume.0).map_err(RatchetError::Counter)?;
            }
            (Some((written, _)), Some(counted)) => return Err(RatchetError::RolledBack { written, counted }),
        }
        if let Some((_, then)) = last {
            let found = anchor.map_or(0, |anchor| anchor.counter);
            if found < then.counter {
                return Err(RatchetError::OldAnchor { found, written: then.counter });
            }
            if anchor.is_some_and(|anchor| anchor.counter == then.counter && anchor.root != then.root) {
                return Err(RatchetError::OtherAnchor);
            }
        }
        Ok(Self { path, file, volume, counters, last, turned: None })
    }

    /// To be called after a commit, once the anchor says so.
    pub fn committed(&mut self, anchor: Anchor) -> Result<(), RatchetError> {
        match self.turned {
            Some(turned) if turned.elapsed() < PERIOD => Ok(()),
            _ => self.turn(anchor),
        }
    }

    /// To be called at the end, with what the anchor says.
    pub fn finish(&mut self, anchor: Option<Anchor>) -> Result<(), RatchetError> {
        match anchor {
            Some(anchor) if self.last.is_none_or(|(_, then)| then.counter != anchor.counter) => {
                self.turn(anchor)
            }
            _ => Ok(()),
        }
    }

    fn turn(&mut self, anchor: Anchor) -> Result<(), RatchetError> {
        let advance =
            |counters: &dyn Counters| counters.advance(&self.volume.0).map_err(RatchetError::Counter);
        let count = match self.last {
            Some((count, _)) => {
                let next = count.saturating_add(1);
                self.write(next, &anchor)?;
                let counted = advance(&*self.counters)?;
                if counted != next {
                    return Err(RatchetError::RolledBack { written: next, counted });
                }
                next
            }
            // Where a new counter starts is for whoever has it to say.
            None => {
                let count = advance(&*self.counters)?;
                self.write(count, &anchor)?;
                count
            }
        };
        self.last = Some((count, anchor));
        self.turned = Some(Instant::now());
        Ok(())
    }

    /// Writes to the place that the count before is not in, and waits until it is there.
    fn write(&self, count: u64, anchor: &Anchor) -> Result<(), RatchetError> {
        let slot = (count % 2).saturating_mul(SLOT as u64);
        let line = format(count, anchor, self.volume, &*self.counters);
        let written = self.file.write_all_at(&line, slot).and_then(|()| self.file.sync_all());
        written.map_err(|source| RatchetError::Io { path: self.path.clone(), source })
    }
}

fn mac(text: &str, volume: VolumeId, counters: &dyn Counters) -> String {
    Hex(&counters.mac(format!("{volume} {text}").as_bytes())).to_string()
}

fn format(count: u64, anchor: &Anchor, volume: VolumeId, counters: &dyn Counters) -> [u8; SLOT] {
    let text = format!("{count} {} {}", anchor.counter, Hex(anchor.root.as_slice()));
    let line = format!("{text} {}\n", mac(&text, volume, counters));
    let mut slot = [b' '; SLOT];
    slot.iter_mut().zip(line.bytes()).for_each(|(to, from)| *to = from);
    slot
}

fn parse(slot: &[u8], volume: VolumeId, counters: &dyn Counters) -> Option<(u64, Anchor)> {
    let line = std::str::from_utf8(slot).ok()?.lines().next()?;
    let (text, given) = line.rsplit_once(' ')?;
    // Whoever could measure how long this takes could write the file anyway, and has one try for each start of the service.
    if given != mac(text, volume, counters) {
        return None;
    }
    let mut words = text.split(' ');
    let (count, counter, root) = (words.next()?, words.next()?, words.next()?);
    let anchor = Anchor { counter: counter.parse().ok()?, root: parse_digest(root)? };
    Some((count.parse().ok()?, anchor))
}

#[cfg(test)]
#[path = "ratchet_tests.rs"]
mod tests;
