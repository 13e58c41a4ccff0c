//! Attributes and templates, and the canonical bytes of their values.
//!
//! | type in C | bytes |
//! | --- | --- |
//! | `CK_ULONG` | 8, the least significant first |
//! | an array of `CK_ULONG` (`CKA_ALLOWED_MECHANISMS`) | 8 each |
//! | `CK_BBOOL` | one: 0 or 1 |
//! | everything else | as it is |

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// Our own attribute: how many approvals wrapping, or sharing, this key takes beside its owner's word; `CK_ULONG`. It can be
/// raised and never lowered.
pub const CKA_CASEMATE_QUORUM: u64 = crate::ck::CKA_VENDOR_DEFINED | 0x4353_4d01;
/// Our own attribute: the name of the crypto user who made an object. Read only.
pub const CKA_CASEMATE_OWNER: u64 = crate::ck::CKA_VENDOR_DEFINED | 0x4353_4d02;

/// An attribute. Without a value, it is one that was asked for and cannot be told (`CK_UNAVAILABLE_INFORMATION`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Attribute {
    /// `CKA_`…
    #[serde(rename = "Type")]
    pub kind: u64,
    /// The value, canonical.
    #[serde(default)]
    pub value: Option<Bytes>,
}

impl Attribute {
    /// One with these bytes.
    pub fn bytes(kind: u64, value: &[u8]) -> Self {
        Self { kind, value: Some(Bytes::copy(value)) }
    }

    /// One that is a number.
    pub fn number(kind: u64, value: u64) -> Self {
        Self::bytes(kind, &value.to_le_bytes())
    }

    /// One that is a truth value.
    pub fn flag(kind: u64, value: bool) -> Self {
        Self::bytes(kind, &[u8::from(value)])
    }
}

/// What an object is to have, or what is looked for. No type occurs twice in one that the token takes.
pub type Template = Vec<Attribute>;

/// The number in these bytes, if they are one.
pub fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

/// The truth value in these bytes. Anything but 0 is true in C; the token takes 0 and 1.
pub fn flag(value: &[u8]) -> Option<bool> {
    match value {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_canonical() {
        assert_eq!(
            serde_json::to_string(&[Attribute::number(0x100, 3), Attribute::flag(1, true)]).unwrap(),
            r#"[{"Type":256,"Value":"AwAAAAAAAAA="},{"Type":1,"Value":"AQ=="}]"#
        );
        let unavailable: Attribute = serde_json::from_str(r#"{"Type":17,"Value":null}"#).unwrap();
        assert_eq!(unavailable, Attribute { kind: 17, value: None });
        assert_eq!(number(&3_u64.to_le_bytes()), Some(3));
        assert_eq!(number(&[3, 0, 0, 0]), None);
        assert_eq!([flag(&[0]), flag(&[1]), flag(&[2]), flag(&[])], [Some(false), Some(true), None, None]);
    }
}
