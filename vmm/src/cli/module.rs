//! The security module of this user: found, or started by the first launch that needs it.
//!
//! There is one for each runtime directory. It stays while guests have sessions in it and ten seconds longer; who ends the last
//! guest by command ends it, too. If it dies, the next launch starts another: guests of the one before go on without
//! attestation.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use casemate_abi::PRIVATE_MIN;

use super::error::{Code, Failure};
use super::registry::Registry;
use crate::build;
use crate::host::probe;
use crate::module::{Connection, Error, Offer};

/// Names the module's image; else it is built from this checkout.
const IMAGE: &str = "CASEMATE_MODULE";

/// A connection to the module; `None` where its memory could not be sealed, so that keys are better off in the VMM.
pub(super) fn find(registry: &Registry) -> Result<Option<Connection>, Failure> {
    if let Ok(connection) = Connection::open(&registry.module_dir()) {
        return Ok(Some(connection));
    }
    let can_seal = probe::kvm().is_ok_and(|kvm| kvm.seals_memory()) && probe::io_uring().is_ok();
    can_seal.then(|| start(registry)).transpose()
}

/// What the module offers. One that has just ended is started again.
pub(super) fn offer(connection: Connection, registry: &Registry) -> Result<Offer, Failure> {
    match connection.offer() {
        Ok(offer) => Ok(offer),
        Err(_) => start(registry)?.offer().map_err(failed),
    }
}

fn failed(error: Error) -> Failure {
    Failure::new(Code::EnclaveBootFailure, error)
}

/// Starts the module, unless somebody else has meanwhile.
fn start(registry: &Registry) -> Result<Connection, Failure> {
    let _only = registry.module_start()?;
    // A socket whose other side is gone refuses.
    if let Ok(connection) = Connection::open(&registry.module_dir()) {
        return Ok(connection);
    }
    let image = match std::env::var_os(IMAGE).filter(|value| !value.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => build::module_image().map_err(|error| Failure::new(Code::EifBuildingError, error))?,
    };
    let not_started = |error: std::io::Error| {
        Failure::new(Code::ProcessSpawnFailure, format!("cannot start the security module: {error}"))
    };
    let program = std::env::current_exe().map_err(not_started)?;
    let mut vmm = Command::new(program)
        .args(["run", "--background", "--security-module"])
        .arg(format!("--memory={}", PRIVATE_MIN >> 20))
        .arg("--eif-path")
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let mut line = String::new();
    if let Some(stdout) = vmm.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(not_started)?;
    }
    if line.is_empty() {
        // It has said on stderr what is wrong.
        let status = vmm.wait().map_err(not_started)?;
        let message = format!("the security module was not launched ({status})");
        return Err(Failure::new(Code::EnclaveBootFailure, message));
    }
    Connection::open(&registry.module_dir()).map_err(failed)
}
