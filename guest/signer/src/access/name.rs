//! The names of keys: id, ARN, alias, alias ARN.

use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyId;

use super::Call;

/// What a `KeyId` member names.
#[derive(Debug)]
pub(super) struct Named {
    /// The key; whether it exists is for the store to say.
    pub(super) key: KeyId,
    /// The alias by which it was named, `alias/` included.
    pub(super) alias: Option<String>,
}

/// Operations that take an alias for a key (the service model, at each `KeyId`; the developer guide, "Using aliases").
const BY_ALIAS: &[&str] = &[
    "Decapsulate",
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "VerifyMac",
];

/// Whether `operation` takes an alias for a key.
pub(super) fn by_alias(operation: &str) -> bool {
    BY_ALIAS.contains(&operation)
}

/// What `key_id` names; `by_alias` says whether it may be an alias.
pub(super) fn parse(call: &Call<'_>, key_id: &str, by_alias: bool) -> Result<Named, KmsError> {
    let invalid = || KmsError::new(ErrorKind::InvalidArn, format!("Invalid arn {key_id}"));
    if key_id.starts_with("alias/") && by_alias {
        let arn = call.identity.borrow().config.arn("kms", key_id);
        return alias(call, key_id, &arn);
    }
    if !key_id.starts_with("arn:") {
        let key = KeyId::parse(key_id).ok_or_else(|| not_found(format!("Invalid keyId '{key_id}'")))?;
        return Ok(Named { key, alias: None });
    }
    let parts: Vec<&str> = key_id.splitn(6, ':').collect();
    let [_, partition, "kms", region, account, resource] = parts.as_slice() else {
        return Err(invalid());
    };
    let here = {
        let config = &call.identity.borrow().config;
        (*partition, *region, *account) == ("aws", config.region.as_str(), config.account.as_str())
    };
    if resource.starts_with("alias/") && by_alias {
        return if here { alias(call, resource, key_id) } else { Err(no_alias(key_id)) };
    }
    let key = resource.strip_prefix("key/").and_then(KeyId::parse).ok_or_else(invalid)?;
    if !here {
        return Err(not_found(format!("Key '{key_id}' does not exist")));
    }
    Ok(Named { key, alias: None })
}

fn alias(call: &Call<'_>, name: &str, arn: &str) -> Result<Named, KmsError> {
    let alias = call.store.borrow().aliases.find(name).ok_or_else(|| no_alias(arn))?;
    Ok(Named { key: alias.target, alias: Some(name.to_owned()) })
}

/// `NotFoundException` of an alias.
pub(crate) fn no_alias(arn: &str) -> KmsError {
    not_found(format!("Alias {arn} is not found."))
}

fn not_found(message: String) -> KmsError {
    KmsError::new(ErrorKind::NotFound, message)
}
