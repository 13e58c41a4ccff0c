//! What the module has to know of a key: whether it may be used as asked, and how long its results are.

use casemate_hsm::attribute::{flag, number};
use casemate_hsm::{Attribute, Operation, Request, ck};
use cryptoki_sys as sys;

use crate::rv::{Result, Rv, ensure};
use crate::token::Token;

/// What is known of a key.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    class: u64,
    key_type: u64,
    /// Bytes of an RSA modulus.
    modulus: usize,
    /// Bytes of an ECDSA signature.
    ecdsa: usize,
    /// `CKP_`… of ML-DSA.
    parameter_set: u64,
    /// `CKA_SIGN` …, those that are set.
    allowed: Vec<u64>,
}

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// C_Sign
    Sign,
    /// C_Verify
    Verify,
    /// C_Encrypt
    Encrypt,
    /// C_Decrypt
    Decrypt,
}

impl Use {
    /// What a mechanism must be able to do (`CKF_`…) and what a key must permit (`CKA_`…).
    const fn demands(self) -> (u64, u64) {
        match self {
            Self::Sign => (ck::CKF_SIGN, ck::CKA_SIGN),
            Self::Verify => (ck::CKF_VERIFY, ck::CKA_VERIFY),
            Self::Encrypt => (ck::CKF_ENCRYPT, ck::CKA_ENCRYPT),
            Self::Decrypt => (ck::CKF_DECRYPT, ck::CKA_DECRYPT),
        }
    }
}

const USES: [u64; 4] = [ck::CKA_SIGN, ck::CKA_VERIFY, ck::CKA_ENCRYPT, ck::CKA_DECRYPT];
const DETAILS: [u64; 5] =
    [ck::CKA_CLASS, ck::CKA_KEY_TYPE, ck::CKA_MODULUS, ck::CKA_EC_PARAMS, ck::CKA_PARAMETER_SET];

/// The DER of curves' names (RFC 5480, SEC 2), and the bytes of r and s.
const CURVES: [(&[u8], usize); 4] = [
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], 64),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], 96),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], 132),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], 64),
];

impl Facts {
    /// Asks the token.
    pub fn ask(token: &Token, key: u64) -> Result<Self> {
        let types = DETAILS.iter().chain(&USES).copied().collect();
        let request = Request { objects: Some(vec![key]), types: Some(types), ..Request::default() };
        let invalid = Rv(ck::CKR_KEY_HANDLE_INVALID);
        let told = match token.call(Operation::GetAttributes, request) {
            Err(Rv(ck::CKR_OBJECT_HANDLE_INVALID)) => return Err(invalid),
            told => told?.attributes.and_then(|mut told| told.pop()).ok_or(Rv(ck::CKR_DEVICE_ERROR))?,
        };
        ensure(told.rv != ck::CKR_OBJECT_HANDLE_INVALID, ck::CKR_KEY_HANDLE_INVALID)?;
        let mut facts = Self { class: u64::MAX, key_type: u64::MAX, ..Self::default() };
        for Attribute { kind, value } in &told.template {
            let Some(value) = value else { continue };
            match *kind {
                ck::CKA_CLASS => facts.class = number(value).unwrap_or(u64::MAX),
                ck::CKA_KEY_TYPE => facts.key_type = number(value).unwrap_or(u64::MAX),
                ck::CKA_MODULUS => facts.modulus = value.iter().skip_while(|byte| **byte == 0).count(),
                ck::CKA_EC_PARAMS => {
                    let curve = CURVES.iter().find(|(name, _)| *name == value.as_slice());
                    facts.ecdsa = curve.map_or(132, |(_, length)| *length);
                }
                ck::CKA_PARAMETER_SET => facts.parameter_set = number(value).unwrap_or_default(),
                usage if flag(value) == Some(true) => facts.allowed.push(usage),
                _ => {}
            }
        }
        let is_key = matches!(facts.class, ck::CKO_PUBLIC_KEY | ck::CKO_PRIVATE_KEY | ck::CKO_SECRET_KEY);
        if is_key { Ok(facts) } else { Err(invalid) }
    }

    /// Whether the key can be used so, as far as it can be told before.
    pub fn check(&self, token: &Token, mechanism: u64, usage: Use) -> Result<()> {
        let (flag, attribute) = usage.demands();
        token.mechanism(mechanism, flag)?;
        if let Some(types) = key_types(mechanism) {
            ensure(types.contains(&self.key_type), ck::CKR_KEY_TYPE_INCONSISTENT)?;
        }
        ensure(self.allowed.contains(&attribute), ck::CKR_KEY_FUNCTION_NOT_PERMITTED)
    }

