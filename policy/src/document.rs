//! A policy document, and how it is read.
//!
//! IAM user guide, "Grammar of the IAM JSON policy language". Reading is strict: an element that is unknown, repeated,
//! of another type, or that this kind of policy does not have is an error, never ignored.

use std::collections::BTreeSet;
use std::fmt;

use crate::condition::{self, Condition};
use crate::error::{PolicyError, Problem, excerpt};
use crate::json::{Json, Object};
use crate::pattern::{Syntax, Template, Token, wildcards};
use crate::principal::{self, Named};
use crate::resource;

/// What a policy is attached to. The kinds differ in the elements that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To a user, group or role: no `Principal`, no `Id`. Managed policies and permissions boundaries are such.
    Identity,
    /// To a session, by whoever began it: the same.
    Session,
    /// To a resource, as a key policy is: a `Principal` and a `Resource` in each statement.
    Resource,
    /// To a role, to say who may assume it: a `Principal` and no `Resource`, and actions of STS only.
    Trust,
}

impl Kind {
    fn has_principal(self) -> bool {
        matches!(self, Self::Resource | Self::Trust)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "an identity-based policy",
            Self::Session => "a session policy",
            Self::Resource => "a resource-based policy",
            Self::Trust => "a role trust policy",
        })
    }
}

/// The version of the policy language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `2008-10-17`, also where no version is given: without policy variables.
    V2008,
    /// `2012-10-17`.
    V2012,
}

/// What a statement does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Permits.
    Allow,
    /// Forbids, whatever else permits.
    Deny,
}

/// A parsed policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    kind: Kind,
    version: Version,
    id: Option<String>,
    statements: Vec<Statement>,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) subject: Subject,
    pub(crate) actions: Element<Action>,
    pub(crate) resources: Resources,
    pub(crate) conditions: Vec<Condition>,
}

/// Whose requests a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Whoever the policy is attached to.
    Holder,
    /// `Principal`: these.
    Only(Vec<Named>),
    /// `NotPrincipal`: all but these. Only a `Deny` has it.
    AllBut(Vec<Named>),
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element<T> {
    /// These.
    Only(Vec<T>),
    /// All but these.
    AllBut(Vec<T>),
}

/// Which resources a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resources {
    /// The one that the policy is attached to: a role, in its trust policy.
    Itself,
    /// Those of its element.
    Listed(Element<Template>),
}

/// An action, perhaps with wildcards: `kms:Sign`, `kms:Get*`, `*`. Case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    source: String,
    pub(crate) tokens: Vec<Token>,
}

impl Action {
    /// As it is written in the policy.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    fn parse(source: &str) -> Result<Self, PolicyError> {
        const EXPECTED: &str = "an action: `*`, or a service, one colon and a name that may have wildcards";
        let service = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let name = |c: char| c.is_ascii_alphanumeric() || "*?-_".contains(c);
        let valid = match source.split_once(':') {
            Some((before, after)) => {
                let both = !before.is_empty() && !after.is_empty();
                both && before.chars().all(service) && after.chars().all(name)
            }
            None => source == "*",
        };
        match valid {
            true => Ok(Self { source: source.to_owned(), tokens: wildcards(source).collect() }),
            false => Err(PolicyError::value(source, EXPECTED)),
        }
    }
}

