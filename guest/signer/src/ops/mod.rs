//! The operations: one function each, and the table that names them.

mod agree;
mod alias;
mod attest_key;
mod audit;
mod cipher;
mod create;
mod crypt;
mod data_key;
mod data_key_pair;
mod encapsulate;
mod grants;
mod import;
mod keys;
mod lifecycle;
mod mac;
pub(crate) mod page;
mod policy;
mod random;
pub(crate) mod refusal;
mod region;
mod rotation;
mod sign;
mod stores;
mod tags;
pub(crate) mod upgrade;
mod volume;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::access::Call;
use crate::errors::{ErrorKind, KmsError};
use crate::pca;
use crate::types::{self, Request};

/// An operation from JSON to JSON.
pub(crate) type Run = fn(&Call<'_>, &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError>;

/// Every operation of the service model, sorted by name.
const OPERATIONS: &[(&str, Run)] = &[
    ("CancelKeyDeletion", |s, b| typed(s, b, lifecycle::cancel_key_deletion)),
    ("ConnectCustomKeyStore", |s, b| typed(s, b, stores::connect)),
    ("CreateAlias", |s, b| typed(s, b, alias::create_alias)),
    ("CreateCustomKeyStore", |s, b| typed(s, b, stores::create)),
    ("CreateGrant", |s, b| typed(s, b, grants::create_grant)),
    ("CreateKey", |s, b| typed(s, b, create::create_key)),
    ("Decapsulate", |s, b| typed(s, b, encapsulate::decapsulate)),
    ("Decrypt", |s, b| typed(s, b, crypt::decrypt)),
    ("DeleteAlias", |s, b| typed(s, b, alias::delete_alias)),
    ("DeleteCustomKeyStore", |s, b| typed(s, b, stores::delete)),
    ("DeleteImportedKeyMaterial", |s, b| typed(s, b, import::delete_imported_key_material)),
    ("DeriveSharedSecret", |s, b| typed(s, b, agree::derive_shared_secret)),
    ("DescribeCustomKeyStores", |s, b| typed(s, b, stores::describe)),
    ("DescribeKey", |s, b| typed(s, b, keys::describe_key)),
    ("DisableKey", |s, b| typed(s, b, lifecycle::disable_key)),
    ("DisableKeyRotation", |s, b| typed(s, b, rotation::disable_key_rotation)),
    ("DisconnectCustomKeyStore", |s, b| typed(s, b, stores::disconnect)),
    ("EnableKey", |s, b| typed(s, b, lifecycle::enable_key)),
    ("EnableKeyRotation", |s, b| typed(s, b, rotation::enable_key_rotation)),
    ("Encapsulate", |s, b| typed(s, b, encapsulate::encapsulate)),
    ("Encrypt", |s, b| typed(s, b, crypt::encrypt)),
    ("GenerateDataKey", |s, b| typed(s, b, data_key::generate_data_key)),
    ("GenerateDataKeyPair", |s, b| typed(s, b, data_key_pair::generate_data_key_pair)),
    ("GenerateDataKeyPairWithoutPlaintext", |s, b| {
        typed(s, b, data_key_pair::generate_data_key_pair_without_plaintext)
    }),
    ("GenerateDataKeyWithoutPlaintext", |s, b| typed(s, b, data_key::generate_data_key_without_plaintext)),
    ("GenerateMac", |s, b| typed(s, b, mac::generate_mac)),
    ("GenerateRandom", |s, b| typed(s, b, random::generate_random)),
    ("GetKeyLastUsage", |s, b| typed(s, b, keys::get_key_last_usage)),
    ("GetKeyPolicy", |s, b| typed(s, b, policy::get_key_policy)),
    ("GetKeyRotationStatus", |s, b| typed(s, b, rotation::get_key_rotation_status)),
    ("GetParametersForImport", |s, b| typed(s, b, import::get_parameters_for_import)),
    ("GetPublicKey", |s, b| typed(s, b, keys::get_public_key)),
    ("ImportKeyMaterial", |s, b| typed(s, b, import::import_key_material)),
    ("ListAliases", |s, b| typed(s, b, alias::list_aliases)),
    ("ListGrants", |s, b| typed(s, b, grants::list_grants)),
    ("ListKeyPolicies", |s, b| typed(s, b, policy::list_key_policies)),
    ("ListKeyRotations", |s, b| typed(s, b, rotation::list_key_rotations)),
    ("ListKeys", |s, b| typed(s, b, keys::list_keys)),
    ("ListResourceTags", |s, b| typed(s, b, tags::list_resource_tags)),
    ("ListRetirableGrants", |s, b| typed(s, b, grants::list_retirable_grants)),
    ("PutKeyPolicy", |s, b| typed(s, b, policy::put_key_policy)),
    ("ReEncrypt", |s, b| typed(s, b, crypt::re_encrypt)),
    ("ReplicateKey", |s, b| typed(s, b, region::replicate_key)),
    ("RetireGrant", |s, b| typed(s, b, grants::retire_grant)),
    ("RevokeGrant", |s, b| typed(s, b, grants::revoke_grant)),
    ("RotateKeyOnDemand", |s, b| typed(s, b, rotation::rotate_key_on_demand)),
    ("ScheduleKeyDeletion", |s, b| typed(s, b, lifecycle::schedule_key_deletion)),
    ("Sign", |s, b| typed(s, b, sign::sign)),
    ("TagResource", |s, b| typed(s, b, tags::tag_resource)),
    ("UntagResource", |s, b| typed(s, b, tags::untag_resource)),
    ("UpdateAlias", |s, b| typed(s, b, alias::update_alias)),
    ("UpdateCustomKeyStore", |s, b| typed(s, b, stores::update)),
    ("UpdateKeyDescription", |s, b| typed(s, b, keys::update_key_description)),
    ("UpdatePrimaryRegion", |s, b| typed(s, b, region::update_primary_region)),
    ("Verify", |s, b| typed(s, b, sign::verify)),
    ("VerifyMac", |s, b| typed(s, b, mac::verify_mac)),
];

/// Our own operations, sorted by name.
const CASEMATE: &[(&str, Run)] = &[
    ("AttachVolume", |c, b| typed(c, b, volume::attach_volume)),
    ("AttestPublicKey", |c, b| typed(c, b, attest_key::attest_public_key)),
    ("DeleteUpdatePolicy", |c, b| typed(c, b, upgrade::delete_update_policy)),
    ("DetachVolume", |c, b| typed(c, b, volume::detach_volume)),
    ("GetCertificateAuthorityAuditReport", |c, b| typed(c, b, pca::get_audit_report)),
    ("GetGrantNonce", |c, b| typed(c, b, upgrade::get_grant_nonce)),
    ("GetUpdatePolicy", |c, b| typed(c, b, upgrade::get_update_policy)),
    ("GrantUpgrade", |c, b| typed(c, b, upgrade::grant_upgrade)),
    ("PutUpdatePolicy", |c, b| typed(c, b, upgrade::put_update_policy)),
    ("ReadAudit", |c, b| typed(c, b, audit::read_audit)),
];

/// The names of all operations of KMS that the signer answers.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(name, _)| *name)
}

