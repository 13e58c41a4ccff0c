//! What more than one person must want (CloudHSM user guide, "quorum authentication").
//!
//! Whoever wants something that takes a quorum describes the request with `GetQuorumToken`, and gets text to be signed. Others
//! sign it with keys that they have registered, outside; `ApproveQuorumToken` brings the signatures. Then the request itself is
//! made: a quorum token is good once, for a while, and for exactly what the text says, asked by whoever asked for it. So nothing
//! is lost if the request does not name it, which programs that know PKCS#11 alone cannot.

use std::collections::BTreeSet;
use std::time::Instant;

use aws_lc_rs::digest;
use casemate_hsm::attribute::CKA_CASEMATE_QUORUM;
use casemate_hsm::ck::*;
use casemate_hsm::message::{Approval, Quorum, QuorumToken, Service, UserType};
use casemate_hsm::{Bytes, Operation, Request, Response, limits};
use serde::{Deserialize, Serialize};

use crate::crypto;
use crate::crypto::pkey::{Hash, PKey, Scheme};

use super::fault::{Fault, Rv, refuse};
use super::material::Kind;
use super::object::Handle;
use super::record;
use super::{Asked, Token};

/// Most quorum tokens at once; the oldest gives way.
const PENDING_MAX: usize = 64;

/// How many approvals each service takes.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Quorums {
    users: u64,
    export: u64,
    backup: u64,
}

impl Quorums {
    fn of(&self, service: Service) -> u64 {
        match service {
            Service::Users => self.users,
            Service::Export => self.export,
            Service::Backup => self.backup,
        }
    }
}

/// A quorum token that has not been used.
pub(super) struct Pending {
    id: String,
    service: Service,
    /// Who asked; their own approval does not count.
    user: String,
    /// What for.
    what: String,
    /// What is signed.
    text: String,
    approved: BTreeSet<String>,
    made: Instant,
}

fn service(operation: Operation) -> Option<Service> {
    Some(match operation {
        Operation::CreateUser
        | Operation::DeleteUser
        | Operation::ChangePassword
        | Operation::InitializePin
        | Operation::SetQuorum => Service::Users,
        Operation::WrapKey => Service::Export,
        Operation::CreateBackup | Operation::ShareBackup => Service::Backup,
        _ => return None,
    })
}

/// A request in words: what is approved is what is done.
fn describe(operation: Operation, request: &Request) -> String {
    let mut what = format!("operation {}\n", operation.name());
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // So that no value looks like a line of its own.
            what.push_str(&format!("{name} {}\n", value.escape_default()));
        }
    };
    line("user", request.user.clone());
    line("user-type", request.user_type.map(|user_type| user_type_name(user_type).to_owned()));
    line("service", request.service.map(|service| service_name(service).to_owned()));
    line("count", request.count.map(|count| count.to_string()));
    line("object", request.object.map(|handle| handle.to_string()));
    line("wrapping-object", request.wrapping_object.map(|handle| handle.to_string()));
    line("mechanism", request.mechanism.as_ref().map(|mechanism| format!("0x{:x}", mechanism.kind)));
    line("image", request.image_sha384.clone());
    what
}

const fn user_type_name(user_type: UserType) -> &'static str {
    match user_type {
        UserType::CryptoOfficer => "CO",
        UserType::CryptoUser => "CU",
    }
}

const fn service_name(service: Service) -> &'static str {
    match service {
        Service::Users => "user",
        Service::Export => "export",
        Service::Backup => "backup",
    }
}

impl Token {
    fn quorums(&self) -> Quorums {
        self.settings.as_ref().map(|settings| settings.quorums).unwrap_or_default()
    }

