//! `state grant`: let another image of the signer open the volume of the one that runs.

use std::path::{Path, PathBuf};

use casemate_attestation::eif::Eif;
use casemate_attestation::pcr::Pcr;
use casemate_client::{Client, field};
use serde_json::json;

use super::access::SignerArgs;
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::registry::{Guest, Registry, Selector};
use super::run::{self, LaunchArgs};
use super::text;

/// Commands about what survives a signer.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Let another image open the volume of the running signer: an upgrade, with its owner's consent
    Grant(GrantArgs),
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
    }
}

/// The image that the volume is granted to.
struct Image {
    pcr0: Pcr,
    file: Option<PathBuf>,
}

impl Image {
    fn parse(to: &str) -> Result<Self, Failure> {
        if let Ok(pcr0) = to.parse() {
            return Ok(Self { pcr0, file: None });
        }
        let path = Path::new(to);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Code::EifParsingError, format!("{}: {error}", path.display()))
        };
        let file = text::read(path)?;
        let measured = Eif::parse(&file).map_err(|error| failed(&error))?.measure();
        Ok(Self { pcr0: measured.map_err(|error| failed(&error))?.pcr0, file: Some(path.to_owned()) })
    }

    /// A running guest of this image.
    fn find(&self, registry: &Registry) -> Result<Option<Guest>, Failure> {
        let is_it = |guest: &Guest| {
            guest.record.measurements.get("PCR0").is_some_and(|pcr0| *pcr0 == self.pcr0.to_string())
        };
        Ok(registry.guests()?.into_iter().find(is_it))
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
fn statement(image: &Image, nonce: &str) -> Result<String, Failure> {
    let registry = Registry::open()?;
    if let Some(guest) = image.find(&registry)? {
        return ask(&guest, nonce);
    }
    let Some(file) = &image.file else {
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

fn ask(guest: &Guest, nonce: &str) -> Result<String, Failure> {
    let mut client = Client::open(&guest.vsock_path(), casemate_abi::port::SIGNER)?;
    let headers = [("content-type", "application/json")];
    let answer = client.post_json("/attestation/volume", &headers, &json!({"nonce": nonce}))?;
    Ok(field(&answer, "attestation", "document")?.to_owned())
}
