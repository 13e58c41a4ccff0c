//! The `casemate` binary and the guest images, each built once for a test binary (and by cargo only if need be).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The `casemate` binary: `$CASEMATE_BIN`, or built now.
pub fn casemate() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CASEMATE_BIN") {
            return std::path::absolute(path).unwrap();
        }
        let output = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", "casemate", "--bin", "casemate", "--message-format=json"])
            .current_dir(checkout())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "casemate does not build");
        let messages = String::from_utf8(output.stdout).unwrap();
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
        executable.expect("cargo names the executable")
    })
}

/// The folder with `python` and `aws`, AWS's own clients: made by `tests/python.sh`, once for all tests.
pub fn python_programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(checkout().join("tests/python.sh")).output().unwrap();
        assert!(output.status.success(), "tests/python.sh: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A guest of this checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Image {
    /// `guest/signer`.
    Signer,
    /// The same with known answers and Wycheproof vectors built in.
    Selftest,
    /// `guest/examples/hello`: prints and ends.
    Hello,
    /// `guest/examples/echo`: port 7.
    Echo,
    /// `tests/guests/secret`: port 9000.
    Secret,
    /// `guest/module`: what every launch on KVM has its attestation key in.
    Module,
}

impl Image {
    fn source(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Signer => ("guest/signer", &["--bin", "signer"]),
            Self::Selftest => ("guest/signer", &["--bin", "signer", "--features", "selftest"]),
            Self::Hello => ("guest/examples/hello", &[]),
            Self::Echo => ("guest/examples/echo", &[]),
            Self::Secret => ("tests/guests/secret", &[]),
            Self::Module => ("guest/module", &[]),
        }
    }

    /// The image file, built if need be.
    pub fn path(self) -> PathBuf {
        static BUILT: Mutex<Option<HashMap<Image, PathBuf>>> = Mutex::new(None);
        // Held while building: cargo would wait for itself anyway. A build that failed fails every test that needs it.
        let mut built = BUILT.lock().unwrap_or_else(|poison| poison.into_inner());
        let built = built.get_or_insert_default();
        built.entry(self).or_insert_with(|| self.build()).clone()
    }

    fn build(self) -> PathBuf {
        let (folder, arguments) = self.source();
        let output = casemate().with_file_name(format!("test-{self:?}.eif").to_lowercase());
        let build = Command::new(casemate())
            .arg("build")
            .args(arguments)
            .arg("--manifest-path")
            .arg(checkout().join(folder).join("Cargo.toml"))
            .arg("--output")
            .arg(&output)
            .output()
            .unwrap();
        assert!(
            build.status.success(),
            "{folder} does not build: {}",
            String::from_utf8_lossy(&build.stderr)
        );
        output
    }
}
