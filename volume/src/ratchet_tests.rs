use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::layout::digest;
use crate::test_support::{Folder, VOLUME, root};

/// A counter in memory, as a TPM has it: it starts somewhere and goes one way.
#[derive(Clone, Default)]
struct Chip {
    counts: Arc<Mutex<HashMap<[u8; 16], u64>>>,
    /// Fails to count, as if the power failed before.
    stuck: Arc<Mutex<bool>>,
    key: u8,
}

impl Counters for Chip {
    fn count(&self, volume: &[u8; 16]) -> Result<Option<u64>, String> {
        Ok(self.counts.lock().unwrap().get(volume).copied())
    }

    fn advance(&self, volume: &[u8; 16]) -> Result<u64, String> {
        if *self.stuck.lock().unwrap() {
            return Err("no power".into());
        }
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(*volume).or_insert(41);
        *count += 1;
        Ok(*count)
    }

    fn mac(&self, text: &[u8]) -> [u8; MAC_LEN] {
        *digest(&[&[self.key], text].concat())
    }
}

fn anchor(counter: u64) -> Anchor {
    Anchor { counter, root: digest(&root(counter)) }
}

struct Host {
    folder: Folder,
    chip: Chip,
}

impl Host {
    fn new() -> Self {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path("anchors")).unwrap();
        Self { folder, chip: Chip::default() }
    }

    fn open(&self, anchor: Option<Anchor>) -> Result<Ratchet, RatchetError> {
        Ratchet::open(&self.folder.path("anchors"), VOLUME, anchor, Box::new(self.chip.clone()))
    }

    fn file(&self) -> PathBuf {
        self.folder.path("anchors").join(format!("{VOLUME}{SUFFIX}"))
    }
}

#[test]
fn files_that_are_put_back_together_are_refused() {
    let host = Host::new();
    let mut ratchet = host.open(None).unwrap();
    ratchet.committed(anchor(1)).unwrap();
    ratchet.finish(Some(anchor(3))).unwrap();
    let old = std::fs::read(host.file()).unwrap();
    let mut ratchet = host.open(Some(anchor(3))).unwrap();
    ratchet.committed(anchor(4)).unwrap();
    ratchet.finish(Some(anchor(4))).unwrap();
    let new = std::fs::read(host.file()).unwrap();
    std::fs::write(host.file(), &old).unwrap();
    let refused = host.open(Some(anchor(3))).unwrap_err();
    assert!(matches!(refused, RatchetError::RolledBack { written: 43, counted: 44 }), "{refused}");
    // The anchor alone, with its volume.
    std::fs::write(host.file(), &new).unwrap();
    assert!(matches!(host.open(Some(anchor(3))), Err(RatchetError::OldAnchor { found: 3, written: 4 })));
    assert!(matches!(host.open(None), Err(RatchetError::OldAnchor { found: 0, written: 4 })));
    let other = Anchor { counter: 4, root: digest(&root(9)) };
    assert!(matches!(host.open(Some(other)), Err(RatchetError::OtherAnchor)));
    host.open(Some(anchor(4))).unwrap();
    host.open(Some(anchor(5))).unwrap();
}

#[test]
fn what_is_taken_away_or_made_up_is_refused() {
    let host = Host::new();
    host.open(None).unwrap().committed(anchor(1)).unwrap();
    let good = std::fs::read(host.file()).unwrap();
    std::fs::remove_file(host.file()).unwrap();
    assert!(matches!(host.open(Some(anchor(1))), Err(RatchetError::Missing(_))));
    for place in 0..good.iter().position(|byte| *byte == b'\n').unwrap() {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        std::fs::write(host.file(), &bytes).unwrap();
        assert!(matches!(host.open(Some(anchor(1))), Err(RatchetError::Missing(_))), "byte {place}");
    }
    // Another's key.
    let forger = Chip { key: 1, ..host.chip.clone() };
    std::fs::write(host.file(), format(42, &anchor(1), VOLUME, &forger)).unwrap();
    assert!(matches!(host.open(Some(anchor(1))), Err(RatchetError::Missing(_))));
    std::fs::write(host.file(), &good).unwrap();
    host.open(Some(anchor(1))).unwrap();
    host.chip.counts.lock().unwrap().clear();
    assert!(matches!(host.open(Some(anchor(1))), Err(RatchetError::CounterGone)));
}

#[test]
fn a_crash_between_writing_and_counting_loses_nothing() {
    let host = Host::new();
    let mut ratchet = host.open(None).unwrap();
    ratchet.committed(anchor(1)).unwrap();
    let before = std::fs::read(host.file()).unwrap();
    *host.chip.stuck.lock().unwrap() = true;
    assert!(matches!(ratchet.finish(Some(anchor(2))), Err(RatchetError::Counter(_))));
    *host.chip.stuck.lock().unwrap() = false;
    // Cut off while it was written: the one before is whole.
    let after = std::fs::read(host.file()).unwrap();
    for cut in 0..after.len() {
        let torn: Vec<u8> = after.iter().take(cut).chain(before.iter().skip(cut)).copied().collect();
        std::fs::write(host.file(), torn).unwrap();
        let count = host.chip.count(&VOLUME.0).unwrap();
        host.open(Some(anchor(2))).unwrap();
        host.chip.counts.lock().unwrap().insert(*VOLUME.0, count.unwrap());
    }
    std::fs::write(host.file(), &after).unwrap();
    host.open(Some(anchor(2))).unwrap();
    assert_eq!(host.chip.count(&VOLUME.0).unwrap(), Some(43), "the counter was moved on");
    std::fs::write(host.file(), &before).unwrap();
    assert!(matches!(host.open(Some(anchor(2))), Err(RatchetError::RolledBack { .. })));
}

#[test]
fn the_counter_is_spared() {
    let host = Host::new();
    let mut ratchet = host.open(None).unwrap();
    for counter in 1..1000 {
        ratchet.committed(anchor(counter)).unwrap();
    }
    ratchet.finish(Some(anchor(999))).unwrap();
    assert_eq!(host.chip.count(&VOLUME.0).unwrap(), Some(43), "once at the first commit, once at the end");
    for _ in 0..10 {
        host.open(Some(anchor(999))).unwrap().finish(Some(anchor(999))).unwrap();
    }
    assert_eq!(host.chip.count(&VOLUME.0).unwrap(), Some(43), "nothing was committed");
}
