//! `state grant`: let another image of the signer open the volume of the one that runs.

use std::path::{Path, PathBuf};

use casemate_attestation::eif::Eif;
use casemate_attestation::pcr::Pcr;
use casemate_client::{Client, field};
use serde_json::json;

use super::access::SignerArgs;
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::pcr::certificate as certificate_of;
use super::registry::{Guest, Registry, Selector};
use super::run::{self, LaunchArgs};
use super::text;

/// Commands about what survives a signer.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Let another image open the volume of the running signer: an upgrade, with its owner's consent
    Grant(GrantArgs),
    /// Show, set or remove the update policy: which images may have the signer's volume
    Policy(PolicyArgs),
}

/// Flags of `state policy`; without any, the policy is shown.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// Images must be signed with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "minimum_version")]
    signing_certificate: Option<PathBuf>,
    /// Images must have this version or a later one: `casemate.version=` in their command line
    #[arg(long, value_name = "1.2.3", requires = "signing_certificate")]
    minimum_version: Option<String>,
    /// Remove the policy: each image is named by its owner again
    #[arg(long, conflicts_with = "signing_certificate")]
    remove: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

/// Flags of `state grant`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A guest of the new image must prove on this platform what it is. If none runs and --to is a file, one is launched for that
and ended again. After the grant, end the old signer and launch the new image with --state.")]
pub struct GrantArgs {
    /// The new image: its file, or its PCR0 if a guest of it runs
    #[arg(long, value_name = "EIF|PCR0")]
    to: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

/// Runs a command about state.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Grant(args) => grant(args),
        Command::Policy(args) => policy(args),
    }
}

/// Prints the policy as it then is.
fn policy(args: &PolicyArgs) -> Result<(), Failure> {
    let mut signer = args.signer.signer()?;
    if let (Some(certificate), Some(version)) = (&args.signing_certificate, &args.minimum_version) {
        let pcr8 = Pcr::measure(&certificate_of(certificate)?).to_string();
        let request = json!({"SigningCertificateSha384": pcr8, "MinimumVersion": version});
        signer.operation("Casemate", "PutUpdatePolicy", &request)?;
    } else if args.remove {
        signer.operation("Casemate", "DeleteUpdatePolicy", &json!({}))?;
    }
    print_json(&signer.operation("Casemate", "GetUpdatePolicy", &json!({}))?)
}

/// The image that the volume is granted to.
pub(super) struct Image {
    pub(super) pcr0: Pcr,
    /// Where it is, and its PCR8: it counts as much for what the image can open.
    file: Option<(PathBuf, Option<Pcr>)>,
}

impl Image {
    pub(super) fn parse(to: &str) -> Result<Self, Failure> {
        if let Ok(pcr0) = to.parse() {
            return Ok(Self { pcr0, file: None });
        }
        let path = Path::new(to);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Code::EifParsingError, format!("{}: {error}", path.display()))
        };
        let file = text::read(path)?;
        let measured = Eif::parse(&file).map_err(|error| failed(&error))?.measure();
        let measured = measured.map_err(|error| failed(&error))?;
        Ok(Self { pcr0: measured.pcr0, file: Some((path.to_owned(), measured.pcr8)) })
    }

    /// Whether it is a guest of this image.
    pub(super) fn is_of(&self, guest: &Guest) -> bool {
        let has = |name: &str, pcr: Option<Pcr>| {
            guest.record.measurements.get(name).cloned() == pcr.map(|pcr| pcr.to_string())
        };
        has("PCR0", Some(self.pcr0)) && self.file.as_ref().is_none_or(|(_, pcr8)| has("PCR8", *pcr8))
    }
}

fn grant(args: &GrantArgs) -> Result<(), Failure> {
    let image = Image::parse(&args.to)?;
    // Before a second guest runs: the signer may be the one that needs no name.
    let mut signer = args.signer.signer()?;
    let answer = signer.operation("Casemate", "GetGrantNonce", &json!({}))?;
    let nonce = field(&answer, "GetGrantNonce", "Nonce")?;
    let document = statement(&image, nonce)?;
    let request = json!({"Document": document, "ImageSha384": image.pcr0.to_string()});
    let granted = signer.operation("Casemate", "GrantUpgrade", &request)?;
    if args.json {
        return print_json(&granted);
    }
    print_line(&format!(
        "volume {} can be opened by the image with PCR0 {}\nEnd this signer, then launch that image with --state and the volume's file; it is the new image's alone from then on.",
        field(&granted, "GrantUpgrade", "VolumeId")?,
        image.pcr0
    ))
}

/// What a guest of the image states, with this nonce.
pub(super) fn statement(image: &Image, nonce: &str) -> Result<String, Failure> {
    let registry = Registry::open()?;
    if let Some(guest) = registry.guests()?.into_iter().find(|guest| image.is_of(guest)) {
        return ask(&guest, nonce);
    }
    let Some((file, _)) = &image.file else {
        let message = format!("no guest with PCR0 {} runs: launch it, or name its file", image.pcr0);
        return Err(Failure::new(Code::InvalidArgument, message));
    };
    let launch = LaunchArgs::of_image(file);
    let mut guest = run::start(&launch, &launch.options()?, false)?;
    let stated = registry
        .find(&Selector::Id(guest.record.id.clone()))
        .map_err(Failure::from)
        .and_then(|guest| ask(&guest, nonce));
    guest.end();
    stated
}

/// What this guest states, with this nonce.
pub(super) fn ask(guest: &Guest, nonce: &str) -> Result<String, Failure> {
    let mut client = Client::open(&guest.vsock_path(), casemate_abi::port::SIGNER)?;
    let headers = [("content-type", "application/json")];
    let answer = client.post_json("/attestation/volume", &headers, &json!({"nonce": nonce}))?;
    Ok(field(&answer, "attestation", "document")?.to_owned())
}
