//! The key and the certificate that the signer shows to TLS clients, and how they survive a restart.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use x509_cert::der::pem::{LineEnding, encode_string};
use zeroize::Zeroizing;

use crate::types::{Blob, SecretBlob};

use super::{TlsError, certificate, config};

/// What proves to a client that it talks to this signer.
pub(crate) struct Identity {
    /// The private key, PKCS#8.
    key: Zeroizing<Vec<u8>>,
    /// Its SubjectPublicKeyInfo, DER.
    public: Vec<u8>,
    /// Its self-signed certificate, DER.
    certificate: Vec<u8>,
    /// What the certificate is for, beside the local names.
    names: Vec<String>,
    /// Both as rustls uses them.
    config: Arc<ServerConfig>,
}

/// The record "tls".
#[derive(Serialize, Deserialize)]
struct Record {
    key: SecretBlob,
    certificate: Blob,
    #[serde(default)]
    names: Vec<String>,
}

impl Identity {
    /// Makes a key and its certificate for these names and addresses and the local ones.
    pub(super) fn generate(names: &[String], now: SystemTime) -> Result<Self, TlsError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| TlsError::Key)?;
        let certificate = certificate::self_signed(&pair, names, now)?;
        let key = pair.to_pkcs8v1().map_err(|_| TlsError::Key)?;
        Self::assemble(Zeroizing::new(key.as_ref().to_vec()), certificate, names.to_vec())
    }

    fn assemble(key: Zeroizing<Vec<u8>>, certificate: Vec<u8>, names: Vec<String>) -> Result<Self, TlsError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key).map_err(|_| TlsError::Key)?;
        let public = pair.public_key().as_der().map_err(|_| TlsError::Key)?.as_ref().to_vec();
        let config = config::server(&key, &certificate)?;
        Ok(Self { key, public, certificate, names, config })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// SHA-256 of the certificate's DER: what the guest attests.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, &self.certificate);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        fingerprint
    }

    /// What the certificate is for, beside the local names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The key's SubjectPublicKeyInfo, DER.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The certificate, PEM: a CA file for this signer and nothing else.
    pub(crate) fn pem(&self) -> Result<String, TlsError> {
        encode_string("CERTIFICATE", LineEnding::LF, &self.certificate).map_err(|_| TlsError::Pem)
    }

    /// The record that brings this identity back.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, TlsError> {
        let record = Record {
            key: SecretBlob(self.key.clone()),
            certificate: Blob(self.certificate.clone()),
            names: self.names.clone(),
        };
        serde_json::to_vec(&record).map(Zeroizing::new).map_err(|_| TlsError::Record)
    }

    /// The identity of a record; the key must be the certificate's.
    pub(super) fn restore(record: &[u8]) -> Result<Self, TlsError> {
        let record: Record = serde_json::from_slice(record).map_err(|_| TlsError::Record)?;
        Self::assemble(record.key.0, record.certificate.0, record.names)
    }
}
