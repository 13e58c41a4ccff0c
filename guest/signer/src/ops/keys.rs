//! DescribeKey, ListKeys, GetPublicKey, UpdateKeyDescription, GetKeyLastUsage.

use std::rc::Rc;

use crate::access::{Ask, Call, Facts, Ready};
use crate::crypto::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, KeySpec, KeyUsage, SigningAlgorithm,
};
use crate::errors::KmsError;
use crate::store::{Generations, KeyId, KeyRecord, KeyState, Origin};
use crate::types::{
    Blob, DescribeKeyRequest, Empty, ExpirationModel, GetKeyLastUsageResponse, GetPublicKeyRequest,
    GetPublicKeyResponse, KeyIdRequest, KeyLastUsageData, KeyListEntry, KeyMetadata, KeyMetadataResponse,
    ListKeysRequest, ListKeysResponse, MultiRegionConfiguration, MultiRegionKey, Timestamp,
    UpdateKeyDescriptionRequest,
};
use crate::validate::Check;

use super::{lifecycle, page, refusal};

named! {
    /// Whose keys are listed.
    enum Owner {
        OneSelf = "SELF",
        OtherAccounts = "OTHER_ACCOUNTS_VIA_RAM",
    }
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
        multi_region_configuration: key.multi_region.then(|| primary(call, key)),
        valid_to: expiry(key),
        expiration_model: expiration_model(key),
        current_key_material_id: key.material_id().filter(|_| key.spec == KeySpec::Symmetric),
    }
}

/// A multi-Region key of this signer is the primary one, and has no replicas.
fn primary(call: &Call<'_>, key: &KeyRecord) -> MultiRegionConfiguration {
    MultiRegionConfiguration {
        multi_region_key_type: "PRIMARY",
        primary_key: MultiRegionKey {
            arn: key.arn().to_owned(),
            region: call.identity.borrow().config.region.clone(),
        },
        replica_keys: Vec::new(),
    }
}

/// When the first of the imported secrets in use expires.
fn expiry(key: &KeyRecord) -> Option<Timestamp> {
    let generations = key.generations();
    let dates = generations.iter().flat_map(Generations::used).filter_map(|used| used.note.valid_to);
    dates.min_by_key(|date| date.0)
}

/// For imported key material, once there is some.
fn expiration_model(key: &KeyRecord) -> Option<ExpirationModel> {
    let imported = key.origin == Origin::External && key.generations().is_some();
    imported.then(|| match expiry(key) {
        Some(_) => ExpirationModel::Expires,
        None => ExpirationModel::DoesNotExpire,
    })
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
    check.page(request.limit, request.marker.as_deref());
    check.list("resourceOwners", &request.resource_owners, 1, 2);
    let owners = check.some_of::<Owner>("resourceOwners", &request.resource_owners);
    check.done()?;
    let after = page::after(request.marker.as_deref(), KeyId::parse)?;
    call.allow("kms:ListKeys", "*", &Facts::NONE)?;
    let store = call.store.borrow();
    // Nobody else's keys are shared with this account.
    let all = store.keys_after(after).filter(|_| owners.is_empty() || owners.contains(&Owner::OneSelf));
    let page = page::take(all, request.limit, 100, |key| key.id.to_string());
    let entry =
        |key: &Rc<KeyRecord>| KeyListEntry { key_id: key.id.to_string(), key_arn: key.arn().to_owned() };
    Ok(ListKeysResponse {
        keys: page.entries.into_iter().map(entry).collect(),
        next_marker: page.next_marker,
        truncated: page.truncated,
    })
}

pub(super) fn get_public_key(
    call: &Call<'_>,
    request: GetPublicKeyRequest,
) -> Result<GetPublicKeyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let key = Ask::new("GetPublicKey")
        .tokens(&request.grant_tokens)
        .enabled(call, request.key_id.as_deref().unwrap_or_default())?;
    let spki = public_half(&key)?;
    let algorithms = Algorithms::of(&key);
    Ok(GetPublicKeyResponse {
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

pub(super) fn update_key_description(
    call: &Call<'_>,
    request: UpdateKeyDescriptionRequest,
) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("description", &request.description);
    check.text("description", request.description.as_deref(), 0, 8192);
    check.done()?;
    let key = Ask::new("UpdateKeyDescription").find(call, request.key_id.as_deref().unwrap_or_default())?;
    refusal::if_pending_deletion(&key)?;
    key.meta_mut().description = request.description.unwrap_or_default();
    call.state.touch(key.record_name());
    Ok(Empty {})
}

pub(super) fn get_key_last_usage(
    call: &Call<'_>,
    request: KeyIdRequest,
) -> Result<GetKeyLastUsageResponse, KmsError> {
    let key = lifecycle::named(call, &request.key_id, "GetKeyLastUsage")?;
    let last = key.meta().last_usage.clone();
    Ok(GetKeyLastUsageResponse {
        key_id: key.id.to_string(),
        key_last_usage: KeyLastUsageData {
            timestamp: last.as_ref().map(|last| last.date),
            operation: last.map(|last| last.operation),
        },
        tracking_start_date: key.created,
        key_creation_date: key.created,
    })
}
