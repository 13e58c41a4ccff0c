//! The decision on a request.
//!
//! IAM user guide, "Policy evaluation logic"; KMS developer guide, "Default key policy". In this order:
//!
//! 1. A `Deny` that applies, in any policy, refuses.
//! 2. The policy of the resource. What it grants to the principal itself (its user ARN, its session ARN, everybody)
//!    needs nothing else. What it grants to the role behind a session, or to the user behind a federated session, is
//!    limited by the permissions boundary and the session policies.
//! 3. What it grants to the account, or what needs no policy on the resource, must be allowed by an identity-based
//!    policy, and by the boundary and a session policy where there are such. The account root user has no policies and
//!    needs none.
//! 4. Nothing else is permitted.
//!
//! A principal of another account than the resource's needs both: the policy of the resource and its own.

use std::fmt;

use crate::context::{Context, Lookup};
use crate::document::{Action, Effect, Element, PolicyDocument, Resources, Statement, Subject};
use crate::effort::Effort;
use crate::pattern::{self, Match, Same, Template};
use crate::principal::{Named, Principal, Reach, is_account};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// What for: `kms:Sign`.
    pub action: &'a str,
    /// On what: an ARN, or `*` for actions that are on no resource.
    pub resource: &'a str,
    /// What else is known.
    pub context: &'a Context,
}

/// The policies that a decision is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'l, 'p> {
    /// That of the resource.
    pub resource: ResourcePolicy<'p>,
    /// Those of the user with its groups, or of the role.
    pub identity: &'l [&'p PolicyDocument],
    /// The permissions boundary of the user or role.
    pub boundary: Option<&'p PolicyDocument>,
    /// Those that were passed when the session began; one that allows is enough. Empty: none were passed.
    pub session: &'l [&'p PolicyDocument],
}

/// The policy of the resource, and what it means that it is silent.
#[derive(Debug, Clone, Copy, Default)]
pub enum ResourcePolicy<'p> {
    /// There is none: actions of IAM and STS, or those of KMS that are on no key.
    #[default]
    None,
    /// An identity-based policy of the same account may grant access as well: certificate authorities.
    Ordinary(&'p PolicyDocument),
    /// Identity-based policies count only as far as this one lets the account decide: KMS keys, and roles that are to
    /// be assumed.
    RootOfTrust(&'p PolicyDocument),
}

impl<'p> ResourcePolicy<'p> {
    fn document(self) -> Option<&'p PolicyDocument> {
        match self {
            Self::None => None,
            Self::Ordinary(document) | Self::RootOfTrust(document) => Some(document),
        }
    }
}

/// Where a policy is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// To the resource.
    Resource,
    /// To the user, its groups, or the role.
    Identity,
    /// To the user or role as its boundary.
    Boundary,
    /// To the session.
    Session,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "resource-based policy",
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        })
    }
}

/// The statement that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deciding<'p> {
    /// Where its policy is attached.
    pub layer: Layer,
    /// Which of the policies there.
    pub policy: usize,
    /// Which of its statements.
    pub statement: usize,
    /// The statement's identifier.
    pub sid: Option<&'p str>,
}

/// What was decided, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision<'p> {
    /// A statement permits it.
    Allowed(Deciding<'p>),
    /// The account root user may, without any statement.
    AllowedToRoot,
    /// A statement forbids it.
    ExplicitDeny(Deciding<'p>),
    /// Nothing forbids it, and nothing in this layer permits it.
    ImplicitDeny(Layer),
    /// It would take too long to find out ([`Effort`](crate::effort)), so it is refused.
    TooComplex,
}

impl Decision<'_> {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_) | Self::AllowedToRoot)
    }

    /// Whether a grant may permit what the policies do not: nothing forbids the request.
    pub fn leaves_room_for_grants(&self) -> bool {
        matches!(self, Self::ImplicitDeny(_))
    }

    /// The end of AWS's message on a refusal: `with an explicit deny in a resource-based policy`, `because no
    /// identity-based policy allows the kms:Sign action`. Nothing where the request is allowed.
    pub fn refusal(&self, action: &str) -> Option<String> {
        match self {
            Self::Allowed(_) | Self::AllowedToRoot => None,
            Self::ExplicitDeny(by) => {
                let article = if by.layer == Layer::Identity { "an" } else { "a" };
                Some(format!("with an explicit deny in {article} {}", by.layer))
            }
            Self::ImplicitDeny(layer) => Some(format!("because no {layer} allows the {action} action")),
            Self::TooComplex => Some("because its policies are too complex for this request".to_owned()),
        }
    }
}

