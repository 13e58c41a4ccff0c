//! The Nitro Secure Module: what a guest asks and what it is answered.
//!
//! [`api`] has the wire types (crate `aws-nitro-enclaves-nsm-api`) and their CBOR; both sides use it. The device
//! itself is [`Nsm`]. Where it is a guest of its own, the security module, [`session`] is how a launch opens a session
//! there and [`channel`] how a guest's requests get there past everybody between.

pub mod api;
pub mod channel;
#[cfg(feature = "verify")]
mod device;
#[cfg(feature = "verify")]
pub mod session;

#[cfg(feature = "verify")]
pub use device::{Nsm, Services, ServicesError};

/// Longest request in bytes.
pub const REQUEST_MAX: usize = 0x1000;
/// Longest response in bytes.
pub const RESPONSE_MAX: usize = 0x3000;
/// Longest `user_data` in an attestation request, in bytes.
pub const USER_DATA_MAX: usize = 512;
/// Longest `nonce` in an attestation request, in bytes.
pub const NONCE_MAX: usize = 512;
/// Longest `public_key` in an attestation request, in bytes.
pub const PUBLIC_KEY_MAX: usize = 1024;
/// Bytes that one GetRandom returns.
pub const RANDOM_LEN: usize = 256;
