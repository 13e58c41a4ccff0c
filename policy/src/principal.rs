//! Who asks, and whom a policy names.
//!
//! One request is made by one [`Principal`]. A policy names any number of principals ([`Named`]), and a name may stand
//! for more than one: an account for everybody in it, a role for each of its sessions. How directly a name meets a
//! principal ([`Reach`]) decides what else must agree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::error::{PolicyError, Problem, excerpt};

/// An Amazon Resource Name: `arn:partition:service:region:account:resource`, none of it a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn(String);

/// A text that is not an ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ARN: arn:partition:service:region:account:resource")]
pub struct NotAnArn;

impl Arn {
    /// `text`, if it has the six parts, a partition, a service, a resource, and no wildcard.
    pub fn parse(text: &str) -> Result<Self, NotAnArn> {
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or(NotAnArn);
        let (arn, partition, service, _, _, resource) =
            (part()?, part()?, part()?, part()?, part()?, part()?);
        let empty = partition.is_empty() || service.is_empty() || resource.is_empty();
        if arn != "arn" || empty || text.contains(['*', '?']) || text.contains(char::is_whitespace) {
            return Err(NotAnArn);
        }
        Ok(Self(text.to_owned()))
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account; empty where the service has none in its ARNs.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// `iam`, `sts`, `kms` …
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// What follows the account.
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    /// What follows the last `/`: the friendly name of a user or role, the name of a session.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    fn part(&self, index: usize) -> &str {
        self.0.splitn(6, ':').nth(index).unwrap_or_default()
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tags of a principal: those of the user, or of the role and the session together. Names are not case-sensitive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(tags: I) -> Self {
        Self(tags.into_iter().map(|(key, value)| (key.as_ref().to_ascii_lowercase(), value.into())).collect())
    }
}

/// Who makes a request, once that is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The account itself.
    Root {
        /// Twelve digits.
        account: String,
    },
    /// An IAM user.
    User {
        /// `arn:aws:iam::ACCOUNT:user/PATH/NAME`.
        arn: Arn,
        /// `AIDA…`, which no other user ever had or will have.
        id: String,
        /// The user's tags.
        tags: Tags,
    },
    /// A session that began with AssumeRole.
    AssumedRole {
        /// `arn:aws:iam::ACCOUNT:role/PATH/NAME`.
        role: Arn,
        /// `AROA…`, which no other role ever had or will have.
        role_id: String,
        /// `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`.
        session: Arn,
        /// The role's tags, overlaid by the session's.
        tags: Tags,
    },
    /// A session that began with GetFederationToken.
    FederatedUser {
        /// The IAM user who asked for it.
        user: Arn,
        /// Its `AIDA…`.
        user_id: String,
        /// `arn:aws:sts::ACCOUNT:federated-user/NAME`.
        session: Arn,
        /// The user's tags, overlaid by the session's.
        tags: Tags,
    },
    /// A service, under its own name: `ec2.amazonaws.com`.
    Service {
        /// That name.
        name: String,
    },
    /// Nobody in particular.
    Anonymous,
}

