//! Mechanisms with their parameters: what in C is a structure with pointers is one of [`Parameter`]'s forms here.

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// A mechanism: `{"Type": u64, "Parameter": {"Kind": "Gcm", "Iv": …}}`, the parameter left out if there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Mechanism {
    /// `CKM_`…
    #[serde(rename = "Type")]
    pub kind: u64,
    /// The parameter.
    #[serde(default, skip_serializing_if = "Parameter::is_none")]
    pub parameter: Parameter,
}

impl Mechanism {
    /// A mechanism without a parameter.
    pub const fn plain(kind: u64) -> Self {
        Self { kind, parameter: Parameter::None }
    }
}

/// `CK_RSA_PKCS_PSS_PARAMS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pss {
    /// `CKM_SHA256` …
    pub hash: u64,
    /// `CKG_MGF1_SHA256` …
    pub mgf: u64,
    /// In bytes.
    pub salt_length: u64,
}

/// `CK_RSA_PKCS_OAEP_PARAMS`; the source is `CKZ_DATA_SPECIFIED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oaep {
    /// `CKM_SHA256` …
    pub hash: u64,
    /// `CKG_MGF1_SHA256` …
    pub mgf: u64,
    /// The source data: OAEP's label.
    pub label: Bytes,
}

/// The parameter of a mechanism.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub enum Parameter {
    /// None.
    #[default]
    None,
    /// An initialisation vector: CBC, and KW and KWP with one of their own.
    Iv(Bytes),
    /// `CK_AES_CTR_PARAMS`.
    Ctr {
        /// Bits of the counter.
        bits: u64,
        /// The first counter block, 16 bytes.
        block: Bytes,
    },
    /// `CK_GCM_PARAMS`.
    Gcm {
        /// The initialisation vector.
        iv: Bytes,
        /// Additional authenticated data.
        aad: Bytes,
        /// Bits of the tag.
        tag_bits: u64,
    },
    /// PSS.
    Pss(Pss),
    /// OAEP.
    Oaep(Oaep),
    /// `CK_ECDH1_DERIVE_PARAMS`.
    Ecdh {
        /// `CKD_NULL` …
        kdf: u64,
        /// Shared information for the key derivation function.
        shared: Bytes,
        /// The other's point, bare or as a DER octet string.
        public: Bytes,
    },
    /// `CK_MAC_GENERAL_PARAMS`: bytes of the tag.
    MacLength(u64),
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    RsaAes {
        /// Bits of the temporary AES key.
        aes_bits: u64,
        /// How it is encrypted.
        oaep: Oaep,
    },
    /// `CK_EDDSA_PARAMS`.
    Eddsa {
        /// Whether it is Ed25519ph.
        prehash: bool,
        /// The context.
        context: Bytes,
    },
    /// `CK_SIGN_ADDITIONAL_CONTEXT`: ML-DSA.
    SignContext {
        /// `CKH_HEDGE_PREFERRED` …
        hedge: u64,
        /// The context.
        context: Bytes,
    },
}

impl Parameter {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// [`Parameter`] as JSON: one object with a `Kind` and that kind's members.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Wire {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iv: Option<Bytes>,
    /// Additional data, a label, shared information, a context.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<Bytes>,
    /// Bits of a counter, tag or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u64>,
    /// Bytes of a salt or tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mgf: Option<u64>,
    /// A key derivation function, a kind of hedging; 1 for a digest that is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<u64>,
}

impl From<Parameter> for Wire {
    fn from(parameter: Parameter) -> Self {
        let of = |kind: &str| Self { kind: kind.to_owned(), ..Self::default() };
        match parameter {
            Parameter::None => of("None"),
            Parameter::Iv(iv) => Self { iv: Some(iv), ..of("Iv") },
            Parameter::Ctr { bits, block } => Self { bits: Some(bits), iv: Some(block), ..of("Ctr") },
            Parameter::Gcm { iv, aad, tag_bits } => {
                Self { iv: Some(iv), data: Some(aad), bits: Some(tag_bits), ..of("Gcm") }
            }
            Parameter::Pss(Pss { hash, mgf, salt_length }) => {
                Self { hash: Some(hash), mgf: Some(mgf), length: Some(salt_length), ..of("Pss") }
            }
            Parameter::Oaep(Oaep { hash, mgf, label }) => {
                Self { hash: Some(hash), mgf: Some(mgf), data: Some(label), ..of("Oaep") }
            }
            Parameter::Ecdh { kdf, shared, public } => {
                Self { variant: Some(kdf), data: Some(shared), public: Some(public), ..of("Ecdh") }
            }
            Parameter::MacLength(length) => Self { length: Some(length), ..of("MacLength") },
            Parameter::RsaAes { aes_bits, oaep: Oaep { hash, mgf, label } } => Self {
                bits: Some(aes_bits),
                hash: Some(hash),
                mgf: Some(mgf),
                data: Some(label),
                ..of("RsaAes")
            },
            Parameter::Eddsa { prehash, context } => {
                Self { variant: Some(u64::from(prehash)), data: Some(context), ..of("Eddsa") }
            }
            Parameter::SignContext { hedge, context } => {
                Self { variant: Some(hedge), data: Some(context), ..of("SignContext") }
            }
        }
    }
}

