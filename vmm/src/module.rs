//! The way to the security module, the sealed guest that has the attestation keys of the others.
//!
//! It is an ordinary guest with a folder of its own in the runtime directory ([`FOLDER`]), and is reached like one: through
//! its VMM's socket. A connection is a session, opened by a launch while it has the platform key
//! (`casemate_attestation::nsm::session`), and is never made again: nothing in a running VMM dials.
//!
//! Nothing that comes from there is believed here without a tag that proves it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use casemate_abi::port;
use casemate_attestation::nsm::session::{ANSWER_MAX, HELLO_LEN, Hello};

use crate::guest::VSOCK_SOCKET;

/// The name of the security module's folder in the runtime directory.
pub const FOLDER: &str = "module";
/// How long the module may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the security module cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection is gone, or the module takes too long.
    #[error("the security module does not answer: {0}")]
    Io(#[from] io::Error),
    /// It speaks another language.
    #[error("what answers at the security module's socket is none")]
    NotTheModule,
}

/// A connection whose other end has not said anything yet.
pub struct Connection(Session);

impl Connection {
    /// Connects to the module whose folder this is.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(folder.join(VSOCK_SOCKET))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // As a file: a running VMM may read(2) and write(2), and do no more with sockets.
        let mut stream = File::from(OwnedFd::from(stream));
        stream.write_all(format!("CONNECT {}\n", port::MODULE).as_bytes())?;
        Ok(Self(Session(stream)))
    }

    /// What the module offers.
    pub fn offer(self) -> Result<Offer, Error> {
        let mut reader = BufReader::with_capacity(1024, &self.0.0);
        let mut line = Vec::new();
        (&mut reader).take(32).read_until(b'\n', &mut line)?;
        if !line.starts_with(b"OK ") {
            return Err(Error::NotTheModule);
        }
        let mut hello = [0; HELLO_LEN];
        reader.read_exact(&mut hello)?;
        let hello = Hello::decode(&hello).ok_or(Error::NotTheModule)?;
        // The module waits for the launch now: nothing of it can be left in the buffer.
        Ok(Offer { session: self.0, hello: Box::new(hello) })
    }
}

/// A session that can be opened.
pub struct Offer {
    /// Where.
    pub session: Session,
    /// What the module says.
    pub hello: Box<Hello>,
}

/// A connection to the module.
pub struct Session(File);

impl Session {
    /// Sends a packet made of these parts.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut packet = Vec::with_capacity(length.saturating_add(size_of::<u32>()));
        packet.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        parts.iter().for_each(|part| packet.extend_from_slice(part));
        Ok(self.0.write_all(&packet)?)
    }

    /// The next answer, whoever gave it.
    pub fn receive(&mut self) -> Result<Vec<u8>, Error> {
        let mut length = [0; size_of::<u32>()];
        self.0.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_MAX {
            return Err(Error::NotTheModule);
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}
