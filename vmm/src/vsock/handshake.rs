//! The host's side of the door: Firecracker's hybrid-vsock handshake.
//!
//! A client of the Unix socket first sends `CONNECT <port>\n`. Once the guest has accepted, it reads
//! `OK <host port>\n`, and from then on the socket is the connection. Everything else closes it without a word, as
//! Firecracker does. The line is peeked at until it is complete and then read exactly, so bytes that follow it in
//! the same segment are already data.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use super::log::Client;

/// Longest line there can be, newline included: "CONNECT 4294967295\r\n" with some blanks to spare.
const LINE_MAX: usize = 32;
/// Room for a sender's credentials, `CMSG_SPACE(sizeof(struct ucred))` (cmsg(3)), and for nothing more: descriptors that a
/// client sends along find none.
const CONTROL: usize = 32;

/// What has become of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The client wants this port of the guest. Who it is, where the socket was told to ask (SO_PASSCRED).
    Connect(u32, Option<Client>),
    /// The line is not complete yet.
    Waiting,
    /// This is not the beginning of a handshake, or the client has gone.
    Refused,
}

/// Reads the client's line if it is complete.
pub fn advance(stream: &UnixStream) -> Progress {
    let mut line = [0_u8; LINE_MAX];
    let (available, client) = match receive(stream, &mut line, libc::MSG_PEEK) {
        Ok((0, _)) => return Progress::Refused,
        Ok(received) => received,
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
    match receive(stream, whole, 0) {
        Ok((read, _)) if read == end + 1 => Progress::Connect(port, client),
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

/// Receives without waiting. Returns the number of bytes and who has sent them.
fn receive(stream: &UnixStream, buffer: &mut [u8], flags: i32) -> io::Result<(usize, Option<Client>)> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0_u8; CONTROL];
    // SAFETY: all-zero bytes are a valid msghdr: no name, no buffers, no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` names one buffer and a control buffer with their lengths; all live until the call has returned.
    let read = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, flags) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    Ok((read, credentials(&control)))
}

/// The credentials in a control message. rustix has a type for them, in which a process that this one cannot see, number 0,
/// has no place.
fn credentials(control: &[u8; CONTROL]) -> Option<Client> {
    // struct cmsghdr: length (8 bytes), level, type; struct ucred: process, user, group.
    let mut words = control.as_chunks().0.iter().copied().map(i32::from_ne_bytes).skip(2);
    let kind = (words.next()?, words.next()?);
    let (process, user) = (words.next()?, words.next()?);
    (kind == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS))
        .then_some(Client { process, user: user.cast_unsigned() })
}

#[cfg(test)]
mod tests {
    use super::{Client, Progress, advance, parse};
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
        assert_eq!(advance(&server), Progress::Connect(17, None));
        let mut rest = [0; 5];
        server.read_exact(&mut rest).expect("data after the line stays in the socket");
        assert_eq!(&rest, b"hello");
    }

    #[test]
    fn the_kernel_says_who_it_was_and_descriptors_are_not_taken() {
        let (client, server) = UnixStream::pair().expect("socket pair");
        rustix::net::sockopt::set_socket_passcred(&server, true).expect("SO_PASSCRED");
        let open = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        let before = open();
        for _ in 0..100 {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
            let descriptor = [std::os::fd::AsFd::as_fd(&client)];
            assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptor)));
            let line = [std::io::IoSlice::new(b"CONNECT 1\n")];
            rustix::net::sendmsg(&client, &line, &mut control, rustix::net::SendFlags::empty())
                .expect("sent");
            let us = Client {
                process: rustix::process::getpid().as_raw_nonzero().get(),
                user: rustix::process::getuid().as_raw(),
            };
            assert_eq!(advance(&server), Progress::Connect(1, Some(us)));
        }
        // Other tests open some at the same time.
        assert!(open() < before + 50, "descriptors of a client stay");
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
