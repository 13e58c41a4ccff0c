//! The audit log: one line for each request, in CloudTrail's form, chained by digests ([`casemate_audit`]).
//!
//! | what | where |
//! | --- | --- |
//! | what a line says | [`record`](self) : who, what, which key, the decision, the request's id; never a plaintext, a message or a key |
//! | the newest lines | in memory, up to [`MEMORY`] bytes of them: `Casemate.ReadAudit` returns them |
//! | the head | in an attestation document that comes with them: the guest vouches for the whole log |
//!
//! Lines that have left memory are gone unless somebody has fetched them (`casemate audit fetch`); the chain still shows
//! whether any is missing between two fetches.

mod record;

use std::collections::VecDeque;

use casemate_audit::Head;

pub(crate) use record::{Event, Outcome};

/// Bytes of lines that are kept in memory.
const MEMORY: usize = 2 << 20;

/// The log.
pub(crate) struct Log {
    head: Head,
    lines: VecDeque<String>,
    bytes: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self { head: Head::EMPTY, lines: VecDeque::new(), bytes: 0 }
    }
}

/// A part of the log.
pub(crate) struct Part {
    /// The sequence of the first of the lines.
    pub(crate) first: u64,
    /// The lines, in order.
    pub(crate) lines: Vec<String>,
    /// The end of the whole log.
    pub(crate) head: Head,
}

impl Log {
    /// Writes the next line.
    pub(crate) fn write(&mut self, event: &Event<'_>) {
        // An event is strings and numbers: it encodes, and a log of 2^64 lines takes longer than anybody has.
        let Ok(json) = serde_json::to_string(event) else { return };
        let Ok(line) = self.head.append(&json) else { return };
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
        while self.bytes > MEMORY {
            let Some(old) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.len());
        }
    }

    /// Up to `limit` lines after the one of sequence `after`. If that one has left memory, the oldest that is left comes
    /// first.
    pub(crate) fn read(&self, after: u64, limit: usize) -> Part {
        let kept = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        let oldest = self.head.sequence.saturating_sub(kept).saturating_add(1);
        let first = after.saturating_add(1).max(oldest);
        let skip = usize::try_from(first.saturating_sub(oldest)).unwrap_or(usize::MAX);
        Part { first, lines: self.lines.iter().skip(skip).take(limit).cloned().collect(), head: self.head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Caller;
    use casemate_audit::Verifier;

    fn event<'a>(caller: &'a Caller, operation: &'a str) -> Event<'a> {
        Event {
            service: "kms",
            operation,
            caller,
            account: "111122223333",
            region: "us-east-1",
            request_id: "r",
            user_agent: "test",
            tls: true,
            request: b"{\"KeyId\":\"k\",\"Plaintext\":\"c2VjcmV0\"}",
            key: None,
            outcome: Outcome::Answered,
            now: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_newest_lines_are_kept_and_the_chain_goes_on() {
        let (mut log, caller) = (Log::default(), Caller::LocalOwner);
        let long = "x".repeat(200);
        for _ in 0..10_000 {
            log.write(&event(&caller, &long));
        }
        let part = log.read(0, 20_000);
        assert!(part.first > 1 && part.lines.len() > 1000, "{} lines from {}", part.lines.len(), part.first);
        assert!(part.lines.iter().map(String::len).sum::<usize>() <= MEMORY);
        assert_eq!(part.head.sequence, 10_000);
        // The part hangs together, from the head that its own first line names on.
        let first: serde_json::Value = serde_json::from_str(&part.lines[0]).expect("JSON");
        let before = format!("{}:{}", part.first - 1, first["previous"].as_str().expect("text"));
        let mut verifier = Verifier::after(Head::parse(&before).expect("a head"));
        for line in &part.lines {
            verifier.line(line).expect("follows");
        }
        verifier.ends_with(&part.head).expect("the head");
    }

    #[test]
    fn parts_follow_one_another() {
        let (mut log, caller) = (Log::default(), Caller::LocalOwner);
        for _ in 0..10 {
            log.write(&event(&caller, "Sign"));
        }
        let (one, two, none) = (log.read(0, 4), log.read(4, 100), log.read(10, 100));
        assert_eq!((one.first, one.lines.len()), (1, 4));
        assert_eq!((two.first, two.lines.len()), (5, 6));
        assert!(none.lines.is_empty());
    }

    #[test]
    fn no_secret_is_in_a_line() {
        let (mut log, caller) = (Log::default(), Caller::LocalOwner);
        log.write(&event(&caller, "Encrypt"));
        let line = &log.read(0, 1).lines[0];
        assert!(line.contains("\"keyId\":\"k\"") && !line.contains("c2VjcmV0"), "{line}");
    }
}