impl PolicyDocument {
    /// Reads `text` as a policy of that kind.
    ///
    /// The caller limits its size; reading takes time and memory in proportion to that.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, PolicyError> {
        let mut elements = Json::parse(text)?.into_object()?;
        let version = match elements.remove("Version") {
            None => Version::V2008,
            Some(value) => read_version(value).map_err(|error| error.within("Version"))?,
        };
        let id = match elements.remove("Id") {
            Some(_) if !kind.has_principal() => {
                return Err(PolicyError::new(Problem::Prohibited { element: "Id", kind }));
            }
            Some(value) => Some(value.into_string().map_err(|error| error.within("Id"))?),
            None => None,
        };
        let statements = elements.remove("Statement").ok_or_else(|| missing("Statement"))?;
        nothing_else(&elements)?;
        let syntax = Syntax { wildcards: true, variables: version == Version::V2012 };
        let statements = statements
            .each(|statement| read_statement(statement.into_object()?, kind, syntax))
            .map_err(|error| error.within("Statement"))?;
        unique(&statements)?;
        Ok(Self { kind, version, id, statements })
    }

    /// What it was read as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version of its language.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its `Id`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Every principal that it names, in `Principal` and `NotPrincipal`.
    pub fn principals(&self) -> impl Iterator<Item = &Named> {
        self.statements.iter().flat_map(|statement| match &statement.subject {
            Subject::Holder => [].iter(),
            Subject::Only(named) | Subject::AllBut(named) => named.iter(),
        })
    }

    /// The same policy with other names for its principals.
    ///
    /// AWS keeps the unique identifier of a user or role in the place of its ARN, so that whoever gets the name later
    /// does not get the rights; and shows the ARN again for as long as it is that user's or role's. With this a caller
    /// does both, and refuses principals that do not exist.
    pub fn rename_principals<E>(
        mut self,
        mut name: impl FnMut(Named) -> Result<Named, E>,
    ) -> Result<Self, E> {
        for statement in &mut self.statements {
            let (Subject::Only(named) | Subject::AllBut(named)) = &mut statement.subject else { continue };
            let renamed = std::mem::take(named).into_iter().map(&mut name);
            *named = renamed.collect::<Result<_, _>>()?;
        }
        Ok(self)
    }
}

impl Statement {
    /// Its identifier; an empty one counts as none.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref().filter(|sid| !sid.is_empty())
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Whose requests it is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Which actions it is about.
    pub fn actions(&self) -> &Element<Action> {
        &self.actions
    }

    /// Which resources it is about.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// What must be so for it to apply.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

fn missing(element: &'static str) -> PolicyError {
    PolicyError::new(Problem::Missing(element))
}

/// Refuses elements that nobody asked for.
fn nothing_else(elements: &Object) -> Result<(), PolicyError> {
    match elements.keys().next() {
        Some(name) => Err(PolicyError::new(Problem::Unknown(excerpt(name)))),
        None => Ok(()),
    }
}

/// Identifiers of statements tell them apart, so each may stand once.
fn unique(statements: &[Statement]) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    match statements.iter().filter_map(Statement::sid).find(|sid| !seen.insert(*sid)) {
        Some(sid) => Err(PolicyError::new(Problem::RepeatedSid(excerpt(sid))).within("Statement")),
        None => Ok(()),
    }
}

fn read_version(value: Json) -> Result<Version, PolicyError> {
    match value.into_string()?.as_str() {
        "2008-10-17" => Ok(Version::V2008),
        "2012-10-17" => Ok(Version::V2012),
        other => Err(PolicyError::value(other, "2008-10-17 or 2012-10-17")),
    }
}

fn read_statement(mut elements: Object, kind: Kind, syntax: Syntax) -> Result<Statement, PolicyError> {
    let sid = match elements.remove("Sid") {
        None => None,
        Some(value) => Some(read_sid(value, kind).map_err(|error| error.within("Sid"))?),
    };
    let effect = elements.remove("Effect").ok_or_else(|| missing("Effect"))?;
    let effect = read_effect(effect).map_err(|error| error.within("Effect"))?;
    let subject = read_subject(&mut elements, kind, effect)?;
    let actions = read_element(&mut elements, "Action", "NotAction", |text| read_action(text, kind))?;
    let actions = actions.ok_or_else(|| missing("Action"))?;
    let resources = read_resources(&mut elements, kind, syntax)?;
    let conditions = match elements.remove("Condition") {
        None => Vec::new(),
        Some(value) => {
            condition::parse(value, syntax.variables).map_err(|error| error.within("Condition"))?
        }
    };
    nothing_else(&elements)?;
    Ok(Statement { sid, effect, subject, actions, resources, conditions })
}

/// IAM's own policies have letters and digits here; those of resources any text (KMS: with spaces).
fn read_sid(value: Json, kind: Kind) -> Result<String, PolicyError> {
    let sid = value.into_string()?;
    match kind == Kind::Resource || sid.bytes().all(|c| c.is_ascii_alphanumeric()) {
        true => Ok(sid),
        false => Err(PolicyError::value(&sid, "made of letters and digits only")),
    }
}

fn read_effect(value: Json) -> Result<Effect, PolicyError> {
    match value.into_string()?.as_str() {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(PolicyError::value(other, "Allow or Deny")),
    }
}

