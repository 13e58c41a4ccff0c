//! AssumeRole: credentials of a role, for whom its trust policy names.

use casemate_policy::{Kind as PolicyKind, PolicyDocument, Principal as Who};

use crate::access::{Call, Facts, bind};
use crate::identity::entity::{Kind, Role};
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::iam;
use crate::identity::session::{Of, Session};
use crate::identity::xml::Xml;

use super::issue::{Begin, Passed};

const HOUR: u64 = 3600;

/// The parameters.
struct Wanted<'a> {
    arn: &'a str,
    session_name: &'a str,
    duration: Option<u64>,
    external_id: Option<&'a str>,
    source_identity: Option<&'a str>,
    transitive: Vec<&'a str>,
    passed: Passed<'a>,
}

impl<'a> Wanted<'a> {
    fn read(form: &mut Form<'a>) -> Result<Self, Fault> {
        form.refuse(&["ProvidedContexts"])?;
        let (arn, session_name) = (form.arn("RoleArn"), form.name("RoleSessionName", 64));
        form.text("RoleSessionName", 2, 64);
        let wanted = Self {
            arn,
            session_name,
            duration: form.number("DurationSeconds", 900, 43_200),
            external_id: form.optional("ExternalId", 2, 1224),
            source_identity: form.optional_name("SourceIdentity", 2, 256),
            transitive: form.tag_keys("TransitiveTagKeys"),
            passed: Passed::read(form),
        };
        let device = form.optional("SerialNumber", 9, 256).or(form.optional("TokenCode", 6, 6));
        form.done()?;
        match device {
            Some(_) => Err(Fault::new(
                Code::AccessDenied,
                "MultiFactorAuthentication failed: there are no such devices.",
            )),
            None => Ok(wanted),
        }
    }

    /// What the trust policy and the caller's policies can ask for.
    fn facts(&self, role: &Role, source_identity: Option<&str>) -> Facts {
        let mut facts = Facts::default();
        facts.set("sts:RoleSessionName", self.session_name);
        if let Some(id) = self.external_id {
            facts.set("sts:ExternalId", id);
        }
        if let Some(identity) = source_identity {
            facts.set("sts:SourceIdentity", identity);
        }
        if !self.transitive.is_empty() {
            let keys = self.transitive.iter().map(|key| (*key).to_owned()).collect();
            facts.set_all("sts:TransitiveTagKeys", keys);
        }
        iam::request_tags(&mut facts, &self.passed.tags);
        iam::resource_tags(&mut facts, &role.entity.tags);
        facts
    }

    /// Whether the caller may begin this session of the role.
    fn allowed(&self, call: &Call<'_>, role: &Role, source_identity: Option<&str>) -> Result<(), Fault> {
        let trust = PolicyDocument::parse(&role.trust, PolicyKind::Trust)
            .map_err(|_| Fault::new(Code::InternalFailure, "The role's trust policy cannot be read."))?;
        let trust = bind::bound(trust, &role.trusted);
        let facts = self.facts(role, source_identity);
        call.allow_under(&trust, "sts:AssumeRole", self.arn, &facts)?;
        if !self.passed.tags.is_empty() || !self.transitive.is_empty() {
            call.allow_under(&trust, "sts:TagSession", self.arn, &facts)?;
        }
        if source_identity.is_some() {
            call.allow_under(&trust, "sts:SetSourceIdentity", self.arn, &facts)?;
        }
        Ok(())
    }
}

