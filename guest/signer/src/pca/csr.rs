//! GetCertificateAuthorityCsr.

use x509_cert::ext::Extension;

use crate::access::Call;
use crate::errors::KmsError;
use crate::validate::Check;

use super::ask::Ask;
use super::types::{AuthorityRequest, Configuration, CsrResponse};
use super::x509::{self, Extensions, Request};
use super::{broken, check, convert};

pub(super) fn get(call: &Call<'_>, request: AuthorityRequest) -> Result<CsrResponse, KmsError> {
    let mut broken_members = Check::default();
    check::arn(&mut broken_members, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken_members.done()?;
    let authority =
        Ask::new("GetCertificateAuthorityCsr").living(call, &request.certificate_authority_arn)?;
    let settled = &authority.settled;
    let algorithm = settled.signing_algorithm.algorithm().ok_or_else(|| KmsError::internal("Signing"))?;
    let subject = convert::subject(&settled.configuration.subject.clone().unwrap_or_default())?;
    let der = Request::make(&authority.key, algorithm, &subject, extensions(&settled.configuration)?);
    let pem = der.and_then(|der| x509::encode(x509::REQUEST, &der)).map_err(broken)?;
    Ok(CsrResponse { csr: Some(pem.trim_end().to_owned()) })
}

/// What the request asks for: to be an authority, and what the configuration says.
pub(super) fn extensions(configuration: &Configuration) -> Result<Vec<Extension>, KmsError> {
    let mut all = Extensions::default();
    all.basic_constraints(true, Some(None)).map_err(|error| broken(error.into()))?;
    if let Some(given) = &configuration.csr_extensions {
        convert::request_extensions(given, &mut all)?;
    }
    Ok(all.into_vec())
}
