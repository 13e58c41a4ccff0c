//! CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant. What a grant permits: [`crate::access`].

use std::rc::Rc;

use casemate_policy::Arn;

use crate::access::bind::{self, Nobody};
use crate::access::{self, Ask, Call, Facts};
use crate::crypto::KeyUsage;
use crate::errors::{ErrorKind, KmsError};
use crate::store::{Constraints, Grant, GrantId, GrantOperation, KeyId, KeyRecord, Party, Who};
use crate::types::{
    CreateGrantRequest, CreateGrantResponse, Empty, EncryptionContext, GrantConstraints, GrantListEntry,
    ListGrantsRequest, ListGrantsResponse, ListRetirableGrantsRequest, RetireGrantRequest,
    RevokeGrantRequest, Timestamp,
};
use crate::validate::{Check, NAME, PRINCIPAL};

use super::{dry_run, page, refusal};

const SERVICE: &str = r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$";
const SOURCE_ARN: &str = r"^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$";

pub(super) fn create_grant(
    call: &Call<'_>,
    request: CreateGrantRequest,
) -> Result<CreateGrantResponse, KmsError> {
    let operations = check_grant(&request)?;
    let parties = Parties::of(call, &request)?;
    let key_id = request.key_id.clone().unwrap_or_default();
    let constraints = request.constraints.clone().unwrap_or_default();
    let mut grant = Grant::new(KeyId::from_bytes([0; 16]), Timestamp(call.now()), parties.grantee)?;
    grant.retiring = parties.retiring;
    grant.name = request.name;
    grant.operations = operations;
    grant.constraints = Constraints {
        subset: constraints.encryption_context_subset.filter(|context| !context.is_empty()),
        equals: constraints.encryption_context_equals.filter(|context| !context.is_empty()),
        source_arn: constraints.source_arn,
    };
    let ask = Ask::new("CreateGrant").tokens(&request.grant_tokens).facts(facts(&grant)).proposing(&grant);
    let key = ask.find(call, &key_id)?;
    refusal::unless_enabled(&key)?;
    fits(&grant, &key)?;
    grant.key = key.id;
    let same = grant.name.is_some().then(|| same(call, &grant)).flatten();
    if same.is_none() && call.store.borrow().grants.len() >= call.limits.grants {
        let message = format!("This signer holds its limit of {} grants.", call.limits.grants);
        return Err(KmsError::new(ErrorKind::LimitExceeded, message));
    }
    dry_run(request.dry_run)?;
    let grant = same.unwrap_or_else(|| {
        let grant = call.store.borrow_mut().grants.insert(grant);
        call.state.touch(grant.record_name());
        grant
    });
    Ok(CreateGrantResponse { grant_token: grant.token(), grant_id: grant.id })
}

/// The grant that a repeated request has made before.
fn same(call: &Call<'_>, grant: &Grant) -> Option<Rc<Grant>> {
    call.store.borrow().grants.on(grant.key).find(|other| other.is_same_as(grant)).cloned()
}

/// Checks the members, and gives the operations, each once.
fn check_grant(request: &CreateGrantRequest) -> Result<Vec<GrantOperation>, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check_principal(&mut check, "granteePrincipal", request.grantee_principal.as_deref());
    check_principal(&mut check, "retiringPrincipal", request.retiring_principal.as_deref());
    check_service(&mut check, "granteeServicePrincipal", request.grantee_service_principal.as_deref());
    check_service(&mut check, "retiringServicePrincipal", request.retiring_service_principal.as_deref());
    check.required("operations", &request.operations);
    let operations = check.some_of::<GrantOperation>("operations", &request.operations);
    check.grant_tokens(&request.grant_tokens);
    check.text("name", request.name.as_deref(), 1, 256);
    check.characters("name", request.name.as_deref(), NAME);
    if let Some(constraints) = &request.constraints {
        check_constraints(&mut check, constraints);
    }
    check.done()?;
    if operations.is_empty() {
        return Err(KmsError::validation("A grant must permit at least one operation."));
    }
    Ok(operations)
}

fn check_principal(check: &mut Check, member: &str, value: Option<&str>) {
    check.text(member, value, 1, 256);
    check.characters(member, value, PRINCIPAL);
}

fn check_service(check: &mut Check, member: &str, value: Option<&str>) {
    check.text(member, value, 1, 128);
    let label = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if let Some(value) = value.filter(|value| value.split('.').count() < 3 || !value.split('.').all(label)) {
        check.pattern_broken(member, value, SERVICE);
    }
}

