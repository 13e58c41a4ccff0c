//! Aliases: names that an owner gives to keys, `alias/…`, and can give to other keys later. An alias is kept in a record
//! of its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

use super::KeyId;

/// What an alias stands for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Alias {
    /// The key.
    pub target: KeyId,
    /// When the alias was made.
    pub created: Timestamp,
    /// When it was last given to a key.
    pub updated: Timestamp,
}

/// Every alias, by name and by key.
#[derive(Default)]
pub struct Aliases {
    by_name: BTreeMap<String, Alias>,
    by_key: BTreeSet<(KeyId, String)>,
}

impl Aliases {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The alias of that name, `alias/` included.
    pub fn find(&self, name: &str) -> Option<Alias> {
        self.by_name.get(name).copied()
    }

    /// Makes an alias, or gives it to another key.
    pub fn set(&mut self, name: &str, alias: Alias) {
        self.remove(name);
        self.by_key.insert((alias.target, name.to_owned()));
        self.by_name.insert(name.to_owned(), alias);
    }

    /// Removes an alias.
    pub fn remove(&mut self, name: &str) {
        if let Some((name, alias)) = self.by_name.remove_entry(name) {
            self.by_key.remove(&(alias.target, name));
        }
    }

    /// The names of a key, in order.
    pub fn of(&self, key: KeyId) -> impl Iterator<Item = &str> {
        let named = self.by_key.range((key, String::new())..).take_while(move |(target, _)| *target == key);
        named.map(|(_, name)| name.as_str())
    }

    /// Every alias whose name follows `after`, in order.
    pub fn after(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Alias)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_name.range::<str, _>((from, Bound::Unbounded)).map(|(name, alias)| (name.as_str(), alias))
    }
}
