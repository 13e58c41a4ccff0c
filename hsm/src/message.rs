//! Operations, and what is sent for them and back.
//!
//! All requests are one structure, [`Request`], and all responses another, [`Response`]: an operation uses the members that
//! the table says, the others are left out. (A type for each would cost the guest's image more than the operations do.)
//! Every operation but those marked ○ takes a `SessionToken`; those marked ◐ take one, a crypto officer's, or are signed by the
//! signer's owner (`casemate:CreateBackup`, `casemate:ShareBackup`). A `?` marks what may be left out. What a quorum must
//! approve may name its `QuorumToken` as well; if it does not, one that is good for exactly this request is taken.
//!
//! A backup's file is its parts in order, each after its length in four bytes, the most significant first.
//!
//! | operation | request | response |
//! | --- | --- | --- |
//! | `DescribeToken` ○ | | `Token` |
//! | `InitializeToken` ○ | `Label`, `User`, `Pin`; signed by the signer's owner, `casemate:InitializeToken` | `Token` |
//! | `ResetToken` ○ | `Label`, `User`, `Pin`: a crypto officer's; every key and every other user is erased | `Token` |
//! | `OpenSession` ○ | | `SessionToken` |
//! | `CloseSession` | | |
//! | `Login` | `User`, `Pin`, `UserType` | |
//! | `Logout` | | |
//! | `CreateUser` | `User`, `Pin`, `UserType` | |
//! | `DeleteUser` | `User` | |
//! | `ListUsers` | | `Users` |
//! | `ChangePassword` | `User`, `Pin`: the new one, `OldPin`? as C_SetPIN gives it | |
//! | `InitializePin` | `User`, `Pin`: as C_InitPIN; makes the crypto user if there is none | |
//! | `RegisterQuorumKey` | `PublicKey`: SubjectPublicKeyInfo of RSA or a NIST curve | |
//! | `SetQuorum` | `Service`, `Count` | |
//! | `GetQuorum` | | `Quorums`, `QuorumTokens`: those that whoever asks asked for or can approve |
//! | `GetQuorumToken` | `Operation`, and the members of its request but the passwords | `QuorumToken`, `Data`: what is to be signed |
//! | `ApproveQuorumToken` | `QuorumToken`, `Approvals` | |
//! | `GenerateKey` | `Mechanism`, `Template` | `Object` |
//! | `GenerateKeyPair` | `Mechanism`, `PublicTemplate`, `Template` | `PublicObject`, `Object` |
//! | `CreateObject` | `Template` | `Object` |
//! | `CopyObject` | `Object`, `Template` | `Object` |
//! | `DestroyObject` | `Object` | |
//! | `GetAttributes` | `Objects`, `Types` | `Attributes`, one for each object |
//! | `SetAttributes` | `Object`, `Template` | |
//! | `FindObjects` | `Template`, `MaxResults`?, `Marker`? | `Objects`, `NextMarker`? |
//! | `ShareObject`, `UnshareObject` | `Object`, `User` | |
//! | `Sign` | `Mechanism`, `Object`, `Data` | `Data` |
//! | `Verify` | `Mechanism`, `Object`, `Data`, `Signature` | |
//! | `Encrypt`, `Decrypt` | `Mechanism`, `Object`, `Data` | `Data` |
//! | `WrapKey` | `Mechanism`, `WrappingObject`, `Object`, `QuorumToken`? | `Data` |
//! | `UnwrapKey` | `Mechanism`, `WrappingObject`, `Data`, `Template` | `Object` |
//! | `DeriveKey` | `Mechanism`, `Object`, `Template` | `Object` |
//! | `Random` | `Length` | `Data` |
//! | `GetBackupNonce` ◐ | | `Data`: the nonce for the document of `ShareBackup` |
//! | `CreateBackup` ◐ | | `Backup`, `Data`: its first part |
//! | `ReadBackup` ◐ | `Backup`: its id, `Marker`: the number of a part, from 1 | `Data` |
//! | `ShareBackup` ◐ | `Data`: the first part, `Document`, `ImageSha384`, `PlatformRoot`? | `Data`: the first part from now on |
//! | `RestoreBackup` ○ | `Data`: a part, `Marker`: its number, from 0, `PlatformRoot`?; signed by the owner, `casemate:RestoreBackup` | `NextMarker`?, then `Token` |
//! | `Mechanisms` ○ | | `Mechanisms` |

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Bytes, Mechanism, Template};

