//! Why a request is not taken for its alleged sender's, in the words of AWS's two protocols.

use casemate_sigv4::AuthError;

use super::fault::{Code, Fault};
use crate::errors::{ErrorKind, KmsError};

const UNKNOWN: &str = "The security token included in the request is invalid.";
const EXPIRED: &str = "The security token included in the request is expired";

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
