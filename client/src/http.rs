//! A client of one guest: HTTP/1.1 over the guest's vsock socket.
//!
//! The protocol is AWS KMS's (JSON 1.1, `X-Amz-Target: TrentService.<Operation>`), so that nothing here knows more about
//! the signer than any AWS client does. What the guest answers is not trusted beyond its size and its being JSON.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::endpoint::{self, Endpoint, Trust};
use crate::sigv4::{self, Credentials};

/// Longest answer that is read. The longest in the protocol is a page of a list.
const ANSWER_MAX: usize = 4 << 20;
/// Longest wait for the guest to accept a connection: a guest accepts once it is ready.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer: making an RSA-4096 key may take many seconds on a slow machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// The `Host` of requests through a guest's own socket.
const LOCAL: &str = "localhost";

/// What to do about a request that should have been signed.
const NO_CREDENTIALS: &str = ": the signer has an owner, or TLS was used before it had one. `casemate claim` makes it \
    yours and writes a profile; with one, give --profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// Why a guest gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket could not be reached.
    #[error("cannot reach the guest at {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The endpoint could not be reached.
    #[error("cannot reach https://{authority}: {source}")]
    Endpoint {
        /// Host and port.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
    /// TLS with the endpoint failed, because of its certificate for one.
    #[error("TLS with {authority}: {source}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What was wrong.
        source: io::Error,
    },
    /// The guest does not listen.
    #[error("the guest does not listen on vsock port {port}{answer}")]
    Refused {
        /// The port.
        port: u32,
        /// What came instead of `OK`.
        answer: String,
    },
    /// The exchange broke off.
    #[error("the guest's answer broke off: {0}")]
    Http(#[from] hyper::Error),
    /// The runtime could not be started, or the connection not be handed to it.
    #[error("cannot talk to the guest: {0}")]
    Io(#[from] io::Error),
    /// No answer.
    #[error("the guest did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    TimedOut,
    /// The answer was longer than any in the protocol, or broke off in its body.
    #[error("the guest's answer cannot be read: {0}")]
    Body(String),
    /// The answer was not JSON.
    #[error("the guest's answer (HTTP {status}) is not JSON: {source}")]
    Json {
        /// HTTP status.
        status: u16,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// The answer lacks a field.
    #[error("the guest's answer to {operation} lacks `{field}`")]
    Field {
        /// What was asked.
        operation: String,
        /// What is missing.
        field: &'static str,
    },
    /// A field of the answer is not base64.
    #[error("the guest's `{field}` is not base64: {source}")]
    Base64 {
        /// The field.
        field: &'static str,
        /// Where it stops being base64.
        source: base64::DecodeError,
    },
    /// The guest refused.
    #[error("{kind}: {message}")]
    Service {
        /// The AWS error type.
        kind: String,
        /// Its message.
        message: String,
    },
}

impl ClientError {
    /// Whether the other side cannot have seen the request: the connection was closed before it was sent.
    pub fn was_not_sent(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_canceled() || error.is_closed())
    }
}

/// A connection to one port of a guest.
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    /// The `Host` of requests.
    authority: String,
    /// What operations are signed with.
    credentials: Option<Credentials>,
}

/// Opens a stream to `port` of the guest behind `socket`: Firecracker's handshake, `CONNECT <port>\n` → `OK <n>\n`.
pub fn connect(socket: &Path, port: u32) -> Result<UnixStream, ClientError> {
    let failed = |source| ClientError::Connect { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(failed)?;
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).map_err(failed)?;
    // Byte by byte: what follows the line belongs to the connection.
    let mut line = Vec::new();
    let mut byte = [0u8];
    while line.len() < 32 && !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Firecracker, and so we, close without a word when nobody listens.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(failed(error)),
        }
    }
    if line.starts_with(b"OK ") && line.ends_with(b"\n") {
        stream.set_read_timeout(None).map_err(failed)?;
        stream.set_write_timeout(None).map_err(failed)?;
        return Ok(stream);
    }
    let answer = String::from_utf8_lossy(&line);
    let answer =
        if line.is_empty() { String::new() } else { format!(" (it answered {:?})", answer.trim_end()) };
    Err(ClientError::Refused { port, answer })
}

impl Client {
    /// Connects to the HTTP server on `port` of the guest behind `socket`.
    pub fn open(socket: &Path, port: u32) -> Result<Self, ClientError> {
        let stream = connect(socket, port)?;
        stream.set_nonblocking(true)?;
        let runtime = runtime()?;
        let sender = runtime.block_on(async { begin(tokio::net::UnixStream::from_std(stream)?).await })?;
        Ok(Self { runtime, sender, authority: LOCAL.to_owned(), credentials: None })
    }

    /// Connects to the signer behind `socket` through TLS. Returns the certificate that it showed and holds the key of.
    pub fn open_tls(socket: &Path, trust: Trust) -> Result<(Self, Vec<u8>), ClientError> {
        let stream = connect(socket, casemate_abi::port::SIGNER_TLS)?;
        stream.set_nonblocking(true)?;
        let stream = move || tokio::net::UnixStream::from_std(stream);
        Self::over_tls(stream, trust, LOCAL.to_owned())
    }

