//! X.509 as far as an authority needs it: requests, certificates, chains, revocation lists and answers of OCSP, made and
//! checked. Nothing here knows of the API.
//!
//! Names and keys are taken over byte for byte from the structure that they come from, for path building compares bytes.
//! What is signed is checked over the bytes that came, not over what they were understood to be.

mod algorithm;
mod certificate;
pub(crate) mod chain;
#[cfg(test)]
mod chain_tests;
mod constraints;
#[cfg(test)]
mod constraints_tests;
pub(crate) mod crl;
mod extension;
mod name;
pub(crate) mod ocsp;
mod pem;
mod request;
mod signed;
mod time;

pub(crate) use algorithm::Algorithm;
pub(crate) use certificate::{Certificate, Content, Serial, key_identifier};
pub(crate) use constraints::Constraints;
pub(crate) use extension::Extensions;
pub(crate) use name::{name, name_text};
pub(crate) use pem::{CERTIFICATE, REQUEST, decode, decode_all, encode};
pub(crate) use request::Request;
pub(crate) use time::{end_date, plus_months, time};

/// Why a structure is not what it should be; the sentence goes to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum X509Error {
    /// It is not DER, or not of this form.
    #[error("it is malformed: {0}")]
    Malformed(#[from] x509_cert::der::Error),
    /// It is not PEM of this kind.
    #[error("it is not one PEM block of {0}")]
    Pem(&'static str),
    /// An algorithm that is not offered.
    #[error("its signature algorithm is not supported")]
    Algorithm,
    /// The signature is not one of the key that it must be of.
    #[error("its signature does not verify")]
    Signature,
    /// The cryptographic library failed.
    #[error(transparent)]
    Crypto(#[from] crate::crypto::CryptoError),
    /// Anything else that RFC 5280 or the API does not allow.
    #[error("{0}")]
    Refused(&'static str),
}
