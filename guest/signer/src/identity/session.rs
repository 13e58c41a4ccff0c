//! Sessions, and the tokens that are all there is of them.
//!
//! A token is the session itself, sealed by the guest: AES-256-GCM under a key derived from the signer's session key and
//! a random salt. So sessions take no memory, survive restarts, cannot be read or changed by who holds them, and end when
//! their time is over. Their size is bounded: see [`Session::packed`].
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 32 | salt |
//! | the rest | the session, JSON, sealed; the version is authenticated with it |

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError, SALT_LEN, SymmetricKey};

/// What session policies and tags may take, in bytes: `PackedPolicySize` is in percent of it.
const PACKED_MAX: usize = 4096;
const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"casemate session token";

/// A session.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) access_key_id: String,
    pub(crate) secret: Zeroizing<String>,
    /// Seconds since 1970.
    pub(crate) issued: u64,
    pub(crate) expires: u64,
    pub(crate) of: Of,
    /// Session policies: one of its own, and the ARNs of managed ones.
    #[serde(default)]
    pub(crate) policy: Option<String>,
    #[serde(default)]
    pub(crate) policy_arns: Vec<String>,
    /// Session tags, inherited ones included.
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    /// The names of tags that go on to sessions that this one begins.
    #[serde(default)]
    pub(crate) transitive: Vec<String>,
    #[serde(default)]
    pub(crate) source_identity: Option<String>,
}

/// Whose session it is. Entities are named with their unique ids: another one of the same name is not meant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Of {
    /// AssumeRole.
    Role { id: String, name: String, session: String },
    /// GetSessionToken.
    User { id: String, name: String },
    /// GetFederationToken.
    Federated { id: String, user: String, name: String },
}

/// A secret is not printed.
impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("of", &self.of)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// How much of the room for policies and tags is taken, in percent.
    pub(crate) fn packed(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| key.len().saturating_add(value.len()));
        let taken: usize = tags
            .chain(self.policy.iter().map(String::len))
            .chain(self.policy_arns.iter().map(String::len))
            .sum();
        taken.saturating_mul(100).div_ceil(PACKED_MAX)
    }
}

/// The key that seals session tokens.
pub(crate) struct SessionKey(SymmetricKey);

impl SessionKey {
    /// Makes one.
    pub(crate) fn generate() -> Result<Self, CryptoError> {
        Ok(Self(SymmetricKey::generate()?))
    }

    /// The key's record.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.as_bytes().to_vec())
    }

    /// The key of a record.
    pub(super) fn restore(record: &[u8]) -> Option<Self> {
        SymmetricKey::from_bytes(record).ok().map(Self)
    }

    /// The token of a session.
    pub(crate) fn seal(&self, session: &Session) -> Result<String, CryptoError> {
        let failed = |_| CryptoError::Library("encoding a session");
        let mut salt = [0; SALT_LEN];
        crypto::random(&mut salt)?;
        // Room for the largest session there can be, so that growing leaves no copies of the secret behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(4 * PACKED_MAX));
        serde_json::to_writer(&mut *sealed, session).map_err(failed)?;
        self.0.seal(&salt, &context(VERSION), &mut sealed)?;
        Ok(STANDARD.encode([&[VERSION], salt.as_slice(), sealed.as_slice()].concat()))
    }

    /// The session of a token, if this signer sealed it.
    pub(crate) fn open(&self, token: &str) -> Option<Session> {
        let token = STANDARD.decode(token).ok()?;
        let (version, rest) = token.split_first()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_LEN>()?;
        if *version != VERSION {
            return None;
        }
        let session = self.0.open(salt, &context(*version), sealed).ok()?;
        serde_json::from_slice(&session).ok()
    }
}

fn context(version: u8) -> Vec<u8> {
    [CONTEXT, &[version]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret: Zeroizing::new("secret".to_owned()),
            issued: 1,
            expires: 2,
            of: Of::User { id: "AIDAEXAMPLE".to_owned(), name: "ann".to_owned() },
            policy: Some("p".repeat(2048)),
            policy_arns: vec!["a".repeat(1000)],
            tags: BTreeMap::from([("k".to_owned(), "v".repeat(47))]),
            transitive: Vec::new(),
            source_identity: None,
        }
    }

    #[test]
    fn a_token_gives_back_its_session_to_the_signer_that_sealed_it_alone() {
        let (key, other) = (SessionKey::generate().expect("a key"), SessionKey::generate().expect("a key"));
        let token = key.seal(&session()).expect("a token");
        assert!(!token.contains("secret") && key.seal(&session()).expect("a token") != token);
        let restored = SessionKey::restore(&key.encode()).expect("the key");
        assert_eq!(restored.open(&token).expect("the session").secret.as_str(), "secret");
        assert!(other.open(&token).is_none());
        assert!(format!("{:?}", session()).find("secret").is_none());
    }

    #[test]
    fn no_changed_token_is_opened() {
        let key = SessionKey::generate().expect("a key");
        let token = STANDARD.decode(key.seal(&session()).expect("a token")).expect("base64");
        for at in 0..token.len() {
            let mut changed = token.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            assert!(key.open(&STANDARD.encode(changed)).is_none(), "byte {at}");
            assert!(key.open(&STANDARD.encode(token.get(..at).unwrap_or_default())).is_none());
        }
        assert!(key.open("").is_none() && key.open("%").is_none());
    }

    #[test]
    fn packed_size_is_in_percent_of_four_kib() {
        assert_eq!(session().packed(), 76);
        assert_eq!(
            Session { policy: None, policy_arns: Vec::new(), tags: BTreeMap::new(), ..session() }.packed(),
            0
        );
    }
}
