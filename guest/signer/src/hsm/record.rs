//! What survives a restart.
//!
//! | record | what |
//! | --- | --- |
//! | `hsm/token` | label, serial number, handles that are set aside, quorums |
//! | `hsm/user/<name>` | a user |
//! | `hsm/object/<handle>` | a token object, secret and all |

use std::collections::BTreeSet;

use casemate_hsm::{Attribute, Bytes};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::object::{Handle, Object};
use super::quorum::Quorums;
use super::{Token, users};

/// What the names of the records begin with.
pub(crate) const FAMILY: &str = "hsm";
/// The token's own record.
pub(super) const TOKEN: &str = "hsm/token";
const USER: &str = "hsm/user/";
const OBJECT: &str = "hsm/object/";

/// What is settled about an initialised token.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) label: String,
    /// 16 hexadecimal digits.
    pub(super) serial: String,
    /// No handle from here on has been used.
    pub(super) reserved: Handle,
    #[serde(default)]
    pub(super) quorums: Quorums,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    owner: String,
    shared: BTreeSet<String>,
    attributes: Vec<Attribute>,
    secret: Bytes,
}

/// The record of a user.
pub(super) fn user_name(user: &str) -> String {
    format!("{USER}{user}")
}

/// The record of an object.
pub(super) fn object_name(handle: Handle) -> String {
    format!("{OBJECT}{handle:016x}")
}

fn handle(name: &str) -> Option<Handle> {
    let digits = name.strip_prefix(OBJECT)?;
    Handle::from_str_radix(digits, 16).ok().filter(|handle| object_name(*handle) == name)
}

/// JSON in a buffer that is reserved at once: one that grows leaves copies behind.
fn json(value: &impl Serialize, reserve: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut json = Zeroizing::new(Vec::with_capacity(reserve));
    serde_json::to_writer(&mut *json, value).ok()?;
    Some(json)
}

impl Token {
    /// The names of all records.
    pub(crate) fn record_names(&self) -> Vec<String> {
        let objects = self.objects.iter().filter(|(_, object)| object.session.is_none());
        let objects = objects.map(|(handle, _)| object_name(*handle));
        let users = self.users.keys().map(|user| user_name(user));
        self.settings.iter().map(|_| TOKEN.to_owned()).chain(users).chain(objects).collect()
    }

    /// A record; `None` if what it held is gone.
    pub(crate) fn encode(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        if name == TOKEN {
            return json(self.settings.as_ref()?, 4096);
        }
        if let Some(user) = name.strip_prefix(USER) {
            return json(self.users.get(user)?, 8192);
        }
        let object = self.objects.get(&handle(name)?).filter(|object| object.session.is_none())?;
        let stored = Stored {
            owner: object.owner.clone(),
            shared: object.shared.clone(),
            attributes: object
                .attributes()
                .map(|(kind, value)| Attribute { kind, value: Some(value.clone()) })
                .collect(),
            secret: Bytes::copy(object.secret()),
        };
        let shared = object.shared.len().saturating_mul(128);
        json(&stored, object.size().saturating_mul(2).saturating_add(shared).saturating_add(8192))
    }

    /// Takes a record from a volume; the error says what is wrong with it.
    pub(crate) fn restore(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        if name == TOKEN {
            let settings: Settings = serde_json::from_slice(content).map_err(|error| error.to_string())?;
            self.next = settings.reserved;
            self.settings = Some(settings);
        } else if let Some(user) = name.strip_prefix(USER) {
            users::check_name(user).map_err(|_| "its name is not a user's".to_owned())?;
            let kept = serde_json::from_slice(content).map_err(|error| error.to_string())?;
            self.users.insert(user.to_owned(), kept);
        } else {
            let handle = handle(name).ok_or("its name is not an object's")?;
            let stored: Stored = serde_json::from_slice(content).map_err(|error| error.to_string())?;
            let mut object = Object::new(stored.owner, None).with_secret(stored.secret.0);
            object.shared = stored.shared;
            for Attribute { kind, value } in stored.attributes {
                object.set(kind, &value.unwrap_or_default());
            }
            self.bytes = self.bytes.saturating_add(object.size());
            self.objects.insert(handle, object);
        }
        Ok(())
    }
}
