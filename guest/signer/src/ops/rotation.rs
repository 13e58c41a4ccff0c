//! EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations.
//!
//! Rotation by date happens with the first request after the date: see [`crate::store::Store::expire`].

use std::rc::Rc;
use std::time::Duration;

use crate::access::{Ask, Call};
use crate::crypto::KeySpec;
use crate::errors::{ErrorKind, KmsError};
use crate::store::{
    Generation, Generations, KeyRecord, KeyState, MaterialId, Origin, Rotated, RotationType, Schedule,
};
use crate::types::{
    Empty, EnableKeyRotationRequest, ExpirationModel, GetKeyRotationStatusResponse, KeyIdRequest,
    KeyIdResponse, ListKeyRotationsRequest, ListKeyRotationsResponse, RotationsListEntry, Timestamp,
};
use crate::validate::Check;

use super::{lifecycle, page, refusal};

/// Rotations on demand of one key, as on AWS.
const MOST: usize = 25;
/// The days between rotations if nothing is said.
const YEAR: i64 = 365;

named! {
    /// What ListKeyRotations lists.
    enum Included {
        All = "ALL_KEY_MATERIAL",
        RotationsOnly = "ROTATIONS_ONLY",
    }
}

pub(super) fn enable_key_rotation(
    call: &Call<'_>,
    request: EnableKeyRotationRequest,
) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.number("rotationPeriodInDays", request.rotation_period_in_days, 90, 2560);
    check.done()?;
    let days = request.rotation_period_in_days.unwrap_or(YEAR);
    let key = Ask::new("EnableKeyRotation")
        .fact("kms:RotationPeriodInDays", &days.to_string())
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    automatic(&key)?;
    refusal::unless_enabled(&key)?;
    let days = u32::try_from(days).map_err(|_| KmsError::internal("Validation"))?;
    let period = Duration::from_secs(u64::from(days).saturating_mul(24 * 60 * 60));
    let next = call.now().checked_add(period).ok_or_else(|| KmsError::internal("Reading the clock"))?;
    key.meta_mut().rotation = Some(Schedule { days, next: Timestamp(next) });
    changed(call, &key);
    Ok(Empty {})
}

pub(super) fn disable_key_rotation(call: &Call<'_>, request: KeyIdRequest) -> Result<Empty, KmsError> {
    let key = lifecycle::named(call, &request.key_id, "DisableKeyRotation")?;
    automatic(&key)?;
    refusal::unless_enabled(&key)?;
    key.meta_mut().rotation = None;
    changed(call, &key);
    Ok(Empty {})
}

pub(super) fn get_key_rotation_status(
    call: &Call<'_>,
    request: KeyIdRequest,
) -> Result<GetKeyRotationStatusResponse, KmsError> {
    let key = lifecycle::named(call, &request.key_id, "GetKeyRotationStatus")?;
    symmetric(&key)?;
    let schedule = key.meta().rotation.filter(|_| key.state() != KeyState::PendingDeletion);
    Ok(GetKeyRotationStatusResponse {
        key_rotation_enabled: schedule.is_some(),
        key_id: key.arn().to_owned(),
        rotation_period_in_days: schedule.map(|schedule| schedule.days),
        next_rotation_date: schedule.map(|schedule| schedule.next),
    })
}

pub(super) fn rotate_key_on_demand(
    call: &Call<'_>,
    request: KeyIdRequest,
) -> Result<KeyIdResponse, KmsError> {
    let key = lifecycle::named(call, &request.key_id, "RotateKeyOnDemand")?;
    symmetric(&key)?;
    refusal::unless_enabled(&key)?;
    if on_demand(&key) >= MOST {
        let message = format!("{} was rotated on demand {MOST} times, which is the limit.", key.arn());
        return Err(KmsError::new(ErrorKind::LimitExceeded, message));
    }
    let rotated = Rotated { date: Timestamp(call.now()), kind: RotationType::OnDemand };
    match key.origin {
        Origin::External => {
            let promoted = key.generations_mut().as_mut().is_some_and(|all| all.promote(rotated));
            if !promoted {
                let message = format!(
                    "{} has no key material that waits for rotation. Import new key material first.",
                    key.arn()
                );
                return Err(KmsError::new(ErrorKind::InvalidState, message));
            }
        }
        _ => key.rotate(rotated)?,
    }
    changed(call, &key);
    Ok(KeyIdResponse { key_id: key.arn().to_owned() })
}

