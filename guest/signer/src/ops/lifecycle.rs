//! EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion.

use std::rc::Rc;
use std::time::Duration;

use crate::access::{Ask, Call};
use crate::errors::{ErrorKind, KmsError};
use crate::store::{KeyRecord, KeyState};
use crate::types::{
    Empty, KeyIdRequest, KeyIdResponse, ScheduleKeyDeletionRequest, ScheduleKeyDeletionResponse, Timestamp,
};
use crate::validate::Check;

use super::refusal;

pub(super) fn enable_key(call: &Call<'_>, request: KeyIdRequest) -> Result<Empty, KmsError> {
    switch(call, &request, "EnableKey", true)
}

pub(super) fn disable_key(call: &Call<'_>, request: KeyIdRequest) -> Result<Empty, KmsError> {
    switch(call, &request, "DisableKey", false)
}

fn switch(
    call: &Call<'_>,
    request: &KeyIdRequest,
    operation: &'static str,
    enabled: bool,
) -> Result<Empty, KmsError> {
    let key = named(call, &request.key_id, operation)?;
    if let KeyState::PendingDeletion | KeyState::PendingImport = key.state() {
        return Err(refusal::state(&key, key.state()));
    }
    key.set_enabled(enabled);
    // A rotation may have become due meanwhile.
    call.store.borrow_mut().dates_changed();
    call.state.touch(key.record_name());
    Ok(Empty {})
}

/// The key of a request that has nothing but that.
pub(super) fn named(
    call: &Call<'_>,
    key_id: &Option<String>,
    operation: &'static str,
) -> Result<Rc<KeyRecord>, KmsError> {
    let mut check = Check::default();
    check.key_id(key_id);
    check.done()?;
    Ask::new(operation).find(call, key_id.as_deref().unwrap_or_default())
}

pub(super) fn schedule_key_deletion(
    call: &Call<'_>,
    request: ScheduleKeyDeletionRequest,
) -> Result<ScheduleKeyDeletionResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.number("pendingWindowInDays", request.pending_window_in_days, 7, 30);
    check.done()?;
    let days = request.pending_window_in_days.unwrap_or(30);
    let key = Ask::new("ScheduleKeyDeletion")
        .fact("kms:ScheduleKeyDeletionPendingWindowInDays", &days.to_string())
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    refusal::if_pending_deletion(&key)?;
    let window = u32::try_from(days).map_err(|_| KmsError::internal("Validation"))?;
    let wait = Duration::from_secs(u64::from(window).saturating_mul(24 * 60 * 60));
    let date = call.now().checked_add(wait).ok_or_else(|| KmsError::internal("Reading the clock"))?;
    call.store.borrow_mut().schedule_deletion(&key, date, window);
    call.state.touch(key.record_name());
    Ok(ScheduleKeyDeletionResponse {
        key_id: key.arn().to_owned(),
        deletion_date: Timestamp(date),
        key_state: key.state(),
        pending_window_in_days: days,
    })
}

pub(super) fn cancel_key_deletion(call: &Call<'_>, request: KeyIdRequest) -> Result<KeyIdResponse, KmsError> {
    let key = named(call, &request.key_id, "CancelKeyDeletion")?;
    if key.state() != KeyState::PendingDeletion {
        return Err(KmsError::new(
            ErrorKind::InvalidState,
            format!("{} is not pending deletion.", key.arn()),
        ));
    }
    key.cancel_deletion();
    call.store.borrow_mut().dates_changed();
    call.state.touch(key.record_name());
    Ok(KeyIdResponse { key_id: key.arn().to_owned() })
}
