//! Values on the command line, and files.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{Code, Failure};

/// Longest file that a command reads: images are the longest.
const FILE_MAX: u64 = 1 << 30;

/// A value of the command line: text as it is, `hex:…`, `base64:…`, or `@FILE` for a file's content.
pub fn value(text: &str) -> Result<Vec<u8>, Failure> {
    let bad = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Code::InvalidArgument, format!("`{text}` is not {what}: {error}"))
    };
    if let Some(digits) = text.strip_prefix("hex:") {
        return hex::decode(digits).map_err(|error| bad("hexadecimal", &error));
    }
    if let Some(encoded) = text.strip_prefix("base64:") {
        return STANDARD.decode(encoded).map_err(|error| bad("base64", &error));
    }
    match text.strip_prefix('@') {
        Some(path) => read(Path::new(path)),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// The content of a file, or of stdin for `-`.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
    };
    result.map_err(|error| Failure::file("read", path, error))?;
    Ok(bytes)
}

/// Writes a file; `-` is stdout.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_mode(path, bytes, 0o666)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_mode(path, bytes, 0o600)
}

/// Writes a file that only its owner may read, and that must not be there yet.
pub fn write_new_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| Failure::file("make", path, error))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| Failure::file("write", path, error))
}

fn write_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let result = if path == Path::new("-") {
        std::io::stdout().lock().write_all(bytes)
    } else {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        options.open(path).and_then(|mut file| file.write_all(bytes))
    };
    result.map_err(|error| Failure::file("write", path, error))
}

/// Writes bytes to a file if one is named, else prints them in base64.
pub fn deliver(out: Option<&PathBuf>, bytes: &[u8]) -> Result<(), Failure> {
    match out {
        Some(path) => write(path, bytes),
        None => super::output::print_line(&encode(bytes)),
    }
}

/// base64, as the protocol has it.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a base64 field in a guest's answer.
pub fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, Failure> {
    let bad =
        |error| Failure::new(Code::SocketError, format!("the guest's `{field}` is not base64: {error}"));
    STANDARD.decode(text).map_err(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn values_have_four_forms() {
        assert_eq!(value("plain").unwrap(), b"plain");
        assert_eq!(value("hex:00ff").unwrap(), [0, 255]);
        assert_eq!(value("base64:AP8=").unwrap(), [0, 255]);
        assert!(value("hex:0").unwrap_err().to_string().contains("hex:0"));
        assert!(value("base64:?").is_err());
        assert!(value("@/nonexistent").unwrap_err().to_string().contains("/nonexistent"));
    }
}
