//! From a `KeyId` member to a key that may be used.

use std::rc::Rc;

use crate::crypto::KeyUsage;
use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::store::{ACCOUNT, KeyId, KeyRecord, KeyState, REGION};

/// The key that `key_id` names: a key id, a key ARN, or an alias (there are none).
pub(super) fn find(signer: &Signer, key_id: &str) -> Result<Rc<KeyRecord>, KmsError> {
    let id = parse(key_id)?;
    signer
        .store
        .borrow()
        .find(&id)
        .ok_or_else(|| KmsError::new(ErrorKind::NotFound, format!("Key '{}' does not exist", id.arn())))
}

fn parse(key_id: &str) -> Result<KeyId, KmsError> {
    let not_found = |message: String| KmsError::new(ErrorKind::NotFound, message);
    if key_id.starts_with("alias/") {
        return Err(not_found(format!("Alias arn:aws:kms:{REGION}:{ACCOUNT}:{key_id} is not found.")));
    }
    if !key_id.starts_with("arn:") {
        return KeyId::parse(key_id).ok_or_else(|| not_found(format!("Invalid keyId '{key_id}'")));
    }
    let invalid = || KmsError::new(ErrorKind::InvalidArn, format!("Invalid arn {key_id}"));
    let parts: Vec<&str> = key_id.splitn(6, ':').collect();
    let [_, partition, "kms", region, account, resource] = parts.as_slice() else {
        return Err(invalid());
    };
    if resource.starts_with("alias/") {
        return Err(not_found(format!("Alias {key_id} is not found.")));
    }
    let id = resource.strip_prefix("key/").and_then(KeyId::parse).ok_or_else(invalid)?;
    if (*partition, *region, *account) != ("aws", REGION, ACCOUNT) {
        return Err(not_found(format!("Key '{key_id}' does not exist")));
    }
    Ok(id)
}

/// The key, if it is enabled.
pub(super) fn enabled(signer: &Signer, key_id: &str) -> Result<Rc<KeyRecord>, KmsError> {
    let key = find(signer, key_id)?;
    match key.state() {
        KeyState::Enabled => Ok(key),
        KeyState::Disabled => {
            Err(KmsError::new(ErrorKind::Disabled, format!("{} is disabled.", key.id.arn())))
        }
        KeyState::PendingDeletion => Err(pending(&key)),
    }
}

/// The key, if it is enabled and its usage is `usage`.
pub(super) fn usable(
    signer: &Signer,
    key_id: &str,
    usage: KeyUsage,
    operation: &str,
) -> Result<Rc<KeyRecord>, KmsError> {
    let key = enabled(signer, key_id)?;
    if key.usage != usage {
        return Err(wrong_usage(&key, operation));
    }
    Ok(key)
}

/// `KMSInvalidStateException` of a key that waits for deletion.
pub(super) fn pending(key: &KeyRecord) -> KmsError {
    KmsError::new(ErrorKind::InvalidState, format!("{} is pending deletion.", key.id.arn()))
}

/// `InvalidKeyUsageException` of a key made for something else.
pub(super) fn wrong_usage(key: &KeyRecord, operation: &str) -> KmsError {
    let (arn, usage) = (key.id.arn(), key.usage);
    KmsError::new(
        ErrorKind::InvalidKeyUsage,
        format!("{arn} key usage is {usage} which is not valid for {operation}."),
    )
}

/// `InvalidKeyUsageException` of an algorithm that the key spec does not have.
pub(super) fn incompatible(key: &KeyRecord, algorithm: &str) -> KmsError {
    let spec = key.spec;
    KmsError::new(
        ErrorKind::InvalidKeyUsage,
        format!("Algorithm {algorithm} is incompatible with key spec {spec}."),
    )
}