fn check_constraints(check: &mut Check, constraints: &GrantConstraints) {
    check.context(&constraints.encryption_context_subset);
    check.context(&constraints.encryption_context_equals);
    let member = "constraints.sourceArn";
    check.text(member, constraints.source_arn.as_deref(), 20, 512);
    if let Some(arn) = constraints.source_arn.as_deref().filter(|arn| !is_source_arn(arn)) {
        check.pattern_broken(member, arn, SOURCE_ARN);
    }
}

fn is_source_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let word = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    match parts.as_slice() {
        ["arn", partition, service, region, account, resource] => {
            partition.strip_prefix("aws").is_some_and(word)
                && (word(service) && !service.is_empty())
                && word(region)
                && (account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit()))
                && !resource.is_empty()
        }
        _ => false,
    }
}

/// Who gets a grant, and who may end it.
struct Parties {
    grantee: Party,
    retiring: Option<Party>,
}

impl Parties {
    fn of(call: &Call<'_>, request: &CreateGrantRequest) -> Result<Self, KmsError> {
        let grantee = one_of(
            call,
            "GranteePrincipal",
            request.grantee_principal.as_deref(),
            request.grantee_service_principal.as_deref(),
        )?;
        let Some(grantee) = grantee else {
            return Err(KmsError::validation(
                "You must specify either GranteePrincipal or GranteeServicePrincipal.",
            ));
        };
        let retiring = one_of(
            call,
            "RetiringPrincipal",
            request.retiring_principal.as_deref(),
            request.retiring_service_principal.as_deref(),
        )?;
        let constrained = request.constraints.as_ref().is_some_and(|given| given.source_arn.is_some());
        if matches!(grantee.who, Who::Service(_)) && (retiring.is_none() || !constrained) {
            return Err(KmsError::validation(
                "With GranteeServicePrincipal you must specify the constraint SourceArn, and either RetiringPrincipal or \
                 RetiringServicePrincipal.",
            ));
        }
        Ok(Self { grantee, retiring })
    }
}

/// A principal or a service, not both. The name must be one that a policy could have, and somebody's.
fn one_of(
    call: &Call<'_>,
    member: &str,
    principal: Option<&str>,
    service: Option<&str>,
) -> Result<Option<Party>, KmsError> {
    let invalid = |what: &str| KmsError::new(ErrorKind::InvalidArn, format!("{member} {what}."));
    let party = match (principal, service) {
        (Some(_), Some(_)) => {
            let other = member.replace("Principal", "ServicePrincipal");
            return Err(KmsError::validation(format!(
                "You can specify either {member} or {other}, but not both."
            )));
        }
        (Some(principal), None) => {
            let arn = Arn::parse(principal)
                .map_err(|_| invalid("must be the ARN of an account, user, role or session"))?;
            let id = bind::principal(call, &arn).map_err(|Nobody(_)| invalid("is nobody's ARN"))?;
            Party::new(Who::Principal(principal.to_owned())).known_as(id)
        }
        (None, Some(service)) => Party::new(Who::Service(service.to_owned())),
        (None, None) => return Ok(None),
    };
    match party.policy() {
        Some(_) => Ok(Some(party)),
        None => Err(invalid("must be the ARN of an account, user, role or session")),
    }
}

/// What policies may know about a grant that is to be made.
fn facts(grant: &Grant) -> Facts {
    let mut facts = Facts::default();
    facts.set("kms:GrantIsForAWSResource", "false");
    facts.set_all(
        "kms:GrantOperations",
        grant.operations.iter().map(|operation| operation.name().to_owned()).collect(),
    );
    let name = |party: &Party| match &party.who {
        Who::Principal(name) | Who::Service(name) => name.clone(),
    };
    facts.set("kms:GranteePrincipal", name(&grant.grantee));
    if let Some(retiring) = &grant.retiring {
        facts.set("kms:RetiringPrincipal", name(retiring));
    }
    let constraints = &grant.constraints;
    let mut kinds = Vec::new();
    kinds.extend(constraints.equals.as_ref().map(|_| "EncryptionContextEquals".to_owned()));
    kinds.extend(constraints.subset.as_ref().map(|_| "EncryptionContextSubset".to_owned()));
    if !kinds.is_empty() {
        facts.set_all("kms:GrantConstraintType", kinds);
    }
    facts.set_context(constraints.equals.as_ref().or(constraints.subset.as_ref()));
    facts
}

