//! A signer with a certificate authority, and what is asked of it.

use std::rc::Rc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_signer::{KmsError, Signer};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Every operation of Private CA.
pub const OPERATIONS: &[&str] = &[
    "CreateCertificateAuthority",
    "CreateCertificateAuthorityAuditReport",
    "CreatePermission",
    "DeleteCertificateAuthority",
    "DeletePermission",
    "DeletePolicy",
    "DescribeCertificateAuthority",
    "DescribeCertificateAuthorityAuditReport",
    "GetCertificate",
    "GetCertificateAuthorityCertificate",
    "GetCertificateAuthorityCsr",
    "GetPolicy",
    "ImportCertificateAuthorityCertificate",
    "IssueCertificate",
    "ListCertificateAuthorities",
    "ListPermissions",
    "ListTags",
    "PutPolicy",
    "RestoreCertificateAuthority",
    "RevokeCertificate",
    "TagCertificateAuthority",
    "UntagCertificateAuthority",
    "UpdateCertificateAuthority",
];

/// Templates that let more or less of a request through.
const TEMPLATES: &[&str] = &[
    "EndEntityCertificate",
    "EndEntityCertificate_CSRPassthrough",
    "BlankEndEntityCertificate_CSRPassthrough",
    "BlankEndEntityCertificate_APICSRPassthrough",
    "SubordinateCACertificate_PathLen0",
    "BlankSubordinateCACertificate_PathLen1_CSRPassthrough",
];

/// A root authority that is active.
pub struct Authority {
    signer: Rc<Signer>,
    arn: String,
    /// Its own request and its certificate, PEM in base64.
    csr: String,
    certificate: String,
}

impl Authority {
    /// A new one, on a signer of its own.
    pub fn new() -> Self {
        let none = String::new();
        let mut new =
            Self { signer: crate::signer::new(), arn: none.clone(), csr: none.clone(), certificate: none };
        let made = new.must("CreateCertificateAuthority", json!({
            "CertificateAuthorityType": "ROOT",
            "CertificateAuthorityConfiguration": {"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
                "Subject": {"CommonName": "A root"}},
        }));
        new.arn = text(&made["CertificateAuthorityArn"]);
        let csr = new.must("GetCertificateAuthorityCsr", json!({"CertificateAuthorityArn": new.arn}));
        new.csr = STANDARD.encode(text(&csr["Csr"]));
        let issued = new.must("IssueCertificate", new.request(&new.csr, "RootCACertificate"));
        let named = json!({"CertificateAuthorityArn": new.arn, "CertificateArn": issued["CertificateArn"]});
        new.certificate = STANDARD.encode(text(&new.must("GetCertificate", named)["Certificate"]));
        new.must("ImportCertificateAuthorityCertificate", new.import(&new.certificate));
        new
    }

    /// An operation, with `$a`, `$r` and `$c` in its body for the authority, its request and its certificate.
    pub fn ask(&self, operation: usize, body: &str) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let body = body.replace("$a", &self.arn).replace("$r", &self.csr).replace("$c", &self.certificate);
        self.call(OPERATIONS[operation % OPERATIONS.len()], &body)
    }

    /// Asks for a certificate with this request, DER; what comes of it, DER.
    pub fn certify(&self, der: &[u8], template: usize) -> Result<(), KmsError> {
        let csr = pem("CERTIFICATE REQUEST", der);
        let template = TEMPLATES[template % TEMPLATES.len()];
        let issued = self.call("IssueCertificate", &self.request(&csr, template).to_string())?;
        let issued: Value = serde_json::from_slice(&issued).expect("JSON");
        let named = json!({"CertificateAuthorityArn": self.arn, "CertificateArn": issued["CertificateArn"]});
        self.must("GetCertificate", named);
        Ok(())
    }

    /// Offers a certificate, DER, as the authority's own.
    pub fn install(&self, der: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let import = self.import(&pem("CERTIFICATE", der)).to_string();
        self.call("ImportCertificateAuthorityCertificate", &import)
    }

    fn request(&self, csr: &str, template: &str) -> Value {
        json!({
            "CertificateAuthorityArn": self.arn, "Csr": csr, "SigningAlgorithm": "SHA256WITHECDSA",
            "TemplateArn": format!("arn:aws:acm-pca:::template/{template}/V1"),
            "Validity": {"Type": if template.starts_with("Root") { "YEARS" } else { "DAYS" }, "Value": 10},
        })
    }

    fn import(&self, certificate: &str) -> Value {
        json!({"CertificateAuthorityArn": self.arn, "Certificate": certificate})
    }

    fn call(&self, operation: &str, body: &str) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.signer.call(&format!("ACMPrivateCA.{operation}"), body.as_bytes())
    }

    fn must(&self, operation: &str, body: Value) -> Value {
        let answer = self.call(operation, &body.to_string());
        let answer = answer.unwrap_or_else(|error| panic!("{operation}: {error}"));
        if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).expect("JSON") }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    static KEY: EcdsaKeyPair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
}

/// A request (PKCS #10, DER) that its own key has signed, with whatever is behind version and key: the subject, and the rest.
pub fn signed_request(subject: &[u8], rest: &[u8]) -> Vec<u8> {
    const VERSION: &[u8] = &[2, 1, 0];
    const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    KEY.with(|key| {
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).expect("DER");
        let info = tlv(0x30, &[VERSION, subject, spki.as_ref(), rest].concat());
        let signature = key.sign(&SystemRandom::new(), &info).expect("a signature");
        let signature = tlv(0x03, &[&[0], signature.as_ref()].concat());
        tlv(0x30, &[&info, ECDSA_SHA256, &signature].concat())
    })
}

/// Tag, length and value.
pub fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count().min(length.len() - 1)..];
    let mut all = vec![tag];
    if value.len() >= 0x80 {
        all.push(0x80 | length.len() as u8);
    }
    all.extend_from_slice(length);
    all.extend_from_slice(value);
    all
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<_> = STANDARD.encode(der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
    let body = String::from_utf8(lines.join(&b'\n')).expect("base64");
    STANDARD.encode(format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text")).to_owned()
}
