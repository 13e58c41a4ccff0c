//! What the TPM service and its one client say to each other: a byte, a length (big-endian, 4 bytes) and so many bytes, both ways.
//!
//! | request | payload | answer |
//! | --- | --- | --- |
//! | `s` | a message | an ES384 signature (r ‖ s), 96 bytes |
//! | `d` | a purpose | the secret for it, 48 bytes |
//! | `c` | a volume's identity, 16 bytes | what its counter says, 8 bytes big-endian; nothing if it has none |
//! | `i` | a volume's identity, 16 bytes | what its counter says after it has been moved on, 8 bytes |
//!
//! An answer begins with 0, or with 1 and says in words what failed. The service speaks first: 0 once it is ready.

use std::io::{self, Read, Write};

use clap::ValueEnum;
use zeroize::Zeroizing;

/// Longest payload.
pub(super) const MAX: usize = 64 << 10;
/// Longest explanation.
pub(super) const REASON_MAX: usize = 1024;
/// What a volume's service derives begins like this, and nothing else does.
pub const ANCHOR: &[u8] = b"casemate anchor 1";

/// On whose behalf the service works: each gets what it needs, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// A launch: signatures and secrets.
    Launch,
    /// A volume's service: counters, and the key of anchors.
    Volume,
}

impl Role {
    /// Its name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Volume => "volume",
        }
    }

    /// Whether it may ask for this.
    pub(super) fn allows(self, verb: Verb, payload: &[u8]) -> bool {
        match (self, verb) {
            (Self::Launch, Verb::Sign) => true,
            (Self::Launch, Verb::Derive) => !payload.starts_with(ANCHOR),
            (Self::Volume, Verb::Derive) => payload.starts_with(ANCHOR),
            (Self::Volume, Verb::Count | Verb::Increment) => true,
            (Self::Launch, Verb::Count | Verb::Increment) | (Self::Volume, Verb::Sign) => false,
        }
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    /// A signature.
    Sign = b's',
    /// A secret.
    Derive = b'd',
    /// What a counter says.
    Count = b'c',
    /// A counter that is moved on.
    Increment = b'i',
}

impl Verb {
    const ALL: [Self; 4] = [Self::Sign, Self::Derive, Self::Count, Self::Increment];

    fn parse(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.byte() == byte)
    }

    pub(super) const fn byte(self) -> u8 {
        self as u8
    }
}

/// Sends one message.
pub(super) fn send(stream: &mut impl Write, first: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| too_long())?;
    stream.write_all(&[first])?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(payload)
}

/// The next request; `None` when the client has gone.
pub(super) fn request(stream: &mut impl Read) -> io::Result<Option<(Verb, Zeroizing<Vec<u8>>)>> {
    let mut first = [0];
    if stream.read(&mut first)? == 0 {
        return Ok(None);
    }
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "not a request");
    let verb = Verb::parse(first[0]).ok_or_else(unknown)?;
    let mut payload = Zeroizing::new(vec![0; length(stream)?]);
    stream.read_exact(&mut payload)?;
    Ok(Some((verb, payload)))
}

/// The next answer, into `place` if it is one: it may be secret, and is nowhere else then. Returns its length, or why there is
/// none.
pub(super) fn answer(stream: &mut impl Read, place: &mut [u8]) -> io::Result<Result<usize, String>> {
    let mut status = [0];
    stream.read_exact(&mut status)?;
    let length = length(stream)?;
    if status == [0] {
        let place = place.get_mut(..length).ok_or_else(too_long)?;
        stream.read_exact(place)?;
        return Ok(Ok(length));
    }
    let mut reason = vec![0; length.min(REASON_MAX)];
    stream.read_exact(&mut reason)?;
    Ok(Err(String::from_utf8_lossy(&reason).into_owned()))
}

fn length(stream: &mut impl Read) -> io::Result<usize> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| too_long())?;
    if length > MAX { Err(too_long()) } else { Ok(length) }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that is too long")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_and_malformed_ones_are_refused() {
        let mut bytes = Vec::new();
        send(&mut bytes, Verb::Derive.byte(), b"purpose").unwrap();
        let (verb, payload) = request(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!((verb, &payload[..]), (Verb::Derive, &b"purpose"[..]));
        assert!(request(&mut &[][..]).unwrap().is_none());
        for broken in [&b"x\0\0\0\0"[..], b"s\0\0", b"s\0\0\0\x02a", b"s\0\x01\0\x01"] {
            assert!(request(&mut &broken[..]).is_err(), "{broken:?}");
        }
        let mut place = [0; 4];
        assert_eq!(answer(&mut &b"\0\0\0\0\x03abc"[..], &mut place).unwrap(), Ok(3));
        assert_eq!(&place, b"abc\0");
        assert_eq!(answer(&mut &b"\x01\0\0\0\x02no"[..], &mut place).unwrap(), Err("no".to_owned()));
        assert!(answer(&mut &b"\0\0\0\0\x05abcde"[..], &mut place).is_err(), "longer than its place");
    }

    #[test]
    fn each_role_gets_what_it_needs_and_no_more() {
        let allowed = |role: Role, payload: &[u8]| Verb::ALL.map(|verb| role.allows(verb, payload));
        assert_eq!(allowed(Role::Launch, b"casemate sealing 1"), [true, true, false, false]);
        assert_eq!(allowed(Role::Launch, ANCHOR), [true, false, false, false]);
        assert_eq!(allowed(Role::Volume, b"casemate sealing 1"), [false, false, true, true]);
        assert_eq!(allowed(Role::Volume, ANCHOR), [false, true, true, true]);
    }
}