fn read_action(text: &str, kind: Kind) -> Result<Action, PolicyError> {
    let action = Action::parse(text)?;
    let of_sts = text.split_once(':').is_some_and(|(service, _)| service.eq_ignore_ascii_case("sts"));
    match kind == Kind::Trust && !of_sts {
        true => Err(PolicyError::value(text, "an action of STS, the only ones of a role trust policy")),
        false => Ok(action),
    }
}

/// One of two elements that exclude each other, each a list of texts; `None` if neither is there.
fn read_element<T>(
    elements: &mut Object,
    only: &'static str,
    all_but: &'static str,
    read: impl Fn(&str) -> Result<T, PolicyError>,
) -> Result<Option<Element<T>>, PolicyError> {
    let list = |value: Json, name: &'static str| {
        value.each(|member| read(&member.into_string()?)).map_err(|error| error.within(name))
    };
    match (elements.remove(only), elements.remove(all_but)) {
        (Some(_), Some(_)) => Err(PolicyError::new(Problem::Conflict(only, all_but))),
        (Some(value), None) => Ok(Some(Element::Only(list(value, only)?))),
        (None, Some(value)) => Ok(Some(Element::AllBut(list(value, all_but)?))),
        (None, None) => Ok(None),
    }
}

fn read_resources(elements: &mut Object, kind: Kind, syntax: Syntax) -> Result<Resources, PolicyError> {
    let read = |text: &str| resource::parse(text, syntax);
    match (read_element(elements, "Resource", "NotResource", read)?, kind) {
        (Some(_), Kind::Trust) => Err(PolicyError::new(Problem::Prohibited { element: "Resource", kind })),
        (None, Kind::Trust) => Ok(Resources::Itself),
        (Some(listed), _) => Ok(Resources::Listed(listed)),
        (None, _) => Err(missing("Resource")),
    }
}

fn read_subject(elements: &mut Object, kind: Kind, effect: Effect) -> Result<Subject, PolicyError> {
    let (only, all_but) = (elements.remove("Principal"), elements.remove("NotPrincipal"));
    if !kind.has_principal() {
        let element = match (&only, &all_but) {
            (None, None) => return Ok(Subject::Holder),
            (Some(_), _) => "Principal",
            (None, Some(_)) => "NotPrincipal",
        };
        return Err(PolicyError::new(Problem::Prohibited { element, kind }));
    }
    match (only, all_but) {
        (Some(_), Some(_)) => Err(PolicyError::new(Problem::Conflict("Principal", "NotPrincipal"))),
        (Some(value), None) => {
            read_principals(value).map(Subject::Only).map_err(|error| error.within("Principal"))
        }
        // It would permit the whole world, but for a few.
        (None, Some(_)) if effect == Effect::Allow => {
            Err(PolicyError::new(Problem::Conflict("NotPrincipal", "\"Effect\": \"Allow\"")))
        }
        (None, Some(_)) if kind == Kind::Trust => {
            Err(PolicyError::new(Problem::Prohibited { element: "NotPrincipal", kind }))
        }
        (None, Some(value)) => {
            read_principals(value).map(Subject::AllBut).map_err(|error| error.within("NotPrincipal"))
        }
        (None, None) => Err(missing("Principal")),
    }
}

/// `"*"`, or an object of lists.
fn read_principals(value: Json) -> Result<Vec<Named>, PolicyError> {
    let types = match value {
        Json::String(text) if text == "*" => return Ok(vec![Named::Anyone]),
        Json::String(text) => {
            let reason =
                "only `*` may stand alone; others stand under AWS, Service, Federated or CanonicalUser";
            return Err(PolicyError::new(Problem::Principal { value: excerpt(&text), reason }));
        }
        other => other.into_object()?,
    };
    if types.is_empty() {
        return Err(PolicyError::new(Problem::Empty));
    }
    let mut all = Vec::new();
    for (name, list) in types {
        let read = match name.as_str() {
            "AWS" => principal::aws,
            "Service" => principal::service,
            "Federated" => principal::federated,
            "CanonicalUser" => principal::canonical_user,
            _ => return Err(PolicyError::new(Problem::Unknown(excerpt(&name)))),
        };
        let named = list.each(|member| read(&member.into_string()?));
        all.extend(named.map_err(|error| error.within(name))?);
    }
    Ok(all)
}
