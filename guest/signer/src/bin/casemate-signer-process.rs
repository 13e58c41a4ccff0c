//! The signer as an ordinary process behind a Unix socket: what the sealed guest is compared with.
//!
//! It answers the same requests with the same code, and nothing hides its keys: use it for tests and benchmarks only.
//! Clients may begin as with a guest's vsock door, `CONNECT <port>\n`, answered `OK <n>\n`, or with HTTP at once.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use casemate_signer::{AttestError, Door, Platform, Signer, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, join};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// A process can prove nothing about itself.
struct Process;

impl Platform for Process {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: casemate-signer-process SOCKET");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("starting the runtime: {error}")),
    };
    match LocalSet::new().block_on(&runtime, serve(path.as_ref())) {
        Ok(never) => match never {},
        Err(error) => failed(&format!("socket {}: {error}", path.display())),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("casemate-signer-process: {message}");
    ExitCode::FAILURE
}

/// Listens for ever. The socket gets its name only once its mode is right, so no one connects before.
async fn serve(path: &std::path::Path) -> io::Result<std::convert::Infallible> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    let signer = Signer::new(Box::new(Process));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::task::spawn_local(connection(stream, Rc::clone(&signer)))),
            // Out of descriptors, most likely: wait for connections to end instead of spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection; how it ends concerns its client alone.
async fn connection(mut stream: UnixStream, signer: Rc<Signer>) {
    match timeout(Duration::from_secs(60), greet(&mut stream)).await {
        Ok(Ok(begun)) if begun.is_empty() => drop(serve_connection(stream, signer, Door::Plain).await),
        Ok(Ok(begun)) => {
            let (reader, writer) = stream.into_split();
            drop(
                serve_connection(join(io::Cursor::new(begun).chain(reader), writer), signer, Door::Plain)
                    .await,
            );
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Takes the handshake, if the first line is one; otherwise gives back what was read, the beginning of a request.
async fn greet(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    const HANDSHAKE: &[u8] = b"CONNECT ";
    const LONGEST: usize = 32;
    let mut line = Vec::with_capacity(LONGEST);
    while line.len() < LONGEST {
        let byte = stream.read_u8().await?;
        line.push(byte);
        let expected = line.len().min(HANDSHAKE.len());
        if !HANDSHAKE.starts_with(line.get(..expected).unwrap_or_default()) {
            return Ok(line);
        }
        if byte == b'\n' {
            break;
        }
    }
    let port = line.strip_prefix(HANDSHAKE).and_then(|rest| rest.strip_suffix(b"\n"));
    let port = port.and_then(|port| std::str::from_utf8(port).ok()?.trim_end().parse::<u32>().ok());
    match port {
        Some(_) => {
            stream.write_all(b"OK 1073741824\n").await?;
            Ok(Vec::new())
        }
        None => Ok(line),
    }
}
