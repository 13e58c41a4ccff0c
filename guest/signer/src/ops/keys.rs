//! CreateKey, DescribeKey, ListKeys, GetPublicKey.

use crate::access::{Ask, Call, Facts, Ready};
use crate::crypto::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, KeySpec, KeyUsage, SigningAlgorithm,
};
use crate::errors::{ErrorKind, KmsError};
use crate::store::{Generations, KeyId, KeyMeta, KeyRecord, KeyState, MaterialId, Note, Origin, Settled};
use crate::types::{
    Blob, CreateKeyRequest, DescribeKeyRequest, GetPublicKeyRequest, KeyListEntry, KeyMetadata,
    KeyMetadataResponse, ListKeysRequest, ListKeysResponse, Timestamp,
};
use crate::validate::Check;

pub(super) fn create_key(
    call: &Call<'_>,
    request: CreateKeyRequest,
) -> Result<KeyMetadataResponse, KmsError> {
    let mut check = Check::default();
    check.text("policy", request.policy.as_deref(), 1, 131_072);
    check.text("description", request.description.as_deref(), 0, 8192);
    let usage = check.one_of::<KeyUsage>("keyUsage", request.key_usage.as_deref());
    let legacy =
        check.one_of::<KeySpec>("customerMasterKeySpec", request.customer_master_key_spec.as_deref());
    let spec = check.one_of::<KeySpec>("keySpec", request.key_spec.as_deref());
    let origin = check.one_of::<Origin>("origin", request.origin.as_deref());
    check.text("customKeyStoreId", request.custom_key_store_id.as_deref(), 1, 64);
    check.text("xksKeyId", request.xks_key_id.as_deref(), 1, 128);
    check.done()?;
    if legacy.is_some_and(|legacy| legacy.as_customer_master_key_spec().is_none()) {
        return Err(KmsError::validation(
            "CustomerMasterKeySpec is deprecated and lacks this key spec; use KeySpec.",
        ));
    }
    if spec.is_some() && legacy.is_some() {
        return Err(KmsError::validation(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
        ));
    }
    offered(&request, origin)?;
    let spec = spec.or(legacy).unwrap_or(KeySpec::Symmetric);
    let usage = settle_usage(spec, usage)?;
    if call.store.borrow().len() >= call.limits.keys {
        let limit = call.limits.keys;
        return Err(KmsError::new(
            ErrorKind::LimitExceeded,
            format!(
                "This signer holds its limit of {limit} keys. Schedule keys for deletion that are not needed."
            ),
        ));
    }
    let mut facts = Facts::default();
    facts.set("kms:KeySpec", spec.name());
    facts.set("kms:KeyUsage", usage.name());
    call.allow("kms:CreateKey", "*", &facts)?;
    let first = Generations::first(Note::new(MaterialId::random()?), call.generate(spec, usage)?);
    let id = KeyId::random()?;
    let arn = call.identity.borrow().config.arn("kms", &format!("key/{id}"));
    let settled = Settled {
        spec,
        usage,
        created: Timestamp(call.now()),
        origin: Origin::Kms,
        multi_region: false,
        policy_locked: false,
    };
    let meta = KeyMeta { description: request.description.unwrap_or_default(), ..KeyMeta::default() };
    let record = KeyRecord::new(id, arn, settled, meta, Some(first));
    let record = call.store.borrow_mut().insert(id, record);
    call.state.touch(record.record_name());
    Ok(KeyMetadataResponse { key_metadata: metadata(call, &record) })
}

/// A parameter that would be silently without effect is refused instead.
fn offered(request: &CreateKeyRequest, origin: Option<Origin>) -> Result<(), KmsError> {
    let refused = [
        (request.policy.is_some(), "Policy (who may call is settled by who can connect)"),
        (request.tags.as_ref().is_some_and(|tags| !tags.is_empty()), "Tags"),
        (request.multi_region == Some(true), "MultiRegion"),
        (origin.is_some_and(|origin| origin != Origin::Kms), "an Origin other than AWS_KMS"),
        (request.custom_key_store_id.is_some(), "CustomKeyStoreId"),
        (request.xks_key_id.is_some(), "XksKeyId"),
    ];
    match refused.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(KmsError::unsupported(format!("This signer does not support {what} yet."))),
        None => Ok(()),
    }
}