    /// Refuses what lacks approvals; takes the quorum token of what has them.
    pub(super) fn approve(
        &mut self,
        asked: &Asked<'_>,
        operation: Operation,
        request: &Request,
    ) -> Result<(), Fault> {
        let Some(service) = service(operation) else { return Ok(()) };
        let own = match service {
            Service::Export => {
                let object = request.object.and_then(|handle| self.objects.get(&handle));
                object.and_then(|object| object.number(CKA_CASEMATE_QUORUM)).unwrap_or(0)
            }
            Service::Users | Service::Backup => 0,
        };
        let mut needed = self.quorums().of(service).max(own);
        if let (Operation::SetQuorum, 0, Some(of)) = (operation, needed, request.service) {
            // What a quorum protects is not given up with fewer than it takes, as far as there are officers who can approve.
            let officers = self.users.keys().filter(|name| self.approves(service, name)).count();
            let others = u64::try_from(officers.saturating_sub(1)).unwrap_or(u64::MAX);
            needed = self.quorums().of(of).min(others);
        }
        if needed == 0 {
            return Ok(());
        }
        let user = asked.user.as_ref().map(|(name, _)| name.as_str());
        let what = describe(operation, request);
        self.forget_old_quorum_tokens();
        let is_this = |pending: &Pending| {
            request.quorum_token.as_ref().is_none_or(|id| *id == pending.id)
                && user == Some(&pending.user)
                && what == pending.what
        };
        // Who has been deleted meanwhile, or is another now, approves nothing.
        let enough = |pending: &Pending| {
            let approved =
                pending.approved.iter().filter(|name| self.approves(pending.service, name)).count();
            u64::try_from(approved).unwrap_or(u64::MAX) >= needed
        };
        let mut these = self.pending.iter().enumerate().filter(|(_, pending)| is_this(pending)).peekable();
        if these.peek().is_none() {
            return refuse(
                Rv::CKR_FUNCTION_REJECTED,
                "This takes a quorum: GetQuorumToken for exactly this request, and approvals.",
            );
        }
        let Some((index, _)) = these.find(|(_, pending)| enough(pending)) else {
            return refuse(Rv::CKR_FUNCTION_REJECTED, "The quorum token does not have all approvals yet.");
        };
        self.pending.remove(index);
        Ok(())
    }

    /// Whether a user is one of those who approve.
    fn approves(&self, service: Service, name: &str) -> bool {
        let officer = |user_type| user_type == UserType::CryptoOfficer || matches!(service, Service::Export);
        self.users.get(name).is_some_and(|user| user.quorum_key.is_some() && officer(user.user_type))
    }

    fn forget_old_quorum_tokens(&mut self) {
        self.pending.retain(|pending| pending.made.elapsed() <= limits::QUORUM_TOKEN_LIFE);
    }

    /// What tells a key to those who cannot see it.
    fn fingerprint(&self, handle: Option<Handle>) -> Option<String> {
        let spki = self.objects.get(&handle?)?.get(CKA_PUBLIC_KEY_INFO)?;
        Some(base16ct::lower::encode_string(digest::digest(&digest::SHA256, spki).as_ref()))
    }
}

/// RegisterQuorumKey: one's own.
pub(super) fn register(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let Some((name, _)) = &asked.user else {
        return refuse(Rv::CKR_USER_NOT_LOGGED_IN, "This takes a user who has logged in.");
    };
    let key = request.public_key.as_ref().filter(|spki| {
        matches!(Kind::of_public(spki), Some(Kind::Rsa | Kind::Ec(_)))
            && PKey::public(spki).is_some_and(|key| key.bits() <= 4096 && key.bits() != 1024)
    });
    let (Some(key), Some(user)) = (key, token.users.get_mut(name)) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "PublicKey must be that of an RSA key or of one on a curve.");
    };
    user.quorum_key = Some(key.clone());
    // What they approved with another key, they did not approve with this one.
    for pending in &mut token.pending {
        pending.approved.remove(name);
    }
    asked.call.state.touch(record::user_name(name));
    Ok(Response::default())
}

/// SetQuorum.
pub(super) fn set(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    asked.crypto_officer()?;
    let (Some(service), Some(count)) = (request.service, request.count) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Service or Count.");
    };
    let able = token.users.keys().filter(|name| token.approves(service, name)).count();
    // Whoever asks does not count.
    let most = able.saturating_sub(1).min(limits::QUORUM_MAX);
    if usize::try_from(count).unwrap_or(usize::MAX) > most && count > 0 {
        return refuse(
            Rv::CKR_ARGUMENTS_BAD,
            "A quorum is at most one less than the users who have registered a key for it, and at most 8.",
        );
    }
    token.approve(asked, Operation::SetQuorum, request)?;
    if let Some(settings) = &mut token.settings {
        let quorum = match service {
            Service::Users => &mut settings.quorums.users,
            Service::Export => &mut settings.quorums.export,
            Service::Backup => &mut settings.quorums.backup,
        };
        *quorum = count;
        asked.call.state.touch(record::TOKEN);
    }
    Ok(Response::default())
}

