//! The audit log: one line for each request, in CloudTrail's form, chained by digests ([`casemate_audit`]).
//!
//! | what | where |
//! | --- | --- |
//! | what a line says | [`record`](self) : who, what, which key, the decision, the request's id; never a plaintext, a message or a key |
//! | strangers' lines | [`strangers`]: so many, and the rest counted |
//! | the newest lines | in memory, up to [`MEMORY`] bytes of them, and on the volume where there is one, in pieces of [`PIECE`] bytes: `Casemate.ReadAudit` returns them |
//! | the head | in an attestation document that comes with them: the guest vouches for the whole log |
//!
//! Older lines are gone unless somebody has fetched them (`casemate audit fetch`); the chain still shows whether any is
//! missing between two fetches. What changes something is on the volume together with its line; the lines of other
//! requests follow with the next commit, within a minute, and before any of them is returned to a reader: what was
//! fetched never turns out to be another log's.

mod piece;
mod record;
mod strangers;

use std::collections::VecDeque;

use casemate_audit::Head;
use serde::Serialize;
use zeroize::Zeroizing;

use piece::Piece;
pub(crate) use record::{Event, Outcome, Who, read_only};
pub(crate) use strangers::{Strangers, Summary};

/// Bytes of lines that are kept.
const MEMORY: usize = 2 << 20;
/// Bytes of lines in a piece, which is one record on the volume.
const PIECE: usize = 16 << 10;
/// The family of the records.
pub(crate) const FAMILY: &str = "audit";

/// The log: its newest lines, in pieces.
#[derive(Default)]
pub(crate) struct Log {
    pieces: VecDeque<Piece>,
    /// How long all lines are together.
    bytes: usize,
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
    /// The end of the log.
    fn head(&self) -> Head {
        self.pieces.back().map_or(Head::EMPTY, Piece::after)
    }

    /// Writes the next line, and names the records that this changes.
    pub(crate) fn write(&mut self, event: &impl Serialize) -> Vec<String> {
        // An event is strings and numbers: it encodes, and a log of 2^64 lines takes longer than anybody has.
        let Ok(json) = serde_json::to_string(event) else { return Vec::new() };
        if self.pieces.back().is_none_or(|last| last.bytes() >= PIECE) {
            let index = self.pieces.back().map_or(0, |last| last.index().saturating_add(1));
            self.pieces.push_back(Piece::new(index, self.head()));
        }
        let Some(last) = self.pieces.back_mut() else { return Vec::new() };
        let before = last.bytes();
        last.append(&json);
        self.bytes = self.bytes.saturating_add(last.bytes().saturating_sub(before));
        let mut changed = vec![last.name()];
        while self.bytes > MEMORY {
            let Some(old) = self.pieces.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.bytes());
            changed.push(old.name());
        }
        changed
    }

    /// Up to `limit` lines after the one of sequence `after`. If that one is gone, the oldest that is left comes first.
    pub(crate) fn read(&self, after: u64, limit: usize) -> Part {
        let oldest = self.pieces.front().map_or(0, |piece| piece.before().sequence).saturating_add(1);
        let first = after.saturating_add(1).max(oldest);
        let lines = self.pieces.iter().flat_map(Piece::numbered);
        let lines = lines.skip_while(|(sequence, _)| *sequence < first).take(limit);
        Part { first, lines: lines.map(|(_, line)| line.clone()).collect(), head: self.head() }
    }

    /// The name of the record that the newest line is in.
    pub(crate) fn newest(&self) -> Option<String> {
        self.pieces.back().map(Piece::name)
    }

    /// The names of all records.
    pub(crate) fn record_names(&self) -> Vec<String> {
        self.pieces.iter().map(Piece::name).collect()
    }

    /// The record of that name; `None` if its lines are gone.
    pub(crate) fn encode(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.pieces.iter().find(|piece| piece.name() == name)?.encode()
    }

    /// Takes a record from a volume, in whatever order they come.
    pub(crate) fn restore(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        let piece = Piece::restore(name, content)?;
        self.bytes = self.bytes.saturating_add(piece.bytes());
        let place = self.pieces.partition_point(|other| other.index() < piece.index());
        self.pieces.insert(place, piece);
        Ok(())
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
            who: Who::Proved(caller),
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
        assert_eq!(log.record_names().len(), log.pieces.len());
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
    fn the_log_goes_on_after_a_restart() {
        let (mut log, caller) = (Log::default(), Caller::LocalOwner);
        let mut records = std::collections::BTreeMap::new();
        for _ in 0..500 {
            for name in log.write(&event(&caller, "Sign")) {
                match log.encode(&name) {
                    Some(record) => records.insert(name, record),
                    None => records.remove(&name),
                };
            }
        }
        assert!(records.len() > 5, "{} pieces", records.len());
        let mut again = Log::default();
        for (name, record) in records.iter().rev() {
            again.restore(name, record).expect("a record");
        }
        assert_eq!(again.head(), log.head());
        again.write(&event(&caller, "Sign"));
        let mut verifier = Verifier::default();
        for line in again.read(0, 1000).lines {
            verifier.line(&line).expect("follows");
        }
        assert_eq!(verifier.head().sequence, 501);
        let (name, record) = records.iter().next().expect("one");
        let damaged = String::from_utf8_lossy(record).replacen("Sign", "Vign", 1);
        assert!(Log::default().restore(name, damaged.as_bytes()).is_err());
        assert!(Log::default().restore("audit/x", record).is_err());
    }

    #[test]
    fn no_secret_is_in_a_line() {
        let (mut log, caller) = (Log::default(), Caller::LocalOwner);
        log.write(&event(&caller, "Encrypt"));
        let line = &log.read(0, 1).lines[0];
        assert!(line.contains("\"keyId\":\"k\"") && !line.contains("c2VjcmV0"), "{line}");
    }
}