/// The usage that was asked for, or that goes without saying, if the spec has it.
fn settle_usage(spec: KeySpec, usage: Option<KeyUsage>) -> Result<KeyUsage, KmsError> {
    if spec.usages().is_empty() {
        return Err(KmsError::unsupported(format!("This signer does not support KeySpec {spec} yet.")));
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

pub(super) fn metadata(call: &Call<'_>, key: &KeyRecord) -> KeyMetadata {
    let algorithms = Algorithms::of(key);
    KeyMetadata {
        account: call.identity.borrow().config.account.clone(),
        key_id: key.id.to_string(),
        arn: key.arn().to_owned(),
        creation_date: key.created,
        enabled: key.state() == KeyState::Enabled,
        description: key.meta().description.clone(),
        key_usage: key.usage,
        key_state: key.state(),
        deletion_date: key.deletion_date().map(Timestamp),
        origin: key.origin,
        key_manager: "CUSTOMER",
        customer_master_key_spec: key.spec.as_customer_master_key_spec(),
        key_spec: key.spec,
        encryption_algorithms: algorithms.encryption,
        signing_algorithms: algorithms.signing,
        key_agreement_algorithms: algorithms.agreement,
        encapsulation_algorithms: algorithms.encapsulation,
        mac_algorithms: key.spec.mac_algorithms(),
        multi_region: key.multi_region,
    }
}

/// The algorithms that spec and usage together leave; at most one of the lists has members.
struct Algorithms {
    encryption: &'static [EncryptionAlgorithm],
    signing: &'static [SigningAlgorithm],
    agreement: &'static [KeyAgreementAlgorithm],
    encapsulation: &'static [EncapsulationAlgorithm],
}

impl Algorithms {
    fn of(key: &KeyRecord) -> Self {
        let mut algorithms = Self { encryption: &[], signing: &[], agreement: &[], encapsulation: &[] };
        match key.usage {
            KeyUsage::EncryptDecrypt => algorithms.encryption = key.spec.encryption_algorithms(),
            KeyUsage::SignVerify => algorithms.signing = key.spec.signing_algorithms(),
            KeyUsage::KeyAgreement => algorithms.agreement = key.spec.agreement_algorithms(),
            KeyUsage::EncapsulateDecapsulate => {
                algorithms.encapsulation = key.spec.encapsulation_algorithms();
            }
            // Its algorithms go by the spec alone.
            KeyUsage::GenerateVerifyMac => {}
        }
        algorithms
    }
}

pub(super) fn describe_key(
    call: &Call<'_>,
    request: DescribeKeyRequest,
) -> Result<KeyMetadataResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let key = Ask::new("DescribeKey")
        .tokens(&request.grant_tokens)
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    Ok(KeyMetadataResponse { key_metadata: metadata(call, &key) })
}

pub(super) fn list_keys(call: &Call<'_>, request: ListKeysRequest) -> Result<ListKeysResponse, KmsError> {
    let mut check = Check::default();
    check.number("limit", request.limit, 1, 1000);
    check.text("marker", request.marker.as_deref(), 1, 1024);
    check.done()?;
    let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(100);
    // A marker is the id of the last key of the page before; that key may be gone by now.
    let after = match request.marker {
        Some(marker) => Some(KeyId::parse(&marker).ok_or_else(|| {
            KmsError::new(ErrorKind::InvalidMarker, "The marker is not one that ListKeys returned.")
        })?),
        None => None,
    };
    call.allow("kms:ListKeys", "*", &Facts::NONE)?;
    let page = call.store.borrow().page(after, limit);
    let identity = call.identity.borrow();
    let arn = |id: &KeyId| identity.config.arn("kms", &format!("key/{id}"));
    Ok(ListKeysResponse {
        next_marker: page.ids.last().filter(|_| page.more).map(ToString::to_string),
        truncated: page.more,
        keys: page.ids.iter().map(|id| KeyListEntry { key_id: id.to_string(), key_arn: arn(id) }).collect(),
    })
}

pub(super) fn get_public_key(
    call: &Call<'_>,
    request: GetPublicKeyRequest,
) -> Result<crate::types::GetPublicKeyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let key = Ask::new("GetPublicKey")
        .tokens(&request.grant_tokens)
        .enabled(call, request.key_id.as_deref().unwrap_or_default())?;
    let spki = public_half(&key)?;
    let algorithms = Algorithms::of(&key);
    Ok(crate::types::GetPublicKeyResponse {
        key_id: key.arn().to_owned(),
        public_key: Blob(spki.to_vec()),
        customer_master_key_spec: key.spec.as_customer_master_key_spec(),
        key_spec: key.spec,
        key_usage: key.usage,
        encryption_algorithms: algorithms.encryption,
        signing_algorithms: algorithms.signing,
        key_agreement_algorithms: algorithms.agreement,
        encapsulation_algorithms: algorithms.encapsulation,
    })
}

/// The public half of a key pair.
pub(super) fn public_half(key: &Ready) -> Result<&[u8], KmsError> {
    key.material.public_key().ok_or_else(|| {
        KmsError::unsupported(format!("{} has KeySpec {}, which has no public key.", key.arn(), key.spec))
    })
}
