//! The volume protocol: what a sealed guest and the keeper of its records say to each other.
//!
//! A guest has no files. What must survive it, it gives to the host as *records*: an opaque name and bytes that the
//! guest has encrypted. The host connects to the guest (`casemate_abi::port::VOLUME`); from then on the guest sends
//! [`Request`]s over that connection and the host answers each with one [`Response`], both in [`frame`]s. A set of
//! changes is committed whole or not at all, and only if the volume's [root](layout) is still the one that the guest
//! expects: compare-and-swap.
//!
//! | module | subject | who believes what |
//! | --- | --- | --- |
//! | [`message`] | requests and responses | each side takes the other's for noise until they are parsed |
//! | [`frame`] | length-prefixed CBOR | likewise |
//! | [`layout`] | what of header, root and records lies open | the guest authenticates all of it, the host believes it for display |
//! | [`store`] | the records in one file (feature `host`) | the file may be damaged |
//! | [`anchor`] | how far a volume had got (feature `host`) | the file may be damaged |
//! | [`keeper`] | the host's side of a connection (feature `host`) | nothing that the guest sends |
//!
//! Nothing here encrypts: the keys are the guest's.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail by panicking"))]

pub mod frame;
pub mod layout;
pub mod message;

#[cfg(feature = "host")]
pub mod anchor;
#[cfg(feature = "host")]
pub mod keeper;
#[cfg(feature = "host")]
pub mod ratchet;
#[cfg(feature = "host")]
pub mod store;

#[cfg(all(test, feature = "host"))]
mod test_support;

pub use layout::{Header, Name, VolumeId};
pub use message::{Anchor, Record, Request, Response};

/// Version of the protocol and of what is stored.
pub const FORMAT: u8 = 1;
/// Most bytes of a record's value.
pub const VALUE_MAX: usize = 1 << 20;
/// Most bytes of a header.
pub const HEADER_MAX: usize = 4096;
/// Most bytes of a root.
pub const ROOT_MAX: usize = 512;
/// About how many bytes of records go into one message; one record always may.
pub const BATCH_BYTES: usize = 256 << 10;
/// Most records, puts and deletes in one message.
pub const BATCH_RECORDS: usize = 1024;
/// Most records in a volume.
pub const RECORDS_MAX: u64 = 1 << 20;
