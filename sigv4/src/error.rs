//! Why a request is not taken for its alleged sender's.

/// What is wrong with a request's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
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
