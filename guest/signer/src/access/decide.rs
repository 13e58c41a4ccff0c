//! The decision: policies and session against a request. Whatever is not allowed is denied.
//!
//! Which policies count, and how, is [`casemate_policy`]'s to say; here they are brought together with what is known about
//! the request. The local owner of an unclaimed signer may do everything.

use std::rc::Rc;

use casemate_policy::{Context, Decision, Policies, PolicyDocument, Request, ResourcePolicy, evaluate};

use crate::errors::{ErrorKind, KmsError};
use crate::store::{Grant, KeyRecord};
use crate::types::EncryptionContext;

use super::{Call, Caller, Facts, Principal, grants};

/// What is asked of a key.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The operation, as in the service model and in grants; the action is `kms:` and its name.
    pub(super) operation: &'static str,
    /// The encryption context of the request.
    pub(super) context: Option<&'a EncryptionContext>,
    /// The grant that is to be made.
    pub(super) proposed: Option<&'a Grant>,
    /// Condition keys of the request.
    pub(super) facts: &'a Facts,
}

/// Whether the caller may do what is asked to `key`: by its policy and the caller's own, or by a grant.
pub(super) fn on_key(call: &Call<'_>, key: &KeyRecord, asked: &Asked<'_>) -> Result<(), KmsError> {
    on_key_or(call, key, asked, |question| grants::permit(call, key, asked, question))
}

/// The same, with an exception of the operation's own from what no policy allows and none denies.
pub(super) fn on_key_or(
    call: &Call<'_>,
    key: &KeyRecord,
    asked: &Asked<'_>,
    permitted: impl FnOnce(&Question<'_>) -> bool,
) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    let action = format!("kms:{}", asked.operation);
    let mut context = context(call, &action, asked.facts);
    key_facts(call, key, &mut context);
    let policy = key.policy(&call.identity.borrow().config.account)?;
    let question = Question { principal, action: &action, resource: key.arn(), context: &context };
    match question.judge(ResourcePolicy::RootOfTrust(&policy)) {
        Err(Refusal { final_word: false, .. }) if permitted(&question) => Ok(()),
        verdict => verdict.map_err(KmsError::from),
    }
}

/// Whether the caller could do `action` if `policy` were the policy of `key`; without `key`, of one that is to be made.
pub(crate) fn would_allow(
    call: &Call<'_>,
    action: &str,
    key: Option<&KeyRecord>,
    arn: &str,
    policy: &PolicyDocument,
    facts: &Facts,
) -> bool {
    let Caller::Principal(principal) = call.caller else { return true };
    let mut context = context(call, action, facts);
    if let Some(key) = key {
        key_facts(call, key, &mut context);
    }
    let question = Question { principal, action, resource: arn, context: &context };
    question.judge(ResourcePolicy::RootOfTrust(policy)).is_ok()
}

/// Whether the caller may do `action` to a resource that has no policy of its own.
pub(super) fn without_policy(
    call: &Call<'_>,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    let context = context(call, action, facts);
    let question = Question { principal, action, resource, context: &context };
    Ok(question.judge(ResourcePolicy::None)?)
}

/// Whether the caller may do `action` to a resource whose policy, if it has one, may allow it as well as the caller's own.
pub(super) fn with_policy(
    call: &Call<'_>,
    action: &str,
    resource: &str,
    policy: Option<&PolicyDocument>,
    facts: &Facts,
) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    let context = context(call, action, facts);
    let question = Question { principal, action, resource, context: &context };
    Ok(question.judge(policy.map_or(ResourcePolicy::None, ResourcePolicy::Ordinary))?)
}

/// Whether the caller may do `action` to a resource that `policy` says who may use: a role that is to be assumed.
pub(super) fn under_policy(
    call: &Call<'_>,
    action: &str,
    resource: &str,
    policy: &PolicyDocument,
    facts: &Facts,
) -> Result<(), KmsError> {
    let Caller::Principal(principal) = call.caller else { return Ok(()) };
    let context = context(call, action, facts);
    let question = Question { principal, action, resource, context: &context };
    Ok(question.judge(ResourcePolicy::RootOfTrust(policy))?)
}

/// Who wants to do what to which resource, with everything that is known.
pub(super) struct Question<'a> {
    principal: &'a Principal,
    action: &'a str,
    resource: &'a str,
    context: &'a Context,
}

/// A decision against the caller.
pub(super) struct Refusal {
    /// Whether nothing can outweigh it: a policy denies, rather than none allows.
    final_word: bool,
    message: String,
}

impl From<Refusal> for KmsError {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::AccessDenied, refusal.message)
    }
}

impl Question<'_> {
    /// Decides by `policy` and the caller's own policies. The message is AWS's: who, what, on what, and which kind of
    /// policy decided.
    pub(super) fn judge(&self, policy: ResourcePolicy<'_>) -> Result<(), Refusal> {
        let Self { principal, action, resource, context } = *self;
        let request = Request { principal: &principal.who, action, resource, context };
        let (identity, session) = (borrowed(&principal.identity), borrowed(&principal.session));
        let policies = Policies {
            resource: policy,
            identity: &identity,
            boundary: principal.boundary.as_deref(),
            session: &session,
        };
        let decision: Decision<'_> = evaluate(&request, &policies);
        let Some(reason) = decision.refusal(action) else { return Ok(()) };
        let caller = principal.arn();
        let message =
            format!("User: {caller} is not authorized to perform: {action} on resource: {resource} {reason}");
        Err(Refusal { final_word: !decision.leaves_room_for_grants(), message })
    }
}

fn borrowed(policies: &[Rc<PolicyDocument>]) -> Vec<&PolicyDocument> {
    policies.iter().map(Rc::as_ref).collect()
}

/// What is known about the request as such, and what the operation adds.
fn context(call: &Call<'_>, action: &str, facts: &Facts) -> Context {
    let mut context = Context::new();
    let account = call.principal().and_then(|principal| principal.who.account());
    if let Some(account) = account.filter(|_| action.starts_with("kms:")) {
        context.set("kms:CallerAccount", account);
    }
    call.facts.tell(&mut context);
    facts.tell(&mut context);
    context
}

/// What is known about the key (KMS developer guide, "Condition keys for AWS KMS").
fn key_facts(call: &Call<'_>, key: &KeyRecord, context: &mut Context) {
    context.set("kms:KeySpec", key.spec.name());
    context.set("kms:KeyUsage", key.usage.name());
    context.set("kms:KeyOrigin", key.origin.name());
    context.set("kms:MultiRegion", if key.multi_region { "true" } else { "false" });
    for alias in call.store.borrow().aliases.of(key.id) {
        context.add("kms:ResourceAliases", alias);
    }
    for (tag, value) in &key.meta().tags {
        // Two whose names differ only in case are one key, and neither may hide the other.
        context.add(&format!("aws:ResourceTag/{tag}"), value.as_str());
    }
}
