//! What the signer remembers of its volume: the root, and one number for each record. It decides whether a volume that
//! comes back is the same, and makes commits.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use casemate_volume::Name;
use casemate_volume::message::Record;
use serde_bytes::ByteBuf;

use crate::crypto::CryptoError;

use super::keys::VolumeKeys;
use super::refusal::Refusal;
use super::root::{Root, Summary};

/// What a record adds to the [`Summary`].
type Element = [u8; 32];

/// A volume as it is known to be.
pub(super) struct Ledger {
    /// Its keys.
    pub(super) keys: Rc<VolumeKeys>,
    /// Its header: that of the root, or the one that the next commit brings.
    pub(super) header: Vec<u8>,
    /// Its root after the last commit that is known to be durable; none for a volume that is being made.
    root: Option<Root>,
    elements: HashMap<Name, Element>,
    /// A commit that was asked for and not confirmed: it may have been made.
    pending: Option<Draft>,
}

/// A commit that is being put together.
pub(super) struct Draft {
    counter: u64,
    summary: Summary,
    changes: BTreeMap<Name, Option<Element>>,
    /// The root after the commit, once all changes are in.
    root: Option<Root>,
}

impl Ledger {
    /// A volume that does not exist yet.
    pub(super) fn new(keys: VolumeKeys, header: Vec<u8>) -> Self {
        Self { keys: Rc::new(keys), header, root: None, elements: HashMap::new(), pending: None }
    }

    /// A volume that was read: its root, before its records are.
    pub(super) fn opened(keys: VolumeKeys, header: Vec<u8>, root: Root) -> Self {
        Self { root: Some(root), ..Self::new(keys, header) }
    }

    /// Number of commits.
    pub(super) fn counter(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.counter)
    }

    /// Number of records.
    pub(super) fn records(&self) -> u64 {
        u64::try_from(self.elements.len()).unwrap_or(u64::MAX)
    }

    /// The root that the host should have.
    pub(super) fn root(&self) -> Option<&[u8]> {
        self.root.as_ref().map(|root| root.bytes.as_slice())
    }

    /// Takes note of a record that was read.
    pub(super) fn read(&mut self, name: Name, value: &[u8]) {
        self.elements.insert(name, self.keys.element(value));
    }

    /// Whether the records that were read are those that the root stands for.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let mut summary = Summary::default();
        self.elements.values().for_each(|element| summary.add(element));
        let expected = self.root.as_ref().map_or_else(Summary::default, |root| root.summary);
        let (found, expected_count) = (summary.count, expected.count);
        if found < expected_count {
            return Err(Refusal::Truncated { found, expected: expected_count });
        }
        if found > expected_count {
            return Err(Refusal::Added { found, expected: expected_count });
        }
        if summary == expected { Ok(()) } else { Err(Refusal::Replayed) }
    }

    /// Whether a volume with this root, which comes back after its connection broke, is this one. If a commit that was not
    /// confirmed has been made after all, it counts from now on.
    pub(super) fn recognise(&mut self, root: Option<&[u8]>) -> bool {
        if root == self.root() {
            self.pending = None;
            return true;
        }
        match self.pending.take_if(|draft| draft.root.as_ref().is_some_and(|made| root == Some(&made.bytes)))
        {
            Some(draft) => {
                self.apply(draft);
                true
            }
            None => false,
        }
    }

    /// Begins a commit.
    pub(super) fn draft(&self) -> Draft {
        Draft {
            counter: self.counter().saturating_add(1),
            summary: self.root.as_ref().map_or_else(Summary::default, |root| root.summary),
            changes: BTreeMap::new(),
            root: None,
        }
    }

    /// Adds a record to a commit, in place of the one of that name.
    pub(super) fn put(&self, draft: &mut Draft, name: &str, content: &[u8]) -> Result<Record, CryptoError> {
        let (name, value) = self.keys.seal_record(name, draft.counter, content)?;
        let element = self.keys.element(&value);
        if let Some(old) = self.elements.get(&name) {
            draft.summary.remove(old);
        }
        draft.summary.add(&element);
        draft.changes.insert(name, Some(element));
        Ok(Record { name, value: ByteBuf::from(value) })
    }

    /// Removes a record in a commit; its name, if there is one.
    pub(super) fn delete(&self, draft: &mut Draft, name: &str) -> Option<Name> {
        let name = self.keys.name(name);
        let old = self.elements.get(&name)?;
        draft.summary.remove(old);
        draft.changes.insert(name, None);
        Some(name)
    }

    /// Ends a commit: the root after it, and the header if the host does not have it yet. What becomes of the commit is for
    /// [`Self::confirmed`] or [`Self::recognise`].
    pub(super) fn close(&mut self, mut draft: Draft) -> Result<(Vec<u8>, Option<Vec<u8>>), CryptoError> {
        let digest = casemate_volume::layout::digest(&self.header);
        let is_new = self.has_new_header();
        let root = Root::new(&self.keys, draft.counter, draft.summary, *digest)?;
        let bytes = root.bytes.clone();
        draft.root = Some(root);
        self.pending = Some(draft);
        Ok((bytes, is_new.then(|| self.header.clone())))
    }

    /// Whether the host does not have the header yet.
    pub(super) fn has_new_header(&self) -> bool {
        let digest = casemate_volume::layout::digest(&self.header);
        self.root.as_ref().is_none_or(|root| root.header != *digest)
    }

    /// Whether a commit may have been made of which the signer does not know.
    pub(super) fn uncertain(&self) -> bool {
        self.pending.is_some()
    }

    /// The commit is durable.
    pub(super) fn confirmed(&mut self) {
        if let Some(draft) = self.pending.take() {
            self.apply(draft);
        }
    }

    fn apply(&mut self, draft: Draft) {
        for (name, element) in draft.changes {
            match element {
                Some(element) => self.elements.insert(name, element),
                None => self.elements.remove(&name),
            };
        }
        self.root = draft.root.or_else(|| self.root.take());
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests;
