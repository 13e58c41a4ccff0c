//! ReplicateKey and UpdatePrimaryRegion.
//!
//! A signer is one Region. Its multi-Region keys are primary keys without replicas, and stay that: key material does not
//! leave the guest. So both operations check everything that AWS checks, and end as they end on AWS where the other
//! Region has no place for the key.

use crate::access::{Ask, Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyRecord;
use crate::types::{Empty, ReplicateKeyRequest, ReplicateKeyResponse, UpdatePrimaryRegionRequest};
use crate::validate::Check;

use super::{policy, refusal, tags};

const PATTERN: &str = r"^([a-z]+-){2,3}\d+$";

pub(super) fn replicate_key(
    call: &Call<'_>,
    request: ReplicateKeyRequest,
) -> Result<ReplicateKeyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check_region(&mut check, "replicaRegion", &request.replica_region);
    policy::check(&mut check, request.policy.as_deref());
    check.text("description", request.description.as_deref(), 0, 8192);
    tags::check(&mut check, &request.tags);
    check.done()?;
    let region = request.replica_region.unwrap_or_default();
    let tags = tags::collect(request.tags)?;
    let bypass = request.bypass_policy_lockout_safety_check.unwrap_or_default();
    let key = Ask::new("ReplicateKey")
        .fact("kms:ReplicaRegion", &region)
        .fact("kms:BypassPolicyLockoutSafetyCheck", &bypass.to_string())
        .facts(Facts::of_request_tags(&tags))
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    multi_region(&key)?;
    refusal::unless_enabled(&key)?;
    if region == call.identity.borrow().config.region {
        let message = format!("{} already exists in Region {region}.", key.arn());
        return Err(KmsError::new(ErrorKind::AlreadyExists, message));
    }
    Err(KmsError::unsupported(format!(
        "Keys cannot be replicated to Region {region}: this signer is one Region, and key material does not leave it."
    )))
}

pub(super) fn update_primary_region(
    call: &Call<'_>,
    request: UpdatePrimaryRegionRequest,
) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check_region(&mut check, "primaryRegion", &request.primary_region);
    check.done()?;
    let region = request.primary_region.unwrap_or_default();
    let key = Ask::new("UpdatePrimaryRegion")
        .fact("kms:PrimaryRegion", &region)
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    multi_region(&key)?;
    refusal::unless_enabled(&key)?;
    if region == call.identity.borrow().config.region {
        return Err(KmsError::unsupported(format!(
            "{} is the primary key in Region {region} already.",
            key.arn()
        )));
    }
    let message = format!("{} has no replica key in Region {region}.", key.arn());
    Err(KmsError::new(ErrorKind::NotFound, message))
}

fn multi_region(key: &KeyRecord) -> Result<(), KmsError> {
    match key.multi_region {
        true => Ok(()),
        false => Err(KmsError::unsupported(format!("{} is not a multi-Region key.", key.arn()))),
    }
}

fn check_region(check: &mut Check, member: &str, region: &Option<String>) {
    check.required(member, region);
    check.text(member, region.as_deref(), 1, 32);
    if let Some(region) = region.as_deref().filter(|region| !is_region(region)) {
        check.pattern_broken(member, region, PATTERN);
    }
}

/// Two or three words of small letters and a number, with hyphens between.
pub(super) fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('-').collect();
    let number = parts.pop().unwrap_or_default();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    (2..=3).contains(&parts.len())
        && parts.iter().all(word)
        && !number.is_empty()
        && number.bytes().all(|c| c.is_ascii_digit())
}
