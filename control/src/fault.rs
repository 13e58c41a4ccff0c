//! What may be wrong with a request, in the service's words.

use casemate::cluster::Error;
use casemate_sigv4::AuthError;

/// The errors of the service's model, and those that all of AWS's JSON services have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    InternalFailure,
    InvalidRequest,
    ResourceLimitExceeded,
    ResourceNotFound,
    Tag,
    ExpiredToken,
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    Serialization,
    UnknownOperation,
    UnrecognizedClient,
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub struct Fault {
    /// What it is called.
    pub kind: Kind,
    /// For people.
    pub message: String,
}

impl Kind {
    /// As clients know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternalFailure => "CloudHsmInternalFailureException",
            Self::InvalidRequest => "CloudHsmInvalidRequestException",
            Self::ResourceLimitExceeded => "CloudHsmResourceLimitExceededException",
            Self::ResourceNotFound => "CloudHsmResourceNotFoundException",
            Self::Tag => "CloudHsmTagException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
        }
    }

    /// HTTP's status.
    pub fn status(self) -> u16 {
        match self {
            Self::InternalFailure => 500,
            _ => 400,
        }
    }
}

impl Fault {
    /// A fault.
    pub fn new(kind: Kind, message: impl std::fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// It cannot be done, or not so.
    pub fn invalid(message: impl std::fmt::Display) -> Self {
        Self::new(Kind::InvalidRequest, message)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NotFound { .. } => Kind::ResourceNotFound,
            Error::State(_) => Kind::InvalidRequest,
            Error::Io { .. } | Error::Record { .. } | Error::Volume { .. } => Kind::InternalFailure,
        };
        Self::new(kind, error)
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::new(Kind::MissingAuthenticationToken, "Missing Authentication Token"),
            AuthError::Incomplete(message) => Self::new(Kind::IncompleteSignature, message),
            AuthError::Unknown => {
                Self::new(Kind::UnrecognizedClient, "The security token included in the request is invalid.")
            }
            AuthError::Expired => {
                Self::new(Kind::ExpiredToken, "The security token included in the request is expired")
            }
            AuthError::Refused(message) => Self::new(Kind::InvalidSignature, message),
        }
    }
}
