//! The default guest: the signer, built from the checkout that this binary was built from.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{BuildError, Options, Progress, build};

/// The checkout that this binary was built from.
pub(super) fn checkout() -> PathBuf {
    let vmm = Path::new(env!("CARGO_MANIFEST_DIR"));
    vmm.parent().unwrap_or(vmm).to_owned()
}

/// The signer's image, built first if there is none or its source has changed: cargo decides, and says so in a
/// fraction of a second if there is nothing to do.
pub fn signer_image() -> Result<PathBuf, BuildError> {
    let manifest = checkout().join("guest/signer/Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoSigner(manifest));
    }
    let progress = Progress::start("Building the signer (once; it takes a minute or two)");
    let options = Options {
        manifest,
        binary: Some("signer".to_owned()),
        name: Some("signer".to_owned()),
        ..Options::default()
    };
    let built = build(&options, &progress)?;
    let path = built.elf.with_extension("eif");
    if fs::read(&path).is_ok_and(|old| old == built.image) {
        return Ok(path);
    }
    replace(&path, &built.image).map_err(|source| BuildError::Io {
        action: "write",
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Two launches may build at once, and a third may be reading: the file is never half there.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)
}
