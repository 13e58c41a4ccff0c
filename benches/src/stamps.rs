//! The stages of a launch, as the VMM stamps them (vmm/src/timing.rs).

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What the VMM stamps, in its order.
pub const STAGES: [&str; 8] = [
    "exec to main",
    "VM made",
    "image copied and loaded",
    "measured",
    "sealed",
    "posture",
    "jail closed",
    "guest ready",
];

/// A file that a VMM stamps.
pub struct Stamps(PathBuf);

impl Stamps {
    /// An empty file in `directory`.
    pub fn new(directory: &Path) -> Result<Self> {
        let path = directory.join("stamps");
        std::fs::write(&path, []).map_err(Error::file("write", &path))?;
        Ok(Self(path))
    }

    /// For `CASEMATE_TIMINGS`.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Nanoseconds of the monotonic clock for each of [`STAGES`].
    pub fn read(&self) -> Result<[u64; STAGES.len()]> {
        let bytes = std::fs::read(&self.0).map_err(Error::file("read", &self.0))?;
        let mut stamps = [0; STAGES.len()];
        for (stamp, (word, stage)) in stamps.iter_mut().zip(bytes.chunks_exact(8).zip(STAGES)) {
            *stamp = word.try_into().map_or(0, u64::from_le_bytes);
            if *stamp == 0 {
                return Err(Error::answer("the VMM's stamp", format!("none for `{stage}`")));
            }
        }
        Ok(stamps)
    }
}

/// The monotonic clock in nanoseconds, as the VMM reads it.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable and of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
