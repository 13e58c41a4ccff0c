//! What a key computes with: its secret, or for symmetric keys one secret after another.
//!
//! | | secrets that a key can have |
//! | --- | --- |
//! | symmetric, made here | those in use before, the one in use |
//! | symmetric, imported | the same, and one that waits for its turn; each may be missing until it is imported again |
//! | every other key | one, for life; imported, it may be missing too |
//! | imported, before the first import | none |
//!
//! [`Material`] is one secret. [`Generations`] is all that a key has. Only a [`SymmetricKey`] can follow another: see [`Generations::rotate`].

use std::fmt;
use std::rc::Rc;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use crate::crypto::{self, CryptoError, Material, SymmetricKey};
use crate::types::Timestamp;

use super::KeyId;

/// Names a secret, as `KeyMaterialId`: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MaterialId([u8; Self::LEN]);

impl MaterialId {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// A new, random one: for secrets that are made here.
    pub fn random() -> Result<Self, CryptoError> {
        let mut bytes = [0; Self::LEN];
        crypto::random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The one of an imported secret: the same whenever the same bytes are imported into the same key, and telling
    /// nothing about them (HMAC-SHA-256 of the key's id, under the secret).
    pub fn of_imported(key: &KeyId, secret: &[u8]) -> Self {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
        mac.update(b"casemate key material id v1");
        mac.update(key.as_bytes());
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.iter_mut().zip(mac.sign().as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The one with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The id in this text.
    pub fn parse(text: &str) -> Option<Self> {
        super::id::bytes(text).map(Self)
    }
}

impl fmt::Display for MaterialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<MaterialId> for String {
    fn from(id: MaterialId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for MaterialId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not an id of key material")
    }
}

named! {
    /// Why a secret took the place of the one before it.
    pub enum RotationType {
        /// Its day had come.
        Automatic = "AUTOMATIC",
        /// Somebody asked for it.
        OnDemand = "ON_DEMAND",
    }
}

/// A rotation: when, and why.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rotated {
    /// When the secret came into use.
    pub date: Timestamp,
    /// Why.
    pub kind: RotationType,
}

/// What is known about a secret; it outlives the secret itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// Names the secret.
    pub id: MaterialId,
    /// How it came into use; `None` for the first.
    #[serde(default)]
    pub rotated: Option<Rotated>,
    /// The importer's words.
    #[serde(default)]
    pub description: Option<String>,
    /// When an imported secret is to be erased.
    #[serde(default)]
    pub valid_to: Option<Timestamp>,
}

impl Note {
    /// A note that says no more than the id.
    pub const fn new(id: MaterialId) -> Self {
        Self { id, rotated: None, description: None, valid_to: None }
    }
}

/// A secret and what is known about it. The secret is missing while an imported one is deleted or expired.
pub struct Generation {
    /// What is known about it.
    pub note: Note,
    /// The secret.
    pub material: Option<Material>,
}

/// Every secret of a key that has, or had, one.
pub struct Generations {
    /// Those that only decrypt what they encrypted, the oldest first. Empty but for symmetric keys.
    older: Vec<Generation>,
    current: Generation,
    /// Imported, and waiting for RotateKeyOnDemand. Only symmetric keys have one.
    next: Option<Generation>,
}

impl Generations {
    /// The first secret of a key.
    pub fn first(note: Note, material: Material) -> Self {
        Self::restored(Generation { note, material: Some(material) })
    }

    /// The only secret of a key, which may be missing.
    pub fn restored(current: Generation) -> Self {
        Self { older: Vec::new(), current, next: None }
    }

    /// All secrets of a key, from its record.
    pub(super) fn from_parts(older: Vec<Generation>, current: Generation, next: Option<Generation>) -> Self {
        Self { older, current, next }
    }

    /// Those that were in use before, the oldest first.
    pub(super) fn older(&self) -> &[Generation] {
        &self.older
    }

    /// The one in use.
    pub fn current(&self) -> &Generation {
        &self.current
    }

    /// The one that waits for its turn.
    pub fn next(&self) -> Option<&Generation> {
        self.next.as_ref()
    }

    /// Those that are or were in use, the oldest first.
    pub fn used(&self) -> impl Iterator<Item = &Generation> {
        self.older.iter().chain(std::iter::once(&self.current))
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Generation> {
        self.used().chain(&self.next)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        self.older.iter_mut().chain(std::iter::once(&mut self.current)).chain(&mut self.next)
    }

    /// The one of that id.
    pub fn find(&self, id: &MaterialId) -> Option<&Generation> {
        self.all().find(|generation| generation.note.id == *id)
    }

    /// The one of that id, to be changed.
    pub fn find_mut(&mut self, id: &MaterialId) -> Option<&mut Generation> {
        self.all_mut().find(|generation| generation.note.id == *id)
    }

    /// Whether every secret that is or was in use is there: without, some ciphertexts could not be decrypted.
    pub fn complete(&self) -> bool {
        self.used().all(|generation| generation.material.is_some())
    }

    /// Puts a new symmetric secret in use.
    pub fn rotate(&mut self, note: Note, secret: Rc<SymmetricKey>) {
        let new = Generation { note, material: Some(Material::Symmetric(secret)) };
        self.older.push(std::mem::replace(&mut self.current, new));
    }

    /// Has an imported symmetric secret wait for its turn, in place of one that waited before.
    pub fn await_rotation(&mut self, note: Note, secret: Rc<SymmetricKey>) {
        self.next = Some(Generation { note, material: Some(Material::Symmetric(secret)) });
    }

    /// Puts the secret that waited in use, if it is there; whether it was.
    pub fn promote(&mut self, rotated: Rotated) -> bool {
        if self.next.as_ref().is_none_or(|next| next.material.is_none()) {
            return false;
        }
        if let Some(mut next) = self.next.take() {
            next.note.rotated = Some(rotated);
            self.older.push(std::mem::replace(&mut self.current, next));
        }
        true
    }

    /// Forgets the secret that waits for its turn.
    pub fn forget_next(&mut self) {
        self.next = None;
    }
}
