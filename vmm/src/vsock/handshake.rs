//! The host's side of the door: Firecracker's hybrid-vsock handshake.
//!
//! A client of the Unix socket first sends `CONNECT <port>\n`. Once the guest has accepted, it reads
//! `OK <host port>\n`, and from then on the socket is the connection. Everything else closes it without a word, as
//! Firecracker does. The line is peeked at until it is complete and then read exactly, so bytes that follow it in
//! the same segment are already data.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::net::RecvFlags;

/// Longest line there can be, newline included: "CONNECT 4294967295\r\n" with some blanks to spare.
const LINE_MAX: usize = 32;

/// What has become of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The client wants this port of the guest.
    Connect(u32),
    /// The line is not complete yet.
    Waiting,
    /// This is not the beginning of a handshake, or the client has gone.
    Refused,
}

/// Reads the client's line if it is complete.
pub fn advance(stream: &UnixStream) -> Progress {
    let mut line = [0_u8; LINE_MAX];
    let available = match receive(stream, &mut line, RecvFlags::PEEK) {
        Ok(0) => return Progress::Refused,
        Ok(available) => available,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waiting,
        Err(_) => return Progress::Refused,
    };
    let Some(seen) = line.get(..available) else {
        return Progress::Refused;
    };
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        let plausible = available < LINE_MAX && is_prefix(seen);
        return if plausible { Progress::Waiting } else { Progress::Refused };
    };
    let Some(port) = seen.get(..end).and_then(parse) else {
        return Progress::Refused;
    };
    let Some(whole) = line.get_mut(..=end) else {
        return Progress::Refused;
    };
    match receive(stream, whole, RecvFlags::empty()) {
        Ok(read) if read == end + 1 => Progress::Connect(port),
        _ => Progress::Refused,
    }
}

/// Whether `seen` can still become a CONNECT line: garbage is refused at once, not after the time-out.
fn is_prefix(seen: &[u8]) -> bool {
    seen.iter().zip(b"CONNECT ").all(|(byte, expected)| byte.eq_ignore_ascii_case(expected))
}

/// The port in `CONNECT <port>`; the keyword in any case, as Firecracker takes it.
fn parse(line: &[u8]) -> Option<u32> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let keyword = words.next()?;
    let port = words.next()?;
    let digits_only = port.bytes().all(|byte| byte.is_ascii_digit());
    (keyword.eq_ignore_ascii_case("connect") && digits_only && words.next().is_none())
        .then(|| port.parse().ok())
        .flatten()
}

fn receive(stream: &UnixStream, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    let (read, _) = rustix::net::recv(stream, buffer, flags | RecvFlags::DONTWAIT)?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::{Progress, advance, parse};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn parses_what_firecracker_parses() {
        assert_eq!(parse(b"CONNECT 8000"), Some(8000));
        assert_eq!(parse(b"connect 4294967295\r"), Some(u32::MAX));
        for bad in [
            &b"CONNECT"[..],
            b"CONNECT ",
            b"CONNECT 4294967296",
            b"CONNECT -1",
            b"CONNECT +1",
            b"CONNECT 1 2",
            b"CONNECTX 1",
            b"\xff\xfe 1",
            b"",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn line_in_pieces_and_data_behind_it() {
        let (mut client, mut server) = UnixStream::pair().expect("socket pair");
        assert_eq!(advance(&server), Progress::Waiting);
        client.write_all(b"CONN").expect("write");
        assert_eq!(advance(&server), Progress::Waiting);
        client.write_all(b"ECT 17\nhello").expect("write");
        assert_eq!(advance(&server), Progress::Connect(17));
        let mut rest = [0; 5];
        server.read_exact(&mut rest).expect("data after the line stays in the socket");
        assert_eq!(&rest, b"hello");
    }

    #[test]
    fn garbage_and_endless_lines_are_refused() {
        for bad in [&b"GET / HTTP/1.1\r\n"[..], b"X", b"CONNECT 1                              ", b"\n"] {
            let (mut client, server) = UnixStream::pair().expect("socket pair");
            client.write_all(bad).expect("write");
            assert_eq!(advance(&server), Progress::Refused, "{bad:?}");
        }
        let (client, server) = UnixStream::pair().expect("socket pair");
        drop(client);
        assert_eq!(advance(&server), Progress::Refused);
    }
}
