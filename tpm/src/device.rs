//! A TPM: a character device of Linux's, or the Unix socket of an emulator (`swtpm socket --server type=unixio`).
//!
//! A socket serves one client at a time, so it is connected to for each [`Connection`] and let go with it. Nothing here makes a
//! network connection: there is no other kind of socket.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tpm2_protocol::constant::TPM_MAX_COMMAND_SIZE;
use zeroize::Zeroizing;

/// The TPM of a Linux host, behind the kernel's resource manager.
pub const DEFAULT: &str = "/dev/tpmrm0";
/// Longest time that a TPM may take for a command: making an RSA key can take most of a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes in the header of a response: tag, size, response code (part 1, 18.1).
const HEADER: usize = 10;

/// Where a TPM is.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Open for as long as it is used: a jailed process can open no file.
    Character(File),
    Socket,
}

impl Device {
    /// Opens the TPM at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let kind = if std::fs::metadata(path)?.file_type().is_socket() {
            Kind::Socket
        } else {
            Kind::Character(OpenOptions::new().read(true).write(true).open(path)?)
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a character device.
    pub fn is_character(&self) -> bool {
        matches!(self.kind, Kind::Character(_))
    }

    /// A conversation with it.
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(match &self.kind {
            Kind::Character(file) => Connection::Character(file.try_clone()?),
            Kind::Socket => {
                let stream = UnixStream::connect(&self.path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Connection::Socket(stream)
            }
        })
    }
}

/// A conversation with a TPM.
#[derive(Debug)]
pub enum Connection {
    /// With a device: a command is one write, a response one read.
    Character(File),
    /// With an emulator: a stream.
    Socket(UnixStream),
}

impl Connection {
    /// Sends a command and returns the response, which has at least a header and the length that the header says. It may hold
    /// a secret.
    pub fn transact(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut response = Zeroizing::new(vec![0; TPM_MAX_COMMAND_SIZE]);
        let length = match self {
            Self::Character(file) => {
                file.write_all(command)?;
                file.read(&mut response)?
            }
            Self::Socket(stream) => {
                stream.write_all(command)?;
                let (header, body) = response.split_at_mut(HEADER);
                stream.read_exact(header)?;
                let size = size_of_response(header).and_then(|size| size.checked_sub(HEADER));
                let body = size.and_then(|size| body.get_mut(..size)).ok_or_else(malformed)?;
                stream.read_exact(body)?;
                HEADER.saturating_add(body.len())
            }
        };
        if length < HEADER || size_of_response(&response) != Some(length) {
            return Err(malformed());
        }
        response.truncate(length);
        Ok(response)
    }
}

fn size_of_response(response: &[u8]) -> Option<usize> {
    let (_, size) = response.split_first_chunk::<2>()?;
    usize::try_from(u32::from_be_bytes(*size.first_chunk()?)).ok()
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what answered is not a TPM 2.0: the length of its response makes no sense",
    )
}
