//! PutPolicy, GetPolicy, DeletePolicy: who may use an authority beside those whose own policies say so.

use casemate_policy::{Kind as PolicyKind, PolicyDocument};

use crate::access::Call;
use crate::access::bind::{self, Nobody};
use crate::errors::{ErrorKind, KmsError};
use crate::types::Empty;
use crate::validate::{Check, POLICY};

use super::ask::Ask;
use super::check;
use super::types::{GetPolicyResponse, PolicyRequest};

/// The longest policy in bytes; the service model has the same in characters.
const LONGEST: usize = 81_920;

pub(super) fn put(call: &Call<'_>, request: PolicyRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "resourceArn", &request.resource_arn);
    broken.required("policy", &request.policy);
    broken.text("policy", request.policy.as_deref(), 1, LONGEST);
    broken.characters("policy", request.policy.as_deref(), POLICY);
    broken.done()?;
    let authority = Ask::new("PutPolicy").living(call, &request.resource_arn)?;
    let text = request.policy.unwrap_or_default();
    let invalid = |message: String| KmsError::new(ErrorKind::InvalidPolicy, message);
    if text.len() > LONGEST {
        return Err(invalid(format!("The policy has more than {LONGEST} bytes.")));
    }
    let policy =
        PolicyDocument::parse(&text, PolicyKind::Resource).map_err(|error| invalid(error.to_string()))?;
    for action in ["acm-pca:PutPolicy", "acm-pca:DeletePolicy"] {
        let allowed = call.allow_on(Some(&policy), action, authority.arn(), call.facts);
        allowed.map_err(|_| {
            let message = "The policy would not let you change it in the future.";
            KmsError::new(ErrorKind::LockoutPrevented, message)
        })?;
    }
    let principals = bind::principals(call, &policy)
        .map_err(|Nobody(arn)| invalid(format!("The policy names {arn}, and nobody has that name.")))?;
    let mut meta = authority.meta_mut();
    (meta.policy, meta.principals) = (text, principals);
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

pub(super) fn get(call: &Call<'_>, request: PolicyRequest) -> Result<GetPolicyResponse, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "resourceArn", &request.resource_arn);
    broken.done()?;
    let authority = Ask::new("GetPolicy").living(call, &request.resource_arn)?;
    let meta = authority.meta();
    if meta.policy.is_empty() {
        return Err(none(authority.arn()));
    }
    let policy = bind::shown(call, PolicyKind::Resource, meta.policy.clone(), &meta.principals);
    Ok(GetPolicyResponse { policy: Some(policy) })
}

pub(super) fn delete(call: &Call<'_>, request: PolicyRequest) -> Result<Empty, KmsError> {
    let mut broken = Check::default();
    check::arn(&mut broken, "resourceArn", &request.resource_arn);
    broken.done()?;
    let authority = Ask::new("DeletePolicy").living(call, &request.resource_arn)?;
    let mut meta = authority.meta_mut();
    if meta.policy.is_empty() {
        return Err(none(authority.arn()));
    }
    meta.policy.clear();
    meta.principals.clear();
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(Empty {})
}

fn none(arn: &str) -> KmsError {
    KmsError::new(ErrorKind::ResourceNotFound, format!("{arn} has no policy."))
}
