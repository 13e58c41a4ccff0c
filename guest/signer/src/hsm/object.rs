//! Objects: attributes, and for keys a secret that is none of them.
//!
//! | object | attributes that are kept | the secret |
//! | --- | --- | --- |
//! | data, certificate | all | none |
//! | public key | all; `CKA_PUBLIC_KEY_INFO` is what it computes with | none |
//! | private key | all that are public | PKCS #8 |
//! | secret key | all but `CKA_VALUE` | the value |
//!
//! The attributes that tell a secret (`CKA_VALUE`, `CKA_PRIVATE_EXPONENT` …) are made from it when somebody asks who may know:
//! so nothing that reads attributes can give one away by mistake.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use casemate_hsm::attribute::{self, CKA_CASEMATE_OWNER};
use casemate_hsm::ck::*;
use casemate_hsm::{Attributes, Bytes};
use zeroize::Zeroizing;

use crate::crypto::pkey::PKey;

use super::attributes;
use super::fault::{Fault, Rv, refuse};
use super::material;

/// The handle of an object.
pub(super) type Handle = u64;

/// An object.
pub(super) struct Object {
    /// Who made it.
    pub(super) owner: String,
    /// Who else may use it.
    pub(super) shared: BTreeSet<String>,
    /// The session that it lives in; a token object has none.
    pub(super) session: Option<u64>,
    attributes: BTreeMap<u64, Bytes>,
    secret: Zeroizing<Vec<u8>>,
    key: OnceCell<Rc<PKey>>,
}

impl Object {
    /// An object with nothing but its attributes.
    pub(super) fn new(owner: String, session: Option<u64>) -> Self {
        Self {
            owner,
            shared: BTreeSet::new(),
            session,
            attributes: BTreeMap::new(),
            secret: Zeroizing::default(),
            key: OnceCell::new(),
        }
    }

    /// The same with a secret.
    pub(super) fn with_secret(self, secret: Zeroizing<Vec<u8>>) -> Self {
        Self { secret, key: OnceCell::new(), ..self }
    }

    /// Another that is the same.
    pub(super) fn copy(&self, owner: String, session: Option<u64>) -> Self {
        Self {
            owner,
            shared: BTreeSet::new(),
            session,
            attributes: self.attributes.clone(),
            secret: self.secret.clone(),
            key: self.key.clone(),
        }
    }

    /// The attributes that are kept.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.attributes.iter().map(|(kind, value)| (*kind, value))
    }

    /// What it computes with: PKCS #8 of a private key, the value of a secret one.
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        let attributes = self.attributes.values().map(|value| value.len().saturating_add(32));
        attributes.fold(self.secret.len().saturating_add(256), usize::saturating_add)
    }

    /// An attribute that is kept.
    pub(super) fn get(&self, kind: u64) -> Option<&[u8]> {
        self.attributes.get(&kind).map(|value| value.as_slice())
    }

    /// A number that is kept.
    pub(super) fn number(&self, kind: u64) -> Option<u64> {
        self.get(kind).and_then(attribute::number)
    }

    /// A truth value that is kept; what is not there is false.
    pub(super) fn flag(&self, kind: u64) -> bool {
        self.get(kind).and_then(attribute::flag).unwrap_or(false)
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, kind: u64, value: &[u8]) {
        self.attributes.insert(kind, Bytes::copy(value));
    }

    /// Sets a number.
    pub(super) fn set_number(&mut self, kind: u64, value: u64) {
        self.set(kind, &value.to_le_bytes());
    }

    /// Sets a truth value.
    pub(super) fn set_flag(&mut self, kind: u64, value: bool) {
        self.set(kind, &[u8::from(value)]);
    }

    /// `CKO_`…
    pub(super) fn class(&self) -> u64 {
        self.number(CKA_CLASS).unwrap_or(CKO_DATA)
    }

    /// `CKK_`…; only keys have one.
    pub(super) fn key_type(&self) -> Option<u64> {
        self.number(CKA_KEY_TYPE)
    }

    /// Whether it has a secret that must not be told.
    fn keeps_its_secret(&self) -> bool {
        matches!(self.class(), CKO_PRIVATE_KEY | CKO_SECRET_KEY)
            && (self.flag(CKA_SENSITIVE) || !self.flag(CKA_EXTRACTABLE))
    }

    /// The key, ready to compute with: private or public.
    pub(super) fn key(&self) -> Result<Rc<PKey>, Fault> {
        if let Some(key) = self.key.get() {
            return Ok(Rc::clone(key));
        }
        let key = match self.class() {
            CKO_PRIVATE_KEY => PKey::private(&self.secret),
            CKO_PUBLIC_KEY => self.get(CKA_PUBLIC_KEY_INFO).and_then(PKey::public),
            _ => None,
        };
        let Some(key) = key else {
            return refuse(Rv::CKR_KEY_TYPE_INCONSISTENT, "The key is not of the mechanism's kind.");
        };
        Ok(Rc::clone(self.key.get_or_init(|| Rc::new(key))))
    }

    /// What an attribute says to whoever sees the object: the value, or why there is none.
    pub(super) fn tell(&self, handle: Handle, kind: u64) -> Result<Bytes, u64> {
        let class = self.class();
        if !attributes::has(class, kind) {
            return Err(CKR_ATTRIBUTE_TYPE_INVALID);
        }
        match kind {
            CKA_UNIQUE_ID => return Ok(Bytes::copy(format!("{handle:016x}").as_bytes())),
            CKA_CASEMATE_OWNER => return Ok(Bytes::copy(self.owner.as_bytes())),
            _ => {}
        }
        if let Some(value) = self.attributes.get(&kind) {
            return Ok(value.clone());
        }
        if !material::is_secret(class, kind) {
            return Err(CKR_ATTRIBUTE_TYPE_INVALID);
        }
        if self.keeps_its_secret() {
            return Err(CKR_ATTRIBUTE_SENSITIVE);
        }
        material::reveal(class, self.key_type(), &self.secret, kind).ok_or(CKR_ATTRIBUTE_TYPE_INVALID)
    }

    /// What GetAttributes tells.
    pub(super) fn tell_all(&self, handle: Handle, kinds: &[u64]) -> Attributes {
        let mut told = Attributes { rv: CKR_OK, template: Vec::new() };
        for kind in kinds {
            let value = match self.tell(handle, *kind) {
                Ok(value) => Some(value),
                Err(rv) => {
                    // What is secret says more than what does not exist.
                    if told.rv != CKR_ATTRIBUTE_SENSITIVE {
                        told.rv = rv;
                    }
                    None
                }
            };
            told.template.push(casemate_hsm::Attribute { kind: *kind, value });
        }
        told
    }

    /// Whether it has all of these. What would tell a secret matches nothing.
    pub(super) fn matches(&self, handle: Handle, wanted: &attributes::Given) -> bool {
        wanted.iter().all(|(kind, value)| self.tell(handle, kind).is_ok_and(|told| told.as_slice() == value))
    }
}
