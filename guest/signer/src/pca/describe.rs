//! DescribeCertificateAuthority, ListCertificateAuthorities.

use std::time::{Duration, UNIX_EPOCH};

use crate::access::{Call, Facts};
use crate::errors::KmsError;
use crate::store::KeyId;
use crate::types::Timestamp;
use crate::validate::Check;

use super::ask::Ask;
use super::authority::Authority;
use super::names::ResourceOwner;
use super::types::{AuthorityRequest, DescribeResponse, Described, ListRequest, ListResponse};
use super::{check, page};

pub(super) fn describe(call: &Call<'_>, request: AuthorityRequest) -> Result<DescribeResponse, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken.done()?;
    let authority =
        Ask::new("DescribeCertificateAuthority").find(call, &request.certificate_authority_arn)?;
    Ok(DescribeResponse { certificate_authority: Some(described(call, &authority)) })
}

pub(super) fn list(call: &Call<'_>, request: ListRequest) -> Result<ListResponse, KmsError> {
    let mut broken = Check::default();
    check::page(&mut broken, request.max_results, request.next_token.as_deref());
    let owner = broken.one_of::<ResourceOwner>("resourceOwner", request.resource_owner.as_deref());
    broken.done()?;
    call.allow("acm-pca:ListCertificateAuthorities", "*", &Facts::NONE)?;
    let after = page::after(request.next_token.as_deref(), KeyId::parse)?;
    let pca = call.pca.borrow();
    let all = pca.after(after).filter(|_| owner != Some(ResourceOwner::Others));
    let page = page::take(all, request.max_results, |authority| authority.id.to_string());
    let certificate_authorities = page.entries.iter().map(|authority| described(call, authority)).collect();
    Ok(ListResponse { certificate_authorities: Some(certificate_authorities), next_token: page.next_marker })
}

fn described(call: &Call<'_>, authority: &Authority) -> Described {
    let (meta, settled) = (authority.meta(), &authority.settled);
    let certificate = authority.certificate();
    let certificate = certificate.as_deref();
    let validity = certificate.map(|certificate| certificate.validity());
    Described {
        arn: Some(settled.arn.clone()),
        owner_account: Some(call.identity.borrow().config.account.clone()),
        created_at: Some(settled.created),
        last_state_change_at: meta.changed,
        kind: Some(settled.kind.name().to_owned()),
        serial: certificate.map(|certificate| base16ct::lower::encode_string(certificate.serial())),
        status: Some(authority.status(Timestamp(call.now())).name().to_owned()),
        not_before: validity.and_then(|(from, _)| date(from)),
        not_after: validity.and_then(|(_, to)| date(to)),
        certificate_authority_configuration: Some(settled.configuration.clone()),
        revocation_configuration: Some(meta.revocation.clone()),
        restorable_until: meta.deleted,
        key_storage_security_standard: Some(settled.key_storage.clone()),
        usage_mode: Some(settled.mode.name().to_owned()),
    }
}

/// A date of a certificate.
pub(super) fn date(seconds: u64) -> Option<Timestamp> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map(Timestamp)
}
