//! One request to one operation.

use std::cell::RefCell;
use std::ops::Deref;

use crate::errors::KmsError;
use crate::recipient::Evidence;
use crate::signer::Signer;

use super::{Caller, Facts, Principal, decide};

/// The signer, asked by somebody. It dereferences to the signer, so that operations read as if there were one user.
pub(crate) struct Call<'a> {
    signer: &'a Signer,
    /// On whose behalf.
    pub(crate) caller: &'a Caller,
    /// What is known about the request as such: the conditions that every policy may use.
    pub(crate) facts: &'a Facts,
    /// What came with the request in headers of our own; its condition keys are among `facts`.
    pub(crate) evidence: Evidence,
    /// The ARN of the key that it is about, once it was found: for the audit log.
    pub(crate) key: RefCell<Option<String>>,
}

impl Deref for Call<'_> {
    type Target = Signer;

    fn deref(&self) -> &Signer {
        self.signer
    }
}

impl<'a> Call<'a> {
    /// A call on behalf of `caller`.
    pub(crate) fn new(signer: &'a Signer, caller: &'a Caller, facts: &'a Facts) -> Self {
        Self { signer, caller, facts, evidence: Evidence::default(), key: RefCell::default() }
    }

    /// The same, with evidence. `facts` must have its condition keys.
    pub(crate) fn bearing(self, evidence: Evidence) -> Self {
        Self { evidence, ..self }
    }

    /// The authenticated identity; `None` for the local owner of an unclaimed signer.
    #[allow(dead_code, reason = "grants and STS ask")]
    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self.caller {
            Caller::LocalOwner => None,
            Caller::Principal(principal) => Some(principal),
        }
    }

    /// Whether the caller may do `action` (as in `kms:ListKeys`) to a resource that has no policy of its own.
    pub(crate) fn allow(&self, action: &str, resource: &str, facts: &Facts) -> Result<(), KmsError> {
        decide::without_policy(self, action, resource, facts)
    }
}
