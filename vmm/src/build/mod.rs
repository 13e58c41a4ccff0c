//! Makes sealed guests: a crate becomes a checked ELF file, and that an image (EIF).
//!
//! Promises: the same source, compiled by the same toolchain, gives the same image bytes in whatever folder and under
//! whatever user; a guest that could not run is refused here, in terms of its source.
//!
//! Trusts: cargo, rustc and the linker, and the crates they compile. Nothing of this is part of a running guest.
//!
//! Start reading at [`build`]. [`flags`] says what makes a build a guest build, [`cargo`] runs it, [`link`] explains
//! missing symbols, [`check`] and [`instructions`] look at the result, [`strip`] reduces it to what is loaded.

pub mod cargo;
pub mod check;
pub mod flags;
pub mod instructions;
pub mod link;
mod progress;
pub mod signer;
pub mod strip;
pub mod template;

use std::io;
use std::path::PathBuf;

use casemate_attestation::eif::{self, BuildInfo, Builder, Metadata};

pub use progress::Progress;
pub use signer::{module_image, signer_image};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// cargo gave no executable.
    #[error(transparent)]
    Cargo(#[from] cargo::CargoError),
    /// The flags could not be put together.
    #[error(transparent)]
    Flags(#[from] flags::FlagsError),
    /// The executable is not a guest.
    #[error(transparent)]
    Check(#[from] check::CheckError),
    /// The executable could not be reduced.
    #[error(transparent)]
    Strip(#[from] strip::StripError),
    /// The command line is too long.
    #[error("the command line has {0} bytes; a guest accepts {max}", max = casemate_abi::CMDLINE_MAX)]
    Cmdline(usize),
    /// The image could not be put together.
    #[error(transparent)]
    Image(#[from] eif::BuildError),
    /// There is no signer to build.
    #[error("cannot find the signer's source at {}: name an image with --image, or run casemate from its checkout", .0.display())]
    NoSigner(PathBuf),
    /// There is no security module to build.
    #[error("cannot find the security module's source at {}: name its image in CASEMATE_MODULE, or run casemate from its checkout", .0.display())]
    NoModule(PathBuf),
}

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The guest's Cargo.toml.
    pub manifest: PathBuf,
    /// Which binary; needed if there are several.
    pub binary: Option<String>,
    /// The image's name; else the binary's.
    pub name: Option<String>,
    /// The image's version; else the package's.
    pub version: Option<String>,
    /// The measured command line.
    pub cmdline: String,
    /// What the user adds to the metadata.
    pub metadata: Option<serde_json::Value>,
    /// Further arguments for cargo, such as features.
    pub cargo_arguments: Vec<String>,
    /// Where to build; else where cargo builds this workspace.
    pub target_dir: Option<PathBuf>,
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Built {
    /// The binary's name.
    pub binary: String,
    /// The ELF file before it was reduced, for debuggers.
    pub elf: PathBuf,
    /// The image.
    pub image: Vec<u8>,
    /// What the check covered.
    pub checked: check::Checked,
}

/// Builds an image.
pub fn build(options: &Options, progress: &Progress) -> Result<Built, BuildError> {
    if u64::try_from(options.cmdline.len()).map_or(true, |length| length > casemate_abi::CMDLINE_MAX) {
        return Err(BuildError::Cmdline(options.cmdline.len()));
    }
    let mut target = cargo::target(&options.manifest, options.binary.as_deref())?;
    if let Some(folder) = &options.target_dir {
        target.target_dir.clone_from(folder);
    }
    let flags = flags::Flags::new(&target)?;
    let path = cargo::build(&target, &flags, &options.cargo_arguments, progress)?;
    let elf = std::fs::read(&path).map_err(|source| BuildError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let checked = check::check(&elf)?;
    let kernel = strip::strip(&elf)?;
    let metadata = metadata(options, &target).encode();
    let image = Builder { metadata: Some(&metadata), ..Builder::guest(&kernel, &options.cmdline) }.build()?;
    Ok(Built { binary: target.binary, elf: path, image, checked })
}

/// The image's metadata. It is not measured; yet no clock goes in, so that equal builds are equal files.
fn metadata(options: &Options, target: &cargo::Target) -> Metadata {
    Metadata {
        image_name: options.name.clone().unwrap_or_else(|| target.binary.clone()),
        image_version: options.version.clone().unwrap_or_else(|| target.version.clone()),
        build_metadata: BuildInfo {
            build_time: "1970-01-01T00:00:00+00:00".to_owned(),
            build_tool: "casemate".to_owned(),
            build_tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            operating_system: "none".to_owned(),
            kernel_version: format!("casemate-abi {}", casemate_abi::ABI_VERSION),
        },
        docker_info: serde_json::Value::Null,
        custom_metadata: options.metadata.clone().unwrap_or(serde_json::Value::Null),
    }
}