/// What `X-Amz-Target` begins with.
pub const TARGET: &str = "CasemateHsm.";

macro_rules! operations {
    ($($name:ident,)+) => {
        /// An operation, under its own name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the module's table says what each takes and gives")]
        pub enum Operation { $($name,)+ }

        impl Operation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name, as in `X-Amz-Target` after the dot.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

operations! {
    DescribeToken, InitializeToken, ResetToken,
    OpenSession, CloseSession, Login, Logout,
    CreateUser, DeleteUser, ListUsers, ChangePassword, InitializePin,
    RegisterQuorumKey, SetQuorum, GetQuorum, GetQuorumToken, ApproveQuorumToken,
    GenerateKey, GenerateKeyPair, CreateObject, CopyObject, DestroyObject,
    GetAttributes, SetAttributes, FindObjects, ShareObject, UnshareObject,
    Sign, Verify, Encrypt, Decrypt, WrapKey, UnwrapKey, DeriveKey, Random, Mechanisms,
    GetBackupNonce, CreateBackup, ReadBackup, ShareBackup, RestoreBackup,
}

impl Operation {
    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Whether it is signed (SigV4) and authorised by the signer's own policies, and not by the token's users.
    pub const fn is_owners(self) -> bool {
        matches!(self, Self::InitializeToken | Self::RestoreBackup)
    }

    /// Whether it is, if the request has no session.
    pub const fn may_be_owners(self) -> bool {
        matches!(self, Self::GetBackupNonce | Self::CreateBackup | Self::ReadBackup | Self::ShareBackup)
    }
}

/// Whose part somebody plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserType {
    /// A crypto officer: users, quorum, backups. `CKU_SO`.
    #[serde(rename = "CO")]
    CryptoOfficer,
    /// A crypto user: keys. `CKU_USER`.
    #[serde(rename = "CU")]
    CryptoUser,
}

/// A password.
pub type Pin = Zeroizing<String>;

/// What is sent for an operation; the [module](self) says which members.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the module's table says which operation uses which member")]
pub struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_type: Option<UserType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_template: Option<Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapping_object: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Vec<Approval>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_sha384: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_root: Option<Bytes>,
}

/// What an operation answers; the [module](self) says which members.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the module's table says which operation uses which member")]
pub struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<User>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_object: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<Attributes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanisms: Option<Vec<MechanismInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorums: Option<Vec<Quorum>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum_tokens: Option<Vec<QuorumToken>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
}

// What is in them may be a password or a key: neither is shown.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response")
    }
}

/// A backup of everything that is on the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Backup {
    /// 32 hexadecimal digits.
    pub id: String,
    /// How many parts it has, the first included.
    pub parts: u64,
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// When it was made, in seconds since 1970, by the host's clock.
    pub created: u64,
}

impl Backup {
    /// The header, which is the guest's, and the description in a backup's first part: length of the header (2 bytes,
    /// big-endian) ‖ header ‖ description, JSON. `None` if it is not one.
    pub fn in_first_part(part: &[u8]) -> Option<(&[u8], Self)> {
        let (length, rest) = part.split_first_chunk()?;
        let (header, about) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some((header, serde_json::from_slice(about).ok()?))
    }
}

