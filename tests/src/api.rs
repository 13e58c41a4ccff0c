//! A client of the signer's API that distinguishes what a test must: an answer, a refusal, and no answer at all.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::{Lab, Owned};

/// The vsock port of the signer without TLS.
pub const PLAIN: u32 = 8000;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A kept connection to the signer.
pub struct Api {
    stream: Box<dyn Stream>,
    key: Option<Credentials>,
}

/// Why there is no result.
#[derive(Debug)]
pub enum NoResult {
    /// The connection broke: nobody can say whether the request was carried out.
    Broken(String),
    /// The signer refused, with the error's type and message.
    Refused(String, String),
}

/// What the signer answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// It ends the connection.
    pub closes: bool,
}

impl Api {
    /// Connects to the plain port of the signer behind `socket`; `None` if nobody is there.
    pub fn connect(socket: &Path) -> Option<Self> {
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(format!("CONNECT {PLAIN}\n").as_bytes()).ok()?;
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).ok()?;
        }
        Some(Self { stream: Box::new(stream), key: None })
    }

    /// Connects to `owned` as its administrator, over TLS, trusting the lab's `ca.pem`. Requests are signed by AWS's own signer.
    pub fn administrator(lab: &Lab, owned: &Owned) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&lab.read("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = owned.endpoint.strip_prefix("https://").unwrap();
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let client =
            ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let key = Credentials::from_keys(&owned.access_key_id, &owned.secret_access_key, None);
        Ok(Self { stream: Box::new(StreamOwned::new(client, stream)), key: Some(key) })
    }

    /// Calls an operation of KMS.
    pub fn call(&mut self, operation: &str, body: &Value) -> Result<Value, NoResult> {
        self.request_once(operation, body).map(|(value, _)| value)
    }

    /// The same; and whether the answer ends the connection.
    pub fn request_once(&mut self, operation: &str, body: &Value) -> Result<(Value, bool), NoResult> {
        let request = self.kms(operation, body.to_string().as_bytes());
        let answer = self.exchange(&request).map_err(|error| NoResult::Broken(error.to_string()))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        if answer.status == 200 {
            return Ok((value, answer.closes));
        }
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Err(NoResult::Refused(text("__type"), text("message")))
    }

    /// A request to KMS, signed if this client signs.
    pub fn kms(&self, operation: &str, body: &[u8]) -> Vec<u8> {
        let target = format!("TrentService.{operation}");
        self.request(
            "kms",
            &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)],
            body,
        )
    }

    /// A request to IAM or STS, signed if this client signs.
    pub fn query(&self, service: &str, body: &[u8]) -> Vec<u8> {
        self.request(service, &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")], body)
    }

    fn request(&self, service: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let headers = [&[("host", "localhost")], headers].concat();
        let mut head = "POST / HTTP/1.1\r\n".to_owned();
        let mut add = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        headers.iter().for_each(|(name, value)| add(name, value));
        if let Some(key) = &self.key {
            let identity = key.clone().into();
            let parameters = v4::SigningParams::builder()
                .identity(&identity)
                .region("us-east-1")
                .name(service)
                .time(SystemTime::now())
                .settings(SigningSettings::default())
                .build()
                .unwrap()
                .into();
            let signable = SignableRequest::new(
                "POST",
                "https://localhost/",
                headers.into_iter(),
                SignableBody::Bytes(body),
            );
            let (signed, _) = sign(signable.unwrap(), &parameters).unwrap().into_parts();
            signed.headers().for_each(|(name, value)| add(name, value));
        }
        add("content-length", &body.len().to_string());
        [head.as_bytes(), b"\r\n", body].concat()
    }

    /// Sends bytes as they are, and reads an answer.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut bytes = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let length = self.stream.read(&mut part)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend(&part[..length]);
            let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let length: usize = field("content-length").unwrap_or("0").parse().unwrap();
            if let Some(body) = bytes.get(head + 4..head + 4 + length) {
                let status = text.split(' ').nth(1).unwrap().parse().unwrap();
                let closes = field("connection") == Some("close");
                return Ok(Answer { status, body: body.to_vec(), closes });
            }
        }
    }
}

/// Bytes as the API takes them.
pub fn blob(bytes: impl AsRef<[u8]>) -> Value {
    STANDARD.encode(bytes).into()
}

/// Bytes that the API gave.
#[track_caller]
pub fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_else(|| panic!("no blob: {value}"))).unwrap()
}
