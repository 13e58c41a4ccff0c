//! `verify`: what an attestation document establishes; with `--key`, whether a signature is right.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use casemate_attestation::platform;
use casemate_attestation::policy::Policy;
use casemate_attestation::verify::{Established, Evidence, Expectations, VerifyError, verify};
use serde_json::json;

use super::attest::posture_path;
use super::crypto::MessageArgs;
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::registry::now_ms;
use super::text::{self, GuestArgs};

/// What a verifier of documents knows and demands.
#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    /// The root certificate to trust (PEM or DER); may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Document")]
    pub root: Vec<PathBuf>,
    /// What to demand, as JSON; without it any image under the root will do
    #[arg(long, value_name = "FILE", help_heading = "Document")]
    policy: Option<PathBuf>,
    /// The nonce that was sent: text, hex:…, base64:… or @FILE
    #[arg(long, value_name = "VALUE", help_heading = "Document")]
    nonce: Option<String>,
    /// The posture that came with the document [default: DOCUMENT.posture, if it is there]
    #[arg(long, value_name = "FILE", help_heading = "Document")]
    posture: Option<PathBuf>,
    /// Verify as of this time, in seconds since 1970, instead of now
    #[arg(long, value_name = "SECONDS", help_heading = "Document")]
    at: Option<u64>,
}

impl TrustArgs {
    /// What the document at `path` establishes, or why it does not.
    pub fn establish(&self, path: &Path) -> Result<Result<Established, VerifyError>, Failure> {
        let document = text::read(path)?;
        let roots: Vec<Vec<u8>> = self.root.iter().map(|path| read_root(path)).collect::<Result<_, _>>()?;
        let policy = self.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
        let nonce = self.nonce.as_deref().map(text::value).transpose()?;
        let posture = read_posture(self.posture.as_deref(), path)?;
        let now = self.at.map_or_else(now_ms, |seconds| seconds.saturating_mul(1000));
        let evidence = Evidence { document: &document, posture: posture.as_deref() };
        let expected = Expectations { roots: &roots, policy: &policy, nonce: nonce.as_deref(), now };
        Ok(verify(evidence, expected))
    }

    /// Says on stderr if nothing was demanded of the image.
    pub fn warn(&self) {
        if self.policy.is_none() {
            eprintln!(
                "casemate: no --policy: any image under this root was accepted; demand at least PCR0 or PCR8"
            );
        }
    }
}

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "casemate verify DOCUMENT --root FILE [--policy FILE] [--nonce VALUE] [--json]\n       \
    casemate verify --key KEY --message FILE --signature FILE"
)]
pub struct Args {
    /// The attestation document
    #[arg(
        value_name = "DOCUMENT",
        required_unless_present = "key",
        conflicts_with = "key",
        requires = "root"
    )]
    document: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The key a signature was made with: the guest checks it
    #[arg(long, value_name = "KEY", help_heading = "Signature", requires = "signature")]
    key: Option<String>,
    /// The signature
    #[arg(long, value_name = "FILE", help_heading = "Signature", requires = "key")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    message: MessageArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guest: GuestArgs,
}

/// Verifies. Exit code 1 and the exact reason on stderr if anything is off.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    match (&args.document, &args.key, &args.signature) {
        (Some(document), ..) => verify_document(args, document),
        (None, Some(key), Some(signature)) => {
            let valid = super::crypto::verify(&args.guest, key, &args.message, signature)?;
            if args.json {
                print_json(&json!({"SignatureValid": valid}))?;
            } else if valid {
                print_line("the signature is valid")?;
            }
            if valid { Ok(ExitCode::SUCCESS) } else { Err(Failure::plain("the signature is not valid")) }
        }
        // clap demands one or the other.
        _ => {
            Err(Failure::new(Code::InvalidArgument, "name an attestation document, or --key and --signature"))
        }
    }
}

fn verify_document(args: &Args, path: &Path) -> Result<ExitCode, Failure> {
    match args.trust.establish(path)? {
        Ok(established) if args.json => {
            print_json(&json!({"verified": true, "established": established}))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(established) => {
            print_line(&established.to_string())?;
            args.trust.warn();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if args.json {
                print_json(&json!({"verified": false, "reason": error.to_string()}))?;
            }
            Err(Failure::plain(format!("{} does not verify: {error}", path.display())))
        }
    }
}

fn read_root(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = text::read(path)?;
    if !bytes.starts_with(b"-----BEGIN") {
        // DER: the verifier compares it byte by byte with the document's.
        return Ok(bytes);
    }
    platform::parse_root(&bytes).map_err(|error| {
        Failure::new(Code::InvalidArgument, format!("{} is not a certificate: it {error}", path.display()))
    })
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&text::read(path)?)
        .map_err(|error| Failure::new(Code::SerdeError, format!("{}: {error}", path.display())))
}

/// The posture that was named must be there; the one beside the document may be missing.
fn read_posture(named: Option<&Path>, document: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match named {
        Some(path) => text::read(path).map(Some),
        None => {
            let path = posture_path(document);
            if path.exists() { text::read(&path).map(Some) } else { Ok(None) }
        }
    }
}
