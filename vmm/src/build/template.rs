//! `casemate new`: the crate of a guest, ready to be built.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::signer::checkout;

/// Why no crate was made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder's name cannot be a crate's.
    #[error("`{0}` cannot be a crate's name: use letters, digits, `-` and `_`, beginning with a letter")]
    Name(String),
    /// There is something already.
    #[error("{} is there already: choose another name", .0.display())]
    Exists(PathBuf),
    /// No runtime to depend on.
    #[error("cannot find the guest runtime at {}: name its folder with --runtime", .0.display())]
    NoRuntime(PathBuf),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

const MANIFEST: &str = include_str!("template/Cargo.toml.in");
const MAIN: &str = include_str!("template/main.rs.in");
const README: &str = include_str!("template/README.md.in");

/// Makes a crate at `path` that depends on the runtime at `runtime`, or on the one in this checkout.
pub fn create(path: &Path, runtime: Option<&Path>) -> Result<(), TemplateError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !is_name {
        return Err(TemplateError::Name(name.to_owned()));
    }
    let runtime = runtime.map_or_else(|| checkout().join("guest/runtime"), Path::to_owned);
    let runtime = runtime.canonicalize().map_err(|_| TemplateError::NoRuntime(runtime.clone()))?;
    if !runtime.join("Cargo.toml").is_file() {
        return Err(TemplateError::NoRuntime(runtime));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| TemplateError::Io { path, source }
    };
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(TemplateError::Exists(path.to_owned()));
        }
        result => result.map_err(failed(path))?,
    }
    let sources = path.join("src");
    fs::create_dir(&sources).map_err(failed(&sources))?;
    let fill =
        |text: &str| text.replace("{{name}}", name).replace("{{runtime}}", &runtime.display().to_string());
    for (file, text) in [
        ("Cargo.toml", MANIFEST),
        ("src/main.rs", MAIN),
        ("README.md", README),
        (".gitignore", "/target\n*.eif\n"),
    ] {
        let file = path.join(file);
        fs::write(&file, fill(text)).map_err(failed(&file))?;
    }
    Ok(())
}
