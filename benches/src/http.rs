//! An HTTP/1.1 client with one connection, as small as it can be: the same on both sides of every comparison.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};

/// Longest wait for anything; making an RSA-4096 key takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Opens a stream to `port` behind `socket` by Firecracker's handshake.
pub fn connect(socket: &Path, port: u32) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).map_err(Error::file("connect to", socket))?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .and_then(|()| stream.write_all(format!("CONNECT {port}\n").as_bytes()))
        .map_err(Error::io("ask for a vsock port"))?;
    let mut line = Vec::new();
    // Nothing follows the line before something was asked.
    while line.last() != Some(&b'\n') {
        let mut part = [0; 32];
        let length = stream.read(&mut part).map_err(Error::io(format!("reach vsock port {port}")))?;
        if length == 0 {
            return Err(Error::answer("the handshake", "end of the connection"));
        }
        line.extend_from_slice(part.get(..length).unwrap_or_default());
    }
    if !line.starts_with(b"OK ") {
        return Err(Error::answer("the handshake", String::from_utf8_lossy(&line)));
    }
    Ok(stream)
}

/// A connection that is kept.
pub struct Client {
    stream: UnixStream,
    /// What was read, from its start the answer that is being read.
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to the HTTP server on `port` behind `socket`.
    pub fn open(socket: &Path, port: u32) -> Result<Self> {
        Ok(Self { stream: connect(socket, port)?, buffer: Vec::new() })
    }

    /// Sends a request that [`request`] made and returns the answer's body.
    pub fn exchange(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.send(request)?;
        self.receive()
    }

    /// Sends a request that [`request`] made.
    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).map_err(Error::io("send a request"))
    }

    /// Waits for the answer to the request that was sent, and returns its body.
    pub fn receive(&mut self) -> Result<&[u8]> {
        self.buffer.clear();
        let head = loop {
            self.fill()?;
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        let end = head.start + head.length;
        while self.buffer.len() < end {
            self.fill()?;
        }
        let answer = self.buffer.get(head.start..end).unwrap_or_default();
        if head.status != 200 {
            return Err(Error::answer("an HTTP answer", String::from_utf8_lossy(answer)));
        }
        Ok(answer)
    }

    fn fill(&mut self) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.resize(start + (16 << 10), 0);
        let length = self
            .stream
            .read(self.buffer.get_mut(start..).unwrap_or_default())
            .map_err(Error::io("read an answer"))?;
        self.buffer.truncate(start + length);
        if length == 0 {
            return Err(Error::answer("an HTTP answer", "end of the connection"));
        }
        Ok(())
    }
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the body begins.
    pub start: usize,
    /// How long it is.
    pub length: usize,
    /// The status.
    pub status: u16,
    /// The connection ends with it.
    pub close: bool,
}

impl Head {
    /// Of an answer that begins with `bytes`, once it is complete.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let wrong = || Error::answer("an HTTP head", String::from_utf8_lossy(bytes));
        let httparse::Status::Complete(start) = response.parse(bytes).map_err(|_| wrong())? else {
            return Ok(None);
        };
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let length = value("content-length").and_then(|length| length.trim().parse().ok());
        Ok(Some(Self {
            start,
            length: length.ok_or_else(wrong)?,
            status: response.code.unwrap_or_default(),
            close: value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        }))
    }
}

/// What the API's requests are.
pub const AWS_JSON: &str = "application/x-amz-json-1.1";

/// An operation as `X-Amz-Target` names it: of KMS, if no other service stands before it.
pub fn target(operation: &str) -> String {
    if operation.contains('.') { operation.to_owned() } else { format!("TrentService.{operation}") }
}

/// The bytes of a request; `operation` is what [`target`] takes.
pub fn request(method: &str, path: &str, operation: Option<&str>, body: &str) -> Vec<u8> {
    let target = operation.map(target);
    let mut headers = vec![("Host", "localhost")];
    headers.extend(
        target.iter().flat_map(|target| [("X-Amz-Target", target.as_str()), ("Content-Type", AWS_JSON)]),
    );
    message(method, path, &headers, body)
}

/// The bytes of a request with these headers, and its length.
pub fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_once_it_is_complete() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert!(matches!(Head::parse(&answer[..30]), Ok(None)));
        let head = Head { start: 38, length: 2, status: 200, close: false };
        assert!(matches!(Head::parse(answer), Ok(Some(found)) if found == head));
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_server_may_say_that_it_closes() {
        let answer = b"HTTP/1.1 400 Bad\r\nCONNECTION: close\r\nContent-Length: 0\r\n\r\n";
        let head = Head { start: 58, length: 0, status: 400, close: true };
        assert!(matches!(Head::parse(answer), Ok(Some(found)) if found == head));
    }
}
