//! `casemate bench kms`: how many requests a signer answers in a second, and how long each waits, when one, eight and
//! sixty-four clients ask at once.
//!
//! One load generator for everybody who speaks the API: keep-alive connections, signed requests ([`door`],
//! [`credentials`], [`drive`]). Whom it asks is a [`Side`] ([`http`]): the sealed signer as its owner has it, behind
//! TLS and with signed requests ([`owned`]), and before it is claimed, in the clear; the same code as an ordinary process; moto's
//! server ([`moto`]). SoftHSM2 is no server: its side calls the library from as many threads, and so does the side that uses
//! our own PKCS#11 module with the sealed signer's token ([`pkcs11`]). Sides take turns in short blocks, and a ratio is the median over the rounds, so that a busy moment of the
//! machine touches all of them. [`plan`] has the order, [`report`] the rows, [`plot`] the picture.
//!
//! A certificate is two requests, which count as one: IssueCertificate, and GetCertificate for what it issued. The latter is signed, where
//! requests are, in the time that is measured.
//!
//! Clients share the machine with what they ask. Where that is the limit, a rate says as much about the machine as about
//! the signer; so the processor time of a request in the guest is counted too, and stands beside that of the bare
//! operation.

pub mod credentials;
pub mod door;
pub mod drive;
pub mod http;
pub mod moto;
pub mod owned;
pub mod pkcs11;
pub mod plan;
pub mod plot;
pub mod report;
pub mod venv;

use std::time::Duration;

use crate::error::Result;
use crate::kms::Work;
use crate::measure::Samples;

/// How many clients ask at once.
pub const CLIENTS: [usize; 3] = [1, 8, 64];

/// What a block of requests showed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests answered in a second.
    pub rate: f64,
    /// How long each took, in nanoseconds, from the first byte sent to the last received.
    pub latencies: Samples,
    /// Nanoseconds of processor time that a request took on the side that answers, where that can be told.
    pub cpu: Option<f64>,
}

/// Whoever is asked.
pub trait Side {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Makes what `work` needs. False if this side does not offer it.
    fn prepare(&mut self, work: &'static Work) -> Result<bool>;

    /// Has `clients` ask for it, over and over, for `span` after `warm`.
    fn block(&mut self, work: &'static Work, clients: usize, warm: Duration, span: Duration)
    -> Result<Tally>;
}
