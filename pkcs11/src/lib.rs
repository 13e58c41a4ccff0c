//! `libcasemate_pkcs11.so`: the signer's token for programs that speak PKCS#11 (3.0; those of 2.40 are served as well).
//!
//! The module holds no key and computes nothing with one: it turns C calls into requests to the guest
//! ([`casemate_hsm`]), over TLS, after the guest has proved what it is. So a pin never goes to anything but the measured
//! signer that the configuration's policy demands, whoever runs the host.
//!
//! | module | subject |
//! | --- | --- |
//! | [`ffi`] | the C interface: pointers and lengths become values; all that is unsafe is there |
//! | [`module`] | slots and sessions, between C_Initialize and C_Finalize |
//! | [`session`], [`sign`], [`cipher`], [`digest`], [`objects`] | what goes on in a session |
//! | [`token`], [`key`], [`pin`] | a token: who is logged in, what its keys are |
//! | [`remote`] | the guest: proof, connections, requests |
//! | [`config`], [`log`] | what the user decides, and is told |
//!
//! Threads: a session is one thread's at a time, and waits for its own requests only; no lock that other sessions need is
//! held during a request, except while the application's session with the guest begins or somebody logs in. Processes:
//! each has its own state; a child after fork() has none until it calls C_Initialize.

pub mod cipher;
pub mod config;
pub mod digest;
pub mod ffi;
pub mod key;
pub mod log;
pub mod module;
pub mod objects;
pub mod pin;
pub mod remote;
pub mod rv;
pub mod session;
pub mod sign;
mod sync;
pub mod token;
