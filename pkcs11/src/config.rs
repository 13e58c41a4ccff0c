//! The configuration: which tokens there are, where, and what their guests must prove.
//!
//! ```toml
//! [[token]]
//! label = "root-ca"                      # the slot's name
//! endpoint = "https://127.0.0.1:8443"    # or: socket = "/run/casemate/signer/vsock.sock"
//! root = ["root.pem"]                    # certificates of platforms that are trusted
//! policy = "policy.json"                 # what the guest must prove before it is told anything
//! # certificate = "signer.pem"           # in place of root and policy: the one certificate to believe
//! ```
//!
//! Paths are relative to the file's own folder. It is the one that `CASEMATE_PKCS11_CONF` names, else
//! `~/.config/casemate/pkcs11.toml`, else `/etc/casemate/pkcs11.toml`; in a program with raised privileges only the last.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use casemate_attestation::platform;
use casemate_attestation::policy::Policy;
use casemate_client::attested::{Demands, Place};
use casemate_client::endpoint::{Endpoint, Trust};
use serde::Deserialize;

/// The file for all users.
const SYSTEM: &str = "/etc/casemate/pkcs11.toml";

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What a file says cannot be used.
    #[error("{}: {what}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A token as configured.
#[derive(Debug)]
pub struct TokenConfig {
    /// The slot's name.
    pub label: String,
    /// Where its guest is.
    pub place: Place,
    /// Why its guest is believed.
    pub belief: Belief,
}

/// Why a guest is believed.
#[derive(Clone, Debug)]
pub enum Belief {
    /// It proves what is demanded.
    Proof(Box<Demands>),
    /// It shows, and holds the key of, a certificate that somebody has checked before.
    Certificate(Trust),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    label: String,
    endpoint: Option<String>,
    socket: Option<PathBuf>,
    #[serde(default)]
    root: Vec<PathBuf>,
    policy: Option<PathBuf>,
    certificate: Option<PathBuf>,
}

/// An environment variable, unless the program has more privileges than whoever set it.
pub fn variable(name: &str) -> Option<OsString> {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    let raised = getuid() != geteuid() || getgid() != getegid();
    std::env::var_os(name).filter(|value| !raised && !value.is_empty())
}

/// The tokens that are configured. Without a file there are none.
pub fn load() -> Result<Vec<TokenConfig>, ConfigError> {
    if let Some(path) = variable("CASEMATE_PKCS11_CONF") {
        return read(Path::new(&path));
    }
    let home = variable("HOME").map(|home| Path::new(&home).join(".config/casemate/pkcs11.toml"));
    let candidates = home.into_iter().chain([PathBuf::from(SYSTEM)]);
    candidates.into_iter().find(|path| path.exists()).map_or_else(|| Ok(Vec::new()), |path| read(&path))
}

fn read(path: &Path) -> Result<Vec<TokenConfig>, ConfigError> {
    let bad = |what: String| ConfigError::Bad { path: path.to_owned(), what };
    let text = String::from_utf8(bytes(path)?).map_err(|_| bad("it is not UTF-8".to_owned()))?;
    let file: File = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    file.token.into_iter().map(|entry| entry.resolve(path, folder)).collect()
}

fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

impl Entry {
    fn resolve(self, file: &Path, folder: &Path) -> Result<TokenConfig, ConfigError> {
        let label = self.label.clone();
        let bad =
            |what: &str| ConfigError::Bad { path: file.to_owned(), what: format!("token `{label}` {what}") };
        let place = match (&self.endpoint, &self.socket) {
            (Some(url), None) => {
                Place::Endpoint(Endpoint::parse(url).map_err(|error| bad(&format!("has {error}")))?)
            }
            (None, Some(socket)) => {
                let socket = folder.join(socket);
                let posture = socket.with_file_name("posture.cbor");
                Place::Guest { name: label.clone(), socket, posture }
            }
            _ => return Err(bad("needs an `endpoint` or a `socket`")),
        };
        let belief = match (&self.policy, &self.certificate) {
            (Some(policy), None) if !self.root.is_empty() => {
                let roots =
                    self.root.iter().map(|path| root(&folder.join(path))).collect::<Result<_, _>>()?;
                Belief::Proof(Box::new(Demands {
                    roots,
                    policy: demanded(&folder.join(policy))?,
                    at: None,
                    posture: None,
                }))
            }
            (None, Some(certificate)) if self.root.is_empty() => {
                let path = folder.join(certificate);
                let trust = Trust::from_pem(&bytes(&path)?);
                Belief::Certificate(
                    trust.map_err(|error| ConfigError::Bad { path, what: error.to_string() })?,
                )
            }
            _ => {
                return Err(bad(
                    "needs `root` and `policy`, which its guest must meet, or the `certificate` it must show",
                ));
            }
        };
        Ok(TokenConfig { label: self.label, place, belief })
    }
}

fn root(path: &Path) -> Result<Vec<u8>, ConfigError> {
    platform::parse_root(&bytes(path)?)
        .map_err(|error| ConfigError::Bad { path: path.to_owned(), what: format!("it {error}") })
}

fn demanded(path: &Path) -> Result<Policy, ConfigError> {
    Policy::parse(&bytes(path)?)
        .map_err(|error| ConfigError::Bad { path: path.to_owned(), what: error.to_string() })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
