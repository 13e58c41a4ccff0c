//! Why a request is not taken for its alleged sender's, in the words of AWS's two protocols.

use crate::errors::{ErrorKind, KmsError};
use crate::identity::fault::{Code, Fault};

/// What is wrong with a request's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// There are none.
    Missing,
    /// Something is missing, or is not what it must be.
    Incomplete(String),
    /// No such access key, it is switched off, or the session token is not its own. AWS does not say which.
    Unknown,
    /// The session is over.
    Expired,
    /// Signature, time or scope are not right.
    Refused(String),
}

const UNKNOWN: &str = "The security token included in the request is invalid.";
const EXPIRED: &str = "The security token included in the request is expired";

impl AuthError {
    /// The signature is not that of the request.
    pub(super) fn mismatch() -> Self {
        Self::Refused(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details."
                .to_owned(),
        )
    }

    pub(super) fn incomplete(message: impl Into<String>) -> Self {
        Self::Incomplete(message.into())
    }
}

/// The JSON protocols' names.
impl From<AuthError> for KmsError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => {
                Self::new(ErrorKind::MissingAuthenticationToken, "Missing Authentication Token")
            }
            AuthError::Incomplete(message) => Self::new(ErrorKind::IncompleteSignature, message),
            AuthError::Unknown => Self::new(ErrorKind::UnrecognizedClient, UNKNOWN),
            AuthError::Expired => Self::new(ErrorKind::ExpiredToken, EXPIRED),
            AuthError::Refused(message) => Self::new(ErrorKind::InvalidRequestSignature, message),
        }
    }
}

/// The Query protocol's names.
impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => {
                Self::new(Code::MissingAuthenticationToken, "Request is missing Authentication Token")
            }
            AuthError::Incomplete(message) => Self::new(Code::IncompleteSignature, message),
            AuthError::Unknown => Self::new(Code::InvalidClientTokenId, UNKNOWN),
            AuthError::Expired => Self::new(Code::ExpiredToken, EXPIRED),
            AuthError::Refused(message) => Self::new(Code::SignatureDoesNotMatch, message),
        }
    }
}
