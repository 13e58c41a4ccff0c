//! From an access key to its owner, with the policies that decide about it.
//!
//! What was found out about an access key is kept until the directory changes or [`KNOWN_MAX`] others were used: a
//! request then costs no parsing of policies and no decryption of a token.

use std::rc::Rc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use casemate_policy::{Arn, Kind as PolicyKind, PolicyDocument, Principal as Who, Tags};
use zeroize::Zeroizing;

use crate::access::Principal;

use super::directory::Directory;
use super::entity::{Entity, Kind, Role, Used, User};
use super::id::prefix;
use super::session::{Of, Session};
use super::sigv4::{AuthError, Credential};

/// How many access keys are kept in mind.
const KNOWN_MAX: usize = 256;
/// How old the last use on a volume may become before the next use is written, in seconds. AWS promises hours.
const USED_GRANULARITY: u64 = 3600;

/// All about an access key.
#[derive(Clone)]
pub(super) struct Known {
    secret: Zeroizing<String>,
    principal: Rc<Principal>,
    /// The token that must come with it.
    token: Option<Zeroizing<String>>,
}

impl Directory {
    /// What the access key of that id, with that session token, stands for.
    pub(crate) fn find(
        &mut self,
        access_key_id: &str,
        token: Option<&str>,
        now: u64,
    ) -> Result<Credential<Rc<Principal>>, AuthError> {
        let known = match self.known.get(access_key_id) {
            Some(known) if known.token.is_some() == token.is_some() => known.clone(),
            _ => {
                let known = self.look_up(access_key_id, token)?;
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(access_key_id.to_owned(), known.clone());
                known
            }
        };
        let (expected, got) = (known.token.as_deref().map(String::as_str), token);
        let same = verify_slices_are_equal(
            expected.unwrap_or_default().as_bytes(),
            got.unwrap_or_default().as_bytes(),
        );
        same.map_err(|_| AuthError::Unknown)?;
        if known.principal.issued.as_ref().is_some_and(|session| session.expires <= now) {
            return Err(AuthError::Expired);
        }
        Ok(Credential { secret: known.secret, owner: known.principal })
    }

    /// The same without memory.
    fn look_up(&self, access_key_id: &str, token: Option<&str>) -> Result<Known, AuthError> {
        match token {
            Some(token) if access_key_id.starts_with(prefix::TEMPORARY) => {
                let key = self.session_key.as_ref().ok_or(AuthError::Unknown)?;
                let session = key.open(token).ok_or(AuthError::Unknown)?;
                if session.access_key_id != access_key_id {
                    return Err(AuthError::Unknown);
                }
                let secret = session.secret.clone();
                let principal = self.of_session(session).ok_or(AuthError::Unknown)?;
                let token = Some(Zeroizing::new(token.to_owned()));
                Ok(Known { secret, principal: Rc::new(principal), token })
            }
            Some(_) => Err(AuthError::Unknown),
            None => {
                let user = self.owner(access_key_id).ok_or(AuthError::Unknown)?;
                let key = user.keys.iter().find(|key| key.id == access_key_id && key.active);
                let key = key.ok_or(AuthError::Unknown)?;
                let principal = self.of_user(user, access_key_id).ok_or(AuthError::Unknown)?;
                Ok(Known { secret: key.secret.clone(), principal: Rc::new(principal), token: None })
            }
        }
    }

    /// A user as a principal. `None` if a policy that counts is missing: it might forbid something.
    fn of_user(&self, user: &User, access_key_id: &str) -> Option<Principal> {
        let entity = &user.entity;
        let arn = Arn::parse(&Kind::User.arn(&self.config, &entity.path, &entity.name)).ok()?;
        let who = Who::User { arn, id: entity.id.clone(), tags: entity.tags.iter().collect() };
        self.principal(who, access_key_id, self.policies_of_user(user)?, entity)
    }

    fn of_session(&self, session: Session) -> Option<Principal> {
        let key = session.access_key_id.clone();
        let mut principal = match &session.of {
            Of::User { id, name } => {
                self.of_user(self.users.get(name).filter(|user| user.entity.id == *id)?, &key)?
            }
            Of::Role { id, name, session: session_name } => {
                let role = self.roles.get(name).filter(|role| role.entity.id == *id)?;
                self.of_role(role, session_name, &session)?
            }
            Of::Federated { id, user, name } => {
                let user = self.users.get(user).filter(|user| user.entity.id == *id)?;
                self.of_federated(user, name, &session)?
            }
        };
        principal.session = self.session_policies(&session)?;
        principal.issued = Some(Rc::new(session));
        Some(principal)
    }

    fn of_role(&self, role: &Role, session_name: &str, session: &Session) -> Option<Principal> {
        let entity = &role.entity;
        let arn = self.config.global_arn("sts", &format!("assumed-role/{}/{session_name}", entity.name));
        let who = Who::AssumedRole {
            role: Arn::parse(&Kind::Role.arn(&self.config, &entity.path, &entity.name)).ok()?,
            role_id: entity.id.clone(),
            session: Arn::parse(&arn).ok()?,
            tags: overlaid(entity, session),
        };
        self.principal(who, &session.access_key_id, self.policies_of(entity)?, entity)
    }

    fn of_federated(&self, user: &User, name: &str, session: &Session) -> Option<Principal> {
        let entity = &user.entity;
        let who = Who::FederatedUser {
            user: Arn::parse(&Kind::User.arn(&self.config, &entity.path, &entity.name)).ok()?,
            user_id: entity.id.clone(),
            session: Arn::parse(&self.config.global_arn("sts", &format!("federated-user/{name}"))).ok()?,
            tags: overlaid(entity, session),
        };
        self.principal(who, &session.access_key_id, self.policies_of_user(user)?, entity)
    }

