//! RevokeCertificate.

use crate::access::Call;
use crate::errors::{ErrorKind, KmsError};
use crate::types::{Empty, Timestamp};
use crate::validate::Check;

use super::ask::{Ask, invalid_state};
use super::issued::{self, Issued, Revocation};
use super::names::{RevocationReason, Status};
use super::types::RevokeRequest;
use super::x509::{self, Certificate, Serial};
use super::{broken, check};

pub(super) fn revoke(call: &Call<'_>, request: RevokeRequest) -> Result<Empty, KmsError> {
    let mut members = Check::default();
    check::arn(&mut members, "certificateAuthorityArn", &request.certificate_authority_arn);
    members.required("certificateSerial", &request.certificate_serial);
    members.text("certificateSerial", request.certificate_serial.as_deref(), 0, 128);
    let reason = check::required_one_of::<RevocationReason>(
        &mut members,
        "revocationReason",
        &request.revocation_reason,
    );
    members.done()?;
    let reason = reason.ok_or_else(|| KmsError::internal("Checking the request"))?;
    let authority = Ask::new("RevokeCertificate").living(call, &request.certificate_authority_arn)?;
    let status = authority.status(Timestamp(call.now()));
    if !matches!(status, Status::Active | Status::Disabled) {
        return Err(invalid_state(format!("The certificate authority cannot revoke: it is {status}.")));
    }
    let text = request.certificate_serial.unwrap_or_default();
    let found = Serial::parse(&text).and_then(|serial| {
        call.pca.borrow().certificate(authority.id, serial).map(|issued| (serial, issued))
    });
    let (serial, issued) = found.ok_or_else(|| {
        let text: String = text.chars().take(128).collect();
        let message =
            format!("The certificate authority has issued no certificate with the serial number {text}.");
        KmsError::new(ErrorKind::ResourceNotFound, message)
    })?;
    if issued.revoked.is_some() {
        let message = format!("The certificate {serial} is revoked already.");
        return Err(KmsError::new(ErrorKind::RequestAlreadyProcessed, message));
    }
    let certificate = Certificate::parse(issued.certificate.0.clone()).map_err(broken)?;
    if x509::chain::is_self_signed(&certificate) {
        let message = "A root's self-signed certificate cannot be revoked.";
        return Err(KmsError::new(ErrorKind::InvalidRequest, message));
    }
    let revoked = Some(Revocation { at: Timestamp(call.now()), reason });
    call.pca.borrow_mut().keep(authority.id, serial, Issued { revoked, ..Issued::clone(&issued) });
    authority.published.borrow_mut().forget();
    call.state.touch(issued::record_name(authority.id, serial));
    Ok(Empty {})
}
