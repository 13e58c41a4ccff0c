//! Why a key will not do, in AWS's words.

use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyRecord;

/// `KMSInvalidStateException` of a key that waits for deletion.
pub(crate) fn pending(key: &KeyRecord) -> KmsError {
    KmsError::new(ErrorKind::InvalidState, format!("{} is pending deletion.", key.arn()))
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
