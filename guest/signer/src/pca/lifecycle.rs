//! UpdateCertificateAuthority, DeleteCertificateAuthority, RestoreCertificateAuthority.

use std::time::Duration;

use crate::access::Call;
use crate::errors::KmsError;
use crate::types::{Empty, Timestamp};
use crate::validate::Check;

use super::ask::{Ask, invalid_args, invalid_state};
use super::names::Status;
use super::types::{AuthorityRequest, DeleteRequest, UpdateRequest};
use super::{check, revocation};

/// The days for which a deleted authority can be restored, if the request does not say.
const RESTORABLE_DAYS: i64 = 30;

pub(super) fn update(call: &Call<'_>, request: UpdateRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    check::revocation(&mut broken, &request.revocation_configuration);
    let wanted = broken.one_of::<Status>("status", request.status.as_deref());
    broken.done()?;
    let ask = Ask::new("UpdateCertificateAuthority");
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    let now = Timestamp(call.now());
    let status = authority.status(now);
    if !matches!(status, Status::Active | Status::Disabled) {
        return Err(invalid_state(format!("The certificate authority cannot be updated: it is {status}.")));
    }
    let disabled = match wanted {
        None => None,
        Some(Status::Active) => Some(false),
        Some(Status::Disabled) => Some(true),
        Some(other) => return Err(invalid_args(format!("The status cannot be set to {other}."))),
    };
    if let Some(configuration) = &request.revocation_configuration {
        revocation::acceptable(configuration)?;
    }
    let mut meta = authority.meta_mut();
    if let Some(disabled) = disabled.filter(|disabled| *disabled != meta.disabled) {
        meta.disabled = disabled;
        meta.changed = Some(now);
    }
    if let Some(configuration) = request.revocation_configuration {
        // What is not given stays as it is.
        let all = &mut meta.revocation;
        all.crl_configuration = configuration.crl_configuration.or(all.crl_configuration.take());
        all.ocsp_configuration = configuration.ocsp_configuration.or(all.ocsp_configuration.take());
    }
    drop(meta);
    authority.published.borrow_mut().forget();
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn delete(call: &Call<'_>, request: DeleteRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken.number("permanentDeletionTimeInDays", request.permanent_deletion_time_in_days, 7, 30);
    broken.done()?;
    let ask = Ask::new("DeleteCertificateAuthority");
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    let now = Timestamp(call.now());
    if authority.status(now) == Status::Active {
        return Err(invalid_state("The certificate authority is ACTIVE: disable it before you delete it."));
    }
    let days = request.permanent_deletion_time_in_days.unwrap_or(RESTORABLE_DAYS);
    let span = Duration::from_secs(u64::try_from(days).unwrap_or_default().saturating_mul(86_400));
    let until = now.0.checked_add(span).ok_or_else(|| KmsError::internal("Reckoning with dates"))?;
    let mut meta = authority.meta_mut();
    (meta.deleted, meta.changed) = (Some(Timestamp(until)), Some(now));
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn restore(call: &Call<'_>, request: AuthorityRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken.done()?;
    let ask = Ask::new("RestoreCertificateAuthority");
    let authority = ask.find(call, &request.certificate_authority_arn)?;
    let mut meta = authority.meta_mut();
    if meta.deleted.is_none() {
        return Err(invalid_state("The certificate authority is not deleted."));
    }
    (meta.deleted, meta.changed) = (None, Some(Timestamp(call.now())));
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(Empty {})
}
