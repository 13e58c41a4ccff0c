//! What the end-to-end tests share: guests to launch, a place of their own for each, and what attackers do.
//!
//! Start reading at [`Lab`]. Every lab has a runtime directory and a platform key of its own, so that tests run side by
//! side. Where this machine lacks something that a test needs, [`not_covered`] says so where nobody can miss it; where
//! the machine has it and it does not work, the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

pub mod api;
mod images;
mod lab;
mod owned;
mod relay;
mod running;
mod swtpm;
pub mod token;

use std::io::Write as _;
use std::path::Path;

pub use images::{Image, casemate, checkout, python_programs};
pub use lab::{Done, Lab};
pub use owned::Owned;
pub use relay::relaying_attacker;
pub use running::{Running, connect, wait_until};
pub use swtpm::SwTpm;

/// Bytes of the secret.
pub const SECRET_LEN: usize = 64;

/// The secret that `guests/secret` computes: in no file, and in no memory but what holds it.
pub fn secret() -> [u8; SECRET_LEN] {
    let mut state = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
    let mut bytes = [0; SECRET_LEN];
    for chunk in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Whether guests can be sealed here. A `/dev/kvm` that is there and does not work fails the tests.
pub fn has_kvm() -> bool {
    Path::new("/dev/kvm").exists()
}

/// The backend that tests run on which do not need sealing.
pub fn backend() -> &'static str {
    if has_kvm() { "kvm" } else { "process" }
}

/// Whether this is root, as which the attacks have to be made.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says what this machine cannot show. Not captured by the test harness.
pub fn not_covered(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT COVERED HERE: {what}");
}

/// Whether the attacks can be made: on a sealed guest, as root. Says so if not.
pub fn can_attack(what: &str) -> bool {
    if !has_kvm() {
        not_covered(&format!("{what}: no /dev/kvm, so nothing is sealed"));
    } else if !is_root() {
        not_covered(&format!("{what}: attackers are root, and this is not"));
    }
    has_kvm() && is_root()
}

/// Whether sealed guests can be launched. Says so if not.
pub fn can_seal(what: &str) -> bool {
    if !has_kvm() {
        not_covered(&format!("{what}: no /dev/kvm"));
    }
    has_kvm()
}
