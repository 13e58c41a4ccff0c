//! `attest`: fetches an attestation document, and puts beside it what a verifier needs.

use std::path::{Path, PathBuf};

use casemate_client::{Client, field};
use serde_json::{Map, Value};

use super::access::GuestArgs;
use super::error::Failure;
use super::output::print_line;
use super::text;

/// Flags of `attest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The verifier's nonce: text, hex:…, base64:… or @FILE (at most 512 bytes)
    #[arg(long, value_name = "VALUE")]
    nonce: Option<String>,
    /// Data to bind to the document: text, hex:…, base64:… or @FILE (at most 512 bytes)
    #[arg(long, value_name = "VALUE")]
    user_data: Option<String>,
    /// Where to write the document; the posture goes to FILE.posture
    #[arg(long, value_name = "FILE", default_value = "doc.cbor")]
    out: PathBuf,
    /// Also write the root certificate here. A verifier should rather get it from the platform's owner
    #[arg(long, value_name = "FILE")]
    root_out: Option<PathBuf>,
    /// The vsock port of the guest's HTTP server
    #[arg(long, value_name = "PORT", default_value_t = casemate_abi::port::SIGNER)]
    port: u32,
    #[command(flatten)]
    guest: GuestArgs,
}

/// Where the posture of the document at `path` is kept.
pub fn posture_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".posture");
    PathBuf::from(name)
}

/// Fetches a document.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut body = Map::new();
    for (name, argument) in [("nonce", &args.nonce), ("user_data", &args.user_data)] {
        if let Some(argument) = argument {
            body.insert(name.to_owned(), Value::String(text::encode(&text::value(argument)?)));
        }
    }
    let guest = args.guest.find()?;
    let mut client = Client::open(&guest.vsock_path(), args.port)?;
    let answer =
        client.post_json("/attestation", &[("content-type", "application/json")], &Value::Object(body))?;
    let document = text::decode("document", field(&answer, "attestation", "document")?)?;
    text::write(&args.out, &document)?;
    let posture = posture_path(&args.out);
    text::write(&posture, &text::read(&guest.posture_path())?)?;
    if let Some(path) = &args.root_out {
        text::write(path, &text::read(&guest.root_path())?)?;
    }
    print_line(&format!("{}: {} bytes; posture in {}", args.out.display(), document.len(), posture.display()))
}
