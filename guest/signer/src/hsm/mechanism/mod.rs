//! What is computed with keys: Sign, Verify, Encrypt, Decrypt, Random, and the list of mechanisms.
//!
//! A key is used for what its flag says, by a mechanism that it allows. The start and end dates of a key are told to whoever
//! asks and bind nobody, as the specification has it (3.1, 4.7.2).

mod cipher;
mod list;
mod signature;

use casemate_hsm::ck::*;
use casemate_hsm::mechanism::{Oaep, Pss};
use casemate_hsm::{Mechanism, Request, Response, limits};

use crate::crypto;
use crate::crypto::pkey::{Hash, Scheme};

use super::fault::{Fault, Rv, refuse};
use super::object::Object;
use super::{Asked, Token};

pub(super) use cipher::{decrypt as decrypt_with, encrypt as encrypt_with};
pub(super) use list::list;

/// Whether a key may be used for this, by this mechanism.
pub(super) fn permit(key: &Object, usage: u64, mechanism: u64) -> Result<(), Fault> {
    if !key.flag(usage) {
        return refuse(Rv::CKR_KEY_FUNCTION_NOT_PERMITTED, "The key's attributes do not allow this.");
    }
    let allowed = key.get(CKA_ALLOWED_MECHANISMS).unwrap_or_default();
    let is_this = |kind: &[u8]| casemate_hsm::attribute::number(kind) == Some(mechanism);
    if !allowed.is_empty() && !allowed.chunks(8).any(is_this) {
        return refuse(Rv::CKR_MECHANISM_INVALID, "The key does not allow the mechanism.");
    }
    Ok(())
}

/// The mechanism and the data of a request.
pub(super) fn mechanism(request: &Request) -> Result<&Mechanism, Fault> {
    let mechanism = request.mechanism.as_ref();
    mechanism.map_or_else(|| refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Mechanism."), Ok)
}

/// The data of a request.
pub(super) fn data(request: &Request) -> Result<&[u8], Fault> {
    match &request.data {
        Some(data) if data.len() <= limits::DATA_MAX => Ok(data),
        Some(_) => refuse(Rv::CKR_DATA_LEN_RANGE, "A request takes 256 KiB of data at most."),
        None => refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Data."),
    }
}

/// Sign.
pub(super) fn sign(token: &Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let (mechanism, data) = (mechanism(request)?, data(request)?);
    let key = token.usable(asked, request.object, Rv::CKR_KEY_HANDLE_INVALID)?;
    permit(key, CKA_SIGN, mechanism.kind)?;
    Ok(Response { data: Some(signature::sign(key, mechanism, data)?.into()), ..Response::default() })
}

/// Verify.
pub(super) fn verify(token: &Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let (mechanism, data) = (mechanism(request)?, data(request)?);
    let Some(signature) = &request.signature else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Signature.");
    };
    let key = token.usable(asked, request.object, Rv::CKR_KEY_HANDLE_INVALID)?;
    permit(key, CKA_VERIFY, mechanism.kind)?;
    signature::verify(key, mechanism, data, signature)?;
    Ok(Response::default())
}

/// Encrypt.
pub(super) fn encrypt(token: &Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let (mechanism, data) = (mechanism(request)?, data(request)?);
    let key = token.usable(asked, request.object, Rv::CKR_KEY_HANDLE_INVALID)?;
    permit(key, CKA_ENCRYPT, mechanism.kind)?;
    let output = cipher::encrypt(key, mechanism, data)?;
    Ok(Response { data: Some(casemate_hsm::Bytes(output)), ..Response::default() })
}

/// Decrypt.
pub(super) fn decrypt(token: &Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let (mechanism, data) = (mechanism(request)?, data(request)?);
    let key = token.usable(asked, request.object, Rv::CKR_KEY_HANDLE_INVALID)?;
    permit(key, CKA_DECRYPT, mechanism.kind)?;
    let output = cipher::decrypt(key, mechanism, data)?;
    Ok(Response { data: Some(casemate_hsm::Bytes(output)), ..Response::default() })
}

/// Random.
pub(super) fn random(request: &Request) -> Result<Response, Fault> {
    let length = request.length.filter(|length| *length <= limits::RANDOM_MAX);
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "Length is at most 65536.");
    };
    let mut data = casemate_hsm::Bytes::from(vec![0; length]);
    crypto::random(&mut data)?;
    Ok(Response { data: Some(data), ..Response::default() })
}

/// The hash function of that digest mechanism.
fn hash(kind: u64) -> Result<Hash, Fault> {
    Ok(match kind {
        CKM_SHA_1 => Hash::Sha1,
        CKM_SHA224 => Hash::Sha224,
        CKM_SHA256 => Hash::Sha256,
        CKM_SHA384 => Hash::Sha384,
        CKM_SHA512 => Hash::Sha512,
        _ => return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "There is no such hash function here."),
    })
}

fn mask(kind: u64) -> Result<Hash, Fault> {
    Ok(match kind {
        CKG_MGF1_SHA1 => Hash::Sha1,
        CKG_MGF1_SHA224 => Hash::Sha224,
        CKG_MGF1_SHA256 => Hash::Sha256,
        CKG_MGF1_SHA384 => Hash::Sha384,
        CKG_MGF1_SHA512 => Hash::Sha512,
        _ => return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "There is no such mask function here."),
    })
}

/// OAEP as a scheme.
pub(super) fn oaep(parameter: &Oaep) -> Result<Scheme<'_>, Fault> {
    Ok(Scheme::Oaep { hash: hash(parameter.hash)?, mgf: mask(parameter.mgf)?, label: &parameter.label })
}

/// PSS as a scheme, and the hash function in it.
fn pss(parameter: &Pss) -> Result<(Scheme<'static>, Hash), Fault> {
    let hash = hash(parameter.hash)?;
    // The longest that fits beside a digest in the largest key.
    let salt = i32::try_from(parameter.salt_length).ok().filter(|length| *length <= 512);
    let Some(salt) = salt else {
        return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The salt is too long.");
    };
    Ok((Scheme::Pss { hash, mgf: mask(parameter.mgf)?, salt }, hash))
}

fn wrong_parameter<T>() -> Result<T, Fault> {
    refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The parameter is not the mechanism's, or out of its range.")
}

fn inconsistent<T>() -> Result<T, Fault> {
    refuse(Rv::CKR_KEY_TYPE_INCONSISTENT, "The key is not of the mechanism's kind.")
}
