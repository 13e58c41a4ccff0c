//! The guests that casemate launches by itself, built from the checkout that this binary was built from: the signer where no
//! image is named, and the security module.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{BuildError, Options, Progress, build, cargo, flags};

/// The checkout that this binary was built from.
pub(super) fn checkout() -> PathBuf {
    let vmm = Path::new(env!("CARGO_MANIFEST_DIR"));
    vmm.parent().unwrap_or(vmm).to_owned()
}

/// How the signer is built.
pub fn options() -> Result<Options, BuildError> {
    let manifest = checkout().join("guest/signer/Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoSigner(manifest));
    }
    let name = Some("signer".to_owned());
    Ok(Options { manifest, binary: name.clone(), name, ..Options::default() })
}

/// Where [`signer_image`] leaves the image, if it has been there.
pub fn built_image() -> Option<PathBuf> {
    let options = options().ok()?;
    let target = cargo::target(&options.manifest, options.binary.as_deref()).ok()?;
    let path = target.target_dir.join("guest").join(flags::TARGET).join(flags::PROFILE).join("signer.eif");
    path.is_file().then_some(path)
}

/// The signer's image, built first if there is none or its source has changed: cargo decides, and says so in a
/// fraction of a second if there is nothing to do.
pub fn signer_image() -> Result<PathBuf, BuildError> {
    image(&options()?, "Building the signer (once; it takes a minute or two)")
}

/// The security module's image, likewise.
pub fn module_image() -> Result<PathBuf, BuildError> {
    let manifest = checkout().join("guest/module/Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoModule(manifest));
    }
    let options = Options { manifest, name: Some("module".to_owned()), ..Options::default() };
    image(&options, "Building the security module (once; it takes a minute or two)")
}

fn image(options: &Options, what: &str) -> Result<PathBuf, BuildError> {
    let progress = Progress::start(what);
    let built = build(options, &progress)?;
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
