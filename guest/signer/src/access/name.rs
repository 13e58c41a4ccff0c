//! The names of keys: id, ARN, alias, alias ARN.

use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyId;

use super::Call;

/// The key that `key_id` names; its existence is for the store to say.
pub(super) fn parse(call: &Call<'_>, key_id: &str) -> Result<KeyId, KmsError> {
    let identity = call.identity.borrow();
    let config = &identity.config;
    let not_found = |message: String| KmsError::new(ErrorKind::NotFound, message);
    if key_id.starts_with("alias/") {
        return Err(not_found(format!("Alias {} is not found.", config.arn("kms", key_id))));
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
    if (*partition, *region, *account) != ("aws", config.region.as_str(), config.account.as_str()) {
        return Err(not_found(format!("Key '{key_id}' does not exist")));
    }
    Ok(id)
}