impl TryFrom<Wire> for Parameter {
    type Error = &'static str;

    fn try_from(mut wire: Wire) -> Result<Self, Self::Error> {
        const LACKS: &str = "the mechanism's parameter lacks a member of its kind";
        let kind = std::mem::take(&mut wire.kind);
        let mut data = || wire.data.take().ok_or(LACKS);
        let parameter = match kind.as_str() {
            "None" => Self::None,
            "Iv" => Self::Iv(wire.iv.take().ok_or(LACKS)?),
            "Ctr" => Self::Ctr { bits: wire.bits.take().ok_or(LACKS)?, block: wire.iv.take().ok_or(LACKS)? },
            "Gcm" => Self::Gcm {
                iv: wire.iv.take().ok_or(LACKS)?,
                aad: data()?,
                tag_bits: wire.bits.take().ok_or(LACKS)?,
            },
            "Pss" => Self::Pss(Pss {
                hash: wire.hash.take().ok_or(LACKS)?,
                mgf: wire.mgf.take().ok_or(LACKS)?,
                salt_length: wire.length.take().ok_or(LACKS)?,
            }),
            "Oaep" | "RsaAes" => {
                let oaep = Oaep {
                    hash: wire.hash.take().ok_or(LACKS)?,
                    mgf: wire.mgf.take().ok_or(LACKS)?,
                    label: data()?,
                };
                match kind.as_str() {
                    "Oaep" => Self::Oaep(oaep),
                    _ => Self::RsaAes { aes_bits: wire.bits.take().ok_or(LACKS)?, oaep },
                }
            }
            "Ecdh" => Self::Ecdh {
                kdf: wire.variant.take().ok_or(LACKS)?,
                shared: data()?,
                public: wire.public.take().ok_or(LACKS)?,
            },
            "MacLength" => Self::MacLength(wire.length.take().ok_or(LACKS)?),
            "Eddsa" => Self::Eddsa { prehash: wire.variant.take().ok_or(LACKS)? != 0, context: data()? },
            "SignContext" => Self::SignContext { hedge: wire.variant.take().ok_or(LACKS)?, context: data()? },
            _ => return Err("the mechanism's parameter is of no known kind"),
        };
        let rest = wire.iv.is_some() || wire.data.is_some() || wire.public.is_some();
        let rest = rest || wire.bits.is_some() || wire.length.is_some() || wire.variant.is_some();
        if rest || wire.hash.is_some() || wire.mgf.is_some() {
            return Err("the mechanism's parameter has a member that its kind does not have");
        }
        Ok(parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ck;

    #[test]
    fn every_parameter_comes_back() {
        let some = |byte: u8| Bytes::from(vec![byte; 3]);
        let oaep = Oaep { hash: ck::CKM_SHA256, mgf: ck::CKG_MGF1_SHA256, label: some(1) };
        for parameter in [
            Parameter::None,
            Parameter::Iv(some(2)),
            Parameter::Ctr { bits: 128, block: some(3) },
            Parameter::Gcm { iv: some(4), aad: some(5), tag_bits: 96 },
            Parameter::Pss(Pss { hash: ck::CKM_SHA384, mgf: ck::CKG_MGF1_SHA384, salt_length: 48 }),
            Parameter::Oaep(oaep.clone()),
            Parameter::Ecdh { kdf: ck::CKD_NULL, shared: some(6), public: some(7) },
            Parameter::MacLength(20),
            Parameter::RsaAes { aes_bits: 256, oaep },
            Parameter::Eddsa { prehash: true, context: some(8) },
            Parameter::SignContext { hedge: ck::CKH_HEDGE_REQUIRED, context: some(9) },
        ] {
            let mechanism = Mechanism { kind: ck::CKM_RSA_PKCS, parameter };
            let json = serde_json::to_string(&mechanism).unwrap();
            assert_eq!(serde_json::from_str::<Mechanism>(&json).unwrap(), mechanism, "{json}");
        }
        let gcm = Parameter::Gcm { iv: some(4), aad: Bytes::default(), tag_bits: 128 };
        assert_eq!(
            serde_json::to_string(&Mechanism { kind: ck::CKM_AES_GCM, parameter: gcm }).unwrap(),
            r#"{"Type":4231,"Parameter":{"Kind":"Gcm","Iv":"BAQE","Data":"","Bits":128}}"#
        );
        assert_eq!(serde_json::to_string(&Mechanism::plain(1)).unwrap(), r#"{"Type":1}"#);
    }

    #[test]
    fn members_of_another_kind_are_refused() {
        for wrong in [
            r#"{"Kind":"Iv"}"#,
            r#"{"Kind":"Iv","Iv":"AAAA","Bits":1}"#,
            r#"{"Kind":"None","Hash":1}"#,
            r#"{"Kind":"Other"}"#,
            r#"{"Kind":"MacLength","Length":-1}"#,
            r#"{"Kind":"MacLength","Length":1,"Else":1}"#,
            r#"{}"#,
        ] {
            assert!(serde_json::from_str::<Parameter>(wrong).is_err(), "{wrong}");
        }
    }
}
