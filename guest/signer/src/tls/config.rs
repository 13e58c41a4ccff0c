//! What the signer offers to TLS clients, with aws-lc behind all of it.
//!
//! | | offered |
//! | --- | --- |
//! | versions | TLS 1.3, TLS 1.2 |
//! | key exchange | X25519MLKEM768, SECP256R1MLKEM768, X25519, P-256, P-384 |
//! | ciphers | AES-256-GCM, AES-128-GCM; with TLS 1.2 behind ECDHE-ECDSA |
//! | application protocol | http/1.1 |
//!
//! Among what both offer, the client's order decides; today's clients name X25519MLKEM768 first.
//!
//! Every processor that runs sealed guests has AES in hardware, and every client knows it: ChaCha20-Poly1305 would be code in the
//! image that nobody needs.
//!
//! There is no resumption: no ticket keys, no stored sessions. A handshake costs a fraction of a millisecond, each
//! connection has keys of its own, and on each the client is shown the certificate that it must compare.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group, sign};
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedCipherSuite};

use crate::crypto;

use super::TlsError;

const CIPHER_SUITES: [SupportedCipherSuite; 4] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];

/// No client shows a certificate, so there is nothing to verify.
const NO_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms { all: &[], mapping: &[] };

/// The configuration for this key (PKCS#8) and certificate (DER), which must belong together.
pub(super) fn server(key: &[u8], certificate: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let key = sign::any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))?;
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], key);
    certified.keys_match()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: CIPHER_SUITES.to_vec(),
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::SECP256R1MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        signature_verification_algorithms: NO_SIGNATURES,
        secure_random: &Random,
        key_provider: &NoKeys,
    }
}

/// aws-lc's generator. (That of rustls's own provider comes with all the cipher suites there are.)
#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        crypto::random(bytes).map_err(|_| GetRandomFailed)
    }
}

/// Keys do not come by this way: the signer makes its own.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("the signer makes its own keys".to_owned()))
    }
}
