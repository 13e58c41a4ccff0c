//! Ways to a server, and an HTTP/1.1 client that keeps its connection: on tokio, so that one thread can be many clients.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::http::Head;

/// A way to a server.
#[derive(Clone)]
pub enum Door {
    /// A guest's port, through its Unix socket, by Firecracker's handshake.
    Vsock {
        /// The socket.
        socket: PathBuf,
        /// The port.
        port: u32,
    },
    /// A TCP port, in the clear.
    Tcp(SocketAddr),
    /// A TCP port, behind TLS.
    Tls {
        /// The port.
        address: SocketAddr,
        /// Whom to trust.
        connector: TlsConnector,
        /// Who it must be.
        name: ServerName<'static>,
    },
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Door {
    /// A connection.
    pub async fn open(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Vsock { socket, port } => {
                let mut stream = UnixStream::connect(socket).await?;
                stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
                while stream.read_u8().await? != b'\n' {}
                Ok(Box::new(stream))
            }
            Self::Tcp(address) => Ok(Box::new(tcp(*address).await?)),
            Self::Tls { address, connector, name } => {
                let stream = connector.connect(name.clone(), tcp(*address).await?).await?;
                Ok(Box::new(stream))
            }
        }
    }

    /// For the header `Host`.
    pub fn host(&self) -> String {
        match self {
            Self::Vsock { .. } => "localhost".to_owned(),
            Self::Tcp(address) | Self::Tls { address, .. } => address.to_string(),
        }
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One client. It keeps its connection for as long as the server does.
pub struct Client {
    door: Rc<Door>,
    stream: Option<Box<dyn Stream>>,
    buffer: Vec<u8>,
}

impl Client {
    /// A client that is connected.
    pub async fn connect(door: Rc<Door>) -> Result<Self> {
        let stream = Some(door.open().await.map_err(Error::io("connect to the server"))?);
        Ok(Self { door, stream, buffer: Vec::new() })
    }

    /// Sends a request, and gives the body of an answer with status 200.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<&[u8]> {
        let head = self.attempt(request).await.map_err(Error::io("ask the server"))??;
        let body = self.buffer.get(head.start..).unwrap_or_default();
        if head.status != 200 {
            return Err(Error::answer("an HTTP answer", String::from_utf8_lossy(body)));
        }
        Ok(body)
    }

    async fn attempt(&mut self, request: &[u8]) -> io::Result<Result<Head>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.door.open().await?,
        };
        stream.write_all(request).await?;
        stream.flush().await?;
        self.buffer.clear();
        let mut head = None;
        loop {
            self.buffer.reserve(16 << 10);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if head.is_none() {
                head = match Head::parse(&self.buffer) {
                    Ok(head) => head,
                    Err(error) => return Ok(Err(error)),
                };
            }
            if let Some(head) = head
                && self.buffer.len() >= head.start + head.length
            {
                if !head.close {
                    self.stream = Some(stream);
                }
                return Ok(Ok(head));
            }
        }
    }
}
