//! Keys that leave and enter, encrypted under another: WrapKey, UnwrapKey.
//!
//! | mechanism | wraps |
//! | --- | --- |
//! | `CKM_AES_KEY_WRAP` (RFC 3394) | keys of whole half-blocks |
//! | `CKM_AES_KEY_WRAP_KWP`, `CKM_AES_KEY_WRAP_PAD` (RFC 5649) | keys of any length |
//! | `CKM_AES_CBC`, `CKM_AES_CBC_PAD` | secret keys of whole blocks; any key |
//! | `CKM_RSA_PKCS`, `CKM_RSA_PKCS_OAEP` | secret keys |
//! | `CKM_RSA_AES_KEY_WRAP` | any key: KWP under an AES key that is wrapped with OAEP (PKCS#11 3.1, 6.1.21) |
//!
//! A secret key is its value, a private key its PKCS #8. A key leaves if it is extractable, its owner says so, it does not ask for a
//! trusted wrapping key or has one, and the [quorum](super::quorum) that the key or the token asks for has approved.

use casemate_hsm::ck::*;
use casemate_hsm::{Bytes, Mechanism, Operation, Parameter, Request, Response};
use zeroize::Zeroizing;

use crate::crypto::aes;
use crate::crypto::{self, pkey::PKey};

use super::attributes::{Given, Use};
use super::create::{self, Content, Origin};
use super::fault::{Fault, Rv, broken, refuse};
use super::mechanism::{self, decrypt_with, encrypt_with, oaep, permit};
use super::object::Object;
use super::{Asked, Token, material};

type Output = Result<Zeroizing<Vec<u8>>, Fault>;

/// WrapKey.
pub(super) fn wrap_key(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let mechanism = mechanism::mechanism(request)?;
    let wrapping = token.usable(asked, request.wrapping_object, Rv::CKR_WRAPPING_KEY_HANDLE_INVALID)?;
    permit(wrapping, CKA_WRAP, mechanism.kind)?;
    let (_, key) = token.seen(asked, request.object, Rv::CKR_KEY_HANDLE_INVALID)?;
    if !matches!(key.class(), CKO_PRIVATE_KEY | CKO_SECRET_KEY) {
        return refuse(Rv::CKR_KEY_NOT_WRAPPABLE, "Only private and secret keys are wrapped.");
    }
    if !asked.owns(key) {
        return refuse(Rv::CKR_KEY_NOT_WRAPPABLE, "Only its owner wraps a key.");
    }
    if !key.flag(CKA_EXTRACTABLE) {
        return refuse(Rv::CKR_KEY_UNEXTRACTABLE, "The key is not extractable.");
    }
    if key.flag(CKA_WRAP_WITH_TRUSTED) && !wrapping.flag(CKA_TRUSTED) {
        return refuse(
            Rv::CKR_KEY_NOT_WRAPPABLE,
            "The key is wrapped by keys only that a crypto officer trusts.",
        );
    }
    let private = key.class() == CKO_PRIVATE_KEY;
    let wrapped = wrap(wrapping, mechanism, private, key.secret())?;
    token.approve(asked, Operation::WrapKey, request)?;
    Ok(Response { data: Some(Bytes(wrapped)), ..Response::default() })
}

fn kek(wrapping: &Object, rv: Rv) -> Result<&[u8], Fault> {
    if wrapping.key_type() == Some(CKK_AES) {
        return Ok(wrapping.secret());
    }
    refuse(rv, "The wrapping key is not of the mechanism's kind.")
}

