//! Custom key stores: keys in a CloudHSM cluster, or behind an external proxy. Here there are none and there cannot be
//! any, for this signer's keys never leave it; each operation answers as AWS does to somebody who has none.

use crate::access::{Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::types::{
    CustomKeyStoreIdRequest, CustomKeyStoreRequest, DescribeCustomKeyStoresRequest,
    DescribeCustomKeyStoresResponse, Empty,
};
use crate::validate::Check;

use super::page;

named! {
    /// The kind of custom key store.
    enum StoreType {
        CloudHsm = "AWS_CLOUDHSM",
        External = "EXTERNAL_KEY_STORE",
    }
}

named! {
    /// How an external key store would be reached.
    enum Connectivity {
        PublicEndpoint = "PUBLIC_ENDPOINT",
        VpcEndpointService = "VPC_ENDPOINT_SERVICE",
    }
}

/// `CustomKeyStoreNotFoundException`.
pub(super) fn none(name: &str) -> KmsError {
    let message = format!("The custom key store {name} does not exist: this signer keeps its keys itself.");
    KmsError::new(ErrorKind::CustomKeyStoreNotFound, message)
}

pub(super) fn create(call: &Call<'_>, request: CustomKeyStoreRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.required("customKeyStoreName", &request.custom_key_store_name);
    check.text("customKeyStoreName", request.custom_key_store_name.as_deref(), 1, 256);
    let kind = check.one_of::<StoreType>("customKeyStoreType", request.custom_key_store_type.as_deref());
    check.text("trustAnchorCertificate", request.trust_anchor_certificate.as_deref(), 1, 5000);
    check_members(&mut check, &request);
    check.done()?;
    call.allow("kms:CreateCustomKeyStore", "*", &Facts::NONE)?;
    Err(match kind {
        None | Some(StoreType::CloudHsm) => {
            let cluster = request.cloud_hsm_cluster_id.unwrap_or_default();
            let message = format!("The CloudHSM cluster {cluster} does not exist: this signer reaches none.");
            KmsError::new(ErrorKind::CloudHsmClusterNotFound, message)
        }
        Some(StoreType::External) => KmsError::new(
            ErrorKind::XksProxyUriUnreachable,
            "The external key store proxy cannot be reached: this signer connects to nothing.",
        ),
    })
}

pub(super) fn update(call: &Call<'_>, request: CustomKeyStoreRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.required("customKeyStoreId", &request.custom_key_store_id);
    check.text("customKeyStoreId", request.custom_key_store_id.as_deref(), 1, 64);
    check.text("newCustomKeyStoreName", request.new_custom_key_store_name.as_deref(), 1, 256);
    check_members(&mut check, &request);
    check.done()?;
    missing(call, "kms:UpdateCustomKeyStore", request.custom_key_store_id)
}

pub(super) fn connect(call: &Call<'_>, request: CustomKeyStoreIdRequest) -> Result<Empty, KmsError> {
    by_id(call, "kms:ConnectCustomKeyStore", request)
}

pub(super) fn disconnect(call: &Call<'_>, request: CustomKeyStoreIdRequest) -> Result<Empty, KmsError> {
    by_id(call, "kms:DisconnectCustomKeyStore", request)
}

pub(super) fn delete(call: &Call<'_>, request: CustomKeyStoreIdRequest) -> Result<Empty, KmsError> {
    by_id(call, "kms:DeleteCustomKeyStore", request)
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeCustomKeyStoresRequest,
) -> Result<DescribeCustomKeyStoresResponse, KmsError> {
    let mut check = Check::default();
    check.text("customKeyStoreId", request.custom_key_store_id.as_deref(), 1, 64);
    check.text("customKeyStoreName", request.custom_key_store_name.as_deref(), 1, 256);
    check.page(request.limit, request.marker.as_deref());
    check.done()?;
    if request.custom_key_store_id.is_some() && request.custom_key_store_name.is_some() {
        return Err(KmsError::validation(
            "You can specify either CustomKeyStoreId or CustomKeyStoreName, but not both.",
        ));
    }
    page::after(request.marker.as_deref(), |_| None::<()>)?;
    call.allow("kms:DescribeCustomKeyStores", "*", &Facts::NONE)?;
    match request.custom_key_store_id.or(request.custom_key_store_name) {
        Some(name) => Err(none(&name)),
        None => Ok(DescribeCustomKeyStoresResponse { custom_key_stores: [], truncated: false }),
    }
}

fn by_id(call: &Call<'_>, action: &str, request: CustomKeyStoreIdRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.required("customKeyStoreId", &request.custom_key_store_id);
    check.text("customKeyStoreId", request.custom_key_store_id.as_deref(), 1, 64);
    check.done()?;
    missing(call, action, request.custom_key_store_id)
}

fn missing(call: &Call<'_>, action: &str, id: Option<String>) -> Result<Empty, KmsError> {
    call.allow(action, "*", &Facts::NONE)?;
    Err(none(&id.unwrap_or_default()))
}

/// The members that creating and updating have in common, with the patterns of the service model.
fn check_members(check: &mut Check, request: &CustomKeyStoreRequest) {
    let cluster = request.cloud_hsm_cluster_id.as_deref();
    check.text("cloudHsmClusterId", cluster, 19, 24);
    form(check, "cloudHsmClusterId", cluster, "cluster-[2-7a-zA-Z]{11,16}", is_cluster);
    let password = request.key_store_password.as_ref().map(String::as_bytes);
    check.blob("keyStorePassword", &password, 7, 32);
    let endpoint = request.xks_proxy_uri_endpoint.as_deref();
    check.text("xksProxyUriEndpoint", endpoint, 10, 128);
    form(check, "xksProxyUriEndpoint", endpoint, "^https://[a-zA-Z0-9.-]+$", is_endpoint);
    let path = request.xks_proxy_uri_path.as_deref();
    check.text("xksProxyUriPath", path, 10, 128);
    const PATH: &str = r"^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$";
    form(check, "xksProxyUriPath", path, PATH, is_path);
    let service = request.xks_proxy_vpc_endpoint_service_name.as_deref();
    check.text("xksProxyVpcEndpointServiceName", service, 20, 64);
    const SERVICE: &str = r"^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$";
    form(check, "xksProxyVpcEndpointServiceName", service, SERVICE, is_service);
    let owner = request.xks_proxy_vpc_endpoint_service_owner.as_deref();
    check.text("xksProxyVpcEndpointServiceOwner", owner, 12, 12);
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    form(check, "xksProxyVpcEndpointServiceOwner", owner, "[0-9]{12}", digits);
    if let Some(credential) = &request.xks_proxy_authentication_credential {
        check_credential(check, credential.access_key_id.as_deref(), &credential.raw_secret_access_key);
    }
    check.one_of::<Connectivity>("xksProxyConnectivity", request.xks_proxy_connectivity.as_deref());
}

fn check_credential(check: &mut Check, id: Option<&str>, secret: &Option<String>) {
    let member = "xksProxyAuthenticationCredential.accessKeyId";
    check.required(member, &id);
    check.text(member, id, 20, 30);
    let base32 = |text: &str| text.bytes().all(|c| c.is_ascii_uppercase() || (b'2'..=b'7').contains(&c));
    form(check, member, id, "^[A-Z2-7]+$", base32);
    let member = "xksProxyAuthenticationCredential.rawSecretAccessKey";
    check.required(member, secret);
    // As bytes: a secret is not repeated in a message.
    check.blob(member, &secret.as_ref().map(String::as_bytes), 43, 64);
    let base64 = |text: &String| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"/+=".contains(&c));
    if secret.as_ref().is_some_and(|secret| !base64(secret)) {
        check.broken(member, r"Member must satisfy regular expression pattern: ^[a-zA-Z0-9\/+=]+$");
    }
}

