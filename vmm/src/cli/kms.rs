//! `kms`: any operation of the KMS protocol.

use serde_json::{Value, json};

use super::access::SignerArgs;
use super::error::{Code, Failure};
use super::output::print_json;
use super::text;

/// Flags of `kms`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: casemate kms GenerateRandom '{\"NumberOfBytes\": 32}'")]
pub struct Args {
    /// The operation, as AWS calls it; Casemate.NAME for one of our own
    operation: String,
    /// The request: JSON, or @FILE
    #[arg(default_value = "{}")]
    request: String,
    #[command(flatten)]
    guest: SignerArgs,
}

/// Sends the request and prints the answer.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (service, operation) = args.operation.split_once('.').unwrap_or(("TrentService", &args.operation));
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_name(service) || !is_name(operation) {
        return Err(Failure::new(Code::InvalidArgument, format!("`{}` is not an operation", args.operation)));
    }
    let request: Value = serde_json::from_slice(&text::value(&args.request)?)
        .map_err(|error| Failure::new(Code::SerdeError, format!("the request is not JSON: {error}")))?;
    let answer = args.guest.signer()?.operation(service, operation, &request)?;
    print_json(&if answer.is_null() { json!({}) } else { answer })
}
