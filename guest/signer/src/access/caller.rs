//! Whose request it is.

use std::rc::Rc;

/// Who sent a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Whoever can connect to a signer that nobody has claimed: the permissions of its socket decide, and everything is
    /// allowed.
    LocalOwner,
    /// Somebody with credentials of this signer's, who has proved to hold them.
    Principal(Rc<Principal>),
}

/// An authenticated identity, with everything that decisions about it need.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its ARN: a user's, the account root's, or `arn:aws:sts::…:assumed-role/ROLE/SESSION`.
    pub arn: String,
    /// Its unique identifier, as GetCallerIdentity gives it.
    pub user_id: String,
    /// The access key that signed the request.
    pub access_key_id: String,
}

impl Caller {
    /// The ARN, for messages and the audit log.
    pub fn arn(&self) -> &str {
        match self {
            Self::LocalOwner => "local owner",
            Self::Principal(principal) => &principal.arn,
        }
    }
}
