//! GetKeyPolicy, PutKeyPolicy, ListKeyPolicies.

use casemate_policy::{Kind, PolicyDocument};

use crate::access::bind::{self, Bindings, Nobody};
use crate::access::{self, Ask, Call, Facts};
use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyRecord;
use crate::types::{
    Empty, GetKeyPolicyRequest, GetKeyPolicyResponse, ListKeyPoliciesResponse, PageOfKeyRequest,
    PutKeyPolicyRequest,
};
use crate::validate::{Check, POLICY, WORD};

use super::page;

/// The only policy that a key has.
const NAME: &str = "default";
/// The longest policy in bytes, as on AWS.
const LONGEST: usize = 32 * 1024;

/// Checks a policy as a member of a request.
pub(super) fn check(check: &mut Check, policy: Option<&str>) {
    check.text("policy", policy, 1, 131_072);
    check.characters("policy", policy, POLICY);
}

/// Whether a key may have this policy, and whom its names mean; without `key`, one that is to be made with that ARN.
///
/// Unless `bypass` says otherwise, the caller must be able to change it later. A policy that is going to be locked is not
/// changed by anybody, so that is not asked of it.
pub(super) fn acceptable(
    call: &Call<'_>,
    key: Option<&KeyRecord>,
    arn: &str,
    policy: &str,
    facts: &Facts,
    bypass: bool,
) -> Result<Bindings, KmsError> {
    if policy.len() > LONGEST {
        let message = format!("The policy has {} bytes; a key policy has {LONGEST} at most.", policy.len());
        return Err(KmsError::new(ErrorKind::LimitExceeded, message));
    }
    let malformed = |message| KmsError::new(ErrorKind::MalformedPolicyDocument, message);
    let document =
        PolicyDocument::parse(policy, Kind::Resource).map_err(|error| malformed(error.to_string()))?;
    if !bypass && !access::would_allow(call, "kms:PutKeyPolicy", key, arn, &document, facts) {
        return Err(malformed(
            "The new key policy will not allow you to update the key policy in the future.".to_owned(),
        ));
    }
    bind::principals(call, &document).map_err(|Nobody(_)| {
        malformed("Policy contains a statement with one or more invalid principals.".to_owned())
    })
}

pub(super) fn get_key_policy(
    call: &Call<'_>,
    request: GetKeyPolicyRequest,
) -> Result<GetKeyPolicyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check_name(&mut check, request.policy_name.as_deref());
    check.done()?;
    let key = Ask::new("GetKeyPolicy").find(call, request.key_id.as_deref().unwrap_or_default())?;
    the_only(request.policy_name.as_deref())?;
    let meta = key.meta();
    let policy = bind::shown(call, Kind::Resource, meta.policy.clone(), &meta.principals);
    Ok(GetKeyPolicyResponse { policy, policy_name: NAME })
}

pub(super) fn put_key_policy(call: &Call<'_>, request: PutKeyPolicyRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    broken.key_id(&request.key_id);
    check_name(&mut broken, request.policy_name.as_deref());
    broken.required("policy", &request.policy);
    check(&mut broken, request.policy.as_deref());
    broken.done()?;
    let policy = request.policy.unwrap_or_default();
    let bypass = request.bypass_policy_lockout_safety_check.unwrap_or_default();
    let mut facts = Facts::default();
    facts.set("kms:BypassPolicyLockoutSafetyCheck", bypass.to_string());
    let key = Ask::new("PutKeyPolicy")
        .facts(facts.clone())
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    the_only(request.policy_name.as_deref())?;
    if key.policy_locked {
        return Err(locked(call, key.arn()));
    }
    let principals = acceptable(call, Some(&key), key.arn(), &policy, &facts, bypass)?;
    let mut meta = key.meta_mut();
    (meta.policy, meta.principals) = (policy, principals);
    drop(meta);
    call.state.touch(key.record_name());
    Ok(Empty {})
}

/// Nobody may, whatever the policies say: not the administrator, and not the local owner.
fn locked(call: &Call<'_>, arn: &str) -> KmsError {
    let caller = call.caller.arn();
    let message = format!(
        "User: {caller} is not authorized to perform: kms:PutKeyPolicy on resource: {arn} because its policy was \
         locked when the key was created"
    );
    KmsError::new(ErrorKind::AccessDenied, message)
}

pub(super) fn list_key_policies(
    call: &Call<'_>,
    request: PageOfKeyRequest,
) -> Result<ListKeyPoliciesResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.page(request.limit, request.marker.as_deref());
    check.done()?;
    // There is one page, so no marker was ever given.
    page::after(request.marker.as_deref(), |_| None::<()>)?;
    Ask::new("ListKeyPolicies").find(call, request.key_id.as_deref().unwrap_or_default())?;
    Ok(ListKeyPoliciesResponse { policy_names: vec![NAME], truncated: false })
}

fn check_name(check: &mut Check, name: Option<&str>) {
    check.text("policyName", name, 1, 128);
    check.characters("policyName", name, WORD);
}

fn the_only(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(NAME) => Ok(()),
        Some(_) => Err(KmsError::new(ErrorKind::NotFound, "No such policy exists")),
    }
}