pub(super) fn assume_role(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let wanted = Wanted::read(form)?;
    // Whatever a trust policy says: naming the account trusts those in it, not the account itself.
    if call.principal().is_none_or(|principal| matches!(principal.who, Who::Root { .. })) {
        return Err(Fault::new(Code::AccessDenied, "Roles may not be assumed by root accounts."));
    }
    let own = call.principal().and_then(|principal| principal.issued.as_deref());
    let source_identity = source_identity(own, wanted.source_identity)?;
    let role = find(call, wanted.arn)?;
    wanted.allowed(call, &role, source_identity)?;
    wanted.passed.check(call)?;
    let chained = matches!(own, Some(Session { of: Of::Role { .. }, .. }));
    let duration = duration(&role, wanted.duration, chained)?;
    let (inherited, transitive) = inherit(own, &wanted)?;
    let entity = &role.entity;
    let session = wanted.session_name.to_owned();
    let of = Of::Role { id: entity.id.clone(), name: entity.name.clone(), session };
    let source = source_identity.map(str::to_owned);
    let passed = wanted.passed;
    Begin { of, duration, passed, inherited, transitive, source_identity: source }.issue(call, xml)?;
    let user = format!("assumed-role/{}/{}", entity.name, wanted.session_name);
    let arn = call.identity.borrow().config.global_arn("sts", &user);
    xml.element("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", &format!("{}:{}", entity.id, wanted.session_name));
        xml.text("Arn", &arn);
    });
    if let Some(identity) = source_identity {
        xml.text("SourceIdentity", identity);
    }
    Ok(())
}

/// The role of that ARN. Whether there is none, or the caller may not assume it, looks the same.
fn find(call: &Call<'_>, arn: &str) -> Result<Role, Fault> {
    let directory = call.identity.borrow();
    let name = arn.rsplit('/').next().unwrap_or_default();
    let role = directory.roles().get(name);
    let role = role.filter(|role| Kind::Role.arn(&directory.config, &role.entity.path, name) == arn);
    role.cloned().ok_or_else(|| {
        let caller = call.caller.arn();
        let message = format!(
            "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn} because no resource-based \
             policy allows the sts:AssumeRole action"
        );
        Fault::new(Code::AccessDenied, message)
    })
}

/// The source identity of the new session. Once set it stays, through all sessions that follow.
fn source_identity<'a>(own: Option<&'a Session>, wanted: Option<&'a str>) -> Result<Option<&'a str>, Fault> {
    match (own.and_then(|session| session.source_identity.as_deref()), wanted) {
        (Some(own), Some(wanted)) if own != wanted => Err(Fault::new(
            Code::AccessDenied,
            "The source identity of a session cannot be changed by the sessions that follow it.",
        )),
        (own, wanted) => Ok(own.or(wanted)),
    }
}

fn duration(role: &Role, wanted: Option<u64>, chained: bool) -> Result<u64, Fault> {
    let duration = wanted.unwrap_or(HOUR);
    if chained && duration > HOUR {
        return Err(Fault::new(
            Code::ValidationError,
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    if duration > role.max_session {
        return Err(Fault::new(
            Code::ValidationError,
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    Ok(duration)
}

type Inherited = (std::collections::BTreeMap<String, String>, Vec<String>);

/// The tags that go on from the caller's session, and the names of all that go on from the new one.
fn inherit(own: Option<&Session>, wanted: &Wanted<'_>) -> Result<Inherited, Fault> {
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let missing = wanted.transitive.iter().find(|key| !wanted.passed.tags.iter().any(|tag| same(tag.0, key)));
    if let Some(key) = missing {
        let message =
            format!("The specified transitive tag key '{key}' must be included in the requested tags.");
        return Err(Fault::new(Code::ValidationError, message));
    }
    let mut transitive: Vec<String> = wanted.transitive.iter().map(|key| (*key).to_owned()).collect();
    let Some(own) = own else { return Ok((Default::default(), transitive)) };
    let inherited: std::collections::BTreeMap<String, String> = own
        .tags
        .iter()
        .filter(|(key, _)| own.transitive.iter().any(|name| same(name, key)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some((key, _)) = wanted.passed.tags.iter().find(|tag| inherited.keys().any(|key| same(key, tag.0)))
    {
        let message = format!(
            "One of the specified transitive tag keys can't be set because it conflicts with a \
             transitive tag key from the calling session: '{key}'"
        );
        return Err(Fault::new(Code::ValidationError, message));
    }
    transitive.extend(inherited.keys().cloned());
    Ok((inherited, transitive))
}
