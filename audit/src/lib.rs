//! The chain of an audit log, for the signer that writes it and for whoever checks it.
//!
//! A log is lines of JSON: `{"sequence":N,"previous":"HEX","record":{…}}`. The first line has sequence 1 and 96 zeros as
//! `previous`; every other has the SHA-384 of the bytes of the line before (without its newline). The [`Head`], sequence
//! and digest of the last line, stands for the whole log: whoever has it from the signer itself, in an attestation
//! document, can tell that no line is missing, changed, added or out of place.
//!
//! Nothing in a line is trusted before [`Verifier::line`] has accepted it.

use std::fmt;

use aws_lc_rs::digest::{SHA384, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes in a digest.
pub const DIGEST_LEN: usize = 48;
/// Longest line that is read, in bytes.
pub const LINE_MAX: usize = 64 * 1024;
/// How the user data of an attestation document begins that states a head; [`Head`] as text follows.
pub const STATEMENT: &str = "casemate:audit:";

/// The end of a log: how many lines there are, and the digest of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line; 0 for an empty log.
    pub sequence: u64,
    /// SHA-384 of the last line; zeros for an empty log.
    pub digest: [u8; DIGEST_LEN],
}

impl Head {
    /// The head of an empty log.
    pub const EMPTY: Self = Self { sequence: 0, digest: [0; DIGEST_LEN] };

    /// Makes the next line of `record`, which must be JSON without a newline, and moves on to it.
    ///
    /// # Errors
    /// [`Error::Full`] after 2^64 - 1 lines, [`Error::Record`] if `record` is not JSON of one line.
    pub fn append(&mut self, record: &str) -> Result<String, Error> {
        let sequence = self.sequence.checked_add(1).ok_or(Error::Full)?;
        let record: &RawValue = serde_json::from_str(record).map_err(|_| Error::Record)?;
        let line = Line { sequence, previous: &self.hex(), record };
        let text = serde_json::to_string(&line).map_err(|_| Error::Record)?;
        if text.contains('\n') {
            return Err(Error::Record);
        }
        *self = Self { sequence, digest: sha384(text.as_bytes()) };
        Ok(text)
    }

    /// The digest in hexadecimal.
    fn hex(&self) -> String {
        use fmt::Write as _;
        self.digest.iter().fold(String::with_capacity(2 * DIGEST_LEN), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The head in this text, which must be as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, hex) = text.split_once(':')?;
        let mut digest = [0; DIGEST_LEN];
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != DIGEST_LEN || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let head = Self { sequence: sequence.parse().ok()?, digest };
        (head.to_string() == text).then_some(head)
    }
}

/// `SEQUENCE:HEX`, as in the statement of an attestation document.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hex())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    sequence: u64,
    previous: &'a str,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Why a log does not hold, or cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There can be no further line.
    #[error("the log has as many lines as it can have")]
    Full,
    /// What was to be logged is not JSON.
    #[error("a record must be JSON without line breaks")]
    Record,
    /// A line is not one.
    #[error("line {number} of the file is no line of an audit log: {why}")]
    Malformed {
        /// Counted from 1.
        number: u64,
        /// Where it stops making sense.
        why: String,
    },
    /// A line has another number than the one that should come.
    #[error(
        "line {number} of the file has sequence {found}; {wanted} should come here: lines are missing or out of place"
    )]
    Sequence {
        /// Counted from 1.
        number: u64,
        /// Found in the line.
        found: u64,
        /// What follows the line before.
        wanted: u64,
    },
    /// A line does not follow the one before.
    #[error(
        "line {number} of the file (sequence {sequence}) does not follow the line before it: one of the two was changed"
    )]
    Broken {
        /// Counted from 1.
        number: u64,
        /// The number in the line.
        sequence: u64,
    },
    /// The log ends elsewhere than the signer says.
    #[error(
        "the log ends with sequence {found}; the signer's statement is about sequence {stated}: {advice}"
    )]
    Head {
        /// Of the file's last line.
        found: u64,
        /// In the statement.
        stated: u64,
        /// What may have happened.
        advice: &'static str,
    },
}

/// Checks a log line by line.
#[derive(Clone, Debug)]
pub struct Verifier {
    head: Head,
    lines: u64,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::after(Head::EMPTY)
    }
}

impl Verifier {
    /// Checks what follows `head`; [`Head::EMPTY`] for a whole log.
    pub fn after(head: Head) -> Self {
        Self { head, lines: 0 }
    }

    /// Checks the next line, without its newline, and returns its record.
    pub fn line<'l>(&mut self, text: &'l str) -> Result<&'l str, Error> {
        self.lines = self.lines.saturating_add(1);
        let number = self.lines;
        let malformed = |why: String| Error::Malformed { number, why };
        if text.len() > LINE_MAX {
            return Err(malformed(format!("it has {} bytes, the longest has {LINE_MAX}", text.len())));
        }
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let wanted = self.head.sequence.checked_add(1).ok_or(Error::Full)?;
        if line.sequence != wanted {
            return Err(Error::Sequence { number, found: line.sequence, wanted });
        }
        if line.previous != self.head.hex() {
            return Err(Error::Broken { number, sequence: line.sequence });
        }
        self.head = Head { sequence: wanted, digest: sha384(text.as_bytes()) };
        Ok(line.record.get())
    }

    /// The end of what has been checked so far.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether the log is the one that ends with `stated`, which the signer vouches for.
    pub fn ends_with(&self, stated: &Head) -> Result<(), Error> {
        let (found, stated_at) = (self.head.sequence, stated.sequence);
        let advice = match found.cmp(&stated_at) {
            std::cmp::Ordering::Less => "lines are missing at the end",
            std::cmp::Ordering::Greater => "the statement is older than the log; fetch a new one",
            std::cmp::Ordering::Equal if self.head == *stated => return Ok(()),
            std::cmp::Ordering::Equal => "it is another log",
        };
        Err(Error::Head { found, stated: stated_at, advice })
    }
}

fn sha384(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    let mut out = [0; DIGEST_LEN];
    for (to, from) in out.iter_mut().zip(digest(&SHA384, bytes).as_ref()) {
        *to = *from;
    }
    out
}