pub(super) fn list_key_rotations(
    call: &Call<'_>,
    request: ListKeyRotationsRequest,
) -> Result<ListKeyRotationsResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    let included = check.one_of::<Included>("includeKeyMaterial", request.include_key_material.as_deref());
    check.page(request.limit, request.marker.as_deref());
    check.done()?;
    let after = page::after(request.marker.as_deref(), MaterialId::parse)?;
    let key = Ask::new("ListKeyRotations").find(call, request.key_id.as_deref().unwrap_or_default())?;
    symmetric(&key)?;
    let generations = key.generations();
    let mut entries: Vec<RotationsListEntry> =
        generations.iter().flat_map(|all| entries(&key, all)).collect();
    if included != Some(Included::All) {
        entries.retain(|entry| entry.rotation_type.is_some());
    }
    let from = match after {
        None => 0,
        // The secrets of a key are never reordered, and none goes that was listed.
        Some(after) => match entries.iter().position(|entry| entry.key_material_id == after) {
            Some(last) => last.saturating_add(1),
            None => entries.len(),
        },
    };
    let rest = entries.into_iter().skip(from);
    let page = page::take(rest, request.limit, 100, |entry| entry.key_material_id.to_string());
    Ok(ListKeyRotationsResponse {
        rotations: page.entries,
        next_marker: page.next_marker,
        truncated: page.truncated,
    })
}

fn entries(key: &Rc<KeyRecord>, all: &Generations) -> Vec<RotationsListEntry> {
    let current = all.current().note.id;
    let used = all.used().map(|generation| {
        entry(key, generation, if generation.note.id == current { "CURRENT" } else { "NON_CURRENT" })
    });
    used.chain(all.next().map(|next| entry(key, next, "PENDING_ROTATION"))).collect()
}

fn entry(key: &KeyRecord, generation: &Generation, state: &'static str) -> RotationsListEntry {
    let note = &generation.note;
    let imported = key.origin == Origin::External;
    let import_state = if generation.material.is_some() { "IMPORTED" } else { "PENDING_IMPORT" };
    let model = match note.valid_to {
        Some(_) => ExpirationModel::Expires,
        None => ExpirationModel::DoesNotExpire,
    };
    RotationsListEntry {
        key_id: key.arn().to_owned(),
        key_material_id: note.id,
        key_material_description: note.description.clone(),
        import_state: imported.then_some(import_state),
        key_material_state: state,
        expiration_model: imported.then_some(model),
        valid_to: note.valid_to,
        rotation_date: note.rotated.map(|rotated| rotated.date),
        rotation_type: note.rotated.map(|rotated| rotated.kind),
    }
}

/// How often the key was rotated on demand.
fn on_demand(key: &KeyRecord) -> usize {
    let generations = key.generations();
    let rotations = generations.iter().flat_map(Generations::used).filter_map(|used| used.note.rotated);
    rotations.filter(|rotated| rotated.kind == RotationType::OnDemand).count()
}

/// Only symmetric encryption keys are rotated.
fn symmetric(key: &KeyRecord) -> Result<(), KmsError> {
    match key.spec {
        KeySpec::Symmetric => Ok(()),
        spec => {
            Err(KmsError::unsupported(format!("{} has KeySpec {spec}, which cannot be rotated.", key.arn())))
        }
    }
}

/// And by date only those whose material is made here.
fn automatic(key: &KeyRecord) -> Result<(), KmsError> {
    symmetric(key)?;
    match key.origin {
        Origin::Kms => Ok(()),
        origin => Err(KmsError::unsupported(format!(
            "{} has Origin {origin}, whose key material cannot be rotated automatically.",
            key.arn()
        ))),
    }
}

fn changed(call: &Call<'_>, key: &KeyRecord) {
    call.store.borrow_mut().dates_changed();
    call.state.touch(key.record_name());
}