fn wrap(wrapping: &Object, mechanism: &Mechanism, private: bool, key: &[u8]) -> Output {
    let wrong = Rv::CKR_WRAPPING_KEY_TYPE_INCONSISTENT;
    let wrapped = match mechanism.kind {
        CKM_AES_KEY_WRAP => aes::wrap(kek(wrapping, wrong)?, half_block(&mechanism.parameter)?.as_ref(), key),
        CKM_AES_KEY_WRAP_KWP | CKM_AES_KEY_WRAP_PAD => {
            no_parameter(&mechanism.parameter)?;
            aes::wrap_padded(kek(wrapping, wrong)?, key)
        }
        CKM_RSA_AES_KEY_WRAP => return wrap_rsa_aes(wrapping, &mechanism.parameter, key),
        CKM_AES_CBC_PAD => return encrypt_with(wrapping, mechanism, key),
        CKM_RSA_PKCS | CKM_RSA_PKCS_OAEP | CKM_AES_CBC if !private => {
            return encrypt_with(wrapping, mechanism, key);
        }
        CKM_RSA_PKCS | CKM_RSA_PKCS_OAEP | CKM_AES_CBC => {
            return refuse(Rv::CKR_KEY_NOT_WRAPPABLE, "The mechanism does not wrap private keys.");
        }
        _ => return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not wrap keys."),
    };
    wrapped.map_or_else(|| refuse(Rv::CKR_KEY_SIZE_RANGE, "The mechanism does not wrap keys that long."), Ok)
}

/// KW takes an initial value of its own.
fn half_block(parameter: &Parameter) -> Result<Option<[u8; 8]>, Fault> {
    match parameter {
        Parameter::None => Ok(None),
        Parameter::Iv(iv) => match iv.as_slice().try_into() {
            Ok(iv) => Ok(Some(iv)),
            Err(_) => refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The initial value of KW has 8 bytes."),
        },
        _ => refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The parameter is not the mechanism's."),
    }
}

fn no_parameter(parameter: &Parameter) -> Result<(), Fault> {
    if *parameter == Parameter::None {
        return Ok(());
    }
    refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The token wraps with KWP's own initial value.")
}

fn wrap_rsa_aes(wrapping: &Object, parameter: &Parameter, key: &[u8]) -> Output {
    let Parameter::RsaAes { aes_bits, oaep: parameter } = parameter else {
        return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The parameter is not the mechanism's.");
    };
    let length = match aes_bits {
        128 => 16,
        192 => 24,
        256 => 32,
        _ => return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "AES keys have 128, 192 or 256 bits."),
    };
    if wrapping.class() != CKO_PUBLIC_KEY || wrapping.key_type() != Some(CKK_RSA) {
        return refuse(Rv::CKR_WRAPPING_KEY_TYPE_INCONSISTENT, "The wrapping key is not a public RSA key.");
    }
    let mut temporary = Zeroizing::new(vec![0; length]);
    crypto::random(&mut temporary)?;
    let head = wrapping.key()?.encrypt(oaep(parameter)?, &temporary);
    let (Some(head), Some(rest)) = (head, aes::wrap_padded(&temporary, key)) else {
        return refuse(Rv::CKR_WRAPPING_KEY_SIZE_RANGE, "The wrapping key is too short for the mechanism.");
    };
    Ok(Zeroizing::new([head.as_slice(), rest.as_slice()].concat()))
}

/// UnwrapKey.
pub(super) fn unwrap_key(token: &mut Token, asked: &Asked<'_>, request: Request) -> Result<Response, Fault> {
    let mechanism = mechanism::mechanism(&request)?;
    let given = Given::new(request.template.clone())?;
    given.need(CKA_CLASS)?;
    let class = given.number(CKA_CLASS).unwrap_or(u64::MAX);
    given.check(class, Use::Unwrap)?;
    create::admit(asked, &given, class)?;
    let unwrapping = token.usable(asked, request.wrapping_object, Rv::CKR_UNWRAPPING_KEY_HANDLE_INVALID)?;
    permit(unwrapping, CKA_UNWRAP, mechanism.kind)?;
    let key = unwrap(unwrapping, mechanism, mechanism::data(&request)?)?;
    let content = match class {
        CKO_PRIVATE_KEY => private(&given, &key)?,
        CKO_SECRET_KEY => secret(&given, key)?,
        _ => return refuse(Rv::CKR_TEMPLATE_INCONSISTENT, "Only private and secret keys are unwrapped."),
    };
    Ok(Response { object: Some(create::keep(token, asked, &given, content)?), ..Response::default() })
}

