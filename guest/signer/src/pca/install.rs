//! ImportCertificateAuthorityCertificate, GetCertificateAuthorityCertificate.

use std::rc::Rc;

use crate::access::Call;
use crate::errors::{ErrorKind, KmsError};
use crate::identity::time::seconds;
use crate::types::{Empty, Timestamp};
use crate::validate::Check;

use super::ask::{Ask, invalid_state};
use super::names::Kind;
use super::types::{AuthorityRequest, CertificateResponse, ImportRequest};
use super::x509::chain::{self, ChainError};
use super::x509::{self, Certificate, X509Error};
use super::{broken, check};

/// The longest chain in bytes. AWS takes 2 MiB, which a guest's memory has no room for.
const CHAIN_BYTES: usize = 64 << 10;

pub(super) fn import(call: &Call<'_>, request: ImportRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken.required("certificate", &request.certificate);
    broken.blob("certificate", &request.certificate, 1, 32_768);
    broken.blob("certificateChain", &request.certificate_chain, 0, CHAIN_BYTES);
    broken.done()?;
    let authority =
        Ask::new("ImportCertificateAuthorityCertificate").living(call, &request.certificate_authority_arn)?;
    let pem = request.certificate.map(|blob| blob.0).unwrap_or_default();
    let own = x509::decode(x509::CERTIFICATE, &pem).and_then(Certificate::parse);
    let own = own.map_err(|error| malformed(format!("The certificate cannot be used: {error}.")))?;
    let pem = request.certificate_chain.map(|blob| blob.0).unwrap_or_default();
    let above = x509::decode_all(x509::CERTIFICATE, &pem)
        .and_then(|all| all.into_iter().map(Certificate::parse).collect::<Result<Vec<_>, _>>());
    let above =
        above.map_err(|error| malformed(format!("The certificate chain cannot be used: {error}.")))?;

    if own.public_key() != authority.key.spki() {
        return Err(mismatch("The certificate is not for the key of the certificate authority."));
    }
    match (authority.settled.kind, chain::is_self_signed(&own), above.is_empty()) {
        (Kind::Root, true, true) | (Kind::Subordinate, false, false) => {}
        (Kind::Root, false, _) => {
            return Err(prohibited("Only a self-signed certificate can be imported as a root."));
        }
        (Kind::Root, true, false) => {
            return Err(prohibited("A root certificate authority has no certificate chain."));
        }
        (Kind::Subordinate, true, _) => {
            return Err(prohibited("A self-signed certificate cannot be imported as a subordinate."));
        }
        (Kind::Subordinate, false, true) => {
            return Err(prohibited("A subordinate certificate authority must have its certificate chain."));
        }
    }
    let mut chain = vec![own];
    chain.extend(above);
    chain::check(&chain, seconds(call.now())).map_err(|error| match error {
        ChainError::Certificate(..) => malformed(format!("The chain is not one of authorities: {error}.")),
        ChainError::Link(..) => mismatch(&format!("The chain does not hang together: {error}.")),
    })?;
    authority.install(chain, Timestamp(call.now()));
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn get(call: &Call<'_>, request: AuthorityRequest) -> Result<CertificateResponse, KmsError> {
    let mut members = Check::default();
    check::arn(&mut members, "certificateAuthorityArn", &request.certificate_authority_arn);
    members.done()?;
    let authority =
        Ask::new("GetCertificateAuthorityCertificate").living(call, &request.certificate_authority_arn)?;
    let certificate = authority.certificate().ok_or_else(|| {
        invalid_state("The certificate authority has no certificate yet: it is PENDING_CERTIFICATE.")
    })?;
    Ok(CertificateResponse {
        certificate: Some(pem(std::slice::from_ref(&certificate)).map_err(broken)?),
        certificate_chain: Some(pem(&authority.above()).map_err(broken)?).filter(|chain| !chain.is_empty()),
    })
}

/// Certificates in PEM, one after the other.
pub(super) fn pem(certificates: &[Rc<Certificate>]) -> Result<String, X509Error> {
    let one = |certificate: &Rc<Certificate>| x509::encode(x509::CERTIFICATE, certificate.der());
    let all: String = certificates.iter().map(one).collect::<Result<_, _>>()?;
    Ok(all.trim_end().to_owned())
}

fn malformed(message: String) -> KmsError {
    KmsError::new(ErrorKind::MalformedCertificate, message)
}

fn mismatch(message: &str) -> KmsError {
    KmsError::new(ErrorKind::CertificateMismatch, message)
}

fn prohibited(message: &str) -> KmsError {
    KmsError::new(ErrorKind::InvalidRequest, message)
}
