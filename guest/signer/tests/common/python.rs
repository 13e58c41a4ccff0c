//! A Python with AWS's own clients.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter; `aws` is beside it. `tests/python.sh` installs both from PyPI on the first call.
pub fn python() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python.sh");
    let output = Command::new(script).output().expect("tests/python.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("python")
}
