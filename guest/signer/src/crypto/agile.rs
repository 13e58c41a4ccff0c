//! A message on its way to a signature: whole, digested or as µ.

use aws_lc_rs::digest::{Digest, digest};

use super::{CryptoError, MessageLength, MessageType, SigningAlgorithm};

/// What a signature is made over.
pub enum Digested<'a> {
    /// The digest that the algorithm names.
    Digest(Digest),
    /// The whole message: Ed25519, Ed25519ph and ML-DSA hash it themselves.
    Whole(&'a [u8]),
    /// µ of FIPS 204, section 6.2.
    Mu(&'a [u8; 64]),
}

/// Prepares `message` for `algorithm`; a length or type that the algorithm does not take is an error.
pub fn digest_of<'a>(
    algorithm: SigningAlgorithm,
    message_type: MessageType,
    message: &'a [u8],
) -> Result<Digested<'a>, CryptoError> {
    let wrong = || CryptoError::Length(algorithm.name(), message.len());
    match algorithm.message_length(message_type) {
        MessageLength::Never => return Err(CryptoError::Mismatch(algorithm.name(), message_type.name())),
        MessageLength::Exactly(length) if length != message.len() => return Err(wrong()),
        MessageLength::Exactly(_) | MessageLength::Any => {}
    }
    match (algorithm.hash(), message_type) {
        (Some(hash), MessageType::Raw) => Ok(Digested::Digest(digest(hash, message))),
        (Some(hash), _) => Digest::import_less_safe(message, hash).map(Digested::Digest).map_err(|_| wrong()),
        (None, MessageType::ExternalMu) => message.try_into().map(Digested::Mu).map_err(|_| wrong()),
        (None, _) => Ok(Digested::Whole(message)),
    }
}
