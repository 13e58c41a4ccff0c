//! Applications and their logins.
//!
//! A session token is 32 random bytes in hexadecimal; the token knows it by its SHA-256, so that looking it up tells
//! nothing about those of others.

use std::collections::BTreeMap;
use std::time::Instant;

use aws_lc_rs::digest;
use casemate_hsm::limits;
use casemate_hsm::message::UserType;
use zeroize::Zeroizing;

use crate::crypto;

use super::fault::{Fault, Rv, refuse};

type Digest = [u8; 32];

/// An application.
pub(super) struct Session {
    /// Its number: never used again.
    pub(super) id: u64,
    /// Who has logged in.
    pub(super) user: Option<(String, UserType)>,
    last: Instant,
}

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    all: BTreeMap<Digest, Session>,
    made: u64,
}

fn digest_of(token: &str) -> Digest {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

impl Sessions {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Begins one; its token, and the number of the one that had to give way.
    pub(super) fn open(&mut self, now: Instant) -> Result<(Zeroizing<String>, Option<u64>), Fault> {
        let strangers = self.all.values().filter(|session| session.user.is_none()).count();
        let mut ended = None;
        if strangers >= limits::STRANGERS_MAX || self.all.len() >= limits::SESSIONS_MAX {
            let idlest = self.all.iter().filter(|(_, session)| session.user.is_none());
            let Some(idlest) = idlest.min_by_key(|(_, session)| session.last).map(|(digest, _)| *digest)
            else {
                return refuse(Rv::CKR_SESSION_COUNT, "There are as many sessions as there may be.");
            };
            ended = self.all.remove(&idlest).map(|session| session.id);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        crypto::random(bytes.as_mut())?;
        let token = Zeroizing::new(base16ct::lower::encode_string(bytes.as_ref()));
        self.made = self.made.saturating_add(1);
        self.all.insert(digest_of(&token), Session { id: self.made, user: None, last: now });
        Ok((token, ended))
    }

    /// The session of a token, which is in use now.
    pub(super) fn find(&mut self, token: Option<&str>, now: Instant) -> Result<&mut Session, Fault> {
        let session = token.and_then(|token| self.all.get_mut(&digest_of(token)));
        match session {
            Some(session) => {
                session.last = now;
                Ok(session)
            }
            None => refuse(
                Rv::CKR_SESSION_HANDLE_INVALID,
                "There is no such session, or it was idle for too long: open another.",
            ),
        }
    }

    fn by_id(&mut self, id: u64) -> Option<&mut Session> {
        self.all.values_mut().find(|session| session.id == id)
    }

    /// Somebody has proved who they are.
    pub(super) fn log_in(&mut self, id: u64, user: String, user_type: UserType) {
        if let Some(session) = self.by_id(id) {
            session.user = Some((user, user_type));
        }
    }

    /// Nobody is logged in to it any more.
    pub(super) fn log_out_of(&mut self, id: u64) {
        if let Some(session) = self.by_id(id) {
            session.user = None;
        }
    }

    /// Who has logged in to it.
    pub(super) fn user_of(&self, id: u64) -> Option<&(String, UserType)> {
        self.all.values().find(|session| session.id == id).and_then(|session| session.user.as_ref())
    }

    /// Ends one.
    pub(super) fn close(&mut self, id: u64) {
        self.all.retain(|_, session| session.id != id);
    }

    /// Ends those that were idle for too long; their numbers.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u64> {
        let idle = |session: &Session| now.saturating_duration_since(session.last) > limits::IDLE;
        self.all.extract_if(.., |_, session| idle(session)).map(|(_, session)| session.id).collect()
    }

    /// Logs a user out wherever they are logged in; the numbers of those sessions.
    pub(super) fn log_out(&mut self, user: &str) -> Vec<u64> {
        let of_user = |session: &&mut Session| session.user.as_ref().is_some_and(|(name, _)| name == user);
        self.all
            .values_mut()
            .filter(of_user)
            .map(|session| {
                session.user = None;
                session.id
            })
            .collect()
    }

    /// Ends all of them.
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }
}