    /// Connects to a signer that is served on a TCP port. Returns the certificate that it showed and holds the key of.
    pub fn open_endpoint(endpoint: &Endpoint, trust: Trust) -> Result<(Self, Vec<u8>), ClientError> {
        let failed = |source| ClientError::Endpoint { authority: endpoint.authority.clone(), source };
        let stream = endpoint.connect().map_err(failed)?;
        stream.set_nonblocking(true)?;
        let stream = move || tokio::net::TcpStream::from_std(stream);
        Self::over_tls(stream, trust, endpoint.authority.clone())
    }

    fn over_tls<S>(
        stream: impl FnOnce() -> io::Result<S>,
        trust: Trust,
        authority: String,
    ) -> Result<(Self, Vec<u8>), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = runtime()?;
        let connector = TlsConnector::from(endpoint::config(trust).map_err(io::Error::other)?);
        let name = endpoint::any_name().map_err(io::Error::other)?;
        let (sender, certificate) = runtime.block_on(async {
            let handshake = connector.connect(name, stream()?);
            let stream = timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| ClientError::TimedOut)?;
            let stream =
                stream.map_err(|source| ClientError::Tls { authority: authority.clone(), source })?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|certificate| certificate.to_vec()).unwrap_or_default();
            Ok::<_, ClientError>((begin(stream).await?, certificate))
        })?;
        Ok((Self { runtime, sender, authority, credentials: None }, certificate))
    }

    /// Sends a request and returns the status and the body.
    fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), ClientError> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|e| ClientError::Io(io::Error::other(e)))?;
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            let exchange = async {
                let answer = sender.send_request(request).await?;
                let status = answer.status().as_u16();
                let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
                let body = body.map_err(|error| ClientError::Body(error.to_string()))?;
                Ok((status, body.to_bytes()))
            };
            timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| ClientError::TimedOut)?
        })
    }

    /// Posts a body and returns the status and the answer's body.
    pub fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), ClientError> {
        self.send("POST", path, headers, body)
    }

    /// Posts JSON and returns JSON. An answer other than 200 is an error.
    pub fn post_json(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, ClientError> {
        let (status, body) = self.post(path, headers, body.to_string().into_bytes())?;
        json_answer(status, &body)
    }

    /// Gets JSON. An answer other than 200 is an error.
    pub fn get_json(&mut self, path: &str) -> Result<Value, ClientError> {
        let (status, body) = self.send("GET", path, &[], Vec::new())?;
        json_answer(status, &body)
    }

    /// Calls a KMS operation.
    pub fn kms(&mut self, operation: &str, body: &Value) -> Result<Value, ClientError> {
        self.operation("TrentService", operation, body)
    }

    /// Calls an operation of `service`, as in the prefix of `X-Amz-Target`.
    pub fn operation(&mut self, service: &str, operation: &str, body: &Value) -> Result<Value, ClientError> {
        let (status, answer) =
            self.send_operation(&format!("{service}.{operation}"), body.to_string().into_bytes())?;
        json_answer(status, &answer)
    }

    /// Calls the operation that `X-Amz-Target` names with a body that is JSON already, and returns the answer's.
    pub fn post_operation(&mut self, target: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        match self.send_operation(target, body)? {
            (200, answer) => Ok(answer),
            (status, answer) => json_answer(status, &answer).map(|_| answer),
        }
    }

    fn send_operation(&mut self, target: &str, body: Vec<u8>) -> Result<(u16, Bytes), ClientError> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let signed = self.credentials.as_ref().map(|credentials| {
            let host = [("host", self.authority.as_str())];
            sigv4::sign(credentials, &[&host[..], &headers].concat(), &body, SystemTime::now())
        });
        let added = signed.iter().flatten().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<(&str, &str)> = headers.into_iter().chain(added).collect();
        self.post("/", &headers, body)
    }

    /// Signs operations from now on, if there is something to sign them with.
    #[must_use]
    pub fn signing_with(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = credentials;
        self
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Begins HTTP on a connection.
async fn begin<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Whatever ends the connection also fails the request that waits on it.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// The JSON of an answer, or the error that it is.
fn json_answer(status: u16, body: &[u8]) -> Result<Value, ClientError> {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) if body.is_empty() && status == 200 => Value::Null,
        Err(source) => return Err(ClientError::Json { status, source }),
    };
    if status == 200 {
        return Ok(value);
    }
    let text = |names: [&str; 2]| {
        names.iter().find_map(|name| value.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    // AWS writes `message` or `Message`, and may put a namespace in front of the type.
    let kind = text(["__type", "code"]);
    let kind =
        kind.rsplit('#').next().filter(|k| !k.is_empty()).map_or(format!("HTTP {status}"), str::to_owned);
    let mut message = text(["message", "Message"]);
    if kind == "MissingAuthenticationTokenException" {
        message.push_str(NO_CREDENTIALS);
    }
    Err(ClientError::Service { kind, message })
}

/// A text field of an answer.
pub fn field<'a>(answer: &'a Value, operation: &str, name: &'static str) -> Result<&'a str, ClientError> {
    let missing = || ClientError::Field { operation: operation.to_owned(), field: name };
    answer.get(name).and_then(Value::as_str).ok_or_else(missing)
}
