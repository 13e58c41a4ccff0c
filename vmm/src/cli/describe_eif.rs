//! `describe-eif`: what an image is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use casemate_attestation::eif::{self, Eif, Metadata};
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;
use x509_cert::der::oid::db::DB;

use super::error::{Code, Failure};
use super::output::{CertificateInfo, EifInfo, MetadataInfo, measurements, print_json};
use super::text;

/// Flags of `describe-eif`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image
    #[arg(long, value_name = "FILE")]
    eif_path: PathBuf,
}

/// Prints nitro-cli's JSON. An image whose structure is wrong is an error; one whose signature is wrong is described.
pub fn run(args: &Args) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Code::EifParsingError, format!("{}: {error}", args.eif_path.display()))
    };
    let file = text::read(&args.eif_path)?;
    let image = Eif::parse(&file).map_err(|error| failed(&error))?;
    let measured = image.measure();
    if let Err(error) = &measured {
        eprintln!("casemate: {}: {error}", args.eif_path.display());
    }
    // Without its signature the image always has measurements.
    let mut unsigned = image.clone();
    unsigned.signature = None;
    let pcrs = match &measured {
        Ok(pcrs) => *pcrs,
        Err(_) => unsigned.measure().map_err(|error| failed(&error))?,
    };
    let metadata = image.metadata.and_then(|section| Metadata::parse(section).ok());
    print_json(&EifInfo {
        version: eif::VERSION,
        measurements: measurements(&pcrs),
        is_signed: image.signature.is_some(),
        certificate: image.signature.and_then(certificate),
        // An image whose CRC is wrong does not get this far.
        crc_check: true,
        signature_check: image.signature.map(|_| measured.is_ok()),
        image_name: metadata.as_ref().map(|m| m.image_name.clone()),
        image_version: metadata.as_ref().map(|m| m.image_version.clone()),
        metadata: metadata.map(MetadataInfo::new),
    })
}

/// The certificate in a signature section, if it can be read; whether it fits the signature is another question.
fn certificate(section: &[u8]) -> Option<CertificateInfo> {
    #[derive(Deserialize)]
    struct Entry {
        signing_certificate: Vec<u8>,
    }
    let [entry]: [Entry; 1] = serde_cbor::from_slice(section).ok()?;
    let certificate = Certificate::from_pem(&entry.signing_certificate).ok()?;
    let inner = certificate.tbs_certificate();
    let name_of = |oid: &_| DB.by_oid(oid).map_or_else(|| format!("{oid}"), long_name);
    let mut issuer_name = BTreeMap::new();
    for attribute in inner.issuer().iter_rdn().flat_map(|rdn| rdn.iter()) {
        let value = String::from_utf8_lossy(attribute.value.value()).into_owned();
        issuer_name.insert(name_of(&attribute.oid), value);
    }
    let date = |time: &x509_cert::time::Time| openssl_date(time.to_date_time());
    Some(CertificateInfo {
        issuer_name,
        algorithm: name_of(&certificate.signature_algorithm().oid),
        not_before: date(&inner.validity().not_before),
        not_after: date(&inner.validity().not_after),
        signature: hex::encode(certificate.signature().raw_bytes()),
    })
}

/// The names that OpenSSL, and so nitro-cli, gives to what the standards call otherwise.
fn long_name(name: &str) -> String {
    match name {
        "CN" | "cn" => "commonName",
        "C" | "c" => "countryName",
        "ST" | "st" => "stateOrProvinceName",
        "L" | "l" => "localityName",
        "O" | "o" => "organizationName",
        "OU" | "ou" => "organizationalUnitName",
        "serialNumber" => "serialNumber",
        "ecdsa-with-SHA256" => "ecdsa-with-SHA256",
        other => other,
    }
    .to_owned()
}

/// `Jan  2 03:04:05 2026 GMT`
fn openssl_date(date: x509_cert::der::DateTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.get(usize::from(date.month()).saturating_sub(1)).unwrap_or(&"???");
    format!(
        "{month} {:>2} {:02}:{:02}:{:02} {} GMT",
        date.day(),
        date.hour(),
        date.minutes(),
        date.seconds(),
        date.year()
    )
}
