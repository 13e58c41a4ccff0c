//! Runs the `casemate` binary in a folder of its own.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A folder with a runtime directory of its own; removed at the end.
pub struct Scratch(PathBuf);

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("casemate-cli-{}-{count}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn runtime(&self) -> PathBuf {
        self.path("run")
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn casemate(&self, arguments: &[&str]) -> Run {
        self.run(self.command(arguments))
    }

    /// With a target folder that is kept between runs, for builds.
    pub fn casemate_in_target(&self, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        command.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/guests"));
        self.run(command)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command
            .args(arguments)
            .current_dir(&self.0)
            // Whoever runs the tests may have profiles and credentials.
            .env("AWS_CONFIG_FILE", self.path("aws/config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.path("aws/credentials"))
            .env("CASEMATE_RUNTIME_DIR", self.runtime())
            .env("CASEMATE_HOME", self.path("home"))
            .env_remove("CARGO_TARGET_DIR");
        for variable in
            ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_CA_BUNDLE"]
        {
            command.env_remove(variable);
        }
        command
    }

    pub fn run(&self, mut command: Command) -> Run {
        let output = command.output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A key (as `openssl ecparam` writes it) and a self-signed certificate on this curve.
    pub fn certificate(&self, curve: &str) -> (String, String) {
        let (key, certificate) = (format!("{curve}.key"), format!("{curve}.pem"));
        self.openssl(&["ecparam", "-name", curve, "-genkey", "-out", &key]);
        self.openssl(&[
            "req",
            "-new",
            "-x509",
            "-sha256",
            "-key",
            &key,
            "-subj",
            "/CN=tester",
            "-out",
            &certificate,
        ]);
        (key, certificate)
    }

    pub fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(&self.0).output().unwrap();
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Run {
    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!(self.code, 0, "{}", self.stderr);
    }

    #[track_caller]
    pub fn fails_with(&self, text: &str) {
        assert!(
            self.code != 0 && self.code != 2 && self.code != 101,
            "exit code {}: {}",
            self.code,
            self.stderr
        );
        assert!(
            self.stderr.starts_with("casemate: ") && self.stderr.contains(text),
            "{:?} not in {}",
            text,
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// What a successful command printed.
#[track_caller]
pub fn json(run: &Run) -> Value {
    run.succeeds();
    serde_json::from_str(&run.stdout).unwrap()
}
