//! Whom the names in key policies, trust policies and grants mean.
//!
//! A policy names users and roles by ARN. AWS keeps their unique identifiers, so that whoever is made later under the same
//! name does not get the rights; and so do we, beside the text of the policy. Names of this account that nobody has
//! are refused. Those of other accounts, of sessions and of the account itself are taken as they are.

use std::collections::BTreeMap;
use std::convert::Infallible;

use casemate_policy::{Arn, Kind as PolicyKind, Named, PolicyDocument};

use crate::identity::{Directory, Kind};

use super::Call;

/// Unique identifiers of users and roles, by ARN.
pub(crate) type Bindings = BTreeMap<String, String>;

/// A name that nobody has: this ARN.
#[derive(Debug)]
pub(crate) struct Nobody(pub(crate) String);

/// Whom the names in `policy` mean.
pub(crate) fn principals(call: &Call<'_>, policy: &PolicyDocument) -> Result<Bindings, Nobody> {
    let mut bindings = Bindings::new();
    for named in policy.principals() {
        let Named::Arn(arn) = named else { continue };
        if let Some(id) = principal(call, arn)? {
            bindings.insert(arn.as_str().to_owned(), id);
        }
    }
    Ok(bindings)
}

/// Whom `arn` means; `None` if it is not for this signer to say.
pub(crate) fn principal(call: &Call<'_>, arn: &Arn) -> Result<Option<String>, Nobody> {
    let directory = call.identity.borrow();
    // Before the claim there is nobody yet.
    let ours = directory.claimed() && arn.service() == "iam" && arn.account() == directory.config.account;
    match kind(arn).filter(|_| ours) {
        None => Ok(None),
        Some(kind) => id(&directory, kind, arn).map(Some).ok_or_else(|| Nobody(arn.to_string())),
    }
}

/// The policy with unique identifiers in the place of names, as far as they are bound.
pub(crate) fn bound(policy: PolicyDocument, bindings: &Bindings) -> PolicyDocument {
    let rename = |named| match named {
        Named::Arn(arn) => match bindings.get(arn.as_str()) {
            Some(id) => Ok::<_, Infallible>(Named::UniqueId(id.clone())),
            None => Ok(Named::Arn(arn)),
        },
        other => Ok(other),
    };
    match policy.rename_principals(rename) {
        Ok(policy) => policy,
        Err(never) => match never {},
    }
}

/// The text of a policy of that kind, as it was given; but where a name is another's now or nobody's, the identifier that it meant
/// stands in its place.
pub(crate) fn shown(call: &Call<'_>, policy_kind: PolicyKind, text: String, bindings: &Bindings) -> String {
    let directory = call.identity.borrow();
    let is_stale = |arn: &str, meant: &String| {
        let arn = Arn::parse(arn).ok();
        let now = arn.and_then(|arn| id(&directory, kind(&arn)?, &arn));
        now.as_ref() != Some(meant)
    };
    let mut stale = bindings.clone();
    stale.retain(|arn, id| is_stale(arn, id));
    if stale.is_empty() {
        return text;
    }
    match PolicyDocument::parse(&text, policy_kind) {
        Ok(policy) => bound(policy, &stale).to_json(),
        Err(_) => text,
    }
}

fn kind(arn: &Arn) -> Option<Kind> {
    match arn.resource().split_once('/')?.0 {
        "user" => Some(Kind::User),
        "role" => Some(Kind::Role),
        _ => None,
    }
}

fn id(directory: &Directory, kind: Kind, arn: &Arn) -> Option<String> {
    let entity = directory.entity(kind, arn.name()).ok()?;
    (directory.arn(kind, arn.name()) == arn.as_str()).then(|| entity.id.clone())
}
