//! Where the platform key is: a file that this process reads, or a TPM behind a service ([`service`]).
//!
//! The VMM of a guest never talks to a TPM. It starts the service, a process of its own with a jail of its own, which has
//! nothing but the TPM and a socket to whoever started it, and asks it for what it needs: a launch for a signature and secrets,
//! a volume's service for counters. The socket is made before the jails close, and gone before the guest runs.
//!
//! ```text
//! VMM ──────────── socket ── TPM service ── /dev/tpmrm0      until the guest is about to run
//! volume service ─ socket ── TPM service ── /dev/tpmrm0      as long as the volume is attached
//! ```

mod client;
mod jail;
mod protocol;
pub mod service;

pub use client::{Client, ClientError};
pub use protocol::{ANCHOR, Role};
