//! A client of a guest, as the command line and the PKCS#11 module are: a guest's own socket or a TCP endpoint, TLS, the
//! attestation that speaks for the certificate, and JSON over HTTP/1.1.
//!
//! Start with [`attested::connect`]: nothing but the request for the attestation is sent before what it proves holds.

pub mod attested;
pub mod endpoint;
pub mod http;
pub mod sigv4;

pub use http::{Client, ClientError, field};
