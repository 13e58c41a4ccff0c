//! CreatePermission, DeletePermission, ListPermissions: what AWS Certificate Manager may do with an authority. There is no
//! Certificate Manager here, so they are kept and shown, and permit nobody anything.

use serde::{Deserialize, Serialize};

use crate::access::Call;
use crate::errors::{ErrorKind, KmsError};
use crate::types::{Empty, Timestamp};
use crate::validate::{Characters, Check};

use super::ask::Ask;
use super::names::Action;
use super::types::{AuthorityRequest, ListPermissionsResponse, PermissionRequest, ShownPermission};
use super::{check, page};

/// The only principal that AWS lets have a permission.
const CERTIFICATE_MANAGER: &str = "acm.amazonaws.com";

/// A permission.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Permission {
    created: Timestamp,
    principal: String,
    source_account: String,
    actions: Vec<Action>,
}

/// What names a permission.
struct Named {
    principal: String,
    source_account: String,
}

const PRINCIPAL: Characters = Characters { pattern: "[^*]+", test: |c| c != '*' };

/// Checks what both requests have in common.
fn checked(broken: &mut Check, request: &PermissionRequest) {
    check::arn(broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    broken.required("principal", &request.principal);
    broken.text("principal", request.principal.as_deref(), 0, 128);
    broken.characters("principal", request.principal.as_deref(), PRINCIPAL);
    broken.text("sourceAccount", request.source_account.as_deref(), 12, 12);
    const DIGITS: Characters = Characters { pattern: "[0-9]+", test: |c| c.is_ascii_digit() };
    broken.characters("sourceAccount", request.source_account.as_deref(), DIGITS);
}

impl Named {
    fn of(call: &Call<'_>, request: &PermissionRequest) -> Result<Self, KmsError> {
        let principal = request.principal.clone().unwrap_or_default();
        if principal != CERTIFICATE_MANAGER {
            let message = format!("The only principal that may have a permission is {CERTIFICATE_MANAGER}.");
            return Err(KmsError::validation(message));
        }
        let own = || call.identity.borrow().config.account.clone();
        Ok(Self { principal, source_account: request.source_account.clone().unwrap_or_else(own) })
    }

    fn names(&self, permission: &Permission) -> bool {
        permission.principal == self.principal && permission.source_account == self.source_account
    }
}

pub(super) fn create(call: &Call<'_>, request: PermissionRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    checked(&mut broken, &request);
    broken.required("actions", &request.actions);
    broken.list("actions", &request.actions, 1, 3);
    let actions = broken.some_of::<Action>("actions", &request.actions);
    broken.done()?;
    let authority = Ask::new("CreatePermission").living(call, &request.certificate_authority_arn)?;
    let named = Named::of(call, &request)?;
    let mut meta = authority.meta_mut();
    if meta.permissions.iter().any(|known| named.names(known)) {
        let message = format!("{} has a permission already.", named.principal);
        return Err(KmsError::new(ErrorKind::PermissionAlreadyExists, message));
    }
    let Named { principal, source_account } = named;
    meta.permissions.push(Permission { created: Timestamp(call.now()), principal, source_account, actions });
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn delete(call: &Call<'_>, request: PermissionRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    checked(&mut broken, &request);
    broken.done()?;
    let authority = Ask::new("DeletePermission").living(call, &request.certificate_authority_arn)?;
    let named = Named::of(call, &request)?;
    let mut meta = authority.meta_mut();
    let before = meta.permissions.len();
    meta.permissions.retain(|known| !named.names(known));
    if meta.permissions.len() == before {
        let message = format!("{} has no permission.", named.principal);
        return Err(KmsError::new(ErrorKind::ResourceNotFound, message));
    }
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn list(call: &Call<'_>, request: AuthorityRequest) -> Result<ListPermissionsResponse, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
    check::page(&mut broken, request.max_results, request.next_token.as_deref());
    broken.done()?;
    let after = page::after(request.next_token.as_deref(), |token| token.parse::<usize>().ok())?;
    let authority = Ask::new("ListPermissions").living(call, &request.certificate_authority_arn)?;
    let meta = authority.meta();
    let rest = (1..).zip(&meta.permissions).filter(|(index, _)| after.is_none_or(|after| *index > after));
    let page = page::take(rest, request.max_results, |(index, _)| usize::to_string(index));
    let shown = |(_, permission): (usize, &Permission)| ShownPermission {
        certificate_authority_arn: Some(authority.arn().to_owned()),
        created_at: Some(permission.created),
        principal: Some(permission.principal.clone()),
        source_account: Some(permission.source_account.clone()),
        actions: Some(permission.actions.iter().map(|action| action.name().to_owned()).collect()),
    };
    let permissions = page.entries.into_iter().map(shown).collect();
    Ok(ListPermissionsResponse { permissions: Some(permissions), next_token: page.next_marker })
}
