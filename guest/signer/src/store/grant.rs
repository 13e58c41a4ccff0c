//! Grants: permissions on one key that whoever may do so gives to somebody, and takes back, without touching a policy.
//!
//! A grant is made whole and never changes. What it permits is decided by [`crate::access`].

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_policy::{Kind, PolicyDocument};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::crypto::{self, CryptoError};
use crate::types::{EncryptionContext, Timestamp};

use super::KeyId;

/// The identity of a grant: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GrantId([u8; Self::LEN]);

impl GrantId {
    const LEN: usize = 32;
    const FIRST: Self = Self([0; Self::LEN]);
    const LAST: Self = Self([0xff; Self::LEN]);

    /// A new, random one.
    pub fn random() -> Result<Self, CryptoError> {
        let mut bytes = [0; Self::LEN];
        crypto::random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The id in this text.
    pub fn parse(text: &str) -> Option<Self> {
        super::id::bytes(text).map(Self)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<GrantId> for String {
    fn from(id: GrantId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for GrantId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not an id of a grant")
    }
}

named! {
    /// What a grant can permit.
    pub enum GrantOperation {
        /// Decrypt.
        Decrypt = "Decrypt",
        /// Encrypt.
        Encrypt = "Encrypt",
        /// GenerateDataKey.
        GenerateDataKey = "GenerateDataKey",
        /// GenerateDataKeyWithoutPlaintext.
        GenerateDataKeyWithoutPlaintext = "GenerateDataKeyWithoutPlaintext",
        /// ReEncrypt, as the source.
        ReEncryptFrom = "ReEncryptFrom",
        /// ReEncrypt, as the destination.
        ReEncryptTo = "ReEncryptTo",
        /// Sign.
        Sign = "Sign",
        /// Verify.
        Verify = "Verify",
        /// GetPublicKey.
        GetPublicKey = "GetPublicKey",
        /// CreateGrant, of what this grant permits and no more.
        CreateGrant = "CreateGrant",
        /// RetireGrant, of this grant.
        RetireGrant = "RetireGrant",
        /// DescribeKey.
        DescribeKey = "DescribeKey",
        /// GenerateDataKeyPair.
        GenerateDataKeyPair = "GenerateDataKeyPair",
        /// GenerateDataKeyPairWithoutPlaintext.
        GenerateDataKeyPairWithoutPlaintext = "GenerateDataKeyPairWithoutPlaintext",
        /// GenerateMac.
        GenerateMac = "GenerateMac",
        /// VerifyMac.
        VerifyMac = "VerifyMac",
        /// DeriveSharedSecret.
        DeriveSharedSecret = "DeriveSharedSecret",
        /// Encapsulate.
        Encapsulate = "Encapsulate",
        /// Decapsulate.
        Decapsulate = "Decapsulate",
    }
}

/// Somebody a grant is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Party {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// The unique identifier of the user or role, which counts in the place of its name.
    #[serde(default)]
    pub id: Option<String>,
    /// The policy that allows everything to them, once it was asked for.
    #[serde(skip)]
    policy: OnceCell<Option<Box<PolicyDocument>>>,
}

/// The identity of somebody a grant is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// An account, user, role or session, by ARN.
    Principal(String),
    /// A service. None calls this signer.
    Service(String),
}

impl Party {
    /// These.
    pub fn new(who: Who) -> Self {
        Self { who, id: None, policy: OnceCell::new() }
    }

    /// The same, if they are a user or role with this unique identifier.
    pub fn known_as(self, id: Option<String>) -> Self {
        Self { id, policy: OnceCell::new(), ..self }
    }

    /// A policy for a key that allows everything to them; `None` if they cannot be named in one.
    pub fn policy(&self) -> Option<&PolicyDocument> {
        let made = self.policy.get_or_init(|| {
            let principal = match &self.who {
                Who::Principal(arn) => json!({"AWS": self.id.as_ref().unwrap_or(arn)}),
                Who::Service(name) => json!({"Service": name}),
            };
            let statement =
                json!({"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"});
            let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
            PolicyDocument::parse(&policy, Kind::Resource).ok().map(Box::new)
        });
        made.as_deref()
    }
}

impl PartialEq for Party {
    fn eq(&self, other: &Self) -> bool {
        self.who == other.who && self.id == other.id
    }
}

/// When a grant holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Constraints {
    /// The encryption context must contain these pairs.
    pub subset: Option<EncryptionContext>,
    /// The encryption context must be this one.
    pub equals: Option<EncryptionContext>,
    /// The request must be made on behalf of this resource.
    pub source_arn: Option<String>,
}

