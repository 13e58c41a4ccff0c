//! Why something failed, in words: a return value says little. One line for each, to stderr (`stderr`) or to the end of the
//! file that `CASEMATE_PKCS11_LOG` names. Without it only what the user must know is said, on stderr: that a guest did
//! not prove what was demanded of it, and that a configuration cannot be used. No pin, key or attribute is in a line.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;

use crate::config::variable;

/// What one may want to know.
pub fn note(line: fmt::Arguments<'_>) {
    if let Some(place) = variable("CASEMATE_PKCS11_LOG") {
        write(&place, line);
    }
}

/// What one must know.
pub fn warn(line: fmt::Arguments<'_>) {
    write(&variable("CASEMATE_PKCS11_LOG").unwrap_or_else(|| "stderr".into()), line);
}

fn write(place: &std::ffi::OsStr, line: fmt::Arguments<'_>) {
    // Whoever cannot be told is not told.
    if place == "stderr" {
        let _ = writeln!(std::io::stderr().lock(), "casemate-pkcs11: {line}");
    } else if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(place) {
        let _ = writeln!(file, "casemate-pkcs11[{}]: {line}", std::process::id());
    }
}