fn form(check: &mut Check, member: &str, value: Option<&str>, pattern: &str, test: impl Fn(&str) -> bool) {
    if let Some(value) = value.filter(|value| !test(value)) {
        check.pattern_broken(member, value, pattern);
    }
}

fn is_cluster(text: &str) -> bool {
    text.strip_prefix("cluster-").is_some_and(|rest| {
        (11..=16).contains(&rest.len())
            && rest.bytes().all(|c| c.is_ascii_alphabetic() || (b'2'..=b'7').contains(&c))
    })
}

fn is_endpoint(text: &str) -> bool {
    text.strip_prefix("https://").is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-".contains(&c))
    })
}

fn is_path(text: &str) -> bool {
    let Some((before, version)) = text.rsplit_once("/kms/xks/v") else { return false };
    let digits = (1..=2).contains(&version.len()) && version.bytes().all(|c| c.is_ascii_digit());
    let prefix = before.strip_prefix('/').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/_-".contains(&c))
    });
    digits && (before.is_empty() || prefix)
}

fn is_service(text: &str) -> bool {
    let rest = text.strip_prefix("com.amazonaws.vpce.").or_else(|| text.strip_prefix("eu.amazonaws.vpce."));
    let Some((region, service)) = rest.and_then(|rest| rest.split_once(".vpce-svc-")) else { return false };
    let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    super::region::is_region(region) && !service.is_empty() && service.bytes().all(lower)
}