impl Constraints {
    /// Whether an encryption context satisfies them.
    pub fn admit(&self, context: &EncryptionContext) -> bool {
        let equal = self.equals.as_ref().is_none_or(|equals| equals == context);
        equal && self.subset.as_ref().is_none_or(|subset| contains(context, subset))
    }

    /// Whether whatever satisfies them satisfies `other`.
    pub fn are_as_strict_as(&self, other: &Self) -> bool {
        let equals = match (&other.equals, &self.equals) {
            (None, _) => true,
            (Some(theirs), ours) => ours.as_ref() == Some(theirs),
        };
        let subset = other.subset.as_ref().is_none_or(|theirs| {
            [&self.equals, &self.subset].into_iter().flatten().any(|ours| contains(ours, theirs))
        });
        equals && subset && (other.source_arn.is_none() || other.source_arn == self.source_arn)
    }
}

fn contains(all: &BTreeMap<String, String>, some: &BTreeMap<String, String>) -> bool {
    some.iter().all(|(key, value)| all.get(key) == Some(value))
}

/// A grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Its identity.
    pub id: GrantId,
    /// The key.
    pub key: KeyId,
    /// The maker's name for it, by which a repeated request is told.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Who may.
    pub grantee: Party,
    /// Who may end it.
    #[serde(default)]
    pub retiring: Option<Party>,
    /// What.
    pub operations: Vec<GrantOperation>,
    /// When.
    #[serde(default)]
    pub constraints: Constraints,
    /// Proves a grant token to be one that CreateGrant gave.
    token: [u8; 16],
}

impl Grant {
    /// A new grant, with an identity of its own.
    pub fn new(key: KeyId, created: Timestamp, grantee: Party) -> Result<Self, CryptoError> {
        let mut token = [0; 16];
        crypto::random(&mut token)?;
        Ok(Self {
            id: GrantId::random()?,
            key,
            name: None,
            created,
            grantee,
            retiring: None,
            operations: Vec::new(),
            constraints: Constraints::default(),
            token,
        })
    }

    /// Whether `other` permits the same to the same, whoever made it when.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let mut operations = [self.operations.clone(), other.operations.clone()];
        operations.iter_mut().for_each(|list| list.sort_by_key(|operation| operation.name()));
        let [ours, theirs] = operations;
        self.name == other.name
            && self.grantee == other.grantee
            && self.retiring == other.retiring
            && self.constraints == other.constraints
            && ours == theirs
    }

    /// The token that CreateGrant gives: it names the grant, and cannot be made up.
    pub fn token(&self) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&self.token);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The name of the record that it is kept in.
    pub(crate) fn record_name(&self) -> String {
        format!("grant/{}/{}", self.key, self.id)
    }
}

/// Every grant, by key.
#[derive(Default)]
pub struct Grants(BTreeMap<(KeyId, GrantId), Rc<Grant>>);

impl Grants {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a grant.
    pub fn insert(&mut self, grant: Grant) -> Rc<Grant> {
        let grant = Rc::new(grant);
        self.0.insert((grant.key, grant.id), Rc::clone(&grant));
        grant
    }

    /// Ends a grant.
    pub fn remove(&mut self, key: KeyId, id: GrantId) {
        self.0.remove(&(key, id));
    }

    /// The grant of that id, on that key.
    pub fn find(&self, key: KeyId, id: GrantId) -> Option<Rc<Grant>> {
        self.0.get(&(key, id)).cloned()
    }

    /// The grant that a token names.
    pub fn of_token(&self, token: &str) -> Option<Rc<Grant>> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (key, rest) = bytes.split_first_chunk::<16>()?;
        let (id, rest) = rest.split_first_chunk::<{ GrantId::LEN }>()?;
        let grant = self.find(KeyId::from_bytes(*key), GrantId(*id))?;
        verify_slices_are_equal(rest, &grant.token).ok().map(|()| grant)
    }

    /// The grants on a key, in the order of their ids.
    pub fn on(&self, key: KeyId) -> impl Iterator<Item = &Rc<Grant>> {
        self.0.range((key, GrantId::FIRST)..=(key, GrantId::LAST)).map(|(_, grant)| grant)
    }

    /// Every grant that follows this one in order.
    pub fn after(&self, after: Option<(KeyId, GrantId)>) -> impl Iterator<Item = &Rc<Grant>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range((from, Bound::Unbounded)).map(|(_, grant)| grant)
    }
}
