//! The signer as an ordinary process behind a Unix socket: what the sealed guest is compared with.
//!
//! It answers the same requests with the same code, and nothing hides its keys: use it for tests and benchmarks only.
//! Clients may begin as with a guest's vsock door, `CONNECT <port>\n`, answered `OK <n>\n`, or with HTTP at once. With
//! port 8443 in the handshake, or on the TCP address of `--tls`, they find TLS as it is in the guest; with port 8001 they
//! bring a volume; with port 8080 they find what everybody may have of certificate authorities.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use casemate_abi::port;
use casemate_signer::{AttestError, Door, Platform, Signer, serve_connection, serve_tls, serve_volume};
use tokio::io::{AsyncReadExt, AsyncWriteExt, join};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::LocalSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A process can prove nothing about itself. It has a sealing key if it was given one.
struct Process(Option<Zeroizing<[u8; 32]>>);

impl Platform for Process {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }

    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        self.0.clone()
    }
}

/// The command line.
struct Arguments {
    /// The Unix socket.
    socket: PathBuf,
    /// Where to serve TLS over TCP.
    tls: Option<SocketAddr>,
    /// Where to write the TLS certificate, once everything is open.
    ca: Option<PathBuf>,
    /// The file of 32 bytes that takes the place of a guest's sealing key.
    sealing_key: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = Self { socket: words.next()?.into(), tls: None, ca: None, sealing_key: None };
        while let Some(flag) = words.next() {
            let value = words.next()?;
            match flag.to_str()? {
                "--tls" => arguments.tls = Some(value.to_str()?.parse().ok()?),
                "--ca" => arguments.ca = Some(value.into()),
                "--sealing-key" => arguments.sealing_key = Some(value.into()),
                _ => return None,
            }
        }
        Some(arguments)
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args_os().skip(1)) else {
        eprintln!(
            "usage: casemate-signer-process SOCKET [--tls ADDRESS:PORT] [--ca FILE] [--sealing-key FILE]"
        );
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("starting the runtime: {error}")),
    };
    match LocalSet::new().block_on(&runtime, serve(&arguments)) {
        Ok(never) => match never {},
        Err(error) => failed(&format!("socket {}: {error}", arguments.socket.display())),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("casemate-signer-process: {message}");
    ExitCode::FAILURE
}

fn read_key(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(std::fs::read(path)?);
    let key = bytes.as_slice().try_into().map_err(|_| io::Error::other("a sealing key has 32 bytes"))?;
    Ok(Zeroizing::new(key))
}

/// Listens for ever. With `--tls`, the address is printed once it is open.
async fn serve(arguments: &Arguments) -> io::Result<Infallible> {
    let sealing_key = arguments.sealing_key.as_deref().map(read_key).transpose()?;
    let signer = Signer::new(Box::new(Process(sealing_key)));
    if let Some(address) = arguments.tls {
        let listener = TcpListener::bind(address).await?;
        println!("https://{}", listener.local_addr()?);
        tokio::task::spawn_local(serve_tcp(listener, Rc::clone(&signer)));
    }
    if let Some(path) = &arguments.ca {
        std::fs::write(path, signer.tls_certificate().map_err(io::Error::other)?)?;
    }
    serve_unix(&arguments.socket, signer).await
}

/// The socket gets its name only once its mode is right, so no one connects before.
async fn serve_unix(path: &Path, signer: Rc<Signer>) -> io::Result<Infallible> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::task::spawn_local(connection(stream, Rc::clone(&signer)))),
            Err(_) => pause().await,
        }
    }
}

async fn serve_tcp(listener: TcpListener, signer: Rc<Signer>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            pause().await;
            continue;
        };
        // Answers are short and must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let signer = Rc::clone(&signer);
        tokio::task::spawn_local(async move { drop(serve_tls(stream, signer).await) });
    }
}

/// Out of descriptors, most likely: wait for connections to end instead of spinning.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// One connection; how it ends concerns its client alone.
async fn connection(mut stream: UnixStream, signer: Rc<Signer>) {
    match timeout(Duration::from_secs(60), greet(&mut stream)).await {
        Ok(Ok(Begun::Connected(port::SIGNER_TLS))) => drop(serve_tls(stream, signer).await),
        Ok(Ok(Begun::Connected(port::REVOCATION))) => {
            drop(serve_connection(stream, signer, Door::Public).await);
        }
        Ok(Ok(Begun::Connected(port::VOLUME))) => serve_volume(stream, signer).await,
        Ok(Ok(Begun::Connected(_))) => drop(serve_connection(stream, signer, Door::Plain).await),
        Ok(Ok(Begun::Request(begun))) => {
            let (reader, writer) = stream.into_split();
            drop(
                serve_connection(join(io::Cursor::new(begun).chain(reader), writer), signer, Door::Plain)
                    .await,
            );
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

/// How a client began.
enum Begun {
    /// With the handshake, for this port.
    Connected(u32),
    /// With this, the beginning of a request.
    Request(Vec<u8>),
}

/// Takes the handshake, if the first line is one; otherwise gives back what was read, the beginning of a request.
async fn greet(stream: &mut UnixStream) -> io::Result<Begun> {
    const HANDSHAKE: &[u8] = b"CONNECT ";
    const LONGEST: usize = 32;
    let mut line = Vec::with_capacity(LONGEST);
    while line.len() < LONGEST {
        let byte = stream.read_u8().await?;
        line.push(byte);
        let expected = line.len().min(HANDSHAKE.len());
        if !HANDSHAKE.starts_with(line.get(..expected).unwrap_or_default()) {
            return Ok(Begun::Request(line));
        }
        if byte == b'\n' {
            break;
        }
    }
    let port = line.strip_prefix(HANDSHAKE).and_then(|rest| rest.strip_suffix(b"\n"));
    let port = port.and_then(|port| std::str::from_utf8(port).ok()?.trim_end().parse::<u32>().ok());
    match port {
        Some(port) => {
            stream.write_all(b"OK 1073741824\n").await?;
            Ok(Begun::Connected(port))
        }
        None => Ok(Begun::Request(line)),
    }
}
