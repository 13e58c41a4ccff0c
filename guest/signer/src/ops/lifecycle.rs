//! EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion.

use std::rc::Rc;
use std::time::Duration;

use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::store::{KeyRecord, KeyState};
use crate::types::{
    Empty, KeyIdRequest, KeyIdResponse, ScheduleKeyDeletionRequest, ScheduleKeyDeletionResponse, Timestamp,
};
use crate::validate::Check;

use super::resolve;

pub(super) fn enable_key(signer: &Signer, request: KeyIdRequest) -> Result<Empty, KmsError> {
    switch(signer, &request, true)
}

pub(super) fn disable_key(signer: &Signer, request: KeyIdRequest) -> Result<Empty, KmsError> {
    switch(signer, &request, false)
}

fn switch(signer: &Signer, request: &KeyIdRequest, enabled: bool) -> Result<Empty, KmsError> {
    let key = named(signer, &request.key_id)?;
    if key.state() == KeyState::PendingDeletion {
        return Err(resolve::pending(&key));
    }
    key.set_enabled(enabled);
    Ok(Empty {})
}

fn named(signer: &Signer, key_id: &Option<String>) -> Result<Rc<KeyRecord>, KmsError> {
    let mut check = Check::default();
    check.key_id(key_id);
    check.done()?;
    resolve::find(signer, key_id.as_deref().unwrap_or_default())
}

pub(super) fn schedule_key_deletion(
    signer: &Signer,
    request: ScheduleKeyDeletionRequest,
) -> Result<ScheduleKeyDeletionResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.number("pendingWindowInDays", request.pending_window_in_days, 7, 30);
    check.done()?;
    let key = resolve::find(signer, &request.key_id.unwrap_or_default())?;
    if key.state() == KeyState::PendingDeletion {
        return Err(resolve::pending(&key));
    }
    let days = request.pending_window_in_days.unwrap_or(30);
    let wait = Duration::from_secs(days.unsigned_abs().saturating_mul(24 * 60 * 60));
    let date = signer.now().checked_add(wait).ok_or_else(|| KmsError::internal("Reading the clock"))?;
    signer.store.borrow_mut().schedule_deletion(&key, date);
    Ok(ScheduleKeyDeletionResponse {
        key_id: key.id.arn(),
        deletion_date: Timestamp(date),
        key_state: key.state(),
        pending_window_in_days: days,
    })
}

pub(super) fn cancel_key_deletion(signer: &Signer, request: KeyIdRequest) -> Result<KeyIdResponse, KmsError> {
    let key = named(signer, &request.key_id)?;
    if key.state() != KeyState::PendingDeletion {
        return Err(KmsError::new(
            ErrorKind::InvalidState,
            format!("{} is not pending deletion.", key.id.arn()),
        ));
    }
    key.cancel_deletion();
    Ok(KeyIdResponse { key_id: key.id.arn() })
}
