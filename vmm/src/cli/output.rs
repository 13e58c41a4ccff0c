//! What commands print as JSON: nitro-cli 1.5.0's shapes, field for field and in its order.
//!
//! Fields that only Casemate has come last, so that whoever reads nitro-cli's finds them where they were.

use std::collections::BTreeMap;

use casemate_attestation::eif::Metadata;
use casemate_attestation::pcr::ImageMeasurements;
use serde::Serialize;

use super::error::{Code, Failure};
use super::registry::GuestRecord;

/// Prints a value as nitro-cli does: pretty, on stdout.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Code::SerdeError, error))?;
    print_line(&text)
}

/// Prints a line. A reader that has gone away is no panic: it is the end.
pub fn print_line(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| Failure::plain(format!("cannot write to stdout: {error}")))
}

/// Measurements by name, `HashAlgorithm` first, as nitro-cli's sorted map has them.
pub fn measurements(image: &ImageMeasurements) -> BTreeMap<String, String> {
    let registers = [
        ("PCR0", Some(image.pcr0)),
        ("PCR1", Some(image.pcr1)),
        ("PCR2", Some(image.pcr2)),
        ("PCR8", image.pcr8),
    ];
    let registers = registers.into_iter().filter_map(|(name, pcr)| Some((name.to_owned(), pcr?.to_string())));
    registers.chain([("HashAlgorithm".to_owned(), "Sha384 { ... }".to_owned())]).collect()
}

/// `build-enclave` and `sign-eif`.
#[derive(Debug, Serialize)]
pub struct BuildInfo {
    /// The image's PCRs.
    #[serde(rename = "Measurements")]
    pub measurements: BTreeMap<String, String>,
}

/// `run-enclave`.
#[derive(Debug, Serialize)]
pub struct RunInfo {
    #[serde(rename = "EnclaveName")]
    enclave_name: String,
    #[serde(rename = "EnclaveID")]
    enclave_id: String,
    #[serde(rename = "ProcessID")]
    process_id: u32,
    #[serde(rename = "EnclaveCID")]
    enclave_cid: u64,
    #[serde(rename = "NumberOfCPUs")]
    cpu_count: u64,
    #[serde(rename = "CPUIDs")]
    cpu_ids: Vec<u32>,
    #[serde(rename = "MemoryMiB")]
    memory_mib: u64,
}

impl RunInfo {
    /// What nitro-cli says about a guest it has just started.
    pub fn new(record: &GuestRecord) -> Self {
        Self {
            enclave_name: record.name.clone(),
            enclave_id: record.id.clone(),
            process_id: record.pid,
            enclave_cid: record.cid,
            cpu_count: 1,
            cpu_ids: record.cpu_ids.clone(),
            memory_mib: record.memory_mib,
        }
    }
}

/// One element of `describe-enclaves`.
#[derive(Debug, Serialize)]
pub struct DescribeInfo {
    #[serde(flatten)]
    run: RunInfo,
    #[serde(rename = "State")]
    state: &'static str,
    #[serde(rename = "Flags")]
    flags: &'static str,
    #[serde(rename = "Measurements")]
    measurements: BTreeMap<String, String>,
    #[serde(rename = "ImageName", skip_serializing_if = "Option::is_none")]
    image_name: Option<String>,
    #[serde(rename = "ImageVersion", skip_serializing_if = "Option::is_none")]
    image_version: Option<String>,
    #[serde(rename = "Metadata", skip_serializing_if = "Option::is_none")]
    metadata: Option<MetadataInfo>,
    #[serde(rename = "ModuleID")]
    module_id: String,
    #[serde(rename = "Backend")]
    backend: String,
    #[serde(rename = "Posture")]
    posture: String,
}

