//! What root sees of another process, and whether a secret is in it.

use std::io::{Error, Result};
use std::path::PathBuf;

/// Bytes of the secret that count as finding it.
const PIECE: usize = 16;

/// What an attack came back with.
#[derive(Debug, Default)]
pub struct Haul {
    /// How many bytes it could read.
    pub bytes: u64,
    /// Where in them a piece of the secret was.
    pub found: Vec<String>,
}

impl Haul {
    /// Looks for `secret` in what was read from `place`.
    pub fn look(&mut self, secret: &[u8], place: &str, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if secret.chunks_exact(PIECE).any(|piece| contains(bytes, piece)) {
            self.found.push(place.to_owned());
        }
    }

    /// Adds what another attack found.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.found.extend(other.found);
    }
}

/// Whether `needle` is somewhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    // SAFETY: both pointers come with the lengths of their slices; memmem only reads.
    let place = unsafe {
        libc::memmem(haystack.as_ptr().cast(), haystack.len(), needle.as_ptr().cast(), needle.len())
    };
    !place.is_null()
}

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug)]
pub struct Map {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// As in `rw-p`.
    pub permissions: String,
    /// File or other name; may be empty.
    pub name: String,
}

/// The address space of a process.
pub fn maps(pid: i32) -> Result<Vec<Map>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let parse = |line: &str| {
        let mut words = line.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let permissions = words.next()?.to_owned();
        let name = words.nth(3).unwrap_or_default().trim().to_owned();
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Map { start: number(start)?, end: number(end)?, permissions, name })
    };
    let wrong = |line: &str| Error::other(format!("not a line of /proc/{pid}/maps: {line}"));
    text.lines().map(|line| parse(line).ok_or_else(|| wrong(line))).collect()
}

/// What the descriptors of a process refer to, by number.
pub fn descriptors(pid: i32) -> Result<Vec<(i32, PathBuf)>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    let list = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some((path.file_name()?.to_str()?.parse().ok()?, std::fs::read_link(&path).ok()?))
    });
    Ok(list.collect())
}

/// The value of a field of `/proc/PID/status` (or of a thread's).
pub fn status(path: &str, field: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{path}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|line| line.trim().to_owned())
        .ok_or_else(|| Error::other(format!("no {field} in /proc/{path}/status")))
}
