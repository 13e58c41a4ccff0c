//! The signer as its owner has it: served on a TCP port, verified, claimed; TLS ends in the guest, requests are signed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::credentials::AccessKey;
use super::door::Door;
use super::http::Server;
use crate::error::{Error, Result};
use crate::guest::vcpu_time_file;
use crate::workshop::{Workshop, output};

/// A running `casemate serve`, ended when dropped.
pub struct Owned {
    child: Child,
    address: SocketAddr,
    /// The VMM's process.
    pid: u32,
    key: AccessKey,
    ca: PathBuf,
}

/// What the owner demands, as a file.
const DEMANDS: &str = "owned.json";

impl Owned {
    /// Launches a signer and goes all the way that its owner goes.
    pub fn launch(workshop: &Workshop, step: &dyn Fn(&str)) -> Result<Self> {
        step("serving a signer, and claiming it");
        let mut child = casemate(workshop)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--enclave-name", "owned", "--eif-path"])
            .arg(&workshop.signer)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::file("run", &workshop.casemate))?;
        match announced(&mut child).and_then(|(endpoint, pid)| claim(workshop, &endpoint, pid)) {
            Ok((address, pid, key, ca)) => Ok(Self { child, address, pid, key, ca }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// `casemate`, as the owner runs it with this signer.
    pub fn command(&self, workshop: &Workshop, arguments: &[&str]) -> Command {
        let mut command = casemate(workshop);
        self.key.environment(&mut command);
        command.args(arguments).arg("--endpoint-url").arg(format!("https://{}", self.address));
        command
    }

    /// With the certificate that was verified.
    pub fn known<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.arg("--ca-bundle").arg(&self.ca)
    }

    /// As a side.
    pub fn side(&self, name: &'static str) -> Result<Server> {
        let door = Door::Tls {
            address: self.address,
            connector: connector(&self.ca)?,
            name: ServerName::IpAddress(self.address.ip().into()),
        };
        Ok(Server::new(name, door)?.signed_with(self.key.clone()).on_thread(vcpu_time_file(self.pid)?))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        crate::guest::end(&mut self.child);
    }
}

fn casemate(workshop: &Workshop) -> Command {
    let mut command = Command::new(&workshop.casemate);
    workshop.environment(&mut command);
    command
}

/// With what a verifier demands of it.
pub(super) fn demanding<'a>(workshop: &Workshop, command: &'a mut Command) -> &'a mut Command {
    let root = workshop.file("home").join("root.pem");
    command.arg("--root").arg(root).arg("--policy").arg(workshop.file(DEMANDS))
}

/// Where it is served, and the VMM's process.
fn announced(child: &mut Child) -> Result<(String, u32)> {
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        while lines.read_line(&mut text).map_err(Error::io("read what casemate prints"))? > 0 {
            if text.ends_with("\n}\n") {
                break;
            }
        }
    }
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let endpoint = value.get("Endpoint").and_then(Value::as_str);
    let pid = value.get("ProcessID").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
    if let (Some(endpoint), Some(pid)) = (endpoint, pid) {
        return Ok((endpoint.to_owned(), pid));
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    Err(Error::Program { program: "casemate serve".into(), said })
}

/// Verifies the signer at `endpoint`, claims it, and keeps its CA file.
fn claim(workshop: &Workshop, endpoint: &str, pid: u32) -> Result<(SocketAddr, u32, AccessKey, PathBuf)> {
    let (policy, ca) = (workshop.file(DEMANDS), workshop.file("owned.pem"));
    let demands = serde_json::to_string(&workshop.policy).unwrap_or_default();
    std::fs::write(&policy, demands).map_err(Error::file("write", &policy))?;
    let mut verify = casemate(workshop);
    output(demanding(workshop, verify.args(["verify", "--tls", endpoint, "--out"]).arg(&ca)))?;
    let mut claim = casemate(workshop);
    let answer = output(demanding(workshop, claim.args(["claim", "--print", "--endpoint", endpoint])))?;
    let claimed: Value = serde_json::from_str(&answer).unwrap_or_default();
    // Not told what it was: it holds a secret.
    let wrong = || Error::answer("casemate claim's answer", "no access key in it");
    let text = |name: &str| claimed.get(name).and_then(Value::as_str).ok_or_else(wrong);
    let key = AccessKey::new(text("AccessKeyId")?, text("SecretAccessKey")?);
    let address = endpoint.strip_prefix("https://").and_then(|address| address.parse().ok());
    Ok((address.ok_or_else(|| Error::answer("the endpoint", endpoint))?, pid, key, ca))
}

/// TLS that trusts this file and nothing else.
fn connector(ca: &Path) -> Result<TlsConnector> {
    let failed = |error: &dyn std::fmt::Display| Error::answer("the signer's CA file", error.to_string());
    let certificate = CertificateDer::from_pem_file(ca).map_err(|error| failed(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| failed(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
