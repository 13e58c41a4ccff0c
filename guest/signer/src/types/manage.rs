//! Requests and responses of the operations that manage keys.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Blob, EncryptionContext, KeyMetadata, Timestamp, request};
use crate::store::{GrantId, GrantOperation, MaterialId, RotationType};

/// Defines a response; members that are `None` are left out.
macro_rules! response {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $member:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        pub(crate) struct $name { $($(#[$attribute])* pub(crate) $member: $ty,)* }
    };
}

request! {
    /// A tag.
    #[derive(Clone, Serialize)]
    #[serde(rename_all = "PascalCase")]
    Tag { tag_key: String, tag_value: String, }
}

request! {
    /// TagResource.
    TagResourceRequest { key_id: String, tags: Vec<Tag>, }
}
request! {
    /// UntagResource.
    UntagResourceRequest { key_id: String, tag_keys: Vec<String>, }
}
request! {
    /// ListResourceTags, ListKeyPolicies and ListAliases.
    PageOfKeyRequest { key_id: String, limit: i64, marker: String, }
}
response! {
    /// ListResourceTags.
    ListResourceTagsResponse {
        tags: Vec<Tag>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
        truncated: bool,
    }
}

request! {
    /// GetKeyPolicy.
    GetKeyPolicyRequest { key_id: String, policy_name: String, }
}
response! {
    /// GetKeyPolicy.
    GetKeyPolicyResponse { policy: String, policy_name: &'static str, }
}
request! {
    /// PutKeyPolicy.
    PutKeyPolicyRequest {
        key_id: String,
        policy_name: String,
        policy: String,
        bypass_policy_lockout_safety_check: bool,
    }
}
response! {
    /// ListKeyPolicies.
    ListKeyPoliciesResponse { policy_names: Vec<&'static str>, truncated: bool, }
}

request! {
    /// UpdateKeyDescription.
    UpdateKeyDescriptionRequest { key_id: String, description: String, }
}

request! {
    /// CreateAlias and UpdateAlias.
    AliasRequest { alias_name: String, target_key_id: String, }
}
request! {
    /// DeleteAlias.
    DeleteAliasRequest { alias_name: String, }
}
response! {
    /// An entry of ListAliases.
    AliasListEntry {
        alias_name: String,
        alias_arn: String,
        target_key_id: String,
        creation_date: Timestamp,
        last_updated_date: Timestamp,
    }
}
response! {
    /// ListAliases.
    ListAliasesResponse {
        aliases: Vec<AliasListEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
        truncated: bool,
    }
}

request! {
    /// The constraints of a grant.
    #[derive(Clone, Serialize)]
    #[serde(rename_all = "PascalCase")]
    GrantConstraints {
        #[serde(skip_serializing_if = "Option::is_none")]
        encryption_context_subset: EncryptionContext,
        #[serde(skip_serializing_if = "Option::is_none")]
        encryption_context_equals: EncryptionContext,
        #[serde(skip_serializing_if = "Option::is_none")]
        source_arn: String,
    }
}
request! {
    /// CreateGrant.
    CreateGrantRequest {
        key_id: String,
        grantee_principal: String,
        retiring_principal: String,
        operations: Vec<String>,
        constraints: GrantConstraints,
        grant_tokens: Vec<String>,
        name: String,
        dry_run: bool,
        grantee_service_principal: String,
        retiring_service_principal: String,
    }
}
response! {
    /// CreateGrant.
    CreateGrantResponse { grant_token: String, grant_id: GrantId, }
}
request! {
    /// ListGrants.
    ListGrantsRequest {
        limit: i64,
        marker: String,
        key_id: String,
        grant_id: String,
        grantee_principal: String,
        grantee_service_principal: String,
    }
}
request! {
    /// ListRetirableGrants.
    ListRetirableGrantsRequest {
        limit: i64,
        marker: String,
        retiring_principal: String,
        retiring_service_principal: String,
    }
}
response! {
    /// An entry of ListGrants.
    GrantListEntry {
        key_id: String,
        grant_id: GrantId,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        creation_date: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        grantee_principal: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retiring_principal: Option<String>,
        issuing_account: String,
        operations: Vec<GrantOperation>,
        #[serde(skip_serializing_if = "Option::is_none")]
        constraints: Option<GrantConstraints>,
        #[serde(skip_serializing_if = "Option::is_none")]
        grantee_service_principal: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retiring_service_principal: Option<String>,
    }
}
response! {
    /// ListGrants and ListRetirableGrants.
    ListGrantsResponse {
        grants: Vec<GrantListEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
        truncated: bool,
    }
}
request! {
    /// RetireGrant.
    RetireGrantRequest { grant_token: String, key_id: String, grant_id: String, dry_run: bool, }
}
request! {
    /// RevokeGrant.
    RevokeGrantRequest { key_id: String, grant_id: String, dry_run: bool, }
}

request! {
    /// EnableKeyRotation.
    EnableKeyRotationRequest { key_id: String, rotation_period_in_days: i64, }
}
response! {
    /// GetKeyRotationStatus.
    GetKeyRotationStatusResponse {
        key_rotation_enabled: bool,
        key_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        rotation_period_in_days: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_rotation_date: Option<Timestamp>,
    }
}
request! {
    /// ListKeyRotations.
    ListKeyRotationsRequest { key_id: String, include_key_material: String, limit: i64, marker: String, }
}
response! {
    /// An entry of ListKeyRotations.
    RotationsListEntry {
        key_id: String,
        key_material_id: MaterialId,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_material_description: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        import_state: Option<&'static str>,
        key_material_state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        expiration_model: Option<ExpirationModel>,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_to: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rotation_date: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rotation_type: Option<RotationType>,
    }
}
response! {
    /// ListKeyRotations.
    ListKeyRotationsResponse {
        rotations: Vec<RotationsListEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
        truncated: bool,
    }
}

named! {
    /// Whether imported key material is erased by date.
    pub(crate) enum ExpirationModel {
        /// It is.
        Expires = "KEY_MATERIAL_EXPIRES",
        /// It is not.
        DoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}

request! {
    /// GetParametersForImport.
    GetParametersForImportRequest { key_id: String, wrapping_algorithm: String, wrapping_key_spec: String, }
}
response! {
    /// GetParametersForImport.
    GetParametersForImportResponse {
        key_id: String,
        import_token: Blob,
        public_key: Blob,
        parameters_valid_to: Timestamp,
    }
}
request! {
    /// ImportKeyMaterial.
    ImportKeyMaterialRequest {
        key_id: String,
        import_token: Blob,
        encrypted_key_material: Blob,
        valid_to: Timestamp,
        expiration_model: String,
        import_type: String,
        key_material_description: String,
        key_material_id: String,
    }
}
request! {
    /// DeleteImportedKeyMaterial.
    DeleteImportedKeyMaterialRequest { key_id: String, key_material_id: String, }
}
response! {
    /// ImportKeyMaterial and DeleteImportedKeyMaterial.
    KeyMaterialResponse {
        key_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_material_id: Option<MaterialId>,
    }
}

request! {
    /// ReplicateKey.
    ReplicateKeyRequest {
        key_id: String,
        replica_region: String,
        policy: String,
        bypass_policy_lockout_safety_check: bool,
        description: String,
        tags: Vec<Tag>,
    }
}
response! {
    /// ReplicateKey. This signer never gives it.
    ReplicateKeyResponse { replica_key_metadata: KeyMetadata, replica_policy: String, replica_tags: Vec<Tag>, }
}
request! {
    /// UpdatePrimaryRegion.
    UpdatePrimaryRegionRequest { key_id: String, primary_region: String, }
}

response! {
    /// The latest use of a key; empty if there was none.
    KeyLastUsageData {
        #[serde(skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<Timestamp>,
    }
}
response! {
    /// GetKeyLastUsage.
    GetKeyLastUsageResponse {
        key_id: String,
        key_last_usage: KeyLastUsageData,
        tracking_start_date: Timestamp,
        key_creation_date: Timestamp,
    }
}

request! {
    /// How external key stores would be signed for.
    XksProxyCredential { access_key_id: String, raw_secret_access_key: String, }
}
request! {
    /// CreateCustomKeyStore and UpdateCustomKeyStore.
    CustomKeyStoreRequest {
        custom_key_store_id: String,
        custom_key_store_name: String,
        new_custom_key_store_name: String,
        cloud_hsm_cluster_id: String,
        trust_anchor_certificate: String,
        key_store_password: String,
        custom_key_store_type: String,
        xks_proxy_uri_endpoint: String,
        xks_proxy_uri_path: String,
        xks_proxy_vpc_endpoint_service_name: String,
        xks_proxy_vpc_endpoint_service_owner: String,
        xks_proxy_authentication_credential: XksProxyCredential,
        xks_proxy_connectivity: String,
    }
}
request! {
    /// ConnectCustomKeyStore, DisconnectCustomKeyStore and DeleteCustomKeyStore.
    CustomKeyStoreIdRequest { custom_key_store_id: String, }
}
request! {
    /// DescribeCustomKeyStores.
    DescribeCustomKeyStoresRequest {
        custom_key_store_id: String,
        custom_key_store_name: String,
        limit: i64,
        marker: String,
    }
}
response! {
    /// DescribeCustomKeyStores: there are none.
    DescribeCustomKeyStoresResponse { custom_key_stores: [(); 0], truncated: bool, }
}

response! {
    /// A key of a multi-Region set.
    MultiRegionKey { arn: String, region: String, }
}
response! {
    /// The set that a multi-Region key belongs to.
    MultiRegionConfiguration {
        multi_region_key_type: &'static str,
        primary_key: MultiRegionKey,
        replica_keys: Vec<MultiRegionKey>,
    }
}

/// Tags by key, as they are kept.
pub(crate) type Tags = BTreeMap<String, String>;