/// The operation of that name: `TrentService.Sign`, `ACMPrivateCA.IssueCertificate`, `Casemate.ReadAudit`; `Sign` alone is one of KMS.
pub(crate) fn find(name: &str) -> Option<Run> {
    let (table, name) = match name.split_once('.') {
        Some(("Casemate", name)) => (CASEMATE, name),
        Some(("ACMPrivateCA", name)) => (pca::OPERATIONS, name),
        Some(("TrentService", name)) => (OPERATIONS, name),
        _ => (OPERATIONS, name),
    };
    let index = table.binary_search_by_key(&name, |(known, _)| known).ok()?;
    table.get(index).map(|(_, run)| *run)
}

pub(crate) fn typed<I: Request + Default, O: Serialize>(
    call: &Call<'_>,
    body: &[u8],
    operation: fn(&Call<'_>, I) -> Result<O, KmsError>,
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let mut request = I::default();
    parse(body, &mut request)?;
    let response = operation(call, request)?;
    // A reserve for the largest response, so that no half-written plaintext is left behind by a reallocation.
    let mut json = Zeroizing::new(Vec::with_capacity(16 * 1024));
    serde_json::to_writer(&mut *json, &response).map_err(|_| KmsError::internal("Encoding the response"))?;
    Ok(json)
}

/// Reads a request's body. An empty one stands for an empty object: some clients send it for operations without input.
fn parse(body: &[u8], request: &mut dyn Request) -> Result<(), KmsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    types::read(body, request).map_err(|error| {
        KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {error}"))
    })
}

/// The end of a dry run, once everything has been checked.
fn dry_run(requested: Option<bool>) -> Result<(), KmsError> {
    match requested {
        Some(true) => Err(KmsError::new(
            ErrorKind::DryRunOperation,
            "The request would have succeeded, but the DryRun option is set.",
        )),
        _ => Ok(()),
    }
}
