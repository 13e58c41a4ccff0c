//! Keys, aliases and grants as the records that survive a restart: JSON, secrets and all.
//!
//! | record | what |
//! | --- | --- |
//! | `key/<id>` | a key |
//! | `alias/<name>` | an alias |
//! | `grant/<key>/<id>` | a grant |

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, KeySpec, KeyUsage, Material};
use crate::types::SecretBlob;

use super::material::{Generation, Generations, Note};
use super::meta::{KeyMeta, Settled};
use super::{Grant, GrantId, KeyId, KeyRecord, Store};

const KEY: &str = "key/";
const ALIAS: &str = "alias/";
const GRANT: &str = "grant/";

/// Why a record is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Corrupt {
    /// Not JSON, or not of this form.
    #[error("it is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Its name does not fit it.
    #[error("its name does not fit it")]
    Name,
    /// The secret is not one of its kind.
    #[error(transparent)]
    Material(#[from] CryptoError),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    arn: String,
    settled: Settled,
    meta: KeyMeta,
    #[serde(default)]
    older: Vec<StoredGeneration>,
    #[serde(default)]
    current: Option<StoredGeneration>,
    #[serde(default)]
    next: Option<StoredGeneration>,
}

#[derive(Serialize, Deserialize)]
struct StoredGeneration {
    note: Note,
    #[serde(default)]
    secret: Option<SecretBlob>,
}

impl StoredGeneration {
    fn of(generation: &Generation) -> Result<Self, CryptoError> {
        let secret = generation.material.as_ref().map(Material::to_bytes).transpose()?.map(SecretBlob);
        Ok(Self { note: generation.note.clone(), secret })
    }

    fn restore(self, spec: KeySpec, usage: KeyUsage) -> Result<Generation, CryptoError> {
        let secret = self.secret.map(|secret| Material::from_bytes(spec, usage, &secret.0)).transpose()?;
        Ok(Generation { note: self.note, material: secret })
    }
}

impl Store {
    /// The names of the records of everything that is here.
    pub(crate) fn record_names(&self) -> Vec<String> {
        let keys = self.keys.values().map(|key| key.record_name());
        let aliases = self.aliases.after(None).map(|(name, _)| name.to_owned());
        keys.chain(aliases).chain(self.grants.after(None).map(|grant| grant.record_name())).collect()
    }

    /// The record of that name; `None` if what it held is gone.
    pub(crate) fn encode(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, CryptoError> {
        if name.starts_with(ALIAS) {
            return self.aliases.find(name).map(|alias| json(&alias, 256)).transpose();
        }
        if let Some(rest) = name.strip_prefix(GRANT) {
            let grant = grant_name(rest).and_then(|(key, id)| self.grants.find(key, id));
            return grant.map(|grant| json(&*grant, 4096)).transpose();
        }
        let key = name.strip_prefix(KEY).and_then(KeyId::parse).and_then(|id| self.find(&id));
        key.map(|key| encode(&key)).transpose()
    }

    /// Takes a key, an alias or a grant from its record.
    pub(crate) fn restore(&mut self, name: &str, content: &[u8]) -> Result<(), Corrupt> {
        if name.starts_with(ALIAS) {
            self.aliases.set(name, serde_json::from_slice(content)?);
            return Ok(());
        }
        if let Some(rest) = name.strip_prefix(GRANT) {
            let grant: Grant = serde_json::from_slice(content)?;
            if grant_name(rest) != Some((grant.key, grant.id)) {
                return Err(Corrupt::Name);
            }
            self.grants.insert(grant);
            return Ok(());
        }
        let id = name.strip_prefix(KEY).and_then(KeyId::parse).ok_or(Corrupt::Name)?;
        let record = restore(id, serde_json::from_slice(content)?)?;
        self.insert(id, record);
        self.dates_changed();
        Ok(())
    }
}

fn grant_name(text: &str) -> Option<(KeyId, GrantId)> {
    let (key, id) = text.split_once('/')?;
    Some((KeyId::parse(key)?, GrantId::parse(id)?))
}

/// JSON in a buffer that is reserved at once: one that grows leaves copies behind.
fn json(value: &impl Serialize, reserve: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let mut json = Zeroizing::new(Vec::with_capacity(reserve));
    serde_json::to_writer(&mut *json, value).map_err(|_| CryptoError::Library("encoding a record"))?;
    Ok(json)
}

fn encode(key: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let generations = key.generations();
    let generations = generations.as_ref();
    let mut stored = Stored {
        arn: key.arn().to_owned(),
        settled: **key,
        meta: key.meta().clone(),
        older: Vec::new(),
        current: generations.map(|generations| StoredGeneration::of(generations.current())).transpose()?,
        next: generations.and_then(Generations::next).map(StoredGeneration::of).transpose()?,
    };
    for generation in generations.iter().flat_map(|generations| generations.older()) {
        stored.older.push(StoredGeneration::of(generation)?);
    }
    // What can be long beside the secrets: description and policy.
    let texts = stored.meta.description.len().saturating_add(stored.meta.policy.len());
    json(&stored, texts.saturating_mul(2).saturating_add(32 << 10))
}

fn restore(id: KeyId, stored: Stored) -> Result<KeyRecord, CryptoError> {
    let Settled { spec, usage, .. } = stored.settled;
    let restore = |generation: StoredGeneration| generation.restore(spec, usage);
    let older = stored.older.into_iter().map(restore).collect::<Result<_, _>>()?;
    let next = stored.next.map(restore).transpose()?;
    let current = stored.current.map(restore).transpose()?;
    let generations = current.map(|current| Generations::from_parts(older, current, next));
    Ok(KeyRecord::new(id, stored.arn, stored.settled, stored.meta, generations))
}
