//! From the ARN of an authority to an authority that the caller may do something to.

use std::rc::Rc;

use crate::access::{Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyId;
use crate::types::Timestamp;

use super::authority::Authority;
use super::names::Status;

/// What an operation wants to do to an authority, with the condition keys that it adds.
pub(super) struct Ask {
    operation: &'static str,
    facts: Facts,
}

impl Ask {
    /// `operation` as in the service model; the action is `acm-pca:` and its name.
    pub(super) fn new(operation: &'static str) -> Self {
        Self { operation, facts: Facts::default() }
    }

    /// A condition key that the request sets.
    pub(super) fn fact(mut self, key: &'static str, value: &str) -> Self {
        self.facts.set(key, value);
        self
    }

    /// Further condition keys that the request sets.
    pub(super) fn facts(mut self, facts: Facts) -> Self {
        self.facts.append(facts);
        self
    }

    /// The authority, if the caller may and there is one.
    pub(super) fn find(mut self, call: &Call<'_>, arn: &Option<String>) -> Result<Rc<Authority>, KmsError> {
        let arn = arn.as_deref().unwrap_or_default();
        let id = parse(arn).ok_or_else(|| invalid_arn(arn))?;
        let found = call.pca.borrow().find(id).filter(|authority| authority.arn() == arn);
        let mut policy = None;
        if let Some(authority) = &found {
            call.key.replace(Some(arn.to_owned()));
            policy = authority.policy()?;
            for (tag, value) in &authority.meta().tags {
                self.facts.set(format!("aws:ResourceTag/{tag}"), value);
            }
        }
        call.allow_on(policy.as_ref(), &format!("acm-pca:{}", self.operation), arn, &self.facts)?;
        found.ok_or_else(|| {
            KmsError::new(ErrorKind::ResourceNotFound, format!("Could not find certificate authority {arn}."))
        })
    }

    /// The same, if it is not deleted.
    pub(super) fn living(self, call: &Call<'_>, arn: &Option<String>) -> Result<Rc<Authority>, KmsError> {
        let authority = self.find(call, arn)?;
        match authority.status(Timestamp(call.now())) {
            Status::Deleted => Err(invalid_state("The certificate authority is deleted.")),
            _ => Ok(authority),
        }
    }
}

/// The id in the ARN of an authority.
fn parse(arn: &str) -> Option<KeyId> {
    let mut parts = arn.splitn(6, ':');
    let service = parts.nth(2)?;
    let id = parts.nth(2)?.strip_prefix("certificate-authority/")?;
    KeyId::parse(id).filter(|_| service == "acm-pca")
}

/// `InvalidArnException`.
pub(super) fn invalid_arn(arn: &str) -> KmsError {
    let arn: String = arn.chars().take(200).collect();
    KmsError::new(ErrorKind::InvalidArn, format!("The ARN {arn} is not one of a certificate authority."))
}

/// `InvalidStateException`.
pub(super) fn invalid_state(message: impl Into<String>) -> KmsError {
    KmsError::new(ErrorKind::InvalidAuthorityState, message)
}

/// `InvalidArgsException`.
pub(super) fn invalid_args(message: impl Into<String>) -> KmsError {
    KmsError::new(ErrorKind::InvalidArgs, message)
}
