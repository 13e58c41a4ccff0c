//! A key with what is known about it.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::SystemTime;

use casemate_policy::{Kind, PolicyDocument};

use crate::access::bind;
use crate::crypto::{CryptoError, KeySpec, Material, SymmetricKey};
use crate::errors::KmsError;
use crate::types::Timestamp;

use super::KeyId;
use super::material::{Generation, Generations, MaterialId, Note, Rotated, RotationType};
use super::meta::{KeyMeta, KeyState, LastUsage, Life, Settled};

/// The text of a policy, and whom its names mean.
type PolicySource = (String, BTreeMap<String, String>);

/// A key. What was settled when it was made reads as its own fields: `key.spec`.
pub struct KeyRecord {
    /// Its identity.
    pub id: KeyId,
    arn: String,
    settled: Settled,
    meta: RefCell<KeyMeta>,
    /// `None` until the first import.
    generations: RefCell<Option<Generations>>,
    /// The policy last evaluated, with what it was made of.
    parsed: RefCell<Option<(PolicySource, Rc<PolicyDocument>)>>,
}

impl Deref for KeyRecord {
    type Target = Settled;

    fn deref(&self) -> &Settled {
        &self.settled
    }
}

impl KeyRecord {
    /// A key; without generations, one that waits for its first import.
    pub fn new(
        id: KeyId,
        arn: String,
        settled: Settled,
        meta: KeyMeta,
        generations: Option<Generations>,
    ) -> Self {
        let (meta, generations) = (RefCell::new(meta), RefCell::new(generations));
        Self { id, arn, settled, meta, generations, parsed: RefCell::default() }
    }

    /// Its ARN; the account and region in it are the signer's for good once there are keys.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The name of the record that it is kept in.
    pub(crate) fn record_name(&self) -> String {
        format!("key/{}", self.id)
    }

