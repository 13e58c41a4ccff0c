//! Identities: the account that the signer belongs to, who has credentials, and what they prove.
//!
//! | to see | read |
//! | --- | --- |
//! | how a signer gets its owner | [`claim`] |
//! | how a request's signature is verified | the crate [`sigv4`] |
//! | who there is, and how that is kept | [`directory`], [`entity`], [`record`] |
//! | what a credential stands for | [`authenticate`], [`session`] |
//! | IAM and STS | [`iam`], [`sts`], and [`query`] before them |
//!
//! What they promise: nobody acts here without a secret that this signer gave out; a session is never more than its user
//! or role and its own policies allow; what an operation was allowed to do is decided before it looks at what there is.
//! What they trust: the clock for the age of signatures and the end of sessions, which is the host's word; the volume for
//! nothing but keeping records.

mod authenticate;
pub(crate) mod claim;
mod config;
mod directory;
mod edit;
mod entity;
mod fault;
mod form;
mod iam;
mod id;
pub(crate) mod query;
pub(crate) mod record;
mod refused;
mod session;
mod sts;
mod xml;

pub(crate) use casemate_sigv4 as sigv4;
pub(crate) use casemate_sigv4::time;
pub use config::Config;
pub use directory::Directory;
use edit::Edit;
pub(crate) use entity::Kind;
pub(crate) use fault::Fault;
pub(crate) use form::Parameters;
pub(crate) use session::Session;