    /// Length of a signature or MAC in bytes, or somewhat more.
    pub fn signature_length(&self, mechanism: u64) -> usize {
        let parameter_sets =
            [(ck::CKP_ML_DSA_44, 2420), (ck::CKP_ML_DSA_65, 3309), (ck::CKP_ML_DSA_87, 4627)];
        match self.key_type {
            ck::CKK_RSA => self.modulus,
            ck::CKK_EC => self.ecdsa,
            ck::CKK_EC_EDWARDS => 64,
            ck::CKK_ML_DSA => {
                let known = parameter_sets.iter().find(|(set, _)| *set == self.parameter_set);
                known.map_or(4627, |(_, length)| *length)
            }
            _ => mac_length(mechanism),
        }
    }

    /// Bytes of the modulus, if it is an RSA key.
    pub const fn modulus(&self) -> usize {
        self.modulus
    }
}

/// Length of an HMAC or CMAC that is not shortened.
const fn mac_length(mechanism: u64) -> usize {
    match mechanism {
        ck::CKM_AES_CMAC | ck::CKM_AES_CMAC_GENERAL => 16,
        ck::CKM_SHA_1_HMAC | ck::CKM_SHA_1_HMAC_GENERAL => 20,
        ck::CKM_SHA224_HMAC | ck::CKM_SHA224_HMAC_GENERAL => 28,
        ck::CKM_SHA256_HMAC | ck::CKM_SHA256_HMAC_GENERAL => 32,
        ck::CKM_SHA384_HMAC | ck::CKM_SHA384_HMAC_GENERAL => 48,
        _ => 64,
    }
}

/// The types of key that a mechanism can be used with; `None` where the token alone knows.
const fn key_types(mechanism: u64) -> Option<&'static [u64]> {
    Some(match mechanism {
        ck::CKM_RSA_PKCS
        | ck::CKM_RSA_X_509
        | ck::CKM_RSA_PKCS_OAEP
        | ck::CKM_RSA_PKCS_PSS
        | ck::CKM_SHA1_RSA_PKCS
        | ck::CKM_SHA224_RSA_PKCS..=ck::CKM_SHA224_RSA_PKCS_PSS
        | ck::CKM_SHA256_RSA_PKCS..=ck::CKM_SHA512_RSA_PKCS_PSS
        | ck::CKM_SHA1_RSA_PKCS_PSS => &[ck::CKK_RSA],
        ck::CKM_ECDSA..=ck::CKM_ECDSA_SHA512 => &[ck::CKK_EC],
        ck::CKM_EDDSA => &[ck::CKK_EC_EDWARDS],
        ck::CKM_ML_DSA => &[ck::CKK_ML_DSA],
        ck::CKM_AES_ECB..=ck::CKM_AES_CMAC_GENERAL
        | ck::CKM_AES_KEY_WRAP
        | ck::CKM_AES_KEY_WRAP_PAD
        | ck::CKM_AES_KEY_WRAP_KWP => &[ck::CKK_AES],
        ck::CKM_DES3_ECB | ck::CKM_DES3_CBC | ck::CKM_DES3_CBC_PAD => &[ck::CKK_DES3],
        ck::CKM_SHA_1_HMAC | ck::CKM_SHA_1_HMAC_GENERAL => &[sys::CKK_SHA_1_HMAC, ck::CKK_GENERIC_SECRET],
        ck::CKM_SHA224_HMAC | ck::CKM_SHA224_HMAC_GENERAL => &[ck::CKK_SHA224_HMAC, ck::CKK_GENERIC_SECRET],
        ck::CKM_SHA256_HMAC | ck::CKM_SHA256_HMAC_GENERAL => &[ck::CKK_SHA256_HMAC, ck::CKK_GENERIC_SECRET],
        ck::CKM_SHA384_HMAC | ck::CKM_SHA384_HMAC_GENERAL => &[ck::CKK_SHA384_HMAC, ck::CKK_GENERIC_SECRET],
        ck::CKM_SHA512_HMAC | ck::CKM_SHA512_HMAC_GENERAL => &[ck::CKK_SHA512_HMAC, ck::CKK_GENERIC_SECRET],
        _ => return None,
    })
}