    fn principal(
        &self,
        who: Who,
        access_key_id: &str,
        identity: Vec<Rc<PolicyDocument>>,
        entity: &Entity,
    ) -> Option<Principal> {
        let boundary = match &entity.boundary {
            Some(arn) => Some(self.managed(arn, PolicyKind::Identity)?),
            None => None,
        };
        let access_key_id = access_key_id.to_owned();
        Some(Principal { who, access_key_id, identity, boundary, session: Vec::new(), issued: None })
    }

    fn policies_of_user(&self, user: &User) -> Option<Vec<Rc<PolicyDocument>>> {
        let mut policies = self.policies_of(&user.entity)?;
        for group in &user.groups {
            policies.extend(self.policies_of(&self.groups.get(group)?.entity)?);
        }
        Some(policies)
    }

    /// The policies of an entity: its own, and those that are attached.
    fn policies_of(&self, entity: &Entity) -> Option<Vec<Rc<PolicyDocument>>> {
        let inline = entity.inline.values().map(|text| parse(text, PolicyKind::Identity));
        let attached = entity.attached.iter().map(|arn| self.managed(arn, PolicyKind::Identity));
        inline.chain(attached).collect()
    }

    fn session_policies(&self, session: &Session) -> Option<Vec<Rc<PolicyDocument>>> {
        let own = session.policy.iter().map(|text| parse(text, PolicyKind::Session));
        let managed = session.policy_arns.iter().map(|arn| self.managed(arn, PolicyKind::Session));
        own.chain(managed).collect()
    }

    fn managed(&self, arn: &str, kind: PolicyKind) -> Option<Rc<PolicyDocument>> {
        parse(self.policies.get(arn)?.document()?, kind)
    }

    /// Remembers that the caller's credentials were used. The name of a record whose last use is too old now, if any.
    pub(crate) fn used(&mut self, principal: &Principal, service: &str, now: u64) -> Option<String> {
        let region = self.config.region.clone();
        let used = Used { at: now, service: service.to_owned(), region, written: 0 };
        let (slot, record) = match principal.issued.as_deref().map(|session| &session.of) {
            None => {
                let name = self.owners.get(&principal.access_key_id)?;
                let user = self.users.get_mut(name)?;
                let key = user.keys.iter_mut().find(|key| key.id == principal.access_key_id)?;
                (&mut key.last_used, super::record::user(name))
            }
            Some(Of::Role { name, .. }) => {
                (&mut self.roles.get_mut(name)?.last_used, super::record::role(name))
            }
            Some(Of::User { .. } | Of::Federated { .. }) => return None,
        };
        let written = slot.as_ref().map_or(0, |last| last.written);
        let stale = written.saturating_add(USED_GRANULARITY) <= now;
        *slot = Some(Used { written: if stale { now } else { written }, ..used });
        stale.then_some(record)
    }
}

/// The entity's tags, overlaid by the session's.
fn overlaid(entity: &Entity, session: &Session) -> Tags {
    entity.tags.iter().chain(&session.tags).collect()
}

/// A policy that was checked when it was written.
fn parse(text: &str, kind: PolicyKind) -> Option<Rc<PolicyDocument>> {
    PolicyDocument::parse(text, kind).ok().map(Rc::new)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::identity::claim;
    use crate::platform::Nowhere;
    use crate::signer::Signer;

    #[test]
    fn a_session_ends_when_its_time_is_over_and_belongs_to_its_token() {
        let signer = Signer::new(Box::new(Nowhere));
        claim::claim(&signer, &serde_json::from_str("{}").expect("a claim")).expect("claimed");
        let mut directory = signer.identity.take();
        let (name, user) = directory.users.iter().next().expect("an administrator");
        let session = Session {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret: Zeroizing::new("secret".to_owned()),
            issued: 100,
            expires: 200,
            of: Of::User { id: user.entity.id.clone(), name: name.clone() },
            policy: None,
            policy_arns: Vec::new(),
            tags: BTreeMap::new(),
            transitive: Vec::new(),
            source_identity: None,
        };
        let key = directory.session_key.as_ref().expect("a key");
        let token = key.seal(&session).expect("a token");
        let other = Session { access_key_id: "ASIAOTHER".to_owned(), ..session };
        let other = key.seal(&other).expect("a token");
        // At once, and from memory: it lives to its last second and not longer.
        for _ in 0..2 {
            let found = directory.find("ASIAEXAMPLE", Some(&token), 199).expect("a session");
            assert_eq!(found.secret.as_str(), "secret");
            for (token, now, expected) in [
                (Some(token.as_str()), 200, AuthError::Expired),
                (Some(token.as_str()), u64::MAX, AuthError::Expired),
                (Some(other.as_str()), 199, AuthError::Unknown),
                (Some("AQ=="), 199, AuthError::Unknown),
                (None, 199, AuthError::Unknown),
            ] {
                let refused = directory.find("ASIAEXAMPLE", token, now).err();
                assert_eq!(refused, Some(expected), "{token:?} {now}");
            }
        }
        // Nobody has to have asked before.
        directory.known.clear();
        let late = directory.find("ASIAEXAMPLE", Some(&token), 200).err();
        assert_eq!(late, Some(AuthError::Expired));
    }
}
