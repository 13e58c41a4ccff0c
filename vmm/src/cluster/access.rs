//! Who may use the control endpoint: one access key, made at its first start and kept in the store.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Error, Lock, Store, random, read_json, write_json};

/// Name of its file in the store.
const FILE: &str = "control.json";

/// The account that the endpoint speaks of, and the access key that it obeys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Access {
    /// 12 digits: the account in ARNs.
    pub account: String,
    /// `AKIA…`
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Access {
    /// What the store has; made if it has none.
    pub fn load_or_make(store: &Store, _: &Lock) -> Result<Self, Error> {
        let path = store.dir().join(FILE);
        if let Some(access) = read_json(&path)? {
            return Ok(access);
        }
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let letters = random::<16>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
        let digits = random::<12>()?.map(|byte| char::from(b'0' + byte % 10));
        let access = Self {
            account: digits.iter().collect(),
            access_key_id: format!("AKIA{}", letters.iter().collect::<String>()),
            // 40 characters, as AWS's have.
            secret_access_key: Zeroizing::new(hex::encode(random::<20>()?)),
        };
        write_json(&path, &access)?;
        Ok(access)
    }

    /// What the store has.
    pub fn load(store: &Store) -> Result<Self, Error> {
        let missing = || Error::NotFound { what: "access key", id: FILE.to_owned() };
        read_json(&store.dir().join(FILE))?.ok_or_else(missing)
    }
}