fn unwrap(unwrapping: &Object, mechanism: &Mechanism, wrapped: &[u8]) -> Output {
    let wrong = Rv::CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT;
    let key = match mechanism.kind {
        CKM_AES_KEY_WRAP => {
            aes::unwrap(kek(unwrapping, wrong)?, half_block(&mechanism.parameter)?.as_ref(), wrapped)
        }
        CKM_AES_KEY_WRAP_KWP | CKM_AES_KEY_WRAP_PAD => {
            no_parameter(&mechanism.parameter)?;
            aes::unwrap_padded(kek(unwrapping, wrong)?, wrapped)
        }
        CKM_RSA_AES_KEY_WRAP => unwrap_rsa_aes(unwrapping, &mechanism.parameter, wrapped)?,
        CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_RSA_PKCS | CKM_RSA_PKCS_OAEP => {
            match decrypt_with(unwrapping, mechanism, wrapped) {
                Ok(key) => Some(key),
                Err(Fault::Token(Rv::CKR_ENCRYPTED_DATA_INVALID | Rv::CKR_ENCRYPTED_DATA_LEN_RANGE, _)) => {
                    None
                }
                Err(fault) => return Err(fault),
            }
        }
        _ => return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not unwrap keys."),
    };
    key.map_or_else(invalid, Ok)
}

fn invalid<T>() -> Result<T, Fault> {
    refuse(Rv::CKR_WRAPPED_KEY_INVALID, "What was given is not a key that was wrapped in this way.")
}

fn unwrap_rsa_aes(
    unwrapping: &Object,
    parameter: &Parameter,
    wrapped: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    let Parameter::RsaAes { aes_bits, oaep: parameter } = parameter else {
        return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The parameter is not the mechanism's.");
    };
    if unwrapping.class() != CKO_PRIVATE_KEY || unwrapping.key_type() != Some(CKK_RSA) {
        return refuse(
            Rv::CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
            "The unwrapping key is not a private RSA key.",
        );
    }
    let (rsa, scheme) = (unwrapping.key()?, oaep(parameter)?);
    let Some((head, rest)) = wrapped.split_at_checked(rsa.len()) else { return Ok(None) };
    let temporary = rsa.decrypt(scheme, head);
    // Some leave the length to what is in the block, and say 0.
    let fits = |key: &Zeroizing<Vec<u8>>| {
        *aes_bits == 0 || u64::try_from(key.len()).ok().and_then(|n| n.checked_mul(8)) == Some(*aes_bits)
    };
    Ok(temporary.filter(fits).and_then(|key| aes::unwrap_padded(&key, rest)))
}

fn private(given: &Given, key: &[u8]) -> Result<Content, Fault> {
    let (kind, secret) = material::private_read(key)?;
    given.agrees(CKA_KEY_TYPE, kind.key_type())?;
    let spki = PKey::private(&secret).and_then(|key| key.to_spki());
    Ok(Content {
        class: CKO_PRIVATE_KEY,
        key_type: Some(kind.key_type()),
        spki: Some(spki.ok_or_else(|| broken("public key encoding"))?),
        secret,
        origin: Origin::OUTSIDE,
    })
}

fn secret(given: &Given, secret: Zeroizing<Vec<u8>>) -> Result<Content, Fault> {
    given.need(CKA_KEY_TYPE)?;
    let key_type = given.number(CKA_KEY_TYPE).unwrap_or(u64::MAX);
    let length = u64::try_from(secret.len()).unwrap_or(u64::MAX);
    given.agrees(CKA_VALUE_LEN, length)?;
    match create::check_length(key_type, length) {
        Ok(()) if create::has_parity(key_type, &secret) => {}
        Ok(()) | Err(Fault::Token(Rv::CKR_KEY_SIZE_RANGE, _)) => return invalid(),
        Err(fault) => return Err(fault),
    }
    let key_type = Some(key_type);
    Ok(Content { class: CKO_SECRET_KEY, key_type, spki: None, secret, origin: Origin::OUTSIDE })
}
