//! DeriveKey: ECDH (SEC 1, 3.3) with no key derivation function, or with that of ANSI X9.63.

use aws_lc_rs::digest;
use casemate_hsm::ck::*;
use casemate_hsm::{Parameter, Request, Response};
use zeroize::Zeroizing;

use crate::crypto::pkey::{Hash, PKey};

use super::attributes::{Given, Use};
use super::create::{self, Content, Origin};
use super::fault::{Fault, Rv, refuse};
use super::material::{self, Kind};
use super::mechanism::{self, permit};
use super::{Asked, Token};

/// DeriveKey.
pub(super) fn derive_key(token: &mut Token, asked: &Asked<'_>, request: Request) -> Result<Response, Fault> {
    let mechanism = mechanism::mechanism(&request)?;
    // Where the cofactor is 1, as it is here, both are the same.
    if !matches!(mechanism.kind, CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE) {
        return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not derive keys.");
    }
    let Parameter::Ecdh { kdf, shared, public } = &mechanism.parameter else {
        return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The parameter is not the mechanism's.");
    };
    let given = Given::new(request.template.clone())?;
    given.agrees(CKA_CLASS, CKO_SECRET_KEY)?;
    given.check(CKO_SECRET_KEY, Use::Unwrap)?;
    create::admit(asked, &given, CKO_SECRET_KEY)?;
    let base = token.usable(asked, request.object, Rv::CKR_KEY_HANDLE_INVALID)?;
    permit(base, CKA_DERIVE, mechanism.kind)?;
    let kind = base.get(CKA_PUBLIC_KEY_INFO).and_then(Kind::of_public);
    let (Some(kind @ Kind::Ec(_)), CKO_PRIVATE_KEY) = (kind, base.class()) else {
        return refuse(Rv::CKR_KEY_TYPE_INCONSISTENT, "The base key is not a private key on a curve.");
    };
    let peer = material::spki(kind, material::point(public)).and_then(|spki| PKey::public(&spki));
    let Some(secret) = peer.and_then(|peer| base.key().ok()?.agree(&peer)) else {
        return refuse(Rv::CKR_PUBLIC_KEY_INVALID, "The public key is not a point of the key's curve.");
    };
    let key_type = given.number(CKA_KEY_TYPE).unwrap_or(CKK_GENERIC_SECRET);
    let whole = u64::try_from(secret.len()).unwrap_or(u64::MAX);
    let length = match (given.number(CKA_VALUE_LEN), key_type) {
        (Some(length), _) => length,
        (None, CKK_AES) => whole.min(32),
        (None, CKK_DES3) => create::DES3_LEN,
        (None, _) => whole,
    };
    create::check_length(key_type, length)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut secret = match hash(*kdf)? {
        None if shared.is_empty() => truncated(&secret, length)?,
        None => return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "CKD_NULL takes no shared data."),
        Some(hash) => x963(hash, &secret, shared, length),
    };
    create::set_parity(key_type, &mut secret);
    let origin = Origin {
        mechanism: None,
        always_sensitive: base.flag(CKA_ALWAYS_SENSITIVE),
        never_extractable: base.flag(CKA_NEVER_EXTRACTABLE),
    };
    let content = Content { class: CKO_SECRET_KEY, key_type: Some(key_type), spki: None, secret, origin };
    Ok(Response { object: Some(create::keep(token, asked, &given, content)?), ..Response::default() })
}

fn hash(kdf: u64) -> Result<Option<Hash>, Fault> {
    Ok(Some(match kdf {
        CKD_NULL => return Ok(None),
        CKD_SHA1_KDF => Hash::Sha1,
        CKD_SHA224_KDF => Hash::Sha224,
        CKD_SHA256_KDF => Hash::Sha256,
        CKD_SHA384_KDF => Hash::Sha384,
        CKD_SHA512_KDF => Hash::Sha512,
        _ => return refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "There is no such key derivation function."),
    }))
}

/// What is left of a secret when bytes are taken from its leading end (PKCS#11 3.1, 6.3.17).
fn truncated(secret: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let rest = secret.len().checked_sub(length).and_then(|from| secret.get(from..));
    match rest {
        Some(rest) => Ok(Zeroizing::new(rest.to_vec())),
        None => refuse(Rv::CKR_TEMPLATE_INCONSISTENT, "The shared secret is shorter than the key."),
    }
}

/// The key derivation function of ANSI X9.63 (SEC 1, 3.6.1).
fn x963(hash: Hash, secret: &[u8], shared: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length.saturating_add(64)));
    for counter in 1_u32.. {
        if key.len() >= length {
            break;
        }
        let mut context = digest::Context::new(hash.algorithm());
        context.update(secret);
        context.update(&counter.to_be_bytes());
        context.update(shared);
        key.extend_from_slice(context.finish().as_ref());
    }
    key.truncate(length);
    key
}
