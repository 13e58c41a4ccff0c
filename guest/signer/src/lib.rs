//! The Casemate signer: the AWS KMS and Private CA APIs, computed inside a sealed guest.
//!
//! Start at [`Signer`]: it owns the keys and answers one operation at a time ([`Signer::call`]). [`serve_connection`]
//! puts it behind HTTP/1.1 on any byte stream, a vsock connection in the guest, a Unix socket in the process that
//! the benchmark compares with; [`serve_tls`] puts TLS in front of that. [`Platform`] is the only thing that it asks of what it runs on: an attestation document.
//!
//! What it promises: no operation returns private key material; a request is answered or refused, never a
//! panic; every error has the type and status that AWS gives it. What it trusts: the memory it runs in and the
//! generator behind [`aws_lc_rs::rand::SystemRandom`]. What it does not trust: whoever connects.
//!
//! It needs no operating system: no threads, files, sockets or environment. The clock is `SystemTime::now`.
//!
//! Limits that follow from one thread: an operation runs to its end before the next one starts. All of them take
//! milliseconds at most but those that make an RSA key, one to three seconds for RSA_4096; behind [`serve_connection`],
//! these take turns with everything else.
//!
//! Keys live in memory, behind [`store`]; what survives a restart is on a volume, where one is attached ([`serve_volume`]).

#[macro_use]
mod names;
mod access;
mod audit;
mod ciphertext;
#[cfg(test)]
mod constant_time;
pub mod crypto;
mod errors;
mod hsm;
mod http;
pub mod identity;
mod ops;
mod pca;
mod platform;
mod recipient;
#[cfg(feature = "selftest")]
pub mod selftest;
mod signer;
mod state;
pub mod store;
mod tls;
mod types;
mod validate;

pub use access::{Caller, Principal};
pub use errors::{ErrorKind, KmsError};
pub use http::{Door, serve_connection};
pub use ops::operations;
pub use platform::{AttestError, Platform};
pub use signer::{Limits, Signer};
pub use state::serve_volume;
pub use tls::{TlsError, serve_tls};
