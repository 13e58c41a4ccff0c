//! `verify`: what an attestation document establishes; with `--key`, whether a signature is right.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use casemate_attestation::platform;
use casemate_attestation::policy::Policy;
use casemate_attestation::statement::fingerprint;
use casemate_attestation::verify::{Established, VerifyError};
use casemate_client::attested::{Demands, Place};
use casemate_client::endpoint::Endpoint;
use serde_json::json;

use super::access::SignerArgs;
use super::attest::posture_path;
use super::attested::{self, Refusal};
use super::crypto::MessageArgs;
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::platform::{self as platform_key, EvidenceArgs};
use super::text;

/// What a verifier knows and demands.
#[derive(Debug, clap::Args)]
pub struct DemandArgs {
    /// The root certificate to trust (PEM or DER); may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Document", group = "anchor")]
    pub root: Vec<PathBuf>,
    #[command(flatten)]
    platform: EvidenceArgs,
    /// What to demand, as JSON; without it any image under the root will do
    #[arg(long, value_name = "FILE", help_heading = "Document")]
    policy: Option<PathBuf>,
    /// The posture that came with the document [default: DOCUMENT.posture, if it is there; with --tls, what the signer tells]
    #[arg(long, value_name = "FILE", help_heading = "Document")]
    posture: Option<PathBuf>,
    /// Verify as of this time, in seconds since 1970, instead of now
    #[arg(long, value_name = "SECONDS", help_heading = "Document")]
    at: Option<u64>,
}

/// The same for a document that was asked for elsewhere.
#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    #[command(flatten)]
    demands: DemandArgs,
    /// The nonce that was sent: text, hex:…, base64:… or @FILE
    #[arg(long, value_name = "VALUE", help_heading = "Document")]
    nonce: Option<String>,
}

impl DemandArgs {
    /// Reads what the files say.
    pub fn demands(&self) -> Result<Demands, Failure> {
        let mut roots: Vec<_> = self.root.iter().map(|path| read_root(path)).collect::<Result<_, _>>()?;
        roots.extend(self.platform.establish()?.map(|platform| platform.root));
        Ok(Demands {
            roots,
            policy: self.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default(),
            at: self.at.map(|seconds| seconds.saturating_mul(1000)),
            posture: self.posture.as_deref().map(text::read).transpose()?,
        })
    }

    /// Whether something is trusted: a root certificate, or a TPM.
    pub fn has_anchor(&self) -> bool {
        !self.root.is_empty() || self.platform.is_given()
    }

    /// Whether something is demanded.
    pub fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// The policy's file.
    pub fn policy_file(&self) -> Option<&Path> {
        self.policy.as_deref()
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

impl TrustArgs {
    /// What the document at `path` establishes, or why it does not.
    pub fn establish(&self, path: &Path) -> Result<Result<Established, VerifyError>, Failure> {
        let document = text::read(path)?;
        let demands = self.demands.demands()?;
        let nonce = self.nonce.as_deref().map(text::value).transpose()?;
        let posture = match &demands.posture {
            Some(posture) => Some(posture.clone()),
            None => beside(path)?,
        };
        Ok(demands.verify(&document, posture.as_deref(), nonce.as_deref()))
    }

    /// Says on stderr if nothing was demanded of the image.
    pub fn warn(&self) {
        self.demands.warn();
    }
}

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "casemate verify DOCUMENT --root FILE [--policy FILE] [--nonce VALUE] [--json]\n       \
    casemate verify --tls ENDPOINT --root FILE [--policy FILE] [--out FILE] [--json]\n       \
    casemate verify --key KEY --message FILE --signature FILE"
)]
pub struct Args {
    /// The attestation document
    #[arg(
        value_name = "DOCUMENT",
        required_unless_present_any = ["key", "tls"],
        conflicts_with = "key",
        requires = "anchor"
    )]
    document: Option<PathBuf>,
    /// The endpoint of a signer, as `serve` prints it: is it the guest that the policy wants?
    #[arg(long, value_name = "ENDPOINT", help_heading = "Endpoint", requires = "anchor",
        conflicts_with_all = ["document", "key", "nonce"])]
    tls: Option<String>,
    /// Where to write the endpoint's certificate, for AWS_CA_BUNDLE and --cacert, if it is
    #[arg(long, value_name = "FILE", help_heading = "Endpoint", requires = "tls")]
    out: Option<PathBuf>,
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
    guest: SignerArgs,
}

/// Verifies. Exit code 1 and the exact reason on stderr if anything is off.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(url) = &args.tls {
        return verify_endpoint(args, url);
    }
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
            let message = "name an attestation document, --tls, or --key and --signature";
            Err(Failure::new(Code::InvalidArgument, message))
        }
    }
}

fn verify_document(args: &Args, path: &Path) -> Result<ExitCode, Failure> {
    let platform = args.trust.demands.platform.establish()?;
    match args.trust.establish(path)? {
        Ok(established) => {
            if let Some(platform) = &platform {
                platform_key::agree(platform, &established)?;
            }
            if args.json {
                let mut report = json!({"verified": true, "established": established});
                if let (Some(report), Some(platform)) = (report.as_object_mut(), &platform) {
                    report.insert("platform".into(), json!(platform));
                }
                print_json(&report)?;
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(platform) = &platform {
                print_line(&format!("{platform}\n"))?;
            }
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

/// Verifies the signer behind an endpoint, on a connection to it.
fn verify_endpoint(args: &Args, url: &str) -> Result<ExitCode, Failure> {
    let place = Place::Endpoint(Endpoint::parse(url)?);
    let attested = match attested::connect(&place, &args.trust.demands) {
        Ok(attested) => attested,
        Err(Refusal::Failed(failure)) => return Err(failure),
        Err(Refusal::Unproved(reason)) => {
            if args.json {
                print_json(&json!({"verified": false, "reason": reason}))?;
            }
            return Err(Failure::plain(format!("{place} does not verify: {reason}")));
        }
    };
    if let Some(platform) = args.trust.demands.platform.establish()? {
        platform_key::agree(&platform, &attested.established)?;
    }
    if let Some(path) = &args.out {
        text::write(path, attested::ca_file(&attested)?.as_bytes())?;
    }
    let fingerprint = fingerprint(&attested.certificate);
    let established = attested.established;
    if args.json {
        print_json(
            &json!({"verified": true, "certificate_sha256": fingerprint, "established": established}),
        )?;
    } else {
        print_line(&format!("{established}certificate  SHA-256 {fingerprint}, as the guest states"))?;
        args.trust.warn();
    }
    Ok(ExitCode::SUCCESS)
}

/// A root certificate in DER, from a file in PEM or DER.
pub(super) fn read_root(path: &Path) -> Result<Vec<u8>, Failure> {
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

/// The posture beside a document, if it is there.
fn beside(document: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let path = posture_path(document);
    if path.exists() { text::read(&path).map(Some) } else { Ok(None) }
}