/// What a grant permits must be what the key can do, and its constraints ones that can be met.
fn fits(grant: &Grant, key: &KeyRecord) -> Result<(), KmsError> {
    if let Some(operation) = grant.operations.iter().find(|operation| !suits(**operation, key)) {
        return Err(KmsError::validation(format!(
            "Operation {operation} is not valid for {}, which has KeySpec {} and KeyUsage {}.",
            key.arn(),
            key.spec,
            key.usage
        )));
    }
    let constraints = &grant.constraints;
    let contexts = [&constraints.subset, &constraints.equals];
    let mut contexts = contexts.into_iter().flatten().peekable();
    let is_symmetric = key.usage == KeyUsage::EncryptDecrypt && !key.spec.is_key_pair();
    if contexts.peek().is_some() && !is_symmetric {
        return Err(KmsError::validation(
            "Encryption context constraints are for grants on symmetric encryption keys only.",
        ));
    }
    if contexts.any(|context| context.len() > 8 || length(context) > 384) {
        return Err(KmsError::validation(
            "An encryption context constraint has 8 pairs and 384 characters at most.",
        ));
    }
    Ok(())
}

fn length(context: &EncryptionContext) -> usize {
    context.iter().map(|(key, value)| key.chars().count().saturating_add(value.chars().count())).sum()
}

/// Whether a key can do what a grant would permit.
fn suits(operation: GrantOperation, key: &KeyRecord) -> bool {
    use GrantOperation as G;
    let pair = key.spec.is_key_pair();
    match operation {
        G::CreateGrant | G::RetireGrant | G::DescribeKey => true,
        G::Encrypt | G::Decrypt | G::ReEncryptFrom | G::ReEncryptTo => key.usage == KeyUsage::EncryptDecrypt,
        G::GenerateDataKey
        | G::GenerateDataKeyWithoutPlaintext
        | G::GenerateDataKeyPair
        | G::GenerateDataKeyPairWithoutPlaintext => key.usage == KeyUsage::EncryptDecrypt && !pair,
        G::Sign | G::Verify => key.usage == KeyUsage::SignVerify,
        G::GenerateMac | G::VerifyMac => key.usage == KeyUsage::GenerateVerifyMac,
        G::DeriveSharedSecret => key.usage == KeyUsage::KeyAgreement,
        G::Encapsulate | G::Decapsulate => key.usage == KeyUsage::EncapsulateDecapsulate,
        G::GetPublicKey => pair,
    }
}

pub(super) fn list_grants(
    call: &Call<'_>,
    request: ListGrantsRequest,
) -> Result<ListGrantsResponse, KmsError> {
    let mut check = Check::default();
    check.page(request.limit, request.marker.as_deref());
    check.key_id(&request.key_id);
    check.text("grantId", request.grant_id.as_deref(), 1, 128);
    check_principal(&mut check, "granteePrincipal", request.grantee_principal.as_deref());
    check_service(&mut check, "granteeServicePrincipal", request.grantee_service_principal.as_deref());
    check.done()?;
    let after = page::after(request.marker.as_deref(), GrantId::parse)?;
    let id = request.grant_id.as_deref().map(grant_id).transpose()?;
    let key = Ask::new("ListGrants")
        .fact("kms:GrantIsForAWSResource", "false")
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    let principal = request.grantee_principal.map(Who::Principal);
    let service = request.grantee_service_principal.map(Who::Service);
    let store = call.store.borrow();
    let rest = store.grants.on(key.id).filter(|grant| {
        after.is_none_or(|after| grant.id > after)
            && id.is_none_or(|id| grant.id == id)
            && principal.as_ref().is_none_or(|who| grant.grantee.who == *who)
            && service.as_ref().is_none_or(|who| grant.grantee.who == *who)
    });
    let page = page::take(rest, request.limit, 50, |grant| grant.id.to_string());
    Ok(listed(call, page))
}

