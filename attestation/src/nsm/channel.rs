//! A guest's line to the security module: NSM messages that nobody between the two can make, change, repeat or reorder.
//!
//! ```text
//! frame = tag ‖ message
//! tag   = first 32 bytes of HMAC-SHA-512(key, label ‖ 0 ‖ number, 8 bytes big-endian ‖ message)
//! label = "request" | "response"
//! ```
//!
//! Both ends count. A request has the number of requests before it, a response the number of its request, and each number
//! is good once: after a request that is not answered, or not by the module, nothing more gets through. The messages are no
//! secret; only who wrote them matters.
//!
//! The key is the launch's, for this guest and this session ([`session`](super::session)).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroize;

/// Bytes in a key.
pub const KEY_LEN: usize = 32;
/// Bytes in a tag.
pub const TAG_LEN: usize = 32;

const REQUEST: &str = "request";
const RESPONSE: &str = "response";

/// HMAC-SHA-512 under a key of 32 bytes, over a label, a zero byte and parts of fixed length but for the last.
pub(crate) fn mac(key: &[u8; KEY_LEN], label: &str, parts: &[&[u8]]) -> Hmac<Sha512> {
    // One block of SHA-512: a shorter key is padded with zeroes (FIPS 198-1, section 4).
    let mut block = [0; 128];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha512>::new(&block.into());
    block.zeroize();
    mac.update(label.as_bytes());
    mac.update(&[0]);
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The first 32 bytes of a finished MAC.
pub(crate) fn first(mac: Hmac<Sha512>) -> [u8; TAG_LEN] {
    let mut bytes: [u8; 64] = mac.finalize().into_bytes().into();
    let mut tag = [0; TAG_LEN];
    for (to, from) in tag.iter_mut().zip(&bytes) {
        *to = *from;
    }
    bytes.zeroize();
    tag
}

/// Whether this is the tag, compared in constant time.
pub(crate) fn is_tag(mac: Hmac<Sha512>, tag: &[u8; TAG_LEN]) -> bool {
    mac.verify_truncated_left(tag).is_ok()
}

/// What both ends hold: the key, and how many requests there have been. The key is erased when this is dropped.
struct Line {
    key: [u8; KEY_LEN],
    count: u64,
}

impl Line {
    fn seal(&self, label: &str, number: u64, message: &[u8]) -> Vec<u8> {
        let tag = first(mac(&self.key, label, &[&number.to_be_bytes(), message]));
        let mut frame = Vec::with_capacity(TAG_LEN.saturating_add(message.len()));
        frame.extend_from_slice(&tag);
        frame.extend_from_slice(message);
        frame
    }

    fn open<'a>(&self, label: &str, number: u64, frame: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, message) = frame.split_first_chunk::<TAG_LEN>()?;
        is_tag(mac(&self.key, label, &[&number.to_be_bytes(), message]), tag).then_some(message)
    }

    /// The number of the request that comes next, which no other ever has.
    fn next(&mut self) -> Option<u64> {
        let number = self.count;
        self.count = number.checked_add(1)?;
        Some(number)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The guest's end.
pub struct GuestEnd(Line);

impl GuestEnd {
    /// The end at which requests are made.
    pub const fn new(key: [u8; KEY_LEN]) -> Self {
        Self(Line { key, count: 0 })
    }

    /// The frame of the next request, and what its answer must be opened with.
    pub fn seal(&mut self, request: &[u8]) -> Option<(Vec<u8>, Expected)> {
        let number = self.0.next()?;
        Some((self.0.seal(REQUEST, number, request), Expected(number)))
    }

    /// The message in the module's answer to that request; `None` if the module did not write it.
    pub fn open<'a>(&self, expected: Expected, frame: &'a [u8]) -> Option<&'a [u8]> {
        self.0.open(RESPONSE, expected.0, frame)
    }
}

/// Which request an answer has to be for.
pub struct Expected(u64);

/// The module's end.
pub struct ModuleEnd(Line);

impl ModuleEnd {
    /// The end at which requests are answered.
    pub const fn new(key: [u8; KEY_LEN]) -> Self {
        Self(Line { key, count: 0 })
    }

    /// Answers the request in `frame` with what `handle` makes of it; `None` if it is not the guest's next one.
    pub fn answer(&mut self, frame: &[u8], handle: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
        let request = self.0.open(REQUEST, self.0.count, frame)?;
        let number = self.0.next()?;
        Some(self.0.seal(RESPONSE, number, &handle(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_LEN] = [7; KEY_LEN];

    fn ends() -> (GuestEnd, ModuleEnd) {
        (GuestEnd::new(KEY), ModuleEnd::new(KEY))
    }

    fn echo(request: &[u8]) -> Vec<u8> {
        [b"re: ", request].concat()
    }

    #[test]
    fn what_one_end_seals_the_other_opens() {
        let (mut guest, mut module) = ends();
        for message in [&b""[..], b"a", &[0x5a; 4096]] {
            let (frame, expected) = guest.seal(message).expect("a frame");
            let answer = module.answer(&frame, echo).expect("an answer");
            assert_eq!(guest.open(expected, &answer), Some(echo(message).as_slice()));
        }
    }

    #[test]
    fn a_tag_is_the_one_that_is_documented() {
        let (mut guest, _) = ends();
        let (frame, _) = guest.seal(b"abc").expect("a frame");
        let mut mac = Hmac::<Sha512>::new_from_slice(&KEY).expect("a key of any length");
        mac.update(b"request\0\0\0\0\0\0\0\0\0abc");
        assert_eq!(frame, [&mac.finalize().into_bytes()[..TAG_LEN], b"abc"].concat());
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (mut guest, _) = ends();
        let (frame, _) = guest.seal(b"request").expect("a frame");
        for bit in 0..8 * frame.len() {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ModuleEnd::new(KEY).answer(&changed, echo).is_none(), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert!(ModuleEnd::new(KEY).answer(&frame[..length], echo).is_none(), "{length} bytes");
        }
        assert!(ModuleEnd::new([8; KEY_LEN]).answer(&frame, echo).is_none(), "another key");
        assert!(ModuleEnd::new(KEY).answer(&frame, echo).is_some(), "the control");
    }

    #[test]
    fn replayed_and_reordered_requests_are_refused() {
        let (mut guest, mut module) = ends();
        let [first, second, third] =
            [b"1", b"2", b"3"].map(|message| guest.seal(message).expect("a frame").0);
        assert!(module.answer(&second, echo).is_none(), "too early");
        assert!(module.answer(&first, echo).is_some());
        assert!(module.answer(&first, echo).is_none(), "again");
        assert!(module.answer(&third, echo).is_none(), "one is left out");
        assert!(module.answer(&second, echo).is_some());
        assert!(module.answer(&third, echo).is_some());
    }

    #[test]
    fn an_answer_is_for_its_own_request_and_no_request() {
        let (mut guest, mut module) = ends();
        let (first, to_first) = guest.seal(b"1").expect("a frame");
        let (second, to_second) = guest.seal(b"2").expect("a frame");
        assert!(guest.open(Expected(0), &first).is_none(), "a request sent back");
        let answer = module.answer(&first, echo).expect("an answer");
        assert!(module.answer(&answer, echo).is_none(), "an answer sent back");
        assert!(guest.open(to_second, &answer).is_none(), "the answer to another");
        assert!(guest.open(to_first, &answer).is_some());
        assert!(module.answer(&second, echo).is_some());
    }
}
