//! The TPM service, for whoever has started it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use casemate_attestation::es384::SIGNATURE_LEN;
use casemate_attestation::platform::{Holder, HolderError, SECRET_LEN};
use casemate_tpm::counter::ID_LEN;
use zeroize::Zeroizing;

use super::protocol::{self, Role, Verb};

/// This program, whatever is under its name by now: the service must be the same VMM.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Why the TPM service cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be started or talked to.
    #[error("the TPM service: {0}")]
    Io(#[from] io::Error),
    /// It refused, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// A TPM service that works for this process. It ends with the value.
#[derive(Debug)]
pub struct Client {
    socket: Mutex<UnixStream>,
    service: Child,
}

impl Client {
    /// Starts the service of the platform in `folder`, and returns once it can use the key.
    pub fn start(folder: &Path, role: Role) -> Result<Self, ClientError> {
        let (mut socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(OWN_PROGRAM);
        command.args(["platform", "serve", "--role", role.name(), "--folder"]).arg(folder);
        // It says what is wrong on the socket.
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        let service = command.spawn()?;
        drop(command);
        let ready = protocol::answer(&mut socket, &mut []);
        let client = Self { socket: Mutex::new(socket), service };
        match ready? {
            Ok(_) => Ok(client),
            Err(reason) => Err(ClientError::Refused(reason)),
        }
    }

    /// What the volume's counter says; `None` if it has none.
    pub fn count(&self, volume: &[u8; ID_LEN]) -> Result<Option<u64>, ClientError> {
        let mut value = [0; 8];
        let length = self.ask(Verb::Count, &[volume], &mut value)?;
        Ok((length == value.len()).then(|| u64::from_be_bytes(value)))
    }

    /// Moves the volume's counter on, and returns what it says then.
    pub fn increment(&self, volume: &[u8; ID_LEN]) -> Result<u64, ClientError> {
        let mut value = [0; 8];
        self.ask(Verb::Increment, &[volume], &mut value)?;
        Ok(u64::from_be_bytes(value))
    }

    /// The secret for a purpose.
    pub fn secret(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; SECRET_LEN]>, ClientError> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        self.ask(Verb::Derive, purpose, secret.as_mut_slice())?;
        Ok(secret)
    }

    fn ask(&self, verb: Verb, parts: &[&[u8]], place: &mut [u8]) -> Result<usize, ClientError> {
        let mut socket = self.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        protocol::send(&mut *socket, verb.byte(), &parts.concat())?;
        let answered = protocol::answer(&mut *socket, place);
        answered?.map_err(ClientError::Refused)
    }
}

impl Holder for Client {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], HolderError> {
        let mut signature = [0; SIGNATURE_LEN];
        self.ask(Verb::Sign, &[message], &mut signature).map_err(|error| HolderError(error.to_string()))?;
        Ok(signature)
    }

    fn derive(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; SECRET_LEN]>, HolderError> {
        self.secret(purpose).map_err(|error| HolderError(error.to_string()))
    }

    fn root_of_trust(&self) -> &'static str {
        "tpm"
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(socket) = self.socket.get_mut() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        // It ends at once: there is nobody else who could ask.
        let _ = self.service.wait();
    }
}