impl Principal {
    /// The account that the principal belongs to, if any.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Root { account } => Some(account),
            Self::User { arn, .. } => Some(arn.account()),
            Self::AssumedRole { session, .. } | Self::FederatedUser { session, .. } => {
                Some(session.account())
            }
            Self::Service { .. } | Self::Anonymous => None,
        }
    }

    /// The ARN that AWS names the principal by, as GetCallerIdentity and error messages do.
    pub fn arn(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Root { account } => Some(Cow::Owned(format!("arn:aws:iam::{account}:root"))),
            Self::User { arn, .. } => Some(Cow::Borrowed(arn.as_str())),
            Self::AssumedRole { session, .. } | Self::FederatedUser { session, .. } => {
                Some(Cow::Borrowed(session.as_str()))
            }
            Self::Service { .. } | Self::Anonymous => None,
        }
    }

    /// The value of a condition key that speaks of the principal: `None` if `key` is not such a key, `Some(None)` if it
    /// is and has no value. `key` is in lower case. IAM user guide, "Principal key values".
    pub(crate) fn tells(&self, key: &str) -> Option<Option<Cow<'_, str>>> {
        let key = key.strip_prefix("aws:")?;
        if let Some(tag) = key.strip_prefix("principaltag/") {
            return Some(self.tags().and_then(|tags| tags.0.get(tag)).map(|value| value.as_str().into()));
        }
        match key {
            "principalarn" => Some(match self {
                // For a session it is the role's.
                Self::AssumedRole { role, .. } => Some(role.as_str().into()),
                other => other.arn(),
            }),
            "principalaccount" => Some(self.account().map(Cow::Borrowed)),
            "principaltype" => Some(self.kind().map(Cow::Borrowed)),
            "principalisawsservice" => {
                Some(Some(if matches!(self, Self::Service { .. }) { "true" } else { "false" }.into()))
            }
            "principalservicename" => Some(match self {
                Self::Service { name } => Some(name.as_str().into()),
                _ => None,
            }),
            "userid" => Some(self.user_id()),
            "username" => Some(match self {
                Self::User { arn, .. } => Some(arn.name().into()),
                _ => None,
            }),
            _ => None,
        }
    }

    /// The ways in which a policy that names all of the principal's identities names it.
    pub(crate) fn reaches(&self) -> &'static [Reach] {
        match self {
            Self::Root { .. } | Self::Service { .. } | Self::Anonymous => &[Reach::Direct],
            Self::User { .. } => &[Reach::Account, Reach::Direct],
            Self::AssumedRole { .. } | Self::FederatedUser { .. } => {
                &[Reach::Account, Reach::Base, Reach::Direct]
            }
        }
    }

    fn tags(&self) -> Option<&Tags> {
        match self {
            Self::User { tags, .. } | Self::AssumedRole { tags, .. } | Self::FederatedUser { tags, .. } => {
                Some(tags)
            }
            Self::Root { .. } | Self::Service { .. } | Self::Anonymous => None,
        }
    }

    fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Root { .. } => Some("Account"),
            Self::User { .. } => Some("User"),
            Self::AssumedRole { .. } => Some("AssumedRole"),
            Self::FederatedUser { .. } => Some("FederatedUser"),
            Self::Anonymous => Some("Anonymous"),
            Self::Service { .. } => None,
        }
    }

    /// `aws:userid`, and what GetCallerIdentity calls `UserId`.
    pub fn user_id(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Root { account } => Some(account.as_str().into()),
            Self::User { id, .. } => Some(id.as_str().into()),
            Self::AssumedRole { role_id, session, .. } => {
                Some(format!("{role_id}:{}", session.name()).into())
            }
            Self::FederatedUser { session, .. } => {
                Some(format!("{}:{}", session.account(), session.name()).into())
            }
            Self::Anonymous => Some("anonymous".into()),
            Self::Service { .. } => None,
        }
    }
}

/// A principal as a policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// `*`: everybody, anonymous callers included.
    Anyone,
    /// An account, by its number or as `arn:aws:iam::ACCOUNT:root`, which means the same.
    Account(String),
    /// An IAM user or role, or a session, by its ARN.
    Arn(Arn),
    /// An IAM user or role by its unique identifier, `AIDA…` or `AROA…`: what AWS puts in the place of an ARN, so that
    /// somebody who gets the name later does not get the rights.
    UniqueId(String),
    /// A service.
    Service(String),
    /// An identity provider. Nobody is one here, so it meets no request.
    Federated(String),
    /// An owner of buckets. Nobody is one here, so it meets no request.
    CanonicalUser(String),
}

/// How directly a policy names a principal. The order is that of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Its account is named: the account may pass the permission on.
    Account,
    /// Its role (or the user behind a federated session) is named: what limits the role or session limits this.
    Base,
    /// It is named itself, or everybody is.
    Direct,
}

