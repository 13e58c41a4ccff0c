//! Whose request it is.

use std::borrow::Cow;
use std::rc::Rc;

use casemate_policy::PolicyDocument;

use crate::identity::Session;

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
    /// Who.
    pub who: casemate_policy::Principal,
    /// The access key that signed the request.
    pub access_key_id: String,
    /// The policies of the user with its groups, or of the role.
    pub identity: Vec<Rc<PolicyDocument>>,
    /// The permissions boundary of the user or role.
    pub boundary: Option<Rc<PolicyDocument>>,
    /// The policies that were passed when the session began.
    pub session: Vec<Rc<PolicyDocument>>,
    /// The session, if the credentials are temporary ones.
    pub(crate) issued: Option<Rc<Session>>,
}

impl Principal {
    /// The ARN: a user's, the account root's, or `arn:aws:sts::…:assumed-role/ROLE/SESSION`.
    pub fn arn(&self) -> Cow<'_, str> {
        self.who.arn().unwrap_or_default()
    }
}

impl Caller {
    /// The ARN, for messages and the audit log.
    pub fn arn(&self) -> Cow<'_, str> {
        match self {
            Self::LocalOwner => Cow::Borrowed("local owner"),
            Self::Principal(principal) => principal.arn(),
        }
    }
}
