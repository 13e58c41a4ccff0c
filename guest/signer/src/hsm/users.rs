//! Users: crypto officers, who manage users, and crypto users, who have keys.
//!
//! A password is kept as PBKDF2-HMAC-SHA-512 with a salt, in a record that is encrypted as all are. After
//! [`FAILURES_MAX`](limits::FAILURES_MAX) wrong passwords in a row a user is locked out for [`LOCKED`](limits::LOCKED), or
//! until a crypto officer sets a new password. A user that does not exist fails as a wrong password does, and as slowly.

use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::pbkdf2;
use casemate_hsm::message::UserType;
use casemate_hsm::{Bytes, limits};
use serde::{Deserialize, Serialize};

use crate::crypto;

use super::fault::{Fault, Rv, broken, refuse};

/// Guesses from outside are limited by the lock-out, and the record is encrypted.
const ITERATIONS: u32 = 20_000;

/// A password as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Password {
    iterations: NonZeroU32,
    salt: Bytes,
    hash: Bytes,
}

impl Password {
    /// A password that was chosen.
    pub(super) fn new(password: &str) -> Result<Self, Fault> {
        if !(limits::PASSWORD_MIN..=limits::PASSWORD_MAX).contains(&password.len()) {
            return refuse(Rv::CKR_PIN_LEN_RANGE, "A password has 8 to 32 bytes.");
        }
        let iterations = NonZeroU32::new(ITERATIONS).ok_or_else(|| broken("PBKDF2"))?;
        let (mut salt, mut hash) = (Bytes::from(vec![0; 16]), Bytes::from(vec![0; 64]));
        crypto::random(&mut salt)?;
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &salt, password.as_bytes(), &mut hash);
        Ok(Self { iterations, salt, hash })
    }

    fn is(&self, password: &str) -> bool {
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
        pbkdf2::verify(algorithm, self.iterations, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

/// A user, as the record keeps them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) user_type: UserType,
    password: Password,
    /// Wrong passwords since the last right one.
    failures: u32,
    /// Until when they are locked out, in seconds since 1970.
    locked_until: Option<u64>,
    /// The key that they approve with: SubjectPublicKeyInfo.
    #[serde(default)]
    pub(super) quorum_key: Option<Bytes>,
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl User {
    pub(super) fn new(user_type: UserType, password: &str) -> Result<Self, Fault> {
        let password = Password::new(password)?;
        Ok(Self { user_type, password, failures: 0, locked_until: None, quorum_key: None })
    }

    /// Gives them a new password, with which they are no longer locked out.
    pub(super) fn set_password(&mut self, password: &str) -> Result<(), Fault> {
        self.password = Password::new(password)?;
        self.unlock();
        Ok(())
    }

    fn unlock(&mut self) {
        self.failures = 0;
        self.locked_until = None;
    }

    /// Whether they are locked out.
    pub(super) fn locked(&self, now: SystemTime) -> bool {
        self.locked_until.is_some_and(|until| seconds(now) < until)
    }

    /// Wrong passwords that are left before they are locked out.
    pub(super) fn tries_left(&self) -> u32 {
        limits::FAILURES_MAX.saturating_sub(self.failures)
    }

    /// Whether the password is theirs. Whatever comes of it, the record has changed if this says so.
    pub(super) fn authenticate(&mut self, password: &str, now: SystemTime) -> (Result<(), Fault>, bool) {
        if self.locked(now) {
            let message = "The user is locked out: wait, or have a crypto officer set a new password.";
            return (refuse(Rv::CKR_PIN_LOCKED, message), false);
        }
        if self.locked_until.is_some() {
            self.unlock();
        }
        if self.password.is(password) {
            let changed = self.failures > 0;
            self.unlock();
            return (Ok(()), changed);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limits::FAILURES_MAX {
            let until = now.checked_add(limits::LOCKED).unwrap_or(now);
            self.locked_until = Some(seconds(until));
        }
        (incorrect(), true)
    }
}

/// Takes as long as it takes to find a password wrong.
pub(super) fn authenticate_nobody(password: &str) -> Result<(), Fault> {
    let mut hash = [0; 64];
    if let Some(iterations) = NonZeroU32::new(ITERATIONS) {
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &[0; 16], password.as_bytes(), &mut hash);
    }
    incorrect()
}

fn incorrect() -> Result<(), Fault> {
    refuse(Rv::CKR_PIN_INCORRECT, "There is no such user, or this is not their password.")
}

/// Whether a name can be a user's.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if (1..=limits::USER_MAX).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    refuse(Rv::CKR_ARGUMENTS_BAD, "A user's name has 1 to 64 letters, digits and characters of . _ - @.")
}
