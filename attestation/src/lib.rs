//! What a guest, the VMM and every verifier share: NSM, attestation documents, PCRs, EIF, posture, policy.
//!
//! Everything here is pure: no KVM, no global state, no network. Only [`platform`], [`recall`] and [`executable`] touch
//! files, and only where they are told to.
//!
//! Start reading at [`nsm`] (what the guest asks), then [`document`] (what it gets), then [`verify`] (what a
//! stranger concludes from it).
//!
//! | module | subject | trusts |
//! | --- | --- | --- |
//! | [`cbor`] | bytes to values and back | nothing in the bytes |
//! | [`nsm`] | the Nitro Secure Module: request and response types, the device's state machine | nothing in a request |
//! | [`pcr`] | platform configuration registers and who may change them | – |
//! | [`document`] | COSE_Sign1 attestation documents: make, parse | nothing in a document |
//! | [`es384`] | the one signature algorithm: ECDSA P-384 with SHA-384 | – |
//! | [`signing`] | its private keys | – |
//! | [`certificate`] | X.509: platform root, guest leaf | – |
//! | [`platform`] | the platform key in its directory | the directory's owner |
//! | [`sealing`] | what a guest finds again when it is launched again | the platform key |
//! | [`recall`] | measurements remembered between launches | the platform key |
//! | [`executable`] | the digest of the VMM's program, remembered between launches | the platform key |
//! | [`posture`] | facts about host and VMM, their encoding and PCR15 | – |
//! | [`eif`] | Enclave Image Format 4: parse, build, measure, sign | nothing in an image |
//! | [`policy`] | what a verifier demands | – |
//! | [`statement`] | what a verified document says about a TLS certificate | – |
//! | [`verify`](mod@verify) | signature, chain, freshness, PCRs, posture | the root certificates it is given |
//!
//! A guest depends on this crate with `default-features = false` and gets [`nsm::api`] and [`cbor`] only; with the feature `verify` it
//! gets what a verifier needs too, computed with aws-lc alone.

pub mod cbor;
pub mod nsm;

#[cfg(feature = "host")]
pub mod certificate;
#[cfg(feature = "verify")]
mod chain;
#[cfg(feature = "verify")]
pub mod document;
#[cfg(feature = "host")]
pub mod eif;
#[cfg(feature = "verify")]
pub mod es384;
#[cfg(feature = "host")]
pub mod executable;
#[cfg(feature = "verify")]
mod hex;
#[cfg(feature = "verify")]
pub mod pcr;
#[cfg(feature = "host")]
pub mod platform;
#[cfg(feature = "verify")]
pub mod policy;
#[cfg(feature = "verify")]
pub mod posture;
#[cfg(feature = "host")]
pub mod recall;
#[cfg(feature = "host")]
pub mod sealing;
#[cfg(feature = "host")]
pub mod signing;
#[cfg(feature = "host")]
pub mod statement;
#[cfg(feature = "verify")]
pub mod verify;
