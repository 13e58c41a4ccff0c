//! The decision: policies, grants and session against a request. Whatever is not allowed is denied.

use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyRecord;

use super::{Call, Caller};

/// Condition keys of a request and their values, as policies see them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Vec<(&'static str, Vec<String>)>);

impl Facts {
    /// No condition keys.
    pub(crate) const NONE: Self = Self(Vec::new());

    /// Adds a condition key with one value.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.set_all(key, vec![value.into()]);
    }

    /// Adds a condition key with all its values.
    pub(crate) fn set_all(&mut self, key: &'static str, values: Vec<String>) {
        self.0.push((key, values));
    }
}

/// Whether the caller may do `action` to `key`.
pub(super) fn on_key(call: &Call<'_>, action: &str, key: &KeyRecord, _facts: &Facts) -> Result<(), KmsError> {
    match call.caller {
        Caller::LocalOwner => Ok(()),
        Caller::Principal(_) => Err(denied(call, action, key.arn())),
    }
}

/// Whether the caller may do `action` to a resource that has no policy of its own.
pub(super) fn without_policy(
    call: &Call<'_>,
    action: &str,
    resource: &str,
    _facts: &Facts,
) -> Result<(), KmsError> {
    match call.caller {
        Caller::LocalOwner => Ok(()),
        Caller::Principal(_) => Err(denied(call, action, resource)),
    }
}

fn denied(call: &Call<'_>, action: &str, resource: &str) -> KmsError {
    let caller = call.caller.arn();
    let message = format!("User: {caller} is not authorized to perform: {action} on resource: {resource}");
    KmsError::new(ErrorKind::AccessDenied, message)
}
