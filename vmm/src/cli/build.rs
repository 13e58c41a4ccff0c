//! `build` (nitro-cli's `build-enclave`): a guest crate becomes an image.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{Code, Failure};
use super::output::{BuildInfo, measurements, print_json};
use super::reproduce;
use super::sign_eif::{KeyArgs, signed};
use super::text;
use crate::build::{self, Options, Progress};

/// Flags of `build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest's Cargo.toml [default: Cargo.toml]
    #[arg(long, value_name = "FILE")]
    manifest_path: Option<PathBuf>,
    /// Which binary, if the package has several
    #[arg(long, value_name = "NAME")]
    bin: Option<String>,
    /// Where to write the image [default: NAME.eif]
    #[arg(long, visible_alias = "output-file", value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image's name [default: the binary's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The image's version [default: the package's]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// JSON to keep with the image; not measured
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// What the guest sees as its command line; measured
    #[arg(long, value_name = "TEXT", default_value = "")]
    cmdline: String,
    /// Features to build with, comma-separated
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
    /// Build without the default features
    #[arg(long)]
    no_default_features: bool,
    /// Build exactly what Cargo.lock says
    #[arg(long)]
    locked: bool,
    /// Build without the network
    #[arg(long)]
    offline: bool,
    /// Write no image: build anew, from nothing, and compare with this image, or [default] the signer's of this checkout. Without
    /// --manifest-path, the source is the signer's. Exit code 1 if the PCRs differ
    #[arg(long, value_name = "IMAGE", num_args = 0..=1, conflicts_with_all = ["output", "cmdline", "signing_certificate"])]
    reproduce: Option<Option<PathBuf>>,
    #[command(flatten)]
    keys: KeyArgs,
    /// nitro-cli's: guests here are made from crates
    #[arg(long, hide = true)]
    docker_uri: Option<String>,
    /// nitro-cli's: guests here are made from crates
    #[arg(long, hide = true)]
    docker_dir: Option<String>,
}

impl Args {
    fn options(&self, metadata: Option<Value>) -> Options {
        Options {
            manifest: self.manifest_path.clone().unwrap_or_else(|| "Cargo.toml".into()),
            binary: self.bin.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            cmdline: self.cmdline.clone(),
            metadata,
            cargo_arguments: self.cargo_arguments(),
            target_dir: None,
        }
    }

    fn cargo_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(features) = &self.features {
            arguments.extend(["--features".to_owned(), features.clone()]);
        }
        let flags = [
            ("--no-default-features", self.no_default_features),
            ("--locked", self.locked),
            ("--offline", self.offline),
        ];
        arguments.extend(flags.iter().filter(|(_, set)| *set).map(|(flag, _)| (*flag).to_owned()));
        arguments
    }
}

/// Builds, writes the image, prints nitro-cli's JSON.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.docker_uri.is_some() || args.docker_dir.is_some() {
        return Err(Failure::new(
            Code::InvalidArgument,
            "guests are made from crates, not from containers: use --manifest-path; `casemate new` makes a crate",
        ));
    }
    if let Some(image) = &args.reproduce {
        let mut options = args.options(None);
        if args.manifest_path.is_none() {
            let signer = build::signer::options().map_err(|e| Failure::new(Code::EifBuildingError, e))?;
            options = Options { cargo_arguments: options.cargo_arguments, ..signer };
        }
        return reproduce::run(image.as_deref(), options, args.metadata.as_deref());
    }
    let failed = |error: build::BuildError| Failure::new(Code::EifBuildingError, error);
    let custom = args.metadata.as_deref().map(read_metadata).transpose()?;
    // Before the build, which takes long.
    let keys = args.keys.read()?;
    let options = args.options(custom);
    let built = {
        let progress = Progress::start("Building the guest");
        build::build(&options, &progress).map_err(failed)?
    };
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.eif", built.binary)));
    let image = match &keys {
        Some(keys) => signed(&built.image, keys)?,
        None => built.image,
    };
    text::write(&output, &image)?;
    eprintln!("Enclave Image successfully created: {} ({} bytes).", output.display(), image.len());
    let scan = &built.checked.scan;
    eprintln!(
        "Checked {} bytes of code: no forbidden instruction ({} bytes of tables and padding are not code).",
        scan.decoded, scan.skipped
    );
    let parsed =
        casemate_attestation::eif::Eif::parse(&image).map_err(|e| Failure::new(Code::EifParsingError, e))?;
    let pcrs = parsed.measure().map_err(|e| Failure::new(Code::EifParsingError, e))?;
    print_json(&BuildInfo { measurements: measurements(&pcrs) })
}

pub(super) fn read_metadata(path: &Path) -> Result<Value, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::new(Code::SerdeError, format!("{} is not a JSON object: {error}", path.display()))
    };
    match serde_json::from_slice(&text::read(path)?).map_err(|error| bad(&error))? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(bad(&"it holds another kind of value")),
    }
}
