//! The decision: policies and session against a request. Whatever is not allowed is denied.
//!
//! Which policies count, and how, is [`casemate_policy`]'s to say; here they are brought together with what is known about
//! the request. The local owner of an unclaimed signer may do everything.

use std::rc::Rc;

use casemate_policy::{Context, Decision, Policies, PolicyDocument, Request, ResourcePolicy, evaluate};

use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyRecord;

use super::{Call, Caller, Facts, Principal};

/// Whether the caller may do `action` to `key`.
pub(super) fn on_key(call: &Call<'_>, action: &str, key: &KeyRecord, facts: &Facts) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    let policy = key.policy(&call.identity.borrow().config.account)?;
    let mut context = context(call, facts);
    key_facts(key, &mut context);
    let resource = ResourcePolicy::RootOfTrust(&policy);
    decide(principal, action, key.arn(), &context, resource)
}

/// Whether the caller may do `action` to a resource that has no policy of its own.
pub(super) fn without_policy(
    call: &Call<'_>,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    decide(principal, action, resource, &context(call, facts), ResourcePolicy::None)
}

/// Whether the caller may do `action` to a resource that `policy` says who may use: a role that is to be assumed.
#[allow(dead_code, reason = "AssumeRole asks")]
pub(super) fn under_policy(
    call: &Call<'_>,
    action: &str,
    resource: &str,
    policy: &PolicyDocument,
    facts: &Facts,
) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    decide(principal, action, resource, &context(call, facts), ResourcePolicy::RootOfTrust(policy))
}

fn decide(
    principal: &Principal,
    action: &str,
    resource: &str,
    context: &Context,
    policy: ResourcePolicy<'_>,
) -> Result<(), KmsError> {
    let request = Request { principal: &principal.who, action, resource, context };
    let (identity, session) = (borrowed(&principal.identity), borrowed(&principal.session));
    let policies = Policies {
        resource: policy,
        identity: &identity,
        boundary: principal.boundary.as_deref(),
        session: &session,
    };
    refused(principal, action, resource, &evaluate(&request, &policies))
}

fn borrowed(policies: &[Rc<PolicyDocument>]) -> Vec<&PolicyDocument> {
    policies.iter().map(Rc::as_ref).collect()
}

/// What is known about the request as such, and what the operation adds.
fn context(call: &Call<'_>, facts: &Facts) -> Context {
    let mut context = Context::new();
    call.facts.tell(&mut context);
    facts.tell(&mut context);
    context
}

/// What is known about the key (KMS developer guide, "Condition keys for AWS KMS").
fn key_facts(key: &KeyRecord, context: &mut Context) {
    let account = key.arn().split(':').nth(4).unwrap_or_default();
    context.set("kms:CallerAccount", account);
    context.set("kms:KeySpec", key.spec.name());
    context.set("kms:KeyUsage", key.usage.name());
    context.set("kms:KeyOrigin", key.origin.name());
    context.set("kms:MultiRegion", if key.multi_region { "true" } else { "false" });
    for (tag, value) in &key.meta().tags {
        // Two whose names differ only in case are one key, and neither may hide the other.
        context.add(&format!("aws:ResourceTag/{tag}"), value.as_str());
    }
}

/// AWS's message: who, what, on what, and which kind of policy decided.
fn refused(
    principal: &Principal,
    action: &str,
    resource: &str,
    decision: &Decision<'_>,
) -> Result<(), KmsError> {
    let Some(reason) = decision.refusal(action) else { return Ok(()) };
    let caller = principal.arn();
    let message =
        format!("User: {caller} is not authorized to perform: {action} on resource: {resource} {reason}");
    Err(KmsError::new(ErrorKind::AccessDenied, message))
}