/// GetQuorum. The tokens are told to those who asked for them and those who can approve them.
pub(super) fn get(token: &mut Token, asked: &Asked<'_>) -> Response {
    token.forget_old_quorum_tokens();
    let quorums = token.quorums();
    let all = [Service::Users, Service::Export, Service::Backup];
    let all = all.map(|service| Quorum { service, count: quorums.of(service) });
    let name = asked.user.as_ref().map_or("", |(name, _)| name);
    let concerns = |pending: &&Pending| pending.user == name || token.approves(pending.service, name);
    let tell = |pending: &Pending| QuorumToken {
        quorum_token: pending.id.clone(),
        data: Bytes::copy(pending.text.as_bytes()),
        approved: pending.approved.iter().cloned().collect(),
    };
    let quorum_tokens = Some(token.pending.iter().filter(concerns).map(tell).collect());
    Response { quorums: Some(all.to_vec()), quorum_tokens, ..Response::default() }
}

/// GetQuorumToken.
pub(super) fn get_token(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let Some((user, _)) = &asked.user else {
        return refuse(Rv::CKR_USER_NOT_LOGGED_IN, "This takes a user who has logged in.");
    };
    let operation = request.operation.as_deref().and_then(Operation::from_name);
    let Some((operation, service)) = operation.and_then(|name| Some((name, service(name)?))) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "Operation must name one that can take a quorum.");
    };
    let mut nonce = [0; 16];
    crypto::random(&mut nonce)?;
    let id = base16ct::lower::encode_string(&nonce);
    let what = describe(operation, request);
    let serial = token.settings.as_ref().map_or("", |settings| settings.serial.as_str());
    let mut text = format!("casemate:hsm:quorum:1\ntoken {serial}\nasked-by {user}\n{what}");
    let keys = [("object", request.object), ("wrapping-object", request.wrapping_object)];
    for (name, handle) in keys.into_iter().filter(|_| operation == Operation::WrapKey) {
        // Only what whoever asks can see is told.
        token.seen(asked, handle, Rv::CKR_OBJECT_HANDLE_INVALID)?;
        if let Some(fingerprint) = token.fingerprint(handle) {
            text.push_str(&format!("{name}-sha256 {fingerprint}\n"));
        }
    }
    text.push_str(&format!("nonce {id}\n"));
    token.forget_old_quorum_tokens();
    if token.pending.len() >= PENDING_MAX {
        token.pending.remove(0);
    }
    let data = Some(Bytes::copy(text.as_bytes()));
    token.pending.push(Pending {
        id: id.clone(),
        service,
        user: user.clone(),
        what,
        text,
        approved: BTreeSet::new(),
        made: Instant::now(),
    });
    Ok(Response { quorum_token: Some(id), data, ..Response::default() })
}

/// ApproveQuorumToken: all signatures are good, or none counts.
pub(super) fn approve(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    if asked.user.is_none() {
        return refuse(Rv::CKR_USER_NOT_LOGGED_IN, "This takes a user who has logged in.");
    }
    token.forget_old_quorum_tokens();
    let pending = token.pending.iter().find(|pending| request.quorum_token.as_deref() == Some(&pending.id));
    let (Some(pending), Some(approvals)) = (pending, &request.approvals) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "There is no such quorum token, or its time is over.");
    };
    if approvals.len() > limits::QUORUM_MAX {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "A quorum has 8 approvals at most.");
    }
    let digest = digest::digest(Hash::Sha256.algorithm(), pending.text.as_bytes());
    let good = |approval: &Approval| {
        if approval.user == pending.user || !token.approves(pending.service, &approval.user) {
            return false;
        }
        let key = token.users.get(&approval.user).and_then(|user| user.quorum_key.as_ref());
        let scheme = match key.and_then(|key| Kind::of_public(key)) {
            Some(Kind::Rsa) => Scheme::Pkcs1(Some(Hash::Sha256)),
            _ => Scheme::Digest,
        };
        key.and_then(|key| PKey::public(key))
            .is_some_and(|key| key.verify(scheme, digest.as_ref(), &approval.signature))
    };
    if !approvals.iter().all(good) {
        return refuse(
            Rv::CKR_SIGNATURE_INVALID,
            "An approval is not by a user who may approve this, other than who asks, over exactly that text.",
        );
    }
    let id = pending.id.clone();
    if let Some(pending) = token.pending.iter_mut().find(|pending| pending.id == id) {
        pending.approved.extend(approvals.iter().map(|approval| approval.user.clone()));
    }
    Ok(Response::default())
}
