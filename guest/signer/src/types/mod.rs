//! Requests and responses of the KMS API, member for member as in the service model (version 2014-11-01).
//!
//! Every request member is optional here: what is missing or out of range is for the operation to report in AWS's
//! words, not for serde. Members that this signer does not know are ignored, as AWS ignores them.

mod blob;
mod manage;
mod request;
mod requests;
mod responses;
mod timestamp;

pub(crate) use blob::{Blob, SecretBlob};
pub(crate) use manage::*;
pub(crate) use request::{Member, Request, Slot, read, read_from, request, wire_name};
pub(crate) use requests::*;
pub(crate) use responses::*;
pub use timestamp::Timestamp;