/// Decides on `request`.
pub fn evaluate<'p>(request: &Request<'_>, policies: &Policies<'_, 'p>) -> Decision<'p> {
    let evaluation = Evaluation { request, policies, effort: Effort::new() };
    let decision = match evaluation.denied() {
        Some(by) => Decision::ExplicitDeny(by),
        None => evaluation.permitted().unwrap_or_else(Decision::ImplicitDeny),
    };
    match evaluation.effort.is_used_up() {
        true => Decision::TooComplex,
        false => decision,
    }
}

/// One request before its policies.
struct Evaluation<'r, 'p> {
    request: &'r Request<'r>,
    policies: &'r Policies<'r, 'p>,
    effort: Effort,
}

/// Every statement of `list`, and where it is.
fn statements<'p: 'l, 'l>(
    layer: Layer,
    list: &'l [&'p PolicyDocument],
) -> impl Iterator<Item = (&'p Statement, Deciding<'p>)> + 'l {
    list.iter().enumerate().flat_map(move |(policy, document)| {
        let document: &'p PolicyDocument = document;
        document.statements().iter().enumerate().map(move |(index, statement)| {
            (statement, Deciding { layer, policy, statement: index, sid: statement.sid() })
        })
    })
}

impl<'p> Evaluation<'_, 'p> {
    /// The first `Deny` that applies.
    fn denied(&self) -> Option<Deciding<'p>> {
        let Policies { resource, identity, boundary, session } = self.policies;
        let resource = resource.document();
        let layers = [
            (Layer::Resource, resource.as_slice()),
            (Layer::Identity, identity),
            (Layer::Boundary, boundary.as_slice()),
            (Layer::Session, session),
        ];
        let mut all = layers.into_iter().flat_map(|(layer, list)| statements(layer, list));
        all.find_map(|(statement, by)| {
            let meant = by.layer != Layer::Resource || self.is_meant_by_deny(&statement.subject);
            (statement.effect == Effect::Deny && meant && self.applies(statement)).then_some(by)
        })
    }

    /// Whether anything permits the request, now that nothing forbids it; else the layer that does not.
    fn permitted(&self) -> Result<Decision<'p>, Layer> {
        match (self.policies.resource, self.granted_by_resource()) {
            (ResourcePolicy::None, _) if self.is_foreign() => Err(Layer::Resource),
            (ResourcePolicy::None, _) => self.permitted_to_identity(),
            (_, Some((_, by))) if self.is_foreign() => {
                self.permitted_to_identity().map(|_| Decision::Allowed(by))
            }
            (_, None) if self.is_foreign() => Err(Layer::Resource),
            (_, Some((Reach::Direct, by))) => Ok(Decision::Allowed(by)),
            (_, Some((Reach::Base, by))) => self.within_limits().map(|()| Decision::Allowed(by)),
            (_, Some((Reach::Account, _))) | (ResourcePolicy::Ordinary(_), None) => {
                self.permitted_to_identity()
            }
            (ResourcePolicy::RootOfTrust(_), None) => Err(Layer::Resource),
        }
    }

    /// The most direct grant in the policy of the resource.
    fn granted_by_resource(&self) -> Option<(Reach, Deciding<'p>)> {
        let policy = self.policies.resource.document();
        let mut best: Option<(Reach, Deciding<'p>)> = None;
        for (statement, by) in statements(Layer::Resource, policy.as_slice()) {
            let Subject::Only(named) = &statement.subject else { continue };
            let reach = named.iter().filter_map(|named| named.reach(self.request.principal)).max();
            let Some(reach) = reach.filter(|reach| best.is_none_or(|(best, _)| best < *reach)) else {
                continue;
            };
            if statement.effect == Effect::Allow && self.applies(statement) {
                best = Some((reach, by));
            }
        }
        best
    }

    /// What the policies of the principal's own account permit.
    fn permitted_to_identity(&self) -> Result<Decision<'p>, Layer> {
        if matches!(self.request.principal, Principal::Root { .. }) {
            return Ok(Decision::AllowedToRoot);
        }
        let by = self.first_allow(Layer::Identity, self.policies.identity).ok_or(Layer::Identity)?;
        self.within_limits()?;
        Ok(Decision::Allowed(by))
    }

    /// Whether the boundary and the session policies allow the request as well.
    fn within_limits(&self) -> Result<(), Layer> {
        let Policies { boundary, session, .. } = self.policies;
        if boundary.is_some() {
            self.first_allow(Layer::Boundary, boundary.as_slice()).ok_or(Layer::Boundary)?;
        }
        // GetFederationToken without a session policy gives a session that may do nothing.
        let federated = matches!(self.request.principal, Principal::FederatedUser { .. });
        if federated || !session.is_empty() {
            self.first_allow(Layer::Session, session).ok_or(Layer::Session)?;
        }
        Ok(())
    }

    fn first_allow(&self, layer: Layer, list: &[&'p PolicyDocument]) -> Option<Deciding<'p>> {
        statements(layer, list)
            .find(|(statement, _)| statement.effect == Effect::Allow && self.applies(statement))
            .map(|(_, by)| by)
    }

    /// Whether the principal belongs to another account than the resource.
    fn is_foreign(&self) -> bool {
        let account = self.request.resource.split(':').nth(4).filter(|part| is_account(part));
        account.zip(self.request.principal.account()).is_some_and(|(owner, own)| owner != own)
    }

    /// Whether a `Deny` in the policy of the resource is about the principal.
    fn is_meant_by_deny(&self, subject: &Subject) -> bool {
        let principal = self.request.principal;
        match subject {
            // A policy of another kind stands where that of a resource should. What it forbids is forbidden.
            Subject::Holder => true,
            Subject::Only(named) => named.iter().any(|named| named.reach(principal).is_some()),
            // IAM user guide, "NotPrincipal": each of the principal's identities must be excepted, and one that has a
            // permissions boundary never is.
            Subject::AllBut(named) => {
                let excepted = |reach| named.iter().any(|named| named.reach(principal) == Some(reach));
                let everybody = named.contains(&Named::Anyone);
                let each = principal.reaches().iter().copied().all(excepted);
                !(everybody || (each && self.policies.boundary.is_none()))
            }
        }
    }

    /// Whether actions, resources and conditions of a statement are those of the request.
    fn applies(&self, statement: &Statement) -> bool {
        self.is_about_action(&statement.actions)
            && self.is_about_resource(statement)
            && self.conditions_are_met(statement)
    }

    fn is_about_action(&self, actions: &Element<Action>) -> bool {
        let asked = self.request.action;
        let is_asked =
            |action: &Action| pattern::matches(&action.tokens, asked, Same::IgnoringCase, &self.effort);
        match actions {
            Element::Only(listed) => listed.iter().any(is_asked),
            Element::AllBut(listed) => !listed.iter().any(is_asked),
        }
    }

    fn is_about_resource(&self, statement: &Statement) -> bool {
        let lookup = self.lookup();
        let compare = |template: &Template| template.matches(self.request.resource, Same::Exactly, &lookup);
        match &statement.resources {
            Resources::Itself => true,
            Resources::Listed(Element::Only(listed)) => {
                listed.iter().any(|template| compare(template) == Match::Yes)
            }
            // An exception that has no value excepts nothing from a `Deny`, and makes an `Allow` void.
            Resources::Listed(Element::AllBut(listed)) => {
                listed.iter().all(|template| match compare(template) {
                    Match::Yes => false,
                    Match::No => true,
                    Match::NoValue => statement.effect == Effect::Deny,
                })
            }
        }
    }

    fn conditions_are_met(&self, statement: &Statement) -> bool {
        let lookup = self.lookup();
        let unclear = statement.effect == Effect::Deny;
        statement.conditions.iter().all(|condition| condition.is_met(&lookup).unwrap_or(unclear))
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup { principal: self.request.principal, context: self.request.context, effort: &self.effort }
    }
}
