//! CreateKey.

use crate::access::bind::Bindings;
use crate::access::{Call, Facts};
use crate::crypto::{KeySpec, KeyUsage};
use crate::errors::{ErrorKind, KmsError};
use crate::store::{
    Generations, KeyId, KeyMeta, KeyRecord, MaterialId, Note, Origin, Settled, default_policy,
};
use crate::types::{CreateKeyRequest, KeyMetadataResponse, Tags, Timestamp};
use crate::validate::{Check, XKS_KEY};

use super::{keys, policy, tags};

pub(super) fn create_key(
    call: &Call<'_>,
    request: CreateKeyRequest,
) -> Result<KeyMetadataResponse, KmsError> {
    let wanted = Wanted::of(request)?;
    if call.store.borrow().len() >= call.limits.keys {
        let limit = call.limits.keys;
        return Err(KmsError::new(
            ErrorKind::LimitExceeded,
            format!(
                "This signer holds its limit of {limit} keys. Schedule keys for deletion that are not needed."
            ),
        ));
    }
    let facts = wanted.facts();
    call.allow("kms:CreateKey", "*", &facts)?;
    if !wanted.tags.is_empty() {
        call.allow("kms:TagResource", "*", &facts)?;
    }
    let id = if wanted.multi_region { KeyId::random_multi_region()? } else { KeyId::random()? };
    let arn = call.identity.borrow().config.arn("kms", &format!("key/{id}"));
    let (policy, principals) = match &wanted.policy {
        Some(policy) => {
            // Nobody changes a locked policy, so nobody can be locked out of changing it.
            let bypass = wanted.bypass || wanted.locked;
            let principals = policy::acceptable(call, None, &arn, policy, &facts, bypass)?;
            (policy.clone(), principals)
        }
        None => (default_policy(&call.identity.borrow().config.account), Bindings::new()),
    };
    let record = wanted.make(call, id, arn)?;
    let mut meta = record.meta_mut();
    (meta.policy, meta.principals) = (policy, principals);
    drop(meta);
    let record = call.store.borrow_mut().insert(id, record);
    call.state.touch(record.record_name());
    Ok(KeyMetadataResponse { key_metadata: keys::metadata(call, &record) })
}

/// What a request asks for, checked.
struct Wanted {
    spec: KeySpec,
    usage: KeyUsage,
    origin: Origin,
    multi_region: bool,
    description: String,
    policy: Option<String>,
    bypass: bool,
    tags: Tags,
    locked: bool,
}

impl Wanted {
    fn of(request: CreateKeyRequest) -> Result<Self, KmsError> {
        let mut check = Check::default();
        policy::check(&mut check, request.policy.as_deref());
        check.text("description", request.description.as_deref(), 0, 8192);
        let usage = check.one_of::<KeyUsage>("keyUsage", request.key_usage.as_deref());
        let legacy =
            check.one_of_some("customerMasterKeySpec", request.customer_master_key_spec.as_deref(), |spec| {
                KeySpec::as_customer_master_key_spec(spec).is_some()
            });
        let spec = check.one_of::<KeySpec>("keySpec", request.key_spec.as_deref());
        let origin = check.one_of::<Origin>("origin", request.origin.as_deref());
        check.text("customKeyStoreId", request.custom_key_store_id.as_deref(), 1, 64);
        tags::check(&mut check, &request.tags);
        check.text("xksKeyId", request.xks_key_id.as_deref(), 1, 128);
        check.characters("xksKeyId", request.xks_key_id.as_deref(), XKS_KEY);
        check.done()?;
        if spec.is_some() && legacy.is_some() {
            return Err(KmsError::validation(
                "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
            ));
        }
        let origin = settle_origin(&request, origin)?;
        let spec = spec.or(legacy).unwrap_or(KeySpec::Symmetric);
        let usage = settle_usage(spec, usage)?;
        let tags = tags::collect(request.tags)?;
        tags::not_too_many(tags.len())?;
        let locked = tags::lock(&tags)?;
        if locked && request.policy.is_none() {
            // The default policy leaves everything to the account's own policies, so locking it would lock nothing.
            return Err(KmsError::validation(
                "A key whose policy is to be locked must be given that policy.",
            ));
        }
        Ok(Self {
            spec,
            usage,
            origin,
            multi_region: request.multi_region.unwrap_or_default(),
            description: request.description.unwrap_or_default(),
            policy: request.policy,
            bypass: request.bypass_policy_lockout_safety_check.unwrap_or_default(),
            tags,
            locked,
        })
    }

    /// What policies may know about the key that is to be made.
    fn facts(&self) -> Facts {
        let mut facts = Facts::of_request_tags(&self.tags);
        facts.set("kms:KeySpec", self.spec.name());
        facts.set("kms:KeyUsage", self.usage.name());
        facts.set("kms:KeyOrigin", self.origin.name());
        facts.set("kms:MultiRegion", self.multi_region.to_string());
        if self.multi_region {
            facts.set("kms:MultiRegionKeyType", "PRIMARY");
        }
        facts.set("kms:BypassPolicyLockoutSafetyCheck", self.bypass.to_string());
        facts
    }

    fn make(self, call: &Call<'_>, id: KeyId, arn: String) -> Result<KeyRecord, KmsError> {
        let Self { spec, usage, origin, multi_region, description, tags, locked, .. } = self;
        let generations = match origin {
            Origin::External => None,
            _ => {
                let material = call.generate(spec, usage)?;
                Some(Generations::first(Note::new(MaterialId::random()?), material))
            }
        };
        let created = Timestamp(call.now());
        let settled = Settled { spec, usage, created, origin, multi_region, policy_locked: locked };
        let meta = KeyMeta { description, tags, ..KeyMeta::default() };
        Ok(KeyRecord::new(id, arn, settled, meta, generations))
    }
}

/// Where the material shall come from: custom key stores are AWS's, and here there is none.
fn settle_origin(request: &CreateKeyRequest, origin: Option<Origin>) -> Result<Origin, KmsError> {
    let origin = origin.unwrap_or(Origin::Kms);
    match (origin, &request.custom_key_store_id, &request.xks_key_id) {
        (Origin::Kms | Origin::External, None, None) => Ok(origin),
        (Origin::CloudHsm | Origin::ExternalKeyStore, None, _) => Err(KmsError::validation(format!(
            "You must specify CustomKeyStoreId for a key with Origin {origin}."
        ))),
        (Origin::ExternalKeyStore, Some(_), None) => {
            Err(KmsError::validation("You must specify XksKeyId for a key with Origin EXTERNAL_KEY_STORE."))
        }
        (Origin::CloudHsm, Some(store), None) | (Origin::ExternalKeyStore, Some(store), Some(_)) => {
            Err(super::stores::none(store))
        }
        _ => Err(KmsError::validation(format!(
            "CustomKeyStoreId and XksKeyId are not valid for a key with Origin {origin}."
        ))),
    }
}

/// The usage that was asked for, or that goes without saying, if the spec has it.
fn settle_usage(spec: KeySpec, usage: Option<KeyUsage>) -> Result<KeyUsage, KmsError> {
    if spec.usages().is_empty() {
        return Err(KmsError::unsupported(format!("KeySpec {spec} is not supported in this Region.")));
    }
    let Some(usage) = usage else {
        if spec == KeySpec::Symmetric {
            return Ok(KeyUsage::EncryptDecrypt);
        }
        return Err(KmsError::validation(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        ));
    };
    if !spec.usages().contains(&usage) {
        return Err(KmsError::validation(format!("KeyUsage {usage} is not compatible with KeySpec {spec}")));
    }
    Ok(usage)
}
