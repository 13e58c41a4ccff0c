//! Certificates: one is issued and fetched, by an authority that certifies itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::error::Result;
use crate::kms::{Kms, Request, Work, base64, parse, text};

/// How long a certificate is valid: long enough for a block of requests, and over when the same side has its next but one, for what
/// has expired makes room for others.
const LIFE: Duration = Duration::from_secs(6);
/// A request for a key on P-256 and a name: made with openssl, its key forgotten.
const CSR: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIH+MIGlAgEAMBgxFjAUBgNVBAMMDWJlbmNoLmV4YW1wbGUwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAARaAteMOX+FHyaVqDhCofVx3TaCny8+eWA6xpbyLJgrmiUX
zODOSut6Qa0HHbmVCvOOxSKbYnoKVuBprjxmYiWioCswKQYJKoZIhvcNAQkOMRww
GjAYBgNVHREEETAPgg1iZW5jaC5leGFtcGxlMAoGCCqGSM49BAMCA0gAMEUCIQC/
BDzq7goWzRapf8Q0u/rllcySaO9vPDeW8eHQisveuwIgFfmPfzuYXQEW9ADSC+J7
h8HnzC87yRCizJRADALPmj0=
-----END CERTIFICATE REQUEST-----
";

/// Authorities of three kinds.
pub const WORK: &[Work] = &[
    Work { name: "Certificate RSA-2048", prepare: |c| certificate(c, "RSA_2048", "SHA256WITHRSA") },
    Work { name: "Certificate P-256", prepare: |c| certificate(c, "EC_prime256v1", "SHA256WITHECDSA") },
    Work { name: "Certificate P-384", prepare: |c| certificate(c, "EC_secp384r1", "SHA384WITHECDSA") },
];

/// Makes an authority.
fn certificate(client: &mut dyn Kms, key: &str, signing: &'static str) -> Result<Request> {
    let subject = json!({ "CommonName": format!("Bench {key}") });
    let configuration = json!({ "KeyAlgorithm": key, "SigningAlgorithm": signing, "Subject": subject });
    let body = json!({
        "CertificateAuthorityType": "ROOT",
        "CertificateAuthorityConfiguration": configuration,
    });
    let arn =
        text(&client.call("ACMPrivateCA.CreateCertificateAuthority", &body)?, "/CertificateAuthorityArn")?;
    let of = json!({ "CertificateAuthorityArn": arn });
    let csr = text(&client.call("ACMPrivateCA.GetCertificateAuthorityCsr", &of)?, "/Csr")?;
    let body = json!({
        "CertificateAuthorityArn": arn,
        "Csr": base64(csr.as_bytes()),
        "SigningAlgorithm": signing,
        "TemplateArn": "arn:aws:acm-pca:::template/RootCACertificate/V1",
        "Validity": { "Type": "DAYS", "Value": 2 },
    });
    let issued = client.call("ACMPrivateCA.IssueCertificate", &body)?;
    let (get, body) = get(&arn, &issued)?;
    let pem = text(&client.call(get, &body)?, "/Certificate")?;
    let body = json!({ "CertificateAuthorityArn": arn, "Certificate": base64(pem.as_bytes()) });
    client.call("ACMPrivateCA.ImportCertificateAuthorityCertificate", &body)?;
    Ok(Request::Certificate { authority: arn, signing })
}

/// The operation that issues a certificate which is valid from now on, and its JSON.
pub(crate) fn issue(authority: &str, signing: &str) -> (&'static str, Value) {
    let end = SystemTime::now().checked_add(LIFE).and_then(|end| end.duration_since(UNIX_EPOCH).ok());
    let body = json!({
        "CertificateAuthorityArn": authority,
        "Csr": base64(CSR.as_bytes()),
        "SigningAlgorithm": signing,
        "Validity": { "Type": "ABSOLUTE", "Value": end.unwrap_or_default().as_secs() },
    });
    ("ACMPrivateCA.IssueCertificate", body)
}

/// The operation that fetches the certificate which was issued with this answer, and its JSON.
pub(crate) fn fetch(authority: &str, answer: &[u8]) -> Result<(&'static str, Value)> {
    get(authority, &parse(answer)?)
}

fn get(authority: &str, issued: &Value) -> Result<(&'static str, Value)> {
    let certificate = text(issued, "/CertificateArn")?;
    let body = json!({ "CertificateAuthorityArn": authority, "CertificateArn": certificate });
    Ok(("ACMPrivateCA.GetCertificate", body))
}
