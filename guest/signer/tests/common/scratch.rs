//! A folder, and the `openssl` command in it.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of the test's own, removed afterwards.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("openssl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("scratch folder");
        Self(path)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).expect("scratch file");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).expect("a file that openssl wrote")
    }

    /// Runs openssl there; whether it succeeded, and what it said.
    pub fn openssl(&self, arguments: &str) -> (bool, String) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .output()
            .expect("the openssl command (Debian: apt install openssl)");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), format!("openssl {arguments}: {}", String::from_utf8_lossy(&said)))
    }

    pub fn succeeds(&self, arguments: &str) {
        let (success, said) = self.openssl(arguments);
        assert!(success, "{said}");
    }

    pub fn fails(&self, arguments: &str) {
        let (success, said) = self.openssl(arguments);
        assert!(!success, "should have failed: {said}");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
