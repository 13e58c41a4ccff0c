//! A key as the record that survives a restart, `key/<id>`: JSON, secrets and all.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, KeySpec, KeyUsage, Material};
use crate::types::SecretBlob;

use super::material::{Generation, Generations, Note};
use super::meta::{KeyMeta, Settled};
use super::{KeyId, KeyRecord, Store};

/// What the names of these records begin with.
pub(super) const PREFIX: &str = "key/";

/// Why a record is not a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Corrupt {
    /// Not JSON, or not of this form.
    #[error("it is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Its name is not a key's.
    #[error("its name is not that of a key")]
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
    /// The names of the records of all keys.
    pub(crate) fn record_names(&self) -> Vec<String> {
        self.keys.values().map(|key| key.record_name()).collect()
    }

    /// The record of that name; `None` if the key is gone.
    pub(crate) fn encode(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, CryptoError> {
        let key = name.strip_prefix(PREFIX).and_then(KeyId::parse).and_then(|id| self.find(&id));
        key.map(|key| encode(&key)).transpose()
    }

    /// Takes a key from its record.
    pub(crate) fn restore(&mut self, name: &str, content: &[u8]) -> Result<(), Corrupt> {
        let id = name.strip_prefix(PREFIX).and_then(KeyId::parse).ok_or(Corrupt::Name)?;
        let record = restore(id, serde_json::from_slice(content)?)?;
        if let Some(date) = record.deletion_date() {
            self.earliest = Some(self.earliest.map_or(date, |earliest| earliest.min(date)));
        }
        self.insert(id, record);
        Ok(())
    }
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
    // Reserved at once, for all but the longest: a buffer that grows leaves copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(16 << 10));
    serde_json::to_writer(&mut *json, &stored).map_err(|_| CryptoError::Library("encoding a key"))?;
    Ok(json)
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
