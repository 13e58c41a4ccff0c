//! Pins: a user's name and password in one, as on CloudHSM: `USER:PASSWORD`.

use casemate_hsm::ck;
use casemate_hsm::message::UserType;
use zeroize::Zeroizing;

use crate::rv::{Result, Rv};

/// Who is meant if a pin names nobody.
pub const USER: &str = "user";
/// The same of a crypto officer.
pub const OFFICER: &str = "officer";

/// A pin.
pub struct Pin {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl Pin {
    /// Splits a pin at its first colon. Without one it is `unnamed`'s.
    pub fn parse(pin: &[u8], unnamed: &str) -> Result<Self> {
        let text = std::str::from_utf8(pin).map_err(|_| Rv(ck::CKR_PIN_INVALID))?;
        let (user, password) = text.split_once(':').unwrap_or((unnamed, text));
        Ok(Self { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }

    /// Who is meant if a pin of this part names nobody.
    pub const fn unnamed(user_type: UserType) -> &'static str {
        match user_type {
            UserType::CryptoOfficer => OFFICER,
            UserType::CryptoUser => USER,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn the_first_colon_ends_the_name() {
        for (pin, user, password) in
            [("alice:pass:word", "alice", "pass:word"), ("password", USER, "password"), (":x", "", "x")]
        {
            let parsed = Pin::parse(pin.as_bytes(), USER).unwrap();
            assert_eq!((parsed.user.as_str(), parsed.password.as_str()), (user, password));
        }
        assert_eq!(Pin::parse(b"\xff", USER).err(), Some(Rv(ck::CKR_PIN_INVALID)));
    }
}