    /// What can change about it.
    pub fn meta(&self) -> Ref<'_, KeyMeta> {
        self.meta.borrow()
    }

    /// The same, to be changed. Whoever does so touches the record ([`Self::record_name`]).
    pub(crate) fn meta_mut(&self) -> RefMut<'_, KeyMeta> {
        self.meta.borrow_mut()
    }

    /// Its policy, ready to be evaluated. A key that none was given has the default one of `account`.
    pub(crate) fn policy(&self, account: &str) -> Result<Rc<PolicyDocument>, KmsError> {
        let meta = self.meta.borrow();
        let mut parsed = self.parsed.borrow_mut();
        let is_this = |(text, bindings): &PolicySource| *text == meta.policy && *bindings == meta.principals;
        if let Some((_, document)) = parsed.as_ref().filter(|(source, _)| is_this(source)) {
            return Ok(Rc::clone(document));
        }
        let text = policy_text(&meta.policy, account);
        // It was accepted when it was set: if it cannot be read now, nobody may use the key.
        let document = PolicyDocument::parse(&text, Kind::Resource)
            .map_err(|_| KmsError::internal("Reading the key policy"))?;
        let document = Rc::new(bind::bound(document, &meta.principals));
        *parsed = Some(((meta.policy.clone(), meta.principals.clone()), Rc::clone(&document)));
        Ok(document)
    }

    /// The text of its policy.
    pub(crate) fn policy_text(&self, account: &str) -> String {
        policy_text(&self.meta.borrow().policy, account)
    }

    /// Its secrets; `None` until the first import.
    pub fn generations(&self) -> Ref<'_, Option<Generations>> {
        self.generations.borrow()
    }

    /// The same, to be changed.
    pub(crate) fn generations_mut(&self) -> RefMut<'_, Option<Generations>> {
        self.generations.borrow_mut()
    }

    /// The secret in use and its name, if it is there.
    pub fn current(&self) -> Option<(MaterialId, Material)> {
        let generations = self.generations.borrow();
        let current = generations.as_ref()?.current();
        Some((current.note.id, current.material.clone()?))
    }

    /// The name of the secret in use, whether or not it is there.
    pub fn material_id(&self) -> Option<MaterialId> {
        Some(self.generations.borrow().as_ref()?.current().note.id)
    }

    /// The secret of that name, in use now or before.
    pub fn used_material(&self, id: &MaterialId) -> Option<Material> {
        let generations = self.generations.borrow();
        generations.as_ref()?.used().find(|generation| generation.note.id == *id)?.material.clone()
    }

    /// Where the key is in its life.
    pub fn state(&self) -> KeyState {
        let complete = self.generations.borrow().as_ref().is_some_and(Generations::complete);
        match self.meta.borrow().life {
            Life::Ending { .. } => KeyState::PendingDeletion,
            _ if !complete => KeyState::PendingImport,
            Life::Enabled => KeyState::Enabled,
            Life::Disabled => KeyState::Disabled,
        }
    }

    /// When it will be erased.
    pub fn deletion_date(&self) -> Option<SystemTime> {
        match self.meta.borrow().life {
            Life::Ending { date, .. } => Some(date.0),
            _ => None,
        }
    }

    /// Switches the key on or off. A key that waits for deletion stays as it is: see [`Self::cancel_deletion`].
    pub fn set_enabled(&self, enabled: bool) {
        let life = &mut self.meta.borrow_mut().life;
        if !matches!(life, Life::Ending { .. }) {
            *life = if enabled { Life::Enabled } else { Life::Disabled };
        }
    }

    /// Marks the key for deletion; the store does the rest.
    pub(super) fn schedule_deletion(&self, date: SystemTime, days: u32) {
        self.meta.borrow_mut().life = Life::Ending { date: Timestamp(date), days };
    }

    /// Erases imported secrets whose time is over; whether there were any.
    pub(super) fn erase_expired(&self, now: SystemTime) -> bool {
        let mut generations = self.generations.borrow_mut();
        let over = |generation: &Generation| {
            generation.material.is_some() && generation.note.valid_to.is_some_and(|date| date.0 <= now)
        };
        let expired = generations.as_mut().into_iter().flat_map(Generations::all_mut).filter(|g| over(g));
        expired.map(|generation| generation.material = None).count() > 0
    }

    /// When the next rotation is due: of a key that is switched on, for others are not rotated.
    pub fn rotation_date(&self) -> Option<SystemTime> {
        let meta = self.meta.borrow();
        meta.rotation.filter(|_| meta.life == Life::Enabled).map(|schedule| schedule.next.0)
    }

    /// Puts a new secret in use if the day has come; whether it had. If no secret can be made now, the next request tries
    /// again.
    pub(super) fn rotate_if_due(&self, now: SystemTime) -> bool {
        if self.rotation_date().is_none_or(|date| date > now) {
            return false;
        }
        let rotated = Rotated { date: Timestamp(now), kind: RotationType::Automatic };
        if self.rotate(rotated).is_err() {
            return false;
        }
        if let Some(schedule) = &mut self.meta.borrow_mut().rotation {
            schedule.skip_to_after(now);
        }
        true
    }

    /// Puts a new secret in use.
    pub(crate) fn rotate(&self, rotated: Rotated) -> Result<(), CryptoError> {
        if self.spec != KeySpec::Symmetric {
            return Err(CryptoError::Mismatch("rotation", self.spec.name()));
        }
        let note = Note { rotated: Some(rotated), ..Note::new(MaterialId::random()?) };
        let secret = Rc::new(SymmetricKey::generate()?);
        if let Some(generations) = self.generations.borrow_mut().as_mut() {
            generations.rotate(note, secret);
        }
        Ok(())
    }

    /// When the next thing is due: erasing the key, erasing a secret, rotation.
    pub(super) fn next_date(&self) -> Option<SystemTime> {
        let generations = self.generations.borrow();
        let valid = generations.iter().flat_map(Generations::all).filter(|g| g.material.is_some());
        let expiry = valid.filter_map(|generation| generation.note.valid_to).map(|date| date.0);
        expiry.chain(self.deletion_date()).chain(self.rotation_date()).min()
    }

    /// Remembers its latest use.
    pub(crate) fn note_usage(&self, operation: &str, date: Timestamp) {
        // ReEncrypt is one operation on two keys.
        let operation = if operation.starts_with("ReEncrypt") { "ReEncrypt" } else { operation };
        self.meta.borrow_mut().last_usage = Some(LastUsage { operation: operation.to_owned(), date });
    }

    /// Calls the deletion off; the key comes back disabled, as on AWS.
    pub fn cancel_deletion(&self) {
        let life = &mut self.meta.borrow_mut().life;
        if matches!(life, Life::Ending { .. }) {
            *life = Life::Disabled;
        }
    }
}

/// The policy of a key that none was given: the account decides (KMS developer guide, "Default key policy").
pub(crate) fn default_policy(account: &str) -> String {
    format!(
        "{{\"Version\":\"2012-10-17\",\"Id\":\"key-default-1\",\"Statement\":[{{\"Sid\":\"Enable IAM User Permissions\",\
         \"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"arn:aws:iam::{account}:root\"}},\"Action\":\"kms:*\",\
         \"Resource\":\"*\"}}]}}"
    )
}

/// The text of a policy; the default one where none was given.
fn policy_text(given: &str, account: &str) -> String {
    if given.is_empty() { default_policy(account) } else { given.to_owned() }
}
