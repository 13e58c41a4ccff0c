//! One request to one operation.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use casemate_policy::PolicyDocument;
use zeroize::Zeroizing;

use crate::crypto::{KeySpec, KeyUsage, Material, WrappingKey, WrappingKeySpec};
use crate::errors::{ErrorKind, KmsError};
use crate::recipient::Evidence;
use crate::signer::Signer;
use crate::store::KeyRecord;

use super::{Caller, Facts, Principal, decide};

/// The signer, asked by somebody. It dereferences to the signer, so that operations read as if there were one user.
pub(crate) struct Call<'a> {
    signer: &'a Signer,
    /// On whose behalf.
    pub(crate) caller: &'a Caller,
    /// What is known about the request as such: the conditions that every policy may use.
    pub(crate) facts: &'a Facts,
    /// The request's id, if it has one.
    pub(crate) request_id: &'a str,
    /// What came with the request in headers of our own. Its condition keys must be among `facts`.
    pub(crate) evidence: Evidence,
    /// The ARN of the key that it is about, once it was found: for the audit log.
    pub(crate) key: RefCell<Option<String>>,
    /// The RSA key that the operation lacks, if its asker would rather wait for one than have it made at once.
    pub(crate) lacks: Cell<Option<KeySpec>>,
    /// Whether it would.
    pub(crate) patient: bool,
    /// The keys that it computes with, each with the operation: for GetKeyLastUsage, if it succeeds.
    pub(crate) used: RefCell<Vec<(Rc<KeyRecord>, &'static str)>>,
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
        Self {
            signer,
            caller,
            facts,
            request_id: "",
            evidence: Evidence::default(),
            key: RefCell::default(),
            lacks: Cell::default(),
            patient: false,
            used: RefCell::default(),
        }
    }

    /// The same, for somebody who would rather wait for an RSA key than have it made at once, or not.
    pub(crate) fn patient(self, patient: bool) -> Self {
        Self { patient, ..self }
    }

    /// The same, for the request of that id.
    pub(crate) fn identified(self, request_id: &'a str) -> Self {
        Self { request_id, ..self }
    }

    /// The authenticated identity; `None` for the local owner of an unclaimed signer.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self.caller {
            Caller::LocalOwner => None,
            Caller::Principal(principal) => Some(principal),
        }
    }

    /// Makes a secret for a key of that spec and usage.
    ///
    /// If the asker is patient, an RSA key comes from stock. Where there is none the operation fails, noted in
    /// [`Self::lacks`], and is asked again once there is: so it must not have changed anything before.
    pub(crate) fn generate(&self, spec: KeySpec, usage: KeyUsage) -> Result<Material, KmsError> {
        match self.rsa_from_stock(spec)? {
            Some(bytes) => Ok(Material::from_bytes(spec, usage, &bytes)?),
            None => Ok(Material::generate(spec, usage)?),
        }
    }

    /// Makes a wrapping key, under the same conditions.
    pub(crate) fn generate_wrapping(&self, spec: WrappingKeySpec) -> Result<WrappingKey, KmsError> {
        let from_stock = spec.key_spec().map(|spec| self.rsa_from_stock(spec)).transpose()?.flatten();
        match from_stock {
            Some(bytes) => Ok(WrappingKey::from_bytes(spec, &bytes)?),
            None => Ok(WrappingKey::generate(spec)?),
        }
    }

    /// An RSA key that is ready; `None` if one is to be made on the spot.
    pub(crate) fn rsa_from_stock(&self, spec: KeySpec) -> Result<Option<Zeroizing<Vec<u8>>>, KmsError> {
        if !self.patient || !spec.is_rsa() {
            return Ok(None);
        }
        match self.rsa_keys.take(spec) {
            Some(key) => Ok(Some(key)),
            None => {
                self.lacks.set(Some(spec));
                Err(KmsError::new(ErrorKind::Throttling, "A key is being made. Retry the request."))
            }
        }
    }

    /// Whether the caller may do `action` (as in `kms:ListKeys`) to a resource that has no policy of its own.
    pub(crate) fn allow(&self, action: &str, resource: &str, facts: &Facts) -> Result<(), KmsError> {
        decide::without_policy(self, action, resource, facts)
    }

    /// Whether the caller may do `action` to a resource whose policy, if it has one, may allow it as well as the caller's
    /// own: a certificate authority.
    pub(crate) fn allow_on(
        &self,
        policy: Option<&PolicyDocument>,
        action: &str,
        resource: &str,
        facts: &Facts,
    ) -> Result<(), KmsError> {
        decide::with_policy(self, action, resource, policy, facts)
    }

    /// Whether the caller may do `action` to a resource that `policy` says who may use: a role that is to be assumed.
    pub(crate) fn allow_under(
        &self,
        policy: &PolicyDocument,
        action: &str,
        resource: &str,
        facts: &Facts,
    ) -> Result<(), KmsError> {
        decide::under_policy(self, action, resource, policy, facts)
    }
}
