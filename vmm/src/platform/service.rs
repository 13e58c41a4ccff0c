//! The TPM service: a process that uses the platform key for one other process, whose socket is its standard input.
//!
//! Before it meets a request it measures its own program, takes the platform's secret out of the TPM into secret memory
//! ([`SecretMemory`]), and gives up everything but the TPM and the socket. What it derives is computed in secret memory; the
//! platform key itself never leaves the TPM. It ends when its client does.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use casemate_attestation::platform::SECRET_LEN;
use casemate_attestation::signing;
use casemate_tpm::chip::{self, Chip};
use zeroize::Zeroizing;

use super::jail;
use super::protocol::{self, Role, Verb};
use crate::memory::{self, SecretMemory};

/// The program that this process runs (proc(5)).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be used.
    #[error(transparent)]
    Chip(#[from] chip::Error),
    /// No memory for the secret.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// What is not needed could not be given up.
    #[error("{0}; the TPM service was not started")]
    Jail(#[from] crate::jail::Error),
    /// This program cannot be measured.
    #[error("cannot measure this VMM: {0}")]
    Program(io::Error),
    /// The client broke the protocol, or the connection broke.
    #[error("the connection to the TPM service: {0}")]
    Connection(#[from] io::Error),
}

/// The key's two halves: one in the TPM, one in secret memory.
struct Service {
    chip: Chip,
    secret: SecretMemory<Zeroizing<[u8; SECRET_LEN]>>,
    role: Role,
}

/// Serves the process at the other end of `socket` until that has gone. `now` is in seconds since 1970.
pub fn run(mut socket: UnixStream, folder: &Path, role: Role, now: u64) -> Result<(), Error> {
    let mut service = match Service::start(folder, role, now) {
        Ok(service) => service,
        Err(error) => {
            refuse(&mut socket, &error.to_string())?;
            return Err(error);
        }
    };
    protocol::send(&mut socket, 0, &[])?;
    while let Some((verb, payload)) = protocol::request(&mut socket)? {
        service.answer(&mut socket, verb, &payload)?;
    }
    Ok(())
}

fn refuse(socket: &mut UnixStream, reason: &str) -> io::Result<()> {
    let reason: String = reason.chars().take(protocol::REASON_MAX / 4).collect();
    protocol::send(socket, 1, reason.as_bytes())
}

impl Service {
    fn start(folder: &Path, role: Role, now: u64) -> Result<Self, Error> {
        let chip = Chip::open(folder)?;
        chip.admit(&chip::measure_program(Path::new(OWN_PROGRAM)).map_err(Error::Program)?)?;
        chip.ensure_root(now)?;
        let secret = SecretMemory::new(|| Ok::<_, Error>(chip.secret()?))?;
        jail::enter(&chip)?;
        Ok(Self { chip, secret, role })
    }

    /// Answers one request. An error ends the service; what the TPM refuses does not.
    fn answer(&mut self, socket: &mut UnixStream, verb: Verb, payload: &[u8]) -> io::Result<()> {
        if !self.role.allows(verb, payload) {
            return refuse(socket, "the TPM service does not do that for whom it works");
        }
        let answer = match verb {
            // What is sent is not copied: it goes from the secret stack into the socket.
            Verb::Derive => {
                return self.secret.run(|secret| {
                    let derived = signing::derive(secret, &[payload]);
                    protocol::send(&mut *socket, 0, derived.as_slice())
                });
            }
            Verb::Sign => self.chip.sign(payload).map(|signature| signature.to_vec()),
            Verb::Count | Verb::Increment => {
                let Ok(volume) = payload.try_into() else {
                    return refuse(socket, "that is not a volume's identity");
                };
                match verb {
                    Verb::Count => self
                        .chip
                        .count(volume)
                        .map(|count| count.map(|count| count.to_be_bytes().to_vec()).unwrap_or_default()),
                    _ => self.chip.increment(volume).map(|count| count.to_be_bytes().to_vec()),
                }
            }
        };
        match answer {
            Ok(answer) => protocol::send(socket, 0, &answer),
            Err(error) => refuse(socket, &error.to_string()),
        }
    }
}
