//! The keys with their aliases and grants, where they are kept: in memory, and in the records of [`crate::state`].
//!
//! Operations see only what is public here and a record's own methods. What is due by date (a key whose waiting period is
//! over, imported material that expires, a rotation) happens with the first request after it, before that request is
//! looked at: see [`Store::expire`].

mod alias;
mod encode;
mod grant;
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

pub use alias::{Alias, Aliases};
pub use grant::{Constraints, Grant, GrantId, GrantOperation, Grants, Party, Who};
pub use id::KeyId;
pub use material::{Generation, Generations, MaterialId, Note, Rotated, RotationType};
pub use meta::{KeyMeta, KeyState, LastUsage, Life, Origin, Schedule, Settled};
pub use record::KeyRecord;
pub(crate) use record::default_policy;

pub use crate::crypto::Material;

/// Every key of the signer, by id; their names and grants.
#[derive(Default)]
pub struct Store {
    keys: BTreeMap<KeyId, Rc<KeyRecord>>,
    /// The names of keys.
    pub aliases: Aliases,
    /// The grants on keys.
    pub grants: Grants,
    /// Nothing is due before this; it spares every request a look at every key.
    earliest: Option<SystemTime>,
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

    /// Every key whose id follows `after`, in order.
    pub fn keys_after(&self, after: Option<KeyId>) -> impl Iterator<Item = &Rc<KeyRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range((from, Bound::Unbounded)).map(|(_, key)| key)
    }

    /// Has the key erased at that time.
    pub fn schedule_deletion(&mut self, key: &KeyRecord, date: SystemTime, days: u32) {
        key.schedule_deletion(date, days);
        self.dates_changed();
    }

    /// Whoever changes when something is due on a key says so here.
    pub fn dates_changed(&mut self) {
        self.earliest = Some(SystemTime::UNIX_EPOCH);
    }

    /// Does what is due by `now`; the names of the records that this changed.
    pub fn expire(&mut self, now: SystemTime) -> Vec<String> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let mut touched = Vec::new();
        let over = |record: &KeyRecord| record.deletion_date().is_some_and(|date| date <= now);
        let erased: Vec<_> = self.keys.extract_if(.., |_, record| over(record)).collect();
        for (id, record) in erased {
            touched.push(record.record_name());
            self.forget_names_and_grants(id, &mut touched);
        }
        for record in self.keys.values() {
            if record.erase_expired(now) | record.rotate_if_due(now) {
                touched.push(record.record_name());
            }
        }
        self.earliest = self.keys.values().filter_map(|record| record.next_date()).min();
        touched
    }

    fn forget_names_and_grants(&mut self, key: KeyId, touched: &mut Vec<String>) {
        let names: Vec<String> = self.aliases.of(key).map(str::to_owned).collect();
        let grants: Vec<Rc<Grant>> = self.grants.on(key).cloned().collect();
        for grant in grants {
            self.grants.remove(key, grant.id);
            touched.push(grant.record_name());
        }
        for name in names {
            self.aliases.remove(&name);
            touched.push(name);
        }
    }
}
