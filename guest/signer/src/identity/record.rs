//! The directory as records: their names, and JSON in them.
//!
//! | record | what |
//! | --- | --- |
//! | `config` | account, region, the account's other name |
//! | `iam/user/NAME` | a user with its access keys |
//! | `iam/group/NAME`, `iam/role/NAME` | a group, a role |
//! | `iam/policy/PATH/NAME` | a managed policy with its versions |
//! | `identity/session-key` | what seals the tokens of sessions |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::config::Config;
use super::directory::Directory;
use super::entity::{Kind, Managed, Role, User};
use super::session::SessionKey;

/// Account and region.
pub(crate) const CONFIG: &str = "config";
/// The key of session tokens.
pub(crate) const SESSION_KEY: &str = "identity/session-key";

/// A record that this signer did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is malformed")]
pub struct Malformed;

/// The record "config".
#[derive(Serialize, Deserialize)]
struct Settled {
    #[serde(flatten)]
    config: Config,
    #[serde(default)]
    alias: Option<String>,
}

pub(super) fn entity(kind: Kind, name: &str) -> String {
    format!("iam/{}/{name}", kind.word())
}

pub(super) fn user(name: &str) -> String {
    entity(Kind::User, name)
}

pub(super) fn role(name: &str) -> String {
    entity(Kind::Role, name)
}

/// The ARN's resource is `policy/PATH/NAME`.
pub(super) fn policy(arn: &str) -> String {
    format!("iam/{}", arn.rsplit(':').next().unwrap_or_default())
}

/// The names of all records of a directory: none before it is claimed.
pub(crate) fn names(directory: &Directory) -> Vec<String> {
    if !directory.claimed() {
        return Vec::new();
    }
    let mut names = vec![CONFIG.to_owned(), SESSION_KEY.to_owned()];
    names.extend(directory.users.keys().map(|name| user(name)));
    names.extend(directory.groups.keys().map(|name| entity(Kind::Group, name)));
    names.extend(directory.roles.keys().map(|name| role(name)));
    names.extend(directory.policies.keys().map(|arn| policy(arn)));
    names
}

impl Directory {
    /// The content of the record of that name; `None` if what it held is gone.
    pub(crate) fn encode(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        match parts(name) {
            Some(("user", name)) => json(self.users.get(name)?),
            Some(("group", name)) => json(self.groups.get(name)?),
            Some(("role", name)) => json(self.roles.get(name)?),
            Some(("policy", rest)) => json(self.policies.get(&policy_arn(&self.config, rest))?),
            Some(_) => None,
            None if name == CONFIG && self.claimed() => {
                json(&Settled { config: self.config.clone(), alias: self.alias.clone() })
            }
            None if name == SESSION_KEY => Some(self.session_key.as_ref()?.encode()),
            None => None,
        }
    }

    /// Takes a record that [`Self::encode`] wrote.
    pub(crate) fn restore(&mut self, name: &str, content: &[u8]) -> Result<(), Malformed> {
        self.known.clear();
        match parts(name) {
            Some(("user", name)) => {
                let user: User = read(content, name, |user: &User| &user.entity.name)?;
                self.owners.extend(user.keys.iter().map(|key| (key.id.clone(), name.to_owned())));
                self.users.insert(name.to_owned(), user);
            }
            Some(("group", name)) => {
                let group = read(content, name, |group: &super::entity::Group| &group.entity.name)?;
                self.groups.insert(name.to_owned(), group);
            }
            Some(("role", name)) => {
                let role = read(content, name, |role: &Role| &role.entity.name)?;
                self.roles.insert(name.to_owned(), role);
            }
            Some(("policy", rest)) => {
                let name = rest.rsplit('/').next().unwrap_or_default();
                let policy: Managed = read(content, name, |policy: &Managed| &policy.name)?;
                // Its ARN is known once the account is; records come in any order.
                self.policies.insert(policy_arn(&self.config, rest), policy);
            }
            Some(_) => return Err(Malformed),
            None if name == CONFIG => {
                let settled: Settled = serde_json::from_slice(content).map_err(|_| Malformed)?;
                self.move_to(settled.config);
                self.alias = settled.alias;
            }
            None if name == SESSION_KEY => {
                self.session_key = Some(SessionKey::restore(content).ok_or(Malformed)?);
            }
            None => return Err(Malformed),
        }
        Ok(())
    }

