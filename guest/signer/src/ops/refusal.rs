//! Why a key will not do, in AWS's words.

use crate::errors::{ErrorKind, KmsError};
use crate::store::{GrantId, KeyRecord, KeyState};

/// `KMSInvalidStateException` of a key in that state.
pub(crate) fn state(key: &KeyRecord, state: KeyState) -> KmsError {
    let (arn, is) = (
        key.arn(),
        match state {
            KeyState::PendingDeletion => "is pending deletion",
            KeyState::PendingImport => "is pending import",
            KeyState::Disabled => "is disabled",
            KeyState::Enabled => "is enabled",
        },
    );
    KmsError::new(ErrorKind::InvalidState, format!("{arn} {is}."))
}

/// Of a key that waits for deletion, nothing but that is changed.
pub(crate) fn if_pending_deletion(key: &KeyRecord) -> Result<(), KmsError> {
    match key.state() {
        KeyState::PendingDeletion => Err(state(key, KeyState::PendingDeletion)),
        _ => Ok(()),
    }
}

/// What only an enabled key does.
pub(crate) fn unless_enabled(key: &KeyRecord) -> Result<(), KmsError> {
    match key.state() {
        KeyState::Enabled => Ok(()),
        KeyState::Disabled => Err(KmsError::new(ErrorKind::Disabled, format!("{} is disabled.", key.arn()))),
        other => Err(state(key, other)),
    }
}

/// `InvalidKeyUsageException` of a key made for something else.
pub(crate) fn wrong_usage(key: &KeyRecord, operation: &str) -> KmsError {
    let (arn, usage) = (key.arn(), key.usage);
    KmsError::new(
        ErrorKind::InvalidKeyUsage,
        format!("{arn} key usage is {usage} which is not valid for {operation}."),
    )
}

/// `InvalidKeyUsageException` of an algorithm that the key spec does not have.
pub(crate) fn incompatible(key: &KeyRecord, algorithm: &str) -> KmsError {
    let spec = key.spec;
    KmsError::new(
        ErrorKind::InvalidKeyUsage,
        format!("Algorithm {algorithm} is incompatible with key spec {spec}."),
    )
}

/// `InvalidGrantTokenException`.
pub(crate) fn grant_token() -> KmsError {
    KmsError::new(ErrorKind::InvalidGrantToken, "The grant token is not valid, or its grant has ended.")
}

/// `NotFoundException` of a grant.
pub(crate) fn no_grant(id: GrantId) -> KmsError {
    KmsError::new(ErrorKind::NotFound, format!("Grant ID {id} not found"))
}