pub(super) fn list_retirable_grants(
    call: &Call<'_>,
    request: ListRetirableGrantsRequest,
) -> Result<ListGrantsResponse, KmsError> {
    let mut check = Check::default();
    check.page(request.limit, request.marker.as_deref());
    check_principal(&mut check, "retiringPrincipal", request.retiring_principal.as_deref());
    check_service(&mut check, "retiringServicePrincipal", request.retiring_service_principal.as_deref());
    check.done()?;
    let who = match (request.retiring_principal, request.retiring_service_principal) {
        (Some(principal), None) => Who::Principal(principal),
        (None, Some(service)) => Who::Service(service),
        _ => {
            return Err(KmsError::validation(
                "You must specify either RetiringPrincipal or RetiringServicePrincipal, but not both.",
            ));
        }
    };
    let after = page::after(request.marker.as_deref(), |marker| {
        let (key, id) = marker.split_once('/')?;
        Some((KeyId::parse(key)?, GrantId::parse(id)?))
    })?;
    call.allow("kms:ListRetirableGrants", "*", &Facts::NONE)?;
    let store = call.store.borrow();
    let rest = store.grants.after(after);
    let rest = rest.filter(|grant| grant.retiring.as_ref().is_some_and(|party| party.who == who));
    let page = page::take(rest, request.limit, 50, |grant| format!("{}/{}", grant.key, grant.id));
    Ok(listed(call, page))
}

fn listed(call: &Call<'_>, page: page::Page<&Rc<Grant>>) -> ListGrantsResponse {
    ListGrantsResponse {
        grants: page.entries.into_iter().map(|grant| entry(call, grant)).collect(),
        next_marker: page.next_marker,
        truncated: page.truncated,
    }
}

fn entry(call: &Call<'_>, grant: &Grant) -> GrantListEntry {
    let config = &call.identity.borrow().config;
    let split = |party: Option<&Party>| match party.map(|party| party.who.clone()) {
        Some(Who::Principal(arn)) => (Some(arn), None),
        Some(Who::Service(name)) => (None, Some(name)),
        None => (None, None),
    };
    let (grantee_principal, grantee_service_principal) = split(Some(&grant.grantee));
    let (retiring_principal, retiring_service_principal) = split(grant.retiring.as_ref());
    let Constraints { subset, equals, source_arn } = grant.constraints.clone();
    let constrained = subset.is_some() || equals.is_some() || source_arn.is_some();
    GrantListEntry {
        key_id: config.arn("kms", &format!("key/{}", grant.key)),
        grant_id: grant.id,
        name: grant.name.clone(),
        creation_date: grant.created,
        grantee_principal,
        retiring_principal,
        issuing_account: format!("arn:aws:iam::{}:root", config.account),
        operations: grant.operations.clone(),
        constraints: constrained.then_some(GrantConstraints {
            encryption_context_subset: subset,
            encryption_context_equals: equals,
            source_arn,
        }),
        grantee_service_principal,
        retiring_service_principal,
    }
}

pub(super) fn retire_grant(call: &Call<'_>, request: RetireGrantRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.text("grantToken", request.grant_token.as_deref(), 1, 8192);
    check.text("keyId", request.key_id.as_deref(), 1, 2048);
    check.text("grantId", request.grant_id.as_deref(), 1, 128);
    check.done()?;
    let (key_id, id) = match (request.grant_token, request.key_id, request.grant_id) {
        (Some(token), None, None) => {
            let grant = call.store.borrow().grants.of_token(&token).ok_or_else(refusal::grant_token)?;
            (grant.key.to_string(), grant.id)
        }
        (None, Some(key_id), Some(id)) => (key_id, grant_id(&id)?),
        _ => {
            return Err(KmsError::validation(
                "You must specify either a grant token, or both a key ID and a grant ID.",
            ));
        }
    };
    let grant = access::retirable(call, &key_id, id)?;
    dry_run(request.dry_run)?;
    end(call, &grant);
    Ok(Empty {})
}

pub(super) fn revoke_grant(call: &Call<'_>, request: RevokeGrantRequest) -> Result<Empty, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("grantId", &request.grant_id);
    check.text("grantId", request.grant_id.as_deref(), 1, 128);
    check.done()?;
    let id = grant_id(request.grant_id.as_deref().unwrap_or_default())?;
    let key = Ask::new("RevokeGrant")
        .fact("kms:GrantIsForAWSResource", "false")
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    let grant = call.store.borrow().grants.find(key.id, id).ok_or_else(|| refusal::no_grant(id))?;
    dry_run(request.dry_run)?;
    end(call, &grant);
    Ok(Empty {})
}

fn end(call: &Call<'_>, grant: &Grant) {
    call.store.borrow_mut().grants.remove(grant.key, grant.id);
    call.state.touch(grant.record_name());
}

fn grant_id(text: &str) -> Result<GrantId, KmsError> {
    GrantId::parse(text)
        .ok_or_else(|| KmsError::new(ErrorKind::InvalidGrantId, format!("Invalid grant ID '{text}'")))
}
