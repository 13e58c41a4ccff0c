//! What a line says: CloudTrail's record of an API call, member for member as in its documentation ("CloudTrail record
//! contents for management, data, and network activity events", version 1.11).

use std::collections::BTreeMap;
use std::time::SystemTime;

use casemate_policy::Principal as Identified;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::access::Caller;
use crate::errors::KmsError;

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// It was answered.
    Answered,
    /// It was refused, with this error and message.
    Refused(&'a str, &'a str),
}

impl<'a> Outcome<'a> {
    /// How a request ended that was answered with this.
    pub(crate) fn of<T>(answer: &'a Result<T, KmsError>) -> Self {
        match answer {
            Ok(_) => Self::Answered,
            Err(error) => Self::Refused(error.kind.name(), &error.message),
        }
    }
}

/// Who sent a request, as far as that is known.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// Somebody who has proved it.
    Proved(&'a Caller),
    /// A user of the PKCS#11 token who has logged in.
    TokenUser(&'a str),
    /// Nobody knows; with the access key that the request names, if it names one.
    Stranger(Option<&'a str>),
}

/// A request, as the log remembers it.
pub(crate) struct Event<'a> {
    /// `kms`, `sts`, `iam` …
    pub(crate) service: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) who: Who<'a>,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) user_agent: &'a str,
    /// Whether it came through TLS that ends in the signer.
    pub(crate) tls: bool,
    /// The body; only what is named in [`Parameters`] gets into the log.
    pub(crate) request: &'a [u8],
    /// The ARN of the key that the request was about, once it was found.
    pub(crate) key: Option<&'a str>,
    pub(crate) outcome: Outcome<'a>,
    pub(crate) now: SystemTime,
}

/// The members of a request that the log repeats. Whatever is not here (messages, plaintexts, ciphertexts, key material,
/// policies) stays out.
#[derive(Deserialize, Serialize, Default)]
#[serde(default, rename_all(deserialize = "PascalCase", serialize = "camelCase"))]
struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_spec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_master_key_spec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapping_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_pair_spec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grantee_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retiring_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_of_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_window_in_days: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_period_in_days: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    // Of the PKCS#11 token.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapping_object: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<u64>,
}

/// Longest text of the caller's that is repeated in a line, in characters.
const TEXT_MAX: usize = 256;

fn cut(text: &str) -> &str {
    text.char_indices().nth(TEXT_MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

impl Parameters {
    /// The loggable part of a JSON body; nothing of one that is none, or whose loggable part is longer than any honest one.
    fn of(body: &[u8]) -> Option<Self> {
        const LONGEST: usize = 12 * 1024;
        let parameters: Self = serde_json::from_slice(body).ok()?;
        let size = serde_json::to_vec(&parameters).ok()?.len();
        (size <= LONGEST && size > 2).then_some(parameters)
    }
}

struct Identity<'a>(Who<'a>, &'a str);

impl Serialize for Identity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Who::Stranger(claimed) => {
                map.serialize_entry("type", "Unknown")?;
                if let Some(id) = claimed {
                    map.serialize_entry("accessKeyId", id)?;
                }
            }
            Who::TokenUser(user) => {
                map.serialize_entry("type", "TokenUser")?;
                map.serialize_entry("userName", user)?;
            }
            Who::Proved(Caller::LocalOwner) => {
                map.serialize_entry("type", "Unknown")?;
                map.serialize_entry("invokedBy", "local owner")?;
            }
            Who::Proved(Caller::Principal(principal)) => {
                let kind = match &principal.who {
                    Identified::Root { .. } => "Root",
                    Identified::User { .. } => "IAMUser",
                    Identified::AssumedRole { .. } => "AssumedRole",
                    Identified::FederatedUser { .. } => "FederatedUser",
                    Identified::Service { .. } => "AWSService",
                    Identified::Anonymous => "Unknown",
                };
                map.serialize_entry("type", kind)?;
                map.serialize_entry("principalId", &principal.who.user_id())?;
                map.serialize_entry("arn", &principal.arn())?;
                map.serialize_entry("accountId", self.1)?;
                map.serialize_entry("accessKeyId", &principal.access_key_id)?;
            }
        }
        map.end()
    }
}

/// An ARN with the account that owns it, as CloudTrail lists resources.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    account_id: &'a str,
    r#type: &'static str,
    #[serde(rename = "ARN")]
    arn: &'a str,
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("eventVersion", "1.11")?;
        map.serialize_entry("userIdentity", &Identity(self.who, self.account))?;
        map.serialize_entry("eventTime", &time(self.now))?;
        map.serialize_entry("eventSource", &format_args!("{}.amazonaws.com", self.service))?;
        map.serialize_entry("eventName", cut(self.operation))?;
        map.serialize_entry("awsRegion", self.region)?;
        map.serialize_entry("userAgent", cut(self.user_agent))?;
        if let Outcome::Refused(code, message) = self.outcome {
            map.serialize_entry("errorCode", code.strip_suffix("Exception").unwrap_or(code))?;
            map.serialize_entry("errorMessage", cut(message))?;
        }
        map.serialize_entry("requestParameters", &Parameters::of(self.request))?;
        map.serialize_entry("responseElements", &())?;
        map.serialize_entry("requestID", self.request_id)?;
        map.serialize_entry("readOnly", &read_only(self.operation))?;
        let kind = match self.service {
            "acm-pca" => "AWS::ACMPCA::CertificateAuthority",
            _ => "AWS::KMS::Key",
        };
        let resource = self.key.map(|arn| Resource { account_id: self.account, r#type: kind, arn });
        if let Some(resource) = resource {
            map.serialize_entry("resources", &[resource])?;
        }
        map.serialize_entry("eventType", "AwsApiCall")?;
        map.serialize_entry("managementEvent", &true)?;
        map.serialize_entry("recipientAccountId", self.account)?;
        map.serialize_entry("eventCategory", "Management")?;
        map.serialize_entry("additionalEventData", &BTreeMap::from([("tls", self.tls)]))?;
        map.end()
    }
}

/// `2026-11-24T23:57:05Z`; the end of 9999 where the clock is beyond all calendars.
pub(super) fn time(now: SystemTime) -> String {
    der::DateTime::from_system_time(now).unwrap_or(der::DateTime::INFINITY).to_string()
}

/// Whether an operation leaves everything as it is, as CloudTrail counts it: using a key does.
pub(crate) fn read_only(operation: &str) -> bool {
    const READING: [&str; 15] = [
        "Attest",
        "Describe",
        "Get",
        "List",
        "Verify",
        "Decapsulate",
        "Encapsulate",
        "Decrypt",
        "Encrypt",
        "ReEncrypt",
        "Sign",
        "Generate",
        "Derive",
        "Decode",
        "ReadAudit",
    ];
    READING.iter().any(|prefix| operation.starts_with(prefix))
}
