//! Certificate templates: what a certificate says whoever asks, and what the caller and the request may add (Private CA user
//! guide, "Template definitions").
//!
//! A name is put together: `[Blank]` kind `[_PathLen0..3] [_CriticalBasicConstraints] [_APIPassthrough | _CSRPassthrough |
//! _APICSRPassthrough] /V1`.

use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::KeyUsages;

use super::convert::purpose;

/// How ARNs of templates begin.
const PREFIX: &str = "arn:aws:acm-pca:::template/";
/// The template of a request that names none.
pub(super) const DEFAULT: &str = "arn:aws:acm-pca:::template/EndEntityCertificate/V1";

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Basic constraints and nothing else.
    Blank,
    /// A TLS server or client.
    Both,
    Client,
    Server,
    CodeSigning,
    OcspSigning,
    /// An authority that issues.
    Authority,
}

/// A template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) purpose: Purpose,
    /// Whether the certificate is its own issuer's.
    pub(super) root: bool,
    /// For an authority: how many others may follow it, if that is limited.
    pub(super) authority: Option<Option<u8>>,
    /// Whether basic constraints are critical.
    pub(super) critical: bool,
    /// Whether the caller's extensions and subject count.
    pub(super) api: bool,
    /// Whether all extensions of the request count, rather than its names alone.
    pub(super) csr: bool,
}

impl Template {
    /// The template of that ARN.
    pub(super) fn parse(arn: &str) -> Option<Self> {
        let name = arn.strip_prefix(PREFIX)?.strip_suffix("/V1")?;
        let (name, api, csr) = match name.rsplit_once('_') {
            Some((name, "APIPassthrough")) => (name, true, false),
            Some((name, "CSRPassthrough")) => (name, false, true),
            Some((name, "APICSRPassthrough")) => (name, true, true),
            _ => (name, false, false),
        };
        let (kind, detail) = name.split_once('_').map_or((name, None), |(kind, detail)| (kind, Some(detail)));
        let (blank, kind) = kind.strip_prefix("Blank").map_or((false, kind), |kind| (true, kind));
        let path = match detail {
            Some("PathLen0") => Some(0),
            Some("PathLen1") => Some(1),
            Some("PathLen2") => Some(2),
            Some("PathLen3") => Some(3),
            _ => None,
        };
        let (purpose, root, authority, critical) = match (kind, blank, detail) {
            ("EndEntityCertificate", true, None) => (Purpose::Blank, false, None, false),
            ("EndEntityCertificate", true, Some("CriticalBasicConstraints")) => {
                (Purpose::Blank, false, None, true)
            }
            ("EndEntityCertificate", false, None) => (Purpose::Both, false, None, false),
            ("EndEntityClientAuthCertificate", false, None) => (Purpose::Client, false, None, false),
            ("EndEntityServerAuthCertificate", false, None) => (Purpose::Server, false, None, false),
            ("CodeSigningCertificate", false, None) => (Purpose::CodeSigning, false, None, false),
            ("OCSPSigningCertificate", false, None) => (Purpose::OcspSigning, false, None, false),
            ("RootCACertificate", false, None) => (Purpose::Authority, true, Some(None), true),
            ("RootCACertificate", true, None) => (Purpose::Blank, true, Some(None), true),
            ("RootCACertificate", true, Some(_)) => (Purpose::Blank, true, Some(Some(path?)), true),
            ("SubordinateCACertificate", false, Some(_)) => {
                (Purpose::Authority, false, Some(Some(path?)), true)
            }
            ("SubordinateCACertificate", true, Some(_)) => (Purpose::Blank, false, Some(Some(path?)), true),
            _ => return None,
        };
        // A blank certificate is there to be filled; a root takes nothing from a request but its key.
        let passes = api || csr;
        let possible = (passes || !blank) && !(root && csr);
        possible.then_some(Self { purpose, root, authority, critical, api, csr })
    }

    /// Key usage, as the template has it. A key that is not RSA's is not used to encipher others (RFC 8813, RFC 9881).
    pub(super) fn key_usage(&self, rsa: bool) -> &'static [KeyUsages] {
        match self.purpose {
            Purpose::Blank => &[],
            Purpose::Both | Purpose::Client | Purpose::Server if rsa => {
                &[KeyUsages::DigitalSignature, KeyUsages::KeyEncipherment]
            }
            Purpose::Both | Purpose::Client | Purpose::Server => &[KeyUsages::DigitalSignature],
            Purpose::CodeSigning | Purpose::OcspSigning => &[KeyUsages::DigitalSignature],
            Purpose::Authority => &[KeyUsages::DigitalSignature, KeyUsages::KeyCertSign, KeyUsages::CRLSign],
        }
    }

    /// Extended key usage, and whether it is critical.
    pub(super) fn purposes(&self) -> (bool, Vec<ObjectIdentifier>) {
        let (critical, names): (bool, &[&str]) = match self.purpose {
            Purpose::Blank | Purpose::Authority => (false, &[]),
            Purpose::Both => (false, &["SERVER_AUTH", "CLIENT_AUTH"]),
            Purpose::Client => (false, &["CLIENT_AUTH"]),
            Purpose::Server => (false, &["SERVER_AUTH"]),
            Purpose::CodeSigning => (true, &["CODE_SIGNING"]),
            Purpose::OcspSigning => (true, &["OCSP_SIGNING"]),
        };
        (critical, names.iter().filter_map(|name| purpose(name)).collect())
    }
}