    /// Changes account and region, and with them the ARNs under which policies are found.
    fn move_to(&mut self, config: Config) {
        self.config = config;
        let policies = std::mem::take(&mut self.policies).into_values();
        self.policies = policies
            .map(|policy| (Managed::arn_of(&self.config, &policy.path, &policy.name), policy))
            .collect();
    }
}

/// The kind and the name in `iam/KIND/NAME`.
fn parts(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("iam/")?.split_once('/')
}

fn policy_arn(config: &Config, rest: &str) -> String {
    config.global_arn("iam", &format!("policy/{rest}"))
}

fn json<T: Serialize>(value: &T) -> Option<Zeroizing<Vec<u8>>> {
    // Room for nearly every record, so that growing leaves no copies of secrets behind.
    let mut content = Zeroizing::new(Vec::with_capacity(16 * 1024));
    serde_json::to_writer(&mut *content, value).ok()?;
    Some(content)
}

/// A record whose content has the name that it is stored under.
fn read<T: DeserializeOwned>(content: &[u8], name: &str, own: fn(&T) -> &String) -> Result<T, Malformed> {
    let value: T = serde_json::from_slice(content).map_err(|_| Malformed)?;
    if own(&value) == name { Ok(value) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::entity::{AccessKey, Entity, Group, PolicyVersion};
    use crate::identity::{Edit, claim};
    use crate::platform::Nowhere;
    use crate::signer::Signer;

    /// A claimed directory with one of everything.
    fn directory() -> Directory {
        let signer = Signer::new(Box::new(Nowhere));
        assert!(names(&signer.identity.borrow()).is_empty());
        claim::claim(&signer, &serde_json::from_str("{\"region\":\"eu-west-1\"}").expect("a claim"))
            .expect("claimed");
        let entity =
            |name: &str| Entity { name: name.to_owned(), path: "/a/".to_owned(), ..Entity::default() };
        let mut edit = Edit::of(&signer);
        let keys = vec![AccessKey { id: "AKIAEXAMPLE".to_owned(), active: true, ..AccessKey::default() }];
        edit.put_user(User { entity: entity("ann"), keys, groups: ["g".to_owned()].into() });
        edit.put_group(Group { entity: entity("g") });
        edit.put_role(Role { entity: entity("r"), trust: "{}".to_owned(), ..Role::default() });
        let version = PolicyVersion { document: "{}".to_owned(), created: 1 };
        let policy = Managed {
            name: "p".to_owned(),
            path: "/a/b/".to_owned(),
            versions: [(1, version)].into(),
            default: 1,
            ..Managed::default()
        };
        let arn = Managed::arn_of(&edit.config, &policy.path, &policy.name);
        edit.put_policy(&arn, policy);
        edit.set_alias(Some("alias".to_owned()));
        drop(edit);
        signer.identity.take()
    }

    #[test]
    fn a_directory_comes_back_from_its_records_in_any_order() {
        let before = directory();
        let mut names = names(&before);
        assert_eq!(names.len(), 7, "{names:?}");
        let records: Vec<_> = names.iter().map(|name| before.encode(name).expect("a record")).collect();
        for backwards in [false, true] {
            let mut after = Directory::default();
            let mut all: Vec<_> = names.iter().zip(&records).collect();
            if backwards {
                all.reverse();
            }
            for (name, record) in all {
                after.restore(name, record).expect("a record of ours");
            }
            assert!(after.claimed() && after.config == before.config && after.alias == before.alias);
            assert_eq!(after.owner("AKIAEXAMPLE").map(|user| user.entity.name.as_str()), Some("ann"));
            for (name, record) in names.iter().zip(&records) {
                assert_eq!(after.encode(name).as_ref(), Some(record), "{name}");
            }
        }
        names.push("iam/user/nobody".to_owned());
        assert!(before.encode("iam/user/nobody").is_none() && before.encode("else").is_none());
    }

    #[test]
    fn what_is_not_such_a_record_is_refused() {
        let before = directory();
        for name in names(&before) {
            let record = before.encode(&name).expect("a record");
            let mut after = Directory::default();
            assert_eq!(after.restore(&name, record.get(1..).unwrap_or_default()), Err(Malformed), "{name}");
            if name.starts_with("iam/") {
                assert_eq!(after.restore(&format!("{name}x"), &record), Err(Malformed), "another's: {name}");
            }
        }
        for name in ["", "else", "iam/", "iam/thing/x", "identity/other"] {
            assert_eq!(Directory::default().restore(name, b"{}"), Err(Malformed), "{name}");
        }
    }
}
