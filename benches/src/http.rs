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
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(Error::io(format!("reach vsock port {port}")))?;
        line.extend(byte);
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
        self.stream.write_all(request).map_err(Error::io("send a request"))?;
        self.buffer.clear();
        let (body, length) = loop {
            self.fill()?;
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
        };
        while self.buffer.len() < body + length {
            self.fill()?;
        }
        let answer = self.buffer.get(body..body + length).unwrap_or_default();
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
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

/// Where the body begins and how long it is, once the head is complete.
fn head(buffer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default());
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) => Ok(Some((end + 4, length))),
        None => Err(Error::answer("an HTTP head", text)),
    }
}

/// The bytes of a request; `target` is a KMS operation.
pub fn request(method: &str, path: &str, target: Option<&str>, body: &str) -> Vec<u8> {
    let target = target.map_or_else(String::new, |target| {
        format!("X-Amz-Target: TrentService.{target}\r\nContent-Type: application/x-amz-json-1.1\r\n")
    });
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{target}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_once_it_is_complete() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert!(matches!(head(&answer[..30]), Ok(None)));
        assert!(matches!(head(answer), Ok(Some((38, 2)))));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
