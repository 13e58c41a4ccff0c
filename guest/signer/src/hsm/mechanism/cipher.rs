//! Encryption and decryption.

use casemate_hsm::ck::*;
use casemate_hsm::{Mechanism, Parameter};
use zeroize::Zeroizing;

use crate::crypto::aes::{self, BLOCK, Mode};
use crate::crypto::pkey::Scheme;

use super::super::fault::{Fault, Rv, refuse};
use super::super::object::Object;
use super::{inconsistent, oaep, wrong_parameter};

type Output = Result<Zeroizing<Vec<u8>>, Fault>;

/// What a mechanism does.
enum Method<'a> {
    Rsa(Scheme<'a>),
    /// A mode, its initialisation vector, whether it pads.
    Block(Mode, &'a [u8], bool),
    /// Initialisation vector, associated data, bytes of the tag.
    Gcm(&'a [u8], &'a [u8], usize),
}

impl<'a> Method<'a> {
    fn of(mechanism: &'a Mechanism, length: usize) -> Result<Self, Fault> {
        Ok(match (mechanism.kind, &mechanism.parameter) {
            (CKM_RSA_PKCS, Parameter::None) => Self::Rsa(Scheme::Pkcs1(None)),
            (CKM_RSA_X_509, Parameter::None) => Self::Rsa(Scheme::RsaRaw),
            (CKM_RSA_PKCS_OAEP, Parameter::Oaep(parameter)) => Self::Rsa(oaep(parameter)?),
            (CKM_AES_ECB, Parameter::None) => Self::Block(Mode::Ecb, &[], false),
            (CKM_AES_CBC, Parameter::Iv(iv)) if iv.len() == BLOCK => Self::Block(Mode::Cbc, iv, false),
            (CKM_AES_CBC_PAD, Parameter::Iv(iv)) if iv.len() == BLOCK => Self::Block(Mode::Cbc, iv, true),
            (CKM_AES_CTR, Parameter::Ctr { bits, block }) if counts(*bits, block, length) => {
                Self::Block(Mode::Ctr, block, false)
            }
            (CKM_DES3_ECB, Parameter::None) => Self::Block(Mode::Des3Ecb, &[], false),
            (CKM_DES3_CBC, Parameter::Iv(iv)) if iv.len() == 8 => Self::Block(Mode::Des3Cbc, iv, false),
            (CKM_DES3_CBC_PAD, Parameter::Iv(iv)) if iv.len() == 8 => Self::Block(Mode::Des3Cbc, iv, true),
            (CKM_AES_GCM, Parameter::Gcm { iv, aad, tag_bits })
                if !iv.is_empty() && matches!(tag_bits, 96 | 104 | 112 | 120 | 128) =>
            {
                Self::Gcm(iv, aad, usize::try_from(*tag_bits / 8).unwrap_or_default())
            }
            (
                CKM_RSA_PKCS | CKM_RSA_X_509 | CKM_RSA_PKCS_OAEP | CKM_AES_ECB | CKM_AES_CBC
                | CKM_AES_CBC_PAD | CKM_AES_CTR | CKM_AES_GCM | CKM_DES3_ECB | CKM_DES3_CBC
                | CKM_DES3_CBC_PAD,
                _,
            ) => return wrong_parameter(),
            _ => return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not encrypt."),
        })
    }
}

/// Whether a counter of so many bits counts so many bytes without beginning anew: two texts under one key stream would be
/// two texts lost.
fn counts(bits: u64, block: &[u8], length: usize) -> bool {
    let Ok(block) = <[u8; BLOCK]>::try_from(block) else { return false };
    let blocks = u128::try_from(length.div_ceil(BLOCK)).unwrap_or(u128::MAX);
    match u32::try_from(bits) {
        Ok(128) => true,
        Ok(bits @ 1..128) => {
            let values = 1_u128.checked_shl(bits).unwrap_or_default();
            let first = u128::from_be_bytes(block) & values.saturating_sub(1);
            first.checked_add(blocks).is_some_and(|end| end <= values)
        }
        _ => false,
    }
}

/// The type of key that a mode takes.
const fn takes(mode: Mode) -> u64 {
    match mode {
        Mode::Des3Ecb | Mode::Des3Cbc => CKK_DES3,
        _ => CKK_AES,
    }
}

/// Encrypts with a public or a secret key.
pub(in crate::hsm) fn encrypt(key: &Object, mechanism: &Mechanism, data: &[u8]) -> Output {
    let output = match (Method::of(mechanism, data.len())?, key.class(), key.key_type()) {
        (Method::Rsa(scheme), CKO_PUBLIC_KEY, Some(CKK_RSA)) => {
            let key = key.key()?;
            match (scheme, key.len().checked_sub(data.len())) {
                (Scheme::RsaRaw, Some(zeroes)) => {
                    let padded = Zeroizing::new([&vec![0; zeroes], data].concat());
                    key.encrypt(scheme, &padded)
                }
                _ => key.encrypt(scheme, data),
            }
        }
        (Method::Block(mode, iv, pads), CKO_SECRET_KEY, Some(kind)) if kind == takes(mode) => {
            aes::crypt(mode, true, key.secret(), iv, pads, data)
        }
        (Method::Gcm(iv, aad, tag), CKO_SECRET_KEY, Some(CKK_AES)) => {
            aes::gcm_seal(key.secret(), iv, aad, tag, data)
        }
        _ => return inconsistent(),
    };
    output.map_or_else(
        || refuse(Rv::CKR_DATA_LEN_RANGE, "The data has a length that the mechanism cannot take."),
        Ok,
    )
}

/// Decrypts with a private or a secret key.
pub(in crate::hsm) fn decrypt(key: &Object, mechanism: &Mechanism, data: &[u8]) -> Output {
    let wrong_length =
        || refuse(Rv::CKR_ENCRYPTED_DATA_LEN_RANGE, "The ciphertext does not have the mechanism's length.");
    let output = match (Method::of(mechanism, data.len())?, key.class(), key.key_type()) {
        (Method::Rsa(scheme), CKO_PRIVATE_KEY, Some(CKK_RSA)) => {
            let key = key.key()?;
            if data.len() != key.len() {
                return wrong_length();
            }
            key.decrypt(scheme, data)
        }
        (Method::Block(mode, iv, pads), CKO_SECRET_KEY, Some(kind)) if kind == takes(mode) => {
            if mode != Mode::Ctr && (!data.len().is_multiple_of(mode.block()) || pads && data.is_empty()) {
                return wrong_length();
            }
            aes::crypt(mode, false, key.secret(), iv, pads, data)
        }
        (Method::Gcm(iv, aad, tag), CKO_SECRET_KEY, Some(CKK_AES)) => {
            if data.len() < tag {
                return wrong_length();
            }
            aes::gcm_open(key.secret(), iv, aad, tag, data)
        }
        _ => return inconsistent(),
    };
    output.map_or_else(
        || refuse(Rv::CKR_ENCRYPTED_DATA_INVALID, "The ciphertext is not one of this key and mechanism."),
        Ok,
    )
}
