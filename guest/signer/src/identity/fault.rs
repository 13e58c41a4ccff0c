//! Errors of IAM and STS: a code with its HTTP status, and a message.

use crate::errors::{ErrorKind, KmsError};

named! {
    /// The code of an error in AWS's Query protocol.
    pub(crate) enum Code {
        /// No policy allows it, or one forbids it.
        AccessDenied = "AccessDenied",
        /// Something depends on what is to be deleted.
        DeleteConflict = "DeleteConflict",
        /// There is one of that name.
        EntityAlreadyExists = "EntityAlreadyExists",
        /// The session is over.
        ExpiredToken = "ExpiredToken",
        /// The credentials of the request are not complete.
        IncompleteSignature = "IncompleteSignature",
        /// For no fault of the caller.
        InternalFailure = "InternalFailure",
        /// No such operation.
        InvalidAction = "InvalidAction",
        /// The message is not one that can be decoded.
        InvalidAuthorizationMessage = "InvalidAuthorizationMessageException",
        /// No such access key, or the session token is not one.
        InvalidClientTokenId = "InvalidClientTokenId",
        /// A parameter makes no sense.
        InvalidInput = "InvalidInput",
        /// There are as many as there may be.
        LimitExceeded = "LimitExceeded",
        /// The policy is not one.
        MalformedPolicyDocument = "MalformedPolicyDocument",
        /// The request is not form-encoded text.
        MalformedQueryString = "MalformedQueryString",
        /// The request is not signed.
        MissingAuthenticationToken = "MissingAuthenticationToken",
        /// There is none of that name.
        NoSuchEntity = "NoSuchEntity",
        /// Session policies and tags take too much room.
        PackedPolicyTooLarge = "PackedPolicyTooLarge",
        /// The signature is not that of the request, or its time is over.
        SignatureDoesNotMatch = "SignatureDoesNotMatch",
        /// Too much is in flight; try again.
        Throttling = "Throttling",
        /// The entity is AWS's or the signer's own.
        UnmodifiableEntity = "UnmodifiableEntity",
        /// A parameter breaks a documented constraint.
        ValidationError = "ValidationError",
    }
}

impl Code {
    /// The HTTP status that goes with it.
    fn status(self) -> u16 {
        match self {
            Self::AccessDenied
            | Self::ExpiredToken
            | Self::InvalidClientTokenId
            | Self::MissingAuthenticationToken
            | Self::SignatureDoesNotMatch => 403,
            Self::NoSuchEntity => 404,
            Self::DeleteConflict | Self::EntityAlreadyExists | Self::LimitExceeded => 409,
            Self::InternalFailure => 500,
            _ => 400,
        }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Fault {
    /// A fault of that code with that message.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.code.status()
    }
}

/// What both protocols can say, in the words of this one.
impl From<KmsError> for Fault {
    fn from(error: KmsError) -> Self {
        let code = match error.kind {
            ErrorKind::AccessDenied => Code::AccessDenied,
            ErrorKind::LimitExceeded => Code::LimitExceeded,
            ErrorKind::Throttling => Code::Throttling,
            ErrorKind::Validation => Code::ValidationError,
            ErrorKind::MissingAuthenticationToken => Code::MissingAuthenticationToken,
            _ => Code::InternalFailure,
        };
        Self::new(code, error.message)
    }
}

impl From<crate::crypto::CryptoError> for Fault {
    fn from(error: crate::crypto::CryptoError) -> Self {
        KmsError::from(error).into()
    }
}
