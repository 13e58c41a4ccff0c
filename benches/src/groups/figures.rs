//! Sizes that need no stopwatch: the image, the code that faces an attacker, the system calls after sealing.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::report::{Row, Target, Unit};
use crate::workshop::{Workshop, checkout, output};

const GROUP: &str = "figures";
/// What a guest, a client or whoever hands in an image can reach. Not part of it: the command line and guest builds, what
/// runs on the verifier's side (`verify`, `chain`, `policy`), what writes images (`eif/build`), the process backend, which
/// seals nothing, and `timing`, which takes no input.
const FACING: [&str; 26] = [
    "abi/src",
    "attestation/src/certificate.rs",
    "attestation/src/document.rs",
    "attestation/src/eif/mod.rs",
    "attestation/src/eif/parse.rs",
    "attestation/src/eif/signature.rs",
    "attestation/src/hex.rs",
    "attestation/src/nsm",
    "attestation/src/pcr.rs",
    "attestation/src/platform.rs",
    "attestation/src/posture.rs",
    "attestation/src/recall.rs",
    "attestation/src/signing.rs",
    "vmm/src/backend/kvm.rs",
    "vmm/src/backend/mod.rs",
    "vmm/src/console.rs",
    "vmm/src/guest.rs",
    "vmm/src/image",
    "vmm/src/jail",
    "vmm/src/machine.rs",
    "vmm/src/memory",
    "vmm/src/nsm.rs",
    "vmm/src/page_tables.rs",
    "vmm/src/stop.rs",
    "vmm/src/vcpu.rs",
    "vmm/src/vsock",
];

/// Reads files.
pub fn measure(workshop: &Workshop, _: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let image = std::fs::metadata(&workshop.signer).map_err(Error::file("find", &workshop.signer))?;
    let mut lines = Lines::default();
    for path in FACING {
        count(&checkout().join(path), &mut lines)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let mut rows = vec![
        Row::new(GROUP, "the signer's image", image.len() as f64, Unit::Bytes)
            .target(Target::AtMost(4.0 * 1048576.0)),
        Row::new(GROUP, "lines of VMM, vsock, NSM, attestation", lines.code as f64, Unit::Count)
            .target(Target::AtMost(6000.0))
            .note(format!(
                "without tests, comments and empty lines; {} with comments and empty lines",
                lines.all
            )),
    ];
    rows.extend(system_calls(workshop));
    progress(1.0);
    Ok(rows)
}

#[derive(Debug, Default)]
struct Lines {
    code: usize,
    all: usize,
}

fn count(path: &Path, lines: &mut Lines) -> Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(Error::file("list", path))?;
        for entry in entries {
            count(&entry.map_err(Error::file("list", path))?.path(), lines)?;
        }
        return Ok(());
    }
    let is_test = path.components().any(|part| part.as_os_str() == "tests")
        || path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    if is_test || path.extension().is_none_or(|extension| extension != "rs") {
        return Ok(());
    }
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    count_text(&text, lines);
    Ok(())
}

/// A test module inside a file is the file's end.
fn count_text(text: &str, lines: &mut Lines) {
    let mut previous = "";
    for line in text.lines() {
        if previous == "#[cfg(test)]" && line.starts_with("mod tests {") {
            lines.all -= 1;
            lines.code -= 1;
            return;
        }
        previous = line;
        lines.all += 1;
        let line = line.trim();
        lines.code += usize::from(!line.is_empty() && !line.starts_with("//"));
    }
}

/// What `casemate describe --seccomp` lists for a sealed guest's threads; no row if it does not say.
fn system_calls(workshop: &Workshop) -> Option<Row> {
    let text = output(Command::new(&workshop.casemate).args(["describe", "--seccomp"])).ok()?;
    let list: Value = serde_json::from_str(&text).ok()?;
    let sealed = |call: &&Value| {
        let threads = call.get("threads").and_then(Value::as_array);
        threads.is_some_and(|threads| threads.iter().any(|thread| thread == "vcpu" || thread == "io"))
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = list.as_array()?.iter().filter(sealed).count() as f64;
    Some(Row::new(GROUP, "system calls after sealing", count, Unit::Count).target(Target::AtMost(15.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_are_no_code() {
        let mut lines = Lines::default();
        count_text(
            "//! About.\n\nfn a() {}\n    // Why.\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n",
            &mut lines,
        );
        assert_eq!((lines.code, lines.all), (1, 5));
    }
}
