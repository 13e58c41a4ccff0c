//! `build --reproduce`: is this image what this source makes? Built anew, from nothing, and compared.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use casemate_attestation::eif::{Eif, Metadata, SignatureError};
use casemate_attestation::pcr::ImageMeasurements;
use serde::Serialize;

use super::build::read_metadata;
use super::error::{Code, Failure};
use super::output::{measurements, print_json};
use super::text;
use crate::build::{self, Options, Progress, signer};

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Comparison {
    /// PCR0–2 are equal: the same code, command line and ramdisks.
    reproduced: bool,
    /// The files are equal too, but for a signature.
    identical: bool,
    image: BTreeMap<String, String>,
    rebuilt: BTreeMap<String, String>,
}

/// A folder that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("casemate-reproduce-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds what `options` say in a folder of its own, and compares with the image at `path`; without one, the signer of this
/// checkout with the image that `casemate run` launches. Nothing is written but what is removed again.
pub(super) fn run(path: Option<&Path>, mut options: Options, custom: Option<&Path>) -> Result<(), Failure> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => signer::built_image().ok_or_else(|| {
            Failure::new(Code::InvalidArgument, "no signer was built here yet: name an image")
        })?,
    };
    let file = text::read(&path)?;
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(Code::EifParsingError, format!("{}: {error}", path.display()))
    };
    let image = Eif::parse(&file).map_err(|error| unusable(&error))?;
    // What is not in the source comes from the image: of these, the command line is measured.
    options.cmdline = image.cmdline.to_owned();
    if let Some(Ok(metadata)) = image.metadata.map(Metadata::parse) {
        options.name.get_or_insert(metadata.image_name);
        options.version.get_or_insert(metadata.image_version);
    }
    options.metadata = custom.map(read_metadata).transpose()?;
    let scratch = Scratch::new()
        .map_err(|error| Failure::plain(format!("cannot make a folder to build in: {error}")))?;
    options.target_dir = Some(scratch.0.clone());
    let built = {
        let progress = Progress::start("Building the guest anew, from nothing");
        build::build(&options, &progress).map_err(|error| Failure::new(Code::EifBuildingError, error))?
    };
    let rebuilt = Eif::parse(&built.image).map_err(|error| unusable(&error))?;
    let comparison = Comparison::of(&image, &rebuilt).map_err(|error| unusable(&error))?;
    print_json(&comparison)?;
    comparison.verdict(&path)
}

impl Comparison {
    fn of(image: &Eif<'_>, rebuilt: &Eif<'_>) -> Result<Self, SignatureError> {
        let (measured, again) = (image.measure()?, rebuilt.measure()?);
        let registers = |image: &ImageMeasurements| [image.pcr0, image.pcr1, image.pcr2];
        let reproduced = registers(&measured) == registers(&again);
        Ok(Self {
            reproduced,
            identical: reproduced && rebuilt.metadata == image.metadata,
            image: measurements(&measured),
            rebuilt: measurements(&again),
        })
    }

    fn verdict(&self, path: &Path) -> Result<(), Failure> {
        if self.reproduced {
            return Ok(());
        }
        let pcr0 = |of: &BTreeMap<String, String>| of.get("PCR0").cloned().unwrap_or_default();
        Err(Failure::plain(format!(
            "{} is not what this source makes: its PCR0 is {}, built anew it is {}. Another toolchain, Cargo.lock, feature or \
             commit is enough for that",
            path.display(),
            pcr0(&self.image),
            pcr0(&self.rebuilt)
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use casemate_attestation::eif::Builder;

    use super::*;

    #[test]
    fn one_bit_of_code_or_command_line_is_another_image_and_metadata_are_not() {
        let compare = |kernel: &[u8], cmdline: &str, metadata| {
            let original =
                Builder { metadata: Some(b"{}"), ..Builder::guest(b"kernel", "a") }.build().unwrap();
            let other = Builder { metadata, ..Builder::guest(kernel, cmdline) }.build().unwrap();
            Comparison::of(&Eif::parse(&other).unwrap(), &Eif::parse(&original).unwrap()).unwrap()
        };
        let same = compare(b"kernel", "a", Some(b"{}"));
        assert!(same.reproduced && same.identical && same.verdict(Path::new("x")).is_ok());
        let described = compare(b"kernel", "a", None);
        assert!(described.reproduced && !described.identical && described.verdict(Path::new("x")).is_ok());
        for other in [compare(b"jernel", "a", Some(b"{}")), compare(b"kernel", "b", Some(b"{}"))] {
            assert!(!other.reproduced && !other.identical);
            let failure = other.verdict(Path::new("x.eif")).unwrap_err();
            assert_eq!(failure.exit, 1);
            let said = failure.to_string();
            assert!(
                said.contains("x.eif is not what this source makes") && said.contains(&other.image["PCR0"]),
                "{said}"
            );
        }
    }
}
