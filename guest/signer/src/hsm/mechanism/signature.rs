//! Signatures and MACs.

use aws_lc_rs::{constant_time, digest, hmac};
use casemate_hsm::ck::*;
use casemate_hsm::{Mechanism, Parameter};

use crate::crypto::aes;
use crate::crypto::pkey::{Hash, PKey, Scheme, ml_dsa_mu};

use super::super::fault::{Fault, Rv, broken, refuse};
use super::super::material::{self, Kind};
use super::super::object::Object;
use super::{inconsistent, pss, wrong_parameter};

/// What a mechanism does.
enum Method<'a> {
    /// RSA, over the data's digest if it makes one.
    Rsa(Scheme<'a>, Option<Hash>),
    /// ECDSA, likewise.
    Ecdsa(Option<Hash>),
    Eddsa,
    /// ML-DSA, with a context.
    MlDsa(&'a [u8]),
    /// HMAC, and the bytes that are given of it.
    Hmac(Hash, Option<u64>),
    Cmac(Option<u64>),
}

impl<'a> Method<'a> {
    fn of(mechanism: &'a Mechanism) -> Result<Self, Fault> {
        use Hash::{Sha1, Sha224, Sha256, Sha384, Sha512};
        let parameter = &mechanism.parameter;
        let pkcs1 = |hash| Self::Rsa(Scheme::Pkcs1(Some(hash)), Some(hash));
        let method = match mechanism.kind {
            CKM_RSA_PKCS => Self::Rsa(Scheme::Pkcs1(None), None),
            CKM_RSA_X_509 => Self::Rsa(Scheme::RsaRaw, None),
            CKM_SHA1_RSA_PKCS => pkcs1(Sha1),
            CKM_SHA224_RSA_PKCS => pkcs1(Sha224),
            CKM_SHA256_RSA_PKCS => pkcs1(Sha256),
            CKM_SHA384_RSA_PKCS => pkcs1(Sha384),
            CKM_SHA512_RSA_PKCS => pkcs1(Sha512),
            CKM_RSA_PKCS_PSS => return Self::pss(parameter, None),
            CKM_SHA1_RSA_PKCS_PSS => return Self::pss(parameter, Some(Sha1)),
            CKM_SHA224_RSA_PKCS_PSS => return Self::pss(parameter, Some(Sha224)),
            CKM_SHA256_RSA_PKCS_PSS => return Self::pss(parameter, Some(Sha256)),
            CKM_SHA384_RSA_PKCS_PSS => return Self::pss(parameter, Some(Sha384)),
            CKM_SHA512_RSA_PKCS_PSS => return Self::pss(parameter, Some(Sha512)),
            CKM_ECDSA => Self::Ecdsa(None),
            CKM_ECDSA_SHA1 => Self::Ecdsa(Some(Sha1)),
            CKM_ECDSA_SHA224 => Self::Ecdsa(Some(Sha224)),
            CKM_ECDSA_SHA256 => Self::Ecdsa(Some(Sha256)),
            CKM_ECDSA_SHA384 => Self::Ecdsa(Some(Sha384)),
            CKM_ECDSA_SHA512 => Self::Ecdsa(Some(Sha512)),
            CKM_EDDSA => {
                return match parameter {
                    Parameter::None => Ok(Self::Eddsa),
                    Parameter::Eddsa { prehash: false, context } if context.is_empty() => Ok(Self::Eddsa),
                    _ => wrong_parameter(),
                };
            }
            CKM_ML_DSA => {
                return match parameter {
                    Parameter::None => Ok(Self::MlDsa(&[])),
                    // Signatures are hedged always.
                    Parameter::SignContext { hedge, context }
                        if *hedge != CKH_DETERMINISTIC_REQUIRED && context.len() <= 255 =>
                    {
                        Ok(Self::MlDsa(context))
                    }
                    _ => wrong_parameter(),
                };
            }
            CKM_SHA_1_HMAC => Self::Hmac(Sha1, None),
            CKM_SHA224_HMAC => Self::Hmac(Sha224, None),
            CKM_SHA256_HMAC => Self::Hmac(Sha256, None),
            CKM_SHA384_HMAC => Self::Hmac(Sha384, None),
            CKM_SHA512_HMAC => Self::Hmac(Sha512, None),
            CKM_SHA_1_HMAC_GENERAL => return Ok(Self::Hmac(Sha1, Some(length(parameter)?))),
            CKM_SHA224_HMAC_GENERAL => return Ok(Self::Hmac(Sha224, Some(length(parameter)?))),
            CKM_SHA256_HMAC_GENERAL => return Ok(Self::Hmac(Sha256, Some(length(parameter)?))),
            CKM_SHA384_HMAC_GENERAL => return Ok(Self::Hmac(Sha384, Some(length(parameter)?))),
            CKM_SHA512_HMAC_GENERAL => return Ok(Self::Hmac(Sha512, Some(length(parameter)?))),
            CKM_AES_CMAC => Self::Cmac(None),
            CKM_AES_CMAC_GENERAL => return Ok(Self::Cmac(Some(length(parameter)?))),
            _ => return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not sign."),
        };
        if *parameter == Parameter::None { Ok(method) } else { wrong_parameter() }
    }

    fn pss(parameter: &Parameter, hashed: Option<Hash>) -> Result<Self, Fault> {
        let Parameter::Pss(parameter) = parameter else { return wrong_parameter() };
        let (scheme, hash) = pss(parameter)?;
        if hashed.is_some_and(|hashed| hashed != hash) {
            return wrong_parameter();
        }
        Ok(Self::Rsa(scheme, hashed))
    }
}

fn length(parameter: &Parameter) -> Result<u64, Fault> {
    match parameter {
        Parameter::MacLength(length) => Ok(*length),
        _ => wrong_parameter(),
    }
}

/// What the scheme is applied to: the data or its digest, checked for length.
fn input(key: &PKey, scheme: Scheme<'_>, hash: Option<Hash>, data: &[u8]) -> Result<Vec<u8>, Fault> {
    if let Some(hash) = hash {
        return Ok(digest::digest(hash.algorithm(), data).as_ref().to_vec());
    }
    let wrong = || refuse(Rv::CKR_DATA_LEN_RANGE, "The data has a length that the mechanism cannot take.");
    match scheme {
        Scheme::Pkcs1(_) if data.len().saturating_add(11) > key.len() => wrong(),
        Scheme::Pss { hash, .. } if data.len() != hash.algorithm().output_len() => wrong(),
        Scheme::RsaRaw => match key.len().checked_sub(data.len()) {
            Some(zeroes) => Ok([&vec![0; zeroes], data].concat()),
            None => wrong(),
        },
        _ => Ok(data.to_vec()),
    }
}

/// Signs, or makes a MAC.
pub(super) fn sign(key: &Object, mechanism: &Mechanism, data: &[u8]) -> Result<Vec<u8>, Fault> {
    let method = Method::of(mechanism)?;
    let failed = || broken("signing");
    match (method, kind(key, CKO_PRIVATE_KEY)?) {
        (Method::Rsa(scheme, hash), Some(Kind::Rsa)) => {
            let key = key.key()?;
            let input = input(&key, scheme, hash, data)?;
            // What aws-lc refuses now is longer than the key: a digest, a salt, a number.
            let signature = key.sign(scheme, &input);
            signature.map_or_else(too_long, |signature| Ok(signature.to_vec()))
        }
        (Method::Ecdsa(hash), Some(Kind::Ec(curve))) => {
            let key = key.key()?;
            let input = input(&key, Scheme::Digest, hash, data)?;
            let signature = key.sign(Scheme::Digest, &input).ok_or_else(failed)?;
            material::ecdsa_raw(&signature, curve.len()).ok_or_else(failed)
        }
        (Method::Eddsa, Some(Kind::Ed25519)) => key.key()?.sign_message(data).ok_or_else(failed),
        (Method::MlDsa(&[]), Some(Kind::MlDsa(_))) => key.key()?.sign_message(data).ok_or_else(failed),
        (Method::MlDsa(context), Some(Kind::MlDsa(_))) => {
            let mu = ml_dsa_mu(public(key)?, context, data).ok_or_else(failed)?;
            let signature = key.key()?.sign(Scheme::Digest, &mu).ok_or_else(failed)?;
            Ok(signature.to_vec())
        }
        (method, None) => mac(key, &method, data),
        _ => inconsistent(),
    }
}

/// Whether a signature or MAC is that of the data.
pub(super) fn verify(
    key: &Object,
    mechanism: &Mechanism,
    data: &[u8],
    signature: &[u8],
) -> Result<(), Fault> {
    let method = Method::of(mechanism)?;
    let valid = match (method, kind(key, CKO_PUBLIC_KEY)?) {
        (Method::Rsa(scheme, hash), Some(Kind::Rsa)) => {
            let key = key.key()?;
            check_length(signature, key.len())?;
            key.verify(scheme, &input(&key, scheme, hash, data)?, signature)
        }
        (Method::Ecdsa(hash), Some(Kind::Ec(curve))) => {
            let key = key.key()?;
            check_length(signature, curve.len().saturating_mul(2))?;
            let input = input(&key, Scheme::Digest, hash, data)?;
            material::ecdsa_der(signature)
                .is_some_and(|signature| key.verify(Scheme::Digest, &input, &signature))
        }
        (Method::Eddsa, Some(Kind::Ed25519)) => {
            check_length(signature, 64)?;
            key.key()?.verify_message(data, signature)
        }
        (Method::MlDsa(context), Some(Kind::MlDsa(_))) => {
            let pkey = key.key()?;
            check_length(signature, pkey.len())?;
            match context {
                [] => pkey.verify_message(data, signature),
                _ => ml_dsa_mu(public(key)?, context, data)
                    .is_some_and(|mu| pkey.verify(Scheme::Digest, &mu, signature)),
            }
        }
        (method, None) => {
            let mac = mac(key, &method, data)?;
            check_length(signature, mac.len())?;
            constant_time::verify_slices_are_equal(&mac, signature).is_ok()
        }
        _ => return inconsistent(),
    };
    if valid {
        return Ok(());
    }
    refuse(Rv::CKR_SIGNATURE_INVALID, "The signature is not that of the data by this key.")
}

fn check_length(signature: &[u8], expected: usize) -> Result<(), Fault> {
    if signature.len() == expected {
        return Ok(());
    }
    refuse(Rv::CKR_SIGNATURE_LEN_RANGE, "The signature does not have the mechanism's length.")
}

fn too_long<T>() -> Result<T, Fault> {
    refuse(Rv::CKR_KEY_SIZE_RANGE, "The key is too short for the mechanism, or the data too large a number.")
}

/// What kind of key pair it is half of, which must be the half of that class; `None` for a secret key.
fn kind(key: &Object, class: u64) -> Result<Option<Kind>, Fault> {
    if key.class() == CKO_SECRET_KEY {
        return Ok(None);
    }
    let kind = key.get(CKA_PUBLIC_KEY_INFO).and_then(Kind::of_public);
    if key.class() == class && kind.is_some() { Ok(kind) } else { inconsistent() }
}

/// The bare public key.
fn public(key: &Object) -> Result<&[u8], Fault> {
    let spki = key.get(CKA_PUBLIC_KEY_INFO).unwrap_or_default();
    material::public_bytes(spki).ok_or_else(|| broken("public key encoding"))
}

fn mac(key: &Object, method: &Method<'_>, data: &[u8]) -> Result<Vec<u8>, Fault> {
    let key_type = key.key_type();
    let (mut mac, length) = match method {
        Method::Hmac(hash, length) => {
            let (own, algorithm) = match hash {
                Hash::Sha1 => (CKK_SHA_1_HMAC, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
                Hash::Sha224 => (CKK_SHA224_HMAC, hmac::HMAC_SHA224),
                Hash::Sha256 => (CKK_SHA256_HMAC, hmac::HMAC_SHA256),
                Hash::Sha384 => (CKK_SHA384_HMAC, hmac::HMAC_SHA384),
                Hash::Sha512 => (CKK_SHA512_HMAC, hmac::HMAC_SHA512),
            };
            if key_type != Some(CKK_GENERIC_SECRET) && key_type != Some(own) {
                return inconsistent();
            }
            let mac = hmac::sign(&hmac::Key::new(algorithm, key.secret()), data);
            (mac.as_ref().to_vec(), *length)
        }
        Method::Cmac(length) if key_type == Some(CKK_AES) => {
            let mac = aes::cmac(key.secret(), data).ok_or_else(|| broken("CMAC"))?;
            (mac.to_vec(), *length)
        }
        _ => return inconsistent(),
    };
    if let Some(length) = length {
        match usize::try_from(length).ok().filter(|length| (1..=mac.len()).contains(length)) {
            Some(length) => mac.truncate(length),
            None => return wrong_parameter(),
        }
    }
    Ok(mac)
}