/// The token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Token {
    /// Its label, at most 32 bytes, not padded; empty before it is initialised.
    pub label: String,
    /// 16 hexadecimal digits: the same for life, new with each initialisation.
    pub serial: String,
    /// `CKF_`…, as in `CK_TOKEN_INFO`; those about pins are about the users `user` and `officer`, or any if those are missing.
    pub flags: u64,
    /// Objects on it.
    pub objects: u64,
    /// Applications with a session.
    pub sessions: u64,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct User {
    /// The name.
    pub user: String,
    /// The part they play.
    pub user_type: UserType,
    /// Whether they are locked out now.
    pub locked: bool,
    /// Whether they have a key to approve with.
    pub quorum_key: bool,
}

/// What GetAttributes tells about one object, in the order in which the types were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attributes {
    /// `CKR_OK`, `CKR_ATTRIBUTE_SENSITIVE`, `CKR_ATTRIBUTE_TYPE_INVALID` or `CKR_OBJECT_HANDLE_INVALID`.
    pub rv: u64,
    /// The attributes; those that cannot be told have no value.
    pub template: Template,
}

/// A mechanism that the token has: `CK_MECHANISM_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MechanismInfo {
    /// `CKM_`…
    #[serde(rename = "Type")]
    pub kind: u64,
    /// The smallest key, in the unit that the specification gives for the mechanism.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// `CKF_`…
    pub flags: u64,
}

/// What a quorum can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Service {
    /// Users and quorums: `CreateUser`, `DeleteUser`, `ChangePassword` of somebody else, `InitializePin`, `SetQuorum`. Crypto
    /// officers approve.
    #[serde(rename = "user")]
    Users,
    /// Keys that leave the token wrapped. Crypto users and officers approve.
    #[serde(rename = "export")]
    Export,
    /// `CreateBackup` and `ShareBackup`. Crypto officers approve.
    #[serde(rename = "backup")]
    Backup,
}

/// How many approvals a service takes beside the one who asks; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Quorum {
    /// The service.
    pub service: Service,
    /// How many.
    pub count: u64,
}

/// A quorum token that has not been used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QuorumToken {
    /// Its id.
    pub quorum_token: String,
    /// What is to be signed.
    pub data: Bytes,
    /// Who has approved it.
    pub approved: Vec<String>,
}

/// A user's approval: their signature over the quorum token's [`Response::data`], by the key they registered: RSASSA-PKCS1-v1_5
/// or ECDSA (DER), with SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Approval {
    /// The user.
    pub user: String,
    /// The signature.
    pub signature: Bytes,
}

/// Why a request was refused: HTTP 400, or 500 where the signer failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `CKR_`…, or AWS's name for it where PKCS#11 has none.
    #[serde(rename = "__type")]
    pub kind: String,
    /// What failed, on what, what to do next.
    #[serde(default)]
    pub message: String,
    /// `CKR_`…, where PKCS#11 has a name for it.
    #[serde(rename = "Rv", default, skip_serializing_if = "Option::is_none")]
    pub rv: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_what_was_set_and_nothing_else() {
        let request = Request {
            user: Some("alice".to_owned()),
            pin: Some(Zeroizing::new("correct horse".to_owned())),
            user_type: Some(UserType::CryptoUser),
            ..Request::default()
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"User":"alice","UserType":"CU","Pin":"correct horse"}"#);
        assert!(serde_json::from_str::<Request>(r#"{"User":"a","Else":1}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"Object":-1}"#).is_err());
        assert_eq!(serde_json::from_str::<Request>("{}").unwrap().object, None);
    }

    #[test]
    fn a_refusal_may_have_no_return_value() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"__type":"ThrottlingException","message":"m"}"#).unwrap();
        assert_eq!(refusal.rv, None);
    }

    #[test]
    fn operations_have_their_names() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_name(operation.name()), Some(*operation));
        }
        assert_eq!(Operation::from_name("Sign"), Some(Operation::Sign));
        assert_eq!(Operation::from_name("sign"), None);
    }
}
