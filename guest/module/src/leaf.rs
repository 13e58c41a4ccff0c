//! One guest's attestation key.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use casemate_attestation::document::{DocumentSigner, SignerError};
use casemate_attestation::es384::{PUBLIC_LEN, SIGNATURE_LEN};

use crate::Error;

/// A P-384 key pair that no document has been signed with.
pub(crate) struct LeafKey {
    pair: EcdsaKeyPair,
    public: [u8; PUBLIC_LEN],
}

impl LeafKey {
    pub(crate) fn generate() -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| Error::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| Error::Key)?;
        Ok(Self { pair, public })
    }

    /// The public key, an uncompressed point.
    pub(crate) fn public(&self) -> &[u8; PUBLIC_LEN] {
        &self.public
    }

    /// The key with the certificates that the launch has made.
    pub(crate) fn certified(self, certificate: Vec<u8>, cabundle: Vec<Vec<u8>>) -> CertifiedKey {
        CertifiedKey { pair: self.pair, certificate, cabundle }
    }
}

/// A key that signs a guest's documents.
pub(crate) struct CertifiedKey {
    pair: EcdsaKeyPair,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
}

impl DocumentSigner for CertifiedKey {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    fn sign(&mut self, to_be_signed: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        let signature = self.pair.sign(&SystemRandom::new(), to_be_signed).map_err(|_| SignerError)?;
        signature.as_ref().try_into().map_err(|_| SignerError)
    }
}
