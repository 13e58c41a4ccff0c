//! Some lines of the log that follow one another, and the record that keeps them.

use casemate_audit::{Head, Verifier};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::FAMILY;

/// Lines that follow one another.
pub(super) struct Piece {
    index: u64,
    before: Head,
    after: Head,
    lines: Vec<String>,
    bytes: usize,
}

/// The record `audit/<index>`.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The head of the log before the first of the lines.
    before: String,
    lines: Vec<String>,
}

impl Piece {
    pub(super) fn new(index: u64, before: Head) -> Self {
        Self { index, before, after: before, lines: Vec::new(), bytes: 0 }
    }

    /// Its place among the pieces.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// The head of the log before its first line.
    pub(super) fn before(&self) -> Head {
        self.before
    }

    /// The head of the log after its last line.
    pub(super) fn after(&self) -> Head {
        self.after
    }

    /// How long its lines are together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The name of its record.
    pub(super) fn name(&self) -> String {
        format!("{FAMILY}/{}", self.index)
    }

    /// Adds a line with this record.
    pub(super) fn append(&mut self, record: &str) {
        let Ok(line) = self.after.append(record) else { return };
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push(line);
    }

    /// The lines with their sequence.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u64, &String)> {
        (self.before.sequence.saturating_add(1)..).zip(&self.lines)
    }

    pub(super) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let record = Record { before: self.before.to_string(), lines: self.lines.clone() };
        serde_json::to_vec(&record).ok().map(Zeroizing::new)
    }

    /// The piece of a record; its lines must follow one another.
    pub(super) fn restore(name: &str, content: &[u8]) -> Result<Self, String> {
        let index = name.split_once('/').and_then(|(_, index)| index.parse().ok());
        let record: Record = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let (Some(index), Some(before)) = (index, Head::parse(&record.before)) else {
            return Err("no piece of the audit log".to_owned());
        };
        let mut verifier = Verifier::after(before);
        for line in &record.lines {
            verifier.line(line).map_err(|error| error.to_string())?;
        }
        let bytes = record.lines.iter().map(String::len).sum();
        Ok(Self { index, before, after: verifier.head(), lines: record.lines, bytes })
    }
}
