//! What grants permit: a grant is treated as a policy on its key that allows its operations to its grantee.
//!
//! So a grant to a user needs nothing else; one to a role is limited by what limits the role's session; one to an account
//! lets the account pass the permission on in its own policies. An explicit deny anywhere comes first: see
//! [`super::decide`].

use std::rc::Rc;

use casemate_policy::ResourcePolicy;

use crate::errors::KmsError;
use crate::ops::refusal;
use crate::store::{Grant, GrantId, GrantOperation, KeyRecord, Party};
use crate::types::EncryptionContext;

use super::decide::{self, Asked, Question};
use super::{Call, Facts, ask};

/// Whether a grant on `key` permits what is asked.
pub(super) fn permit(call: &Call<'_>, key: &KeyRecord, asked: &Asked<'_>, question: &Question<'_>) -> bool {
    let store = call.store.borrow();
    store.grants.on(key.id).any(|grant| {
        grant.operations.iter().any(|operation| operation.name() == asked.operation)
            && holds(grant, asked, call.facts)
            && names(&grant.grantee, question)
    })
}

/// Whether the constraints of the grant are met.
fn holds(grant: &Grant, asked: &Asked<'_>, facts: &Facts) -> bool {
    let constraints = &grant.constraints;
    let source = constraints.source_arn.as_deref();
    if source.is_some_and(|source| facts.only("aws:SourceArn") != Some(source)) {
        return false;
    }
    match (asked.operation, asked.proposed) {
        // They are not about a context.
        ("DescribeKey" | "RetireGrant", _) => true,
        // Who has a grant can pass on what it permits, and no more.
        ("CreateGrant", Some(proposed)) => {
            proposed.operations.iter().all(|operation| grant.operations.contains(operation))
                && proposed.constraints.are_as_strict_as(constraints)
        }
        ("CreateGrant", None) => false,
        _ => constraints.admit(asked.context.unwrap_or(&EncryptionContext::new())),
    }
}

/// The grant of that id on that key, if the caller may end it: by the policies, as its retiring principal, or as its
/// grantee if it says so.
pub(crate) fn retirable(call: &Call<'_>, key_id: &str, id: GrantId) -> Result<Rc<Grant>, KmsError> {
    let key = ask::existing(call, "RetireGrant", key_id)?;
    let grant = call.store.borrow().grants.find(key.id, id).ok_or_else(|| refusal::no_grant(id))?;
    let constraints = &grant.constraints;
    let mut facts = Facts::default();
    facts.set_context(constraints.equals.as_ref().or(constraints.subset.as_ref()));
    let asked = Asked { operation: "RetireGrant", context: None, proposed: None, facts: &facts };
    decide::on_key_or(call, &key, &asked, |question| {
        let by_grantee = grant.operations.contains(&GrantOperation::RetireGrant);
        grant.retiring.as_ref().is_some_and(|party| names(party, question))
            || (by_grantee && names(&grant.grantee, question))
    })?;
    Ok(grant)
}

/// Whether a policy that allows everything to `party` would permit the request.
fn names(party: &Party, question: &Question<'_>) -> bool {
    party.policy().is_some_and(|policy| question.judge(ResourcePolicy::RootOfTrust(policy)).is_ok())
}
