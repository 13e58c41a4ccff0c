//! The protocol between the signer's PKCS#11 token and whoever uses it: the module, the command line.
//!
//! It is HTTPS to the signer's TLS port, JSON 1.1 as the KMS API: `POST /` with `X-Amz-Target: CasemateHsm.<Operation>`,
//! a [`Request`] as the body, and a [`Response`] or a [`Refusal`] in return. The token has users of its own, so nothing is
//! signed but [`Operation::InitializeToken`] and what else is the [owner's](Operation::is_owners).
//!
//! | module | subject |
//! | --- | --- |
//! | [`ck`] | the constants of PKCS#11 3.2 that are needed |
//! | [`attribute`] | attributes and templates, and their canonical bytes |
//! | [`mechanism`] | mechanisms with their parameters |
//! | [`message`] | operations, requests, responses, refusals |
//! | [`limits`] | how much of everything |
//!
//! A template passes through the module as it is: the guest alone decides what it means. No I/O and no cryptography here.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail by panicking"))]

pub mod attribute;
mod bytes;
pub mod ck;
pub mod limits;
pub mod mechanism;
pub mod message;

pub use attribute::{Attribute, Template};
pub use bytes::Bytes;
pub use mechanism::{Mechanism, Parameter};
pub use message::{Attributes, Operation, Refusal, Request, Response};
