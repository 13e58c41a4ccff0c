//! `pcr`: the PCR of a signing certificate, or of any file.

use std::path::{Path, PathBuf};

use casemate_attestation::pcr::Pcr;
use casemate_attestation::platform;
use serde_json::json;

use super::error::{Code, Failure};
use super::output::print_json;
use super::text;

/// Flags of `pcr`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Args {
    /// A signing certificate (PEM): prints PCR8 of the images it signs
    #[arg(long, value_name = "FILE")]
    signing_certificate: Option<PathBuf>,
    /// Any file
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Prints nitro-cli's JSON: `{"PCR8": …}` or `{"PCR": …}`.
pub fn run(args: &Args) -> Result<(), Failure> {
    match (&args.signing_certificate, &args.input) {
        (Some(path), _) => print_json(&json!({"PCR8": Pcr::measure(&certificate(path)?).to_string()})),
        (None, Some(path)) => print_json(&json!({"PCR": Pcr::measure(&text::read(path)?).to_string()})),
        // clap demands one of them.
        (None, None) => Err(Failure::new(Code::InvalidArgument, "name --signing-certificate or --input")),
    }
}

/// The DER of a certificate in PEM.
pub(super) fn certificate(path: &Path) -> Result<Vec<u8>, Failure> {
    platform::parse_root(&text::read(path)?).map_err(|error| {
        Failure::new(
            Code::InvalidArgument,
            format!("{} is not a PEM certificate: it {error}", path.display()),
        )
    })
}
