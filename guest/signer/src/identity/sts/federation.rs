//! GetSessionToken and GetFederationToken: credentials that a user asks for with its own access key.

use casemate_policy::Principal as Who;

use crate::access::{Call, Facts};
use crate::identity::entity::User;
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::iam;
use crate::identity::session::Of;
use crate::identity::xml::Xml;

use super::issue::{Begin, Passed};

/// Twelve hours.
const DEFAULT: u64 = 43_200;
const LONGEST: i64 = 129_600;

pub(super) fn session_token(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let duration = form.number("DurationSeconds", 900, LONGEST).unwrap_or(DEFAULT);
    let device = form.optional("SerialNumber", 9, 256).or(form.optional("TokenCode", 6, 6));
    form.done()?;
    if device.is_some() {
        let message = "MultiFactorAuthentication failed: there are no such devices.";
        return Err(Fault::new(Code::AccessDenied, message));
    }
    let user = user(call, "GetSessionToken")?;
    // As on AWS, no permission is needed: the session can do nothing that the user cannot.
    let of = Of::User { id: user.entity.id, name: user.entity.name };
    let passed = Passed { tags: Vec::new(), policy: None, policy_arns: Vec::new() };
    let begin = Begin {
        of,
        duration,
        passed,
        inherited: Default::default(),
        transitive: Vec::new(),
        source_identity: None,
    };
    begin.issue(call, xml).map(drop)
}

pub(super) fn federation_token(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let name = form.name("Name", 32);
    form.text("Name", 2, 32);
    let duration = form.number("DurationSeconds", 900, LONGEST).unwrap_or(DEFAULT);
    let passed = Passed::read(form);
    form.done()?;
    let user = user(call, "GetFederationToken")?;
    let arn = call.identity.borrow().config.global_arn("sts", &format!("federated-user/{name}"));
    let mut facts = Facts::default();
    iam::request_tags(&mut facts, &passed.tags);
    call.allow("sts:GetFederationToken", &arn, &facts)?;
    if !passed.tags.is_empty() {
        call.allow("sts:TagSession", &arn, &facts)?;
    }
    passed.check(call)?;
    let of = Of::Federated { id: user.entity.id, user: user.entity.name, name: name.to_owned() };
    let begin = Begin {
        of,
        duration,
        passed,
        inherited: Default::default(),
        transitive: Vec::new(),
        source_identity: None,
    };
    begin.issue(call, xml)?;
    let account = call.identity.borrow().config.account.clone();
    xml.element("FederatedUser", |xml| {
        xml.text("FederatedUserId", &format!("{account}:{name}"));
        xml.text("Arn", &arn);
    });
    Ok(())
}

/// The user whose own access key signed the request.
fn user(call: &Call<'_>, operation: &str) -> Result<User, Fault> {
    let refused = || {
        let message = format!("Cannot call {operation} with session credentials");
        Fault::new(Code::AccessDenied, message)
    };
    let principal = call.principal().filter(|principal| principal.issued.is_none()).ok_or_else(refused)?;
    match &principal.who {
        Who::User { arn, .. } => Ok(call.identity.borrow().user(arn.name())?.clone()),
        _ => Err(refused()),
    }
}
