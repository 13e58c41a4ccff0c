//! A claimed signer whose PKCS#11 token has an officer and a crypto user, and the module that programs use it with.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Done, Lab, Owned, casemate};

/// The token's label.
pub const LABEL: &str = "acceptance";
/// The officer's password.
pub const OFFICER: &str = "officer-password";
/// The crypto user's pin.
pub const PIN: &str = "alice:alice-password";

/// The PKCS#11 module: cargo has put it beside the tests.
pub fn module() -> PathBuf {
    let module = std::env::current_exe().unwrap().with_file_name("libcasemate_pkcs11.so");
    assert!(module.exists(), "{} is not there", module.display());
    module
}

/// A claimed signer with a token that has an officer, a crypto user, and a configuration of the module.
pub struct Token {
    /// Where it is.
    pub lab: Lab,
    /// The signer.
    pub owned: Owned,
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

impl Token {
    /// Serves it, claims it, and makes the token.
    #[track_caller]
    pub fn new() -> Self {
        let lab = Lab::new();
        let owned = lab.serve_claimed(&["--state", "volume"]);
        lab.write("officer", format!("{OFFICER}\n").as_bytes());
        lab.write("alice", PIN.split_once(':').unwrap().1.as_bytes());
        let token = Self { lab, owned };
        token.hsm(&["init", "--label", LABEL, "--new-password-file", "officer"]);
        token.hsm(&["user", "add", "alice", "--password-file", "officer", "--new-password-file", "alice"]);
        let demands = ["--root", "root.pem", "--policy", "policy.json", "--out", "pkcs11.toml"];
        token.hsm(&[&["config"], &demands[..]].concat());
        token
    }

    /// `casemate hsm …`, which must succeed.
    #[track_caller]
    pub fn hsm(&self, arguments: &[&str]) -> String {
        let done = self.try_hsm(arguments);
        assert_eq!(done.code, 0, "casemate hsm {arguments:?}: {}", done.stderr);
        done.stdout
    }

    /// A program of GnuTLS's, logged in as the token's user; its arguments are parted by spaces. It must succeed.
    #[track_caller]
    pub fn gnutls(&self, program: &str, arguments: &str) -> String {
        let mut command = self.command(Path::new(program));
        command.env("GNUTLS_PIN", PIN).arg("--provider").arg(module()).args(arguments.split(' '));
        let output = command.output();
        let done = Done::new(
            output.unwrap_or_else(|error| panic!("{program} (Debian: apt install gnutls-bin): {error}")),
        );
        assert_eq!(done.code, 0, "{program} {arguments}: {done:?}");
        done.stdout + &done.stderr
    }

    /// `casemate hsm …`.
    pub fn try_hsm(&self, arguments: &[&str]) -> Done {
        let mut command = self.lab.as_administrator(&self.owned, casemate());
        command.arg("hsm").args(arguments).args(["--endpoint-url", &self.owned.endpoint]);
        if !arguments.contains(&"config") {
            command.args(["--ca-bundle", "ca.pem"]);
        }
        Done::new(command.output().unwrap())
    }

    /// The same for a command that needs no signer.
    #[track_caller]
    pub fn hsm_offline(&self, arguments: &[&str]) -> String {
        self.lab.ok(&[&["hsm"], arguments].concat())
    }

    /// A program that uses the module.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.lab.as_administrator(&self.owned, program);
        command.env("CASEMATE_PKCS11_CONF", self.lab.path("pkcs11.toml"));
        command
    }

    /// `pkcs11-tool` of OpenSC.
    pub fn tool(&self, arguments: &[&str]) -> Done {
        let mut command = self.command(Path::new("pkcs11-tool"));
        command.arg("--module").arg(module()).args(arguments);
        Done::new(command.output().expect("pkcs11-tool (Debian: apt install opensc)"))
    }

    /// The same, which must succeed.
    #[track_caller]
    pub fn tool_ok(&self, arguments: &[&str]) -> String {
        let done = self.tool(arguments);
        assert_eq!(done.code, 0, "pkcs11-tool {arguments:?}: {done:?}");
        done.stdout
    }

    /// The operations that the signer's audit log has.
    pub fn logged(&self) -> Vec<String> {
        let mut fetch = self.lab.as_administrator(&self.owned, casemate());
        fetch.args(["audit", "fetch", "--guest", self.owned.served.name()]);
        let done = Done::new(fetch.output().unwrap());
        assert_eq!(done.code, 0, "{done:?}");
        let log = String::from_utf8(self.lab.read("audit.jsonl")).unwrap();
        let name = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["record"]["eventName"].as_str().map(str::to_owned)
        };
        log.lines().filter_map(name).collect()
    }
}
