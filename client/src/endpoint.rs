//! TLS to a signer: the certificate that it shows is taken down, and believed only by what is checked next.
//!
//! There is no authority to ask, and names prove nothing: a signer's certificate is its own. So a connection is made
//! either [blindly](Trust::Later), to ask for the attestation that speaks for the certificate, or to a certificate that is
//! [known](Trust::Pinned) because somebody did that before. In both cases the handshake proves that the other side
//! holds the certificate's key.

use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use hyper::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

/// Why an endpoint or the certificates to expect there cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The URL is not one of an endpoint.
    #[error("`{url}` is no endpoint: {what}; an example is https://127.0.0.1:8443")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The CA file has no certificate in it.
    #[error("the CA file holds no certificate")]
    NoCertificate,
    /// The CA file is not PEM.
    #[error("the CA file: {0}")]
    Pem(String),
}

/// Which certificate will do.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Any: the caller checks the one that was shown before it believes or says anything.
    Later,
    /// One of these, DER.
    Pinned(Vec<CertificateDer<'static>>),
}

impl Trust {
    /// Whether this certificate (DER) is known.
    pub fn accepts(&self, certificate: &[u8]) -> bool {
        match self {
            Self::Later => false,
            Self::Pinned(known) => known.iter().any(|known| known.as_ref() == certificate),
        }
    }

    /// The certificates of a CA file as `verify --tls` and `claim` write it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, EndpointError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(Self::Pinned(certificates)),
            Ok(_) => Err(EndpointError::NoCertificate),
            Err(error) => Err(EndpointError::Pem(error.to_string())),
        }
    }
}

/// Where a signer is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port as they were given: the `Host` of requests.
    pub authority: String,
    host: String,
    port: u16,
}

impl Endpoint {
    /// An endpoint as `https://HOST[:PORT][/]`.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let bad = |what| EndpointError::Url { url: url.to_owned(), what };
        let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("it must begin with https://"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("nothing may follow the port"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { authority: authority.to_string(), host, port: authority.port_u16().unwrap_or(443) })
    }

    /// A TCP connection to it.
    pub fn connect(&self) -> io::Result<std::net::TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match std::net::TcpStream::connect_timeout(&address, crate::http::CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A client's side of TLS with this trust.
pub(crate) fn config(trust: Trust) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier { trust, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each connection is to show its certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A name for the handshake; the certificate is not compared with it.
pub(crate) fn any_name() -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    ServerName::try_from("localhost")
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Later => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) if self.trust.accepts(shown) => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn endpoints_are_urls_without_a_path() {
        for (url, host, port) in [
            ("https://127.0.0.1:8443", "127.0.0.1", 8443),
            ("https://[::1]:1/", "::1", 1),
            ("https://signer.example", "signer.example", 443),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
        }
        for bad in ["http://127.0.0.1", "127.0.0.1:8443", "https://", "https://a/b", "https://a?b", ""] {
            let error = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(error.contains("is no endpoint"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_no_ca_file() {
        assert!(Trust::from_pem(b"").is_err());
        assert!(Trust::from_pem(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").is_err());
    }
}