impl DescribeInfo {
    /// What nitro-cli says about a running guest, and what we add.
    pub fn new(record: GuestRecord, with_metadata: bool) -> Self {
        let metadata = record.metadata.clone().filter(|_| with_metadata);
        Self {
            run: RunInfo::new(&record),
            state: "RUNNING",
            flags: if record.debug { "DEBUG_MODE" } else { "NONE" },
            measurements: record.measurements,
            image_name: record.image_name,
            image_version: record.image_version,
            metadata: metadata.and_then(|value| serde_json::from_value(value).ok()).map(MetadataInfo::new),
            module_id: record.module_id,
            backend: record.backend,
            posture: record.posture,
        }
    }
}

/// `terminate-enclave`.
#[derive(Debug, Serialize)]
pub struct TerminateInfo {
    /// The guest's name.
    #[serde(rename = "EnclaveName")]
    pub enclave_name: String,
    /// The guest's identifier.
    #[serde(rename = "EnclaveID")]
    pub enclave_id: String,
    /// Whether it is gone.
    #[serde(rename = "Terminated")]
    pub terminated: bool,
}

/// `describe-eif`.
#[derive(Debug, Serialize)]
pub struct EifInfo {
    /// The format's version.
    #[serde(rename = "EifVersion")]
    pub version: u16,
    /// The image's PCRs.
    #[serde(rename = "Measurements")]
    pub measurements: BTreeMap<String, String>,
    /// Whether there is a signature section.
    #[serde(rename = "IsSigned")]
    pub is_signed: bool,
    /// The certificate in it.
    #[serde(rename = "SigningCertificate", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateInfo>,
    /// Whether the CRC is right.
    #[serde(rename = "CheckCRC")]
    pub crc_check: bool,
    /// Whether the signature is right.
    #[serde(rename = "SignatureCheck", skip_serializing_if = "Option::is_none")]
    pub signature_check: Option<bool>,
    /// From the metadata.
    #[serde(rename = "ImageName", skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// From the metadata.
    #[serde(rename = "ImageVersion", skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    /// The metadata itself.
    #[serde(rename = "Metadata", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataInfo>,
}

/// A signing certificate.
#[derive(Debug, Serialize)]
pub struct CertificateInfo {
    /// Attribute by attribute, under OpenSSL's long names.
    #[serde(rename = "IssuerName")]
    pub issuer_name: BTreeMap<String, String>,
    /// The algorithm the certificate is signed with, under OpenSSL's name.
    #[serde(rename = "Algorithm")]
    pub algorithm: String,
    /// Start of its validity.
    #[serde(rename = "NotBefore")]
    pub not_before: String,
    /// End of its validity.
    #[serde(rename = "NotAfter")]
    pub not_after: String,
    /// Its signature, in hexadecimal.
    #[serde(rename = "Signature")]
    pub signature: String,
}

/// The metadata section as nitro-cli shows it.
#[derive(Debug, Serialize)]
pub struct MetadataInfo {
    #[serde(rename = "BuildTime")]
    build_time: String,
    #[serde(rename = "BuildTool")]
    build_tool: String,
    #[serde(rename = "BuildToolVersion")]
    tool_version: String,
    #[serde(rename = "OperatingSystem")]
    operating_system: String,
    #[serde(rename = "KernelVersion")]
    kernel_version: String,
    #[serde(rename = "DockerInfo")]
    docker_info: serde_json::Value,
    /// nitro-cli flattens what the user added.
    #[serde(flatten)]
    custom: serde_json::Map<String, serde_json::Value>,
}

impl MetadataInfo {
    /// As nitro-cli shows it.
    pub fn new(metadata: Metadata) -> Self {
        let build = metadata.build_metadata;
        let custom = match metadata.custom_metadata {
            serde_json::Value::Object(map) => map,
            serde_json::Value::Null => serde_json::Map::new(),
            other => [("CustomMetadata".to_owned(), other)].into_iter().collect(),
        };
        Self {
            build_time: build.build_time,
            build_tool: build.build_tool,
            tool_version: build.build_tool_version,
            operating_system: build.operating_system,
            kernel_version: build.kernel_version,
            docker_info: metadata.docker_info,
            custom,
        }
    }
}
