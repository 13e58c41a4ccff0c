//! The keys, where they are kept: in memory, for now.
//!
//! Operations see only [`Store::find`], [`Store::insert`], [`Store::page`] and a record's own methods, so that a volume
//! can take the place of the map. A key whose waiting period is over is erased by the first request after it, before
//! that request is looked at.

mod encode;
mod id;
mod material;
mod meta;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::time::SystemTime;

pub use id::KeyId;
pub use material::{Generation, Generations, MaterialId, Note, Rotated, RotationType};
pub use meta::{KeyMeta, KeyState, LastUsage, Life, Origin, Schedule, Settled};
pub use record::KeyRecord;

pub use crate::crypto::Material;

/// Every key of the signer, by id.
#[derive(Default)]
pub struct Store {
    keys: BTreeMap<KeyId, Rc<KeyRecord>>,
    /// No waiting period ends before this; it spares every request a look at every key.
    earliest: Option<SystemTime>,
}

/// One page of a listing.
pub struct Page {
    /// The ids on the page, in order.
    pub ids: Vec<KeyId>,
    /// Whether there are more after the last of them.
    pub more: bool,
}

impl Store {
    /// How many keys there are, those that wait for deletion included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a key. Its id is random and new.
    pub fn insert(&mut self, id: KeyId, record: KeyRecord) -> Rc<KeyRecord> {
        let record = Rc::new(record);
        self.keys.insert(id, Rc::clone(&record));
        record
    }

    /// The key of that id.
    pub fn find(&self, id: &KeyId) -> Option<Rc<KeyRecord>> {
        self.keys.get(id).cloned()
    }

    /// Up to `limit` ids after `after`.
    pub fn page(&self, after: Option<KeyId>, limit: usize) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.keys.range((from, Bound::Unbounded)).map(|(id, _)| *id);
        let ids = rest.by_ref().take(limit).collect();
        Page { ids, more: rest.next().is_some() }
    }

    /// Has the key erased at that time.
    pub fn schedule_deletion(&mut self, key: &KeyRecord, date: SystemTime, days: u32) {
        key.schedule_deletion(date, days);
        self.earliest = Some(self.earliest.map_or(date, |earliest| earliest.min(date)));
    }

    /// Erases the keys whose waiting period has ended by `now`; the names of their records.
    pub(crate) fn expire(&mut self, now: SystemTime) -> Vec<String> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let over = |record: &KeyRecord| record.deletion_date().is_some_and(|date| date <= now);
        let erased = self.keys.extract_if(.., |_, record| over(record));
        let names = erased.map(|(_, record)| record.record_name()).collect();
        self.earliest = self.keys.values().filter_map(|record| record.deletion_date()).min();
        names
    }
}
