//! An authority: its key, what it is for good, and what changes.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

use casemate_policy::{Kind as PolicyKind, PolicyDocument};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::access::bind::{self, Bindings};
use crate::crypto::{CryptoError, IssuingKey};
use crate::errors::KmsError;
use crate::identity::time::seconds;
use crate::store::KeyId;
use crate::types::{Blob, SecretBlob, Tags, Timestamp};

use super::names::{KeyAlgorithm, Kind, SigningAlgorithm, Status, UsageMode};
use super::permission::Permission;
use super::publish::Published;
use super::report::Report;
use super::types::{Configuration, RevocationConfiguration};
use super::x509::{Certificate, X509Error};

/// The family of the records of authorities.
pub(crate) const FAMILY: &str = "authority";

/// What is settled when an authority is made.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub(crate) arn: String,
    pub(crate) kind: Kind,
    pub(crate) created: Timestamp,
    pub(crate) key_algorithm: KeyAlgorithm,
    pub(crate) signing_algorithm: SigningAlgorithm,
    /// As it was given.
    pub(crate) configuration: Configuration,
    pub(crate) mode: UsageMode,
    /// As it was given: see [`super::names::KeyStorage`].
    pub(crate) key_storage: String,
    #[serde(default)]
    pub(crate) token: Option<String>,
}

/// What changes.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    pub(crate) changed: Option<Timestamp>,
    pub(crate) revocation: RevocationConfiguration,
    pub(crate) tags: Tags,
    /// The certificate, DER, and those above it up to the root; empty until it is imported.
    chain: Vec<Blob>,
    pub(crate) disabled: bool,
    /// Until when it can be restored, once it is deleted.
    pub(crate) deleted: Option<Timestamp>,
    /// The number of its latest revocation list.
    pub(super) crl_number: u64,
    pub(super) permissions: Vec<Permission>,
    pub(super) reports: Vec<Report>,
    /// Its resource policy, as it was given; empty if there is none.
    pub(crate) policy: String,
    pub(crate) principals: Bindings,
}

impl Meta {
    /// That of an authority that was just made.
    pub(super) fn new(now: Timestamp, revocation: RevocationConfiguration, tags: Tags) -> Self {
        Self { changed: Some(now), revocation, tags, ..Self::default() }
    }
}

/// An authority.
pub(crate) struct Authority {
    pub(crate) id: KeyId,
    pub(crate) settled: Settled,
    pub(crate) key: IssuingKey,
    meta: RefCell<Meta>,
    /// The certificate, and those above it.
    chain: RefCell<Vec<Rc<Certificate>>>,
    /// Its latest revocation list and answers, which can be given again for a while.
    pub(super) published: RefCell<Published>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    settled: Settled,
    meta: Meta,
    secret: SecretBlob,
}

impl Authority {
    pub(super) fn new(id: KeyId, settled: Settled, key: IssuingKey, meta: Meta) -> Self {
        Self {
            id,
            settled,
            key,
            meta: RefCell::new(meta),
            chain: RefCell::default(),
            published: RefCell::default(),
        }
    }

    pub(crate) fn arn(&self) -> &str {
        &self.settled.arn
    }

    pub(crate) fn record_name(&self) -> String {
        format!("{FAMILY}/{}", self.id)
    }

    pub(crate) fn meta(&self) -> Ref<'_, Meta> {
        self.meta.borrow()
    }

    pub(crate) fn meta_mut(&self) -> RefMut<'_, Meta> {
        self.meta.borrow_mut()
    }

    /// Its certificate, once it has one.
    pub(crate) fn certificate(&self) -> Option<Rc<Certificate>> {
        self.chain.borrow().first().cloned()
    }

    /// Those above its certificate, in order, the root's last; empty for a root.
    pub(crate) fn above(&self) -> Vec<Rc<Certificate>> {
        self.chain.borrow().iter().skip(1).cloned().collect()
    }

    /// Gives it its certificate and those above it.
    pub(super) fn install(&self, chain: Vec<Certificate>, now: Timestamp) {
        let mut meta = self.meta.borrow_mut();
        meta.chain = chain.iter().map(|certificate| Blob(certificate.der().to_vec())).collect();
        meta.changed = Some(now);
        self.chain.replace(chain.into_iter().map(Rc::new).collect());
    }

    /// Where it is in its life.
    pub(crate) fn status(&self, now: Timestamp) -> Status {
        let meta = self.meta.borrow();
        match self.certificate() {
            _ if meta.deleted.is_some() => Status::Deleted,
            None => Status::PendingCertificate,
            Some(certificate) if certificate.validity().1 < seconds(now.0) => Status::Expired,
            Some(_) if meta.disabled => Status::Disabled,
            Some(_) => Status::Active,
        }
    }

    /// Its resource policy, ready to be evaluated, if it has one.
    pub(super) fn policy(&self) -> Result<Option<PolicyDocument>, KmsError> {
        let meta = self.meta.borrow();
        if meta.policy.is_empty() {
            return Ok(None);
        }
        // It was accepted when it was put: if it cannot be read now, nobody may use the authority.
        let policy = PolicyDocument::parse(&meta.policy, PolicyKind::Resource)
            .map_err(|_| KmsError::internal("Reading the policy"))?;
        Ok(Some(bind::bound(policy, &meta.principals)))
    }

    /// Its record.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let stored = Stored {
            settled: self.settled.clone(),
            meta: self.meta.borrow().clone(),
            secret: SecretBlob(self.key.to_bytes()?),
        };
        // Reserved at once: a buffer that grows leaves copies of the key behind.
        let long: usize = stored.meta.chain.iter().map(|certificate| certificate.0.len()).sum();
        let long = long.saturating_add(stored.meta.policy.len()).saturating_mul(2);
        let mut json = Zeroizing::new(Vec::with_capacity(long.saturating_add(128 << 10)));
        serde_json::to_writer(&mut *json, &stored).map_err(|_| CryptoError::Library("encoding a record"))?;
        Ok(json)
    }

    /// The authority of a record.
    pub(super) fn restore(id: KeyId, record: &[u8]) -> Result<Self, String> {
        let Stored { settled, meta, secret } =
            serde_json::from_slice(record).map_err(|error| error.to_string())?;
        let key = IssuingKey::from_bytes(settled.key_algorithm.spec(), &secret.0)
            .map_err(|error| error.to_string())?;
        let parsed: Result<Vec<_>, X509Error> =
            meta.chain.iter().map(|der| Certificate::parse(der.0.clone()).map(Rc::new)).collect();
        let chain = parsed.map_err(|error| error.to_string())?;
        Ok(Self {
            id,
            settled,
            key,
            meta: RefCell::new(meta),
            chain: RefCell::new(chain),
            published: RefCell::default(),
        })
    }
}