impl Named {
    /// How directly this names `principal`, if at all.
    pub(crate) fn reach(&self, principal: &Principal) -> Option<Reach> {
        let direct = |named: bool| named.then_some(Reach::Direct);
        match (self, principal) {
            (Self::Anyone, _) => Some(Reach::Direct),
            (Self::Account(named), Principal::Root { account }) => direct(named == account),
            (Self::Account(named), other) => (other.account() == Some(named)).then_some(Reach::Account),
            (Self::Arn(named), Principal::User { arn, .. }) => direct(named == arn),
            (Self::Arn(named), Principal::AssumedRole { role: base, session, .. })
            | (Self::Arn(named), Principal::FederatedUser { user: base, session, .. }) => {
                direct(named == session).or((named == base).then_some(Reach::Base))
            }
            (Self::UniqueId(named), Principal::User { id, .. }) => direct(named == id),
            (Self::UniqueId(named), Principal::AssumedRole { role_id: id, .. })
            | (Self::UniqueId(named), Principal::FederatedUser { user_id: id, .. }) => {
                (named == id).then_some(Reach::Base)
            }
            (Self::Service(named), Principal::Service { name }) => direct(named == name),
            (Self::Arn(_) | Self::UniqueId(_) | Self::Service(_), _) => None,
            (Self::Federated(_) | Self::CanonicalUser(_), _) => None,
        }
    }
}

/// Reads what stands under `AWS`.
pub(crate) fn aws(text: &str) -> Result<Named, PolicyError> {
    let invalid = |reason| {
        let problem = Problem::Principal { value: excerpt(text), reason };
        Err(PolicyError::new(problem))
    };
    if text == "*" {
        return Ok(Named::Anyone);
    }
    if text.contains(['*', '?']) {
        return invalid("`*` stands for everybody or not at all");
    }
    if is_account(text) {
        return Ok(Named::Account(text.to_owned()));
    }
    if is_unique_id(text) {
        return Ok(Named::UniqueId(text.to_owned()));
    }
    let Ok(arn) = Arn::parse(text) else {
        return invalid("expected `*`, an account, or the ARN of an account, user, role or session");
    };
    if !is_account(arn.account()) {
        return invalid("the account must be twelve digits");
    }
    let (kind, names) = arn.resource().split_once('/').unwrap_or((arn.resource(), ""));
    let all_named = names.split('/').all(|name| !name.is_empty());
    match (arn.service(), kind) {
        ("iam", "root") if arn.resource() == "root" => Ok(Named::Account(arn.account().to_owned())),
        ("iam", "user" | "role") | ("sts", "federated-user") if all_named => Ok(Named::Arn(arn)),
        ("sts", "assumed-role") if all_named && names.split('/').count() == 2 => Ok(Named::Arn(arn)),
        ("iam", "group") => invalid("a group is not a principal"),
        _ => invalid("expected the ARN of an account, user, role or session"),
    }
}

/// Twelve digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit())
}

/// IAM's identifiers: a prefix that tells the kind, then capitals and digits.
fn is_unique_id(text: &str) -> bool {
    let kind = text.starts_with("AIDA") || text.starts_with("AROA");
    kind && (16..=128).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Reads what stands under `Service`: a name, never a pattern.
pub(crate) fn service(text: &str) -> Result<Named, PolicyError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    match !text.is_empty() && text.chars().all(plain) && text.contains('.') {
        true => Ok(Named::Service(text.to_owned())),
        false => Err(PolicyError::new(Problem::Principal {
            value: excerpt(text),
            reason: "expected the name of a service, such as `ec2.amazonaws.com`",
        })),
    }
}

/// Reads what stands under `Federated`: an identity provider's name or ARN.
pub(crate) fn federated(text: &str) -> Result<Named, PolicyError> {
    opaque(text, "expected the name or ARN of an identity provider").map(Named::Federated)
}

/// Reads what stands under `CanonicalUser`: an identifier of Amazon S3.
pub(crate) fn canonical_user(text: &str) -> Result<Named, PolicyError> {
    opaque(text, "expected a canonical user identifier").map(Named::CanonicalUser)
}

fn opaque(text: &str, reason: &'static str) -> Result<String, PolicyError> {
    let odd = |c: char| "*?".contains(c) || c.is_whitespace() || c.is_control();
    match text.is_empty() || text.contains(odd) {
        true => Err(PolicyError::new(Problem::Principal { value: excerpt(text), reason })),
        false => Ok(text.to_owned()),
    }
}
