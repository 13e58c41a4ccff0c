//! What IAM knows: users with their access keys, groups, roles and managed policies. Each is one record.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::config::Config;
use crate::access::bind::Bindings;

/// What users, groups and roles have in common.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entity {
    pub(crate) name: String,
    /// Begins and ends with a slash.
    pub(crate) path: String,
    /// `AIDA…`, `AGPA…`, `AROA…`.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) tags: BTreeMap<String, String>,
    /// Policies of its own, by name.
    pub(crate) inline: BTreeMap<String, String>,
    /// The ARNs of the managed policies that are attached.
    pub(crate) attached: BTreeSet<String>,
    /// The ARN of the managed policy that limits it.
    pub(crate) boundary: Option<String>,
}

/// A user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) entity: Entity,
    pub(crate) keys: Vec<AccessKey>,
    /// The names of the groups it belongs to.
    pub(crate) groups: BTreeSet<String>,
}

/// A user's access key.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) active: bool,
    pub(crate) created: u64,
    pub(crate) last_used: Option<Used>,
}

/// When a credential was last used, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Used {
    pub(crate) at: u64,
    pub(crate) service: String,
    pub(crate) region: String,
    /// The last time that this was made durable.
    #[serde(skip)]
    pub(crate) written: u64,
}

/// A role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    pub(crate) entity: Entity,
    pub(crate) description: String,
    /// Who may assume it.
    pub(crate) trust: String,
    /// Whom the names in it meant when it was set.
    pub(crate) trusted: Bindings,
    /// The longest session, in seconds.
    pub(crate) max_session: u64,
    pub(crate) last_used: Option<Used>,
}

/// A group of users.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(crate) entity: Entity,
}

/// A managed policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Managed {
    pub(crate) name: String,
    pub(crate) path: String,
    /// `ANPA…`.
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) tags: BTreeMap<String, String>,
    /// By number: version `v2` is 2.
    pub(crate) versions: BTreeMap<u32, PolicyVersion>,
    /// The number of the version that counts.
    pub(crate) default: u32,
    /// The number of the newest version there ever was.
    pub(crate) newest: u32,
}

/// A version of a managed policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PolicyVersion {
    pub(crate) document: String,
    pub(crate) created: u64,
}

/// A secret is not printed.
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// The kinds of entities that policies are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Group,
    Role,
}

impl Kind {
    /// As in ARNs and messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        }
    }

    /// The same as the beginning of a sentence or a parameter.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
        }
    }

    /// The ARN of the one with that path and name.
    pub(crate) fn arn(self, config: &Config, path: &str, name: &str) -> String {
        config.global_arn("iam", &format!("{}{path}{name}", self.word()))
    }
}

impl Entity {
    /// Adds a tag, or replaces the one whose name differs at most in case.
    pub(crate) fn tag(tags: &mut BTreeMap<String, String>, key: &str, value: &str) {
        Self::untag(tags, key);
        tags.insert(key.to_owned(), value.to_owned());
    }

    /// Removes the tag whose name differs at most in case.
    pub(crate) fn untag(tags: &mut BTreeMap<String, String>, key: &str) {
        tags.retain(|known, _| !known.eq_ignore_ascii_case(key));
    }
}

impl Managed {
    /// The ARN of the one with that path and name.
    pub(crate) fn arn_of(config: &Config, path: &str, name: &str) -> String {
        config.global_arn("iam", &format!("policy{path}{name}"))
    }

    /// The document that counts.
    pub(crate) fn document(&self) -> Option<&str> {
        self.versions.get(&self.default).map(|version| version.document.as_str())
    }
}
