//! Making objects: GenerateKey, GenerateKeyPair, CreateObject, CopyObject, and the part of it that UnwrapKey and DeriveKey share.

use casemate_hsm::attribute::CKA_CASEMATE_QUORUM;
use casemate_hsm::ck::*;
use casemate_hsm::message::UserType;
use casemate_hsm::{Mechanism, Parameter, Request, Response, limits};
use zeroize::Zeroizing;

use crate::crypto::aes::{self, BLOCK, Mode};
use crate::crypto::pkey::{self, PKey, Pair};
use crate::crypto::{self, KeySpec};

use super::attributes::{Given, Use};
use super::fault::{Fault, Rv, broken, refuse};
use super::material::{self, Kind};
use super::object::{Handle, Object};
use super::{Asked, Token, change};

/// Most bytes of a generic secret.
const SECRET_MAX: u64 = 512;
/// Bytes of a triple DES key.
pub(super) const DES3_LEN: u64 = 24;
/// `CK_UNAVAILABLE_INFORMATION`.
const UNAVAILABLE: u64 = u64::MAX;

/// Where a key comes from, as its attributes tell.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// `CKA_KEY_GEN_MECHANISM`, for a key that was made here.
    pub(super) mechanism: Option<u64>,
    /// Whether nobody can have seen it before, if it is sensitive now.
    pub(super) always_sensitive: bool,
    /// Whether it can have been outside, if it is not extractable now.
    pub(super) never_extractable: bool,
}

impl Origin {
    /// From outside.
    pub(super) const OUTSIDE: Self =
        Self { mechanism: None, always_sensitive: false, never_extractable: false };

    const fn made(mechanism: u64) -> Self {
        Self { mechanism: Some(mechanism), always_sensitive: true, never_extractable: true }
    }
}

/// What an object is made of, beside its template.
pub(super) struct Content {
    pub(super) class: u64,
    /// Of a key.
    pub(super) key_type: Option<u64>,
    /// Of an asymmetric key: SubjectPublicKeyInfo.
    pub(super) spki: Option<Vec<u8>>,
    pub(super) secret: Zeroizing<Vec<u8>>,
    pub(super) origin: Origin,
}

/// What an attribute is that no template gives.
fn default_of(class: u64, key_type: Option<u64>, kind: u64) -> Option<bool> {
    let own = matches!(class, CKO_PRIVATE_KEY | CKO_SECRET_KEY);
    let rsa = key_type == Some(CKK_RSA);
    let block = matches!(key_type, Some(CKK_AES | CKK_DES3));
    let signs = !block;
    Some(match kind {
        CKA_TOKEN | CKA_WRAP_WITH_TRUSTED | CKA_ALWAYS_AUTHENTICATE | CKA_EXTRACTABLE => false,
        CKA_PRIVATE | CKA_SENSITIVE => own,
        CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE => true,
        CKA_ENCRYPT | CKA_DECRYPT => rsa || block,
        CKA_SIGN | CKA_VERIFY => signs,
        // What brings keys out or in is for those who say so.
        CKA_WRAP | CKA_UNWRAP | CKA_DERIVE | CKA_SIGN_RECOVER | CKA_VERIFY_RECOVER | CKA_TRUSTED => false,
        _ => return None,
    })
}

const FLAGS: [u64; 19] = [
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_MODIFIABLE,
    CKA_COPYABLE,
    CKA_DESTROYABLE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_WRAP_WITH_TRUSTED,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_SIGN_RECOVER,
    CKA_VERIFY_RECOVER,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_TRUSTED,
];

/// Attributes that are empty where nothing is said.
const EMPTY: [u64; 9] = [
    CKA_LABEL,
    CKA_ID,
    CKA_SUBJECT,
    CKA_START_DATE,
    CKA_END_DATE,
    CKA_APPLICATION,
    CKA_OBJECT_ID,
    CKA_ISSUER,
    CKA_SERIAL_NUMBER,
];

/// Whether somebody may make an object of that class from this template; whose it is then.
pub(super) fn admit(asked: &Asked<'_>, given: &Given, class: u64) -> Result<String, Fault> {
    // What a session makes that no crypto user has logged in to is private if it says so, and then refused.
    let default = asked.crypto_user().is_ok() && default_of(class, None, CKA_PRIVATE) == Some(true);
    let private = given.flag(CKA_PRIVATE).unwrap_or(default);
    let owner = asked.maker(private, given.flag(CKA_TOKEN) == Some(true))?;
    check_given(given)?;
    Ok(owner)
}

/// What no template gives, whoever asks.
fn check_given(given: &Given) -> Result<(), Fault> {
    if given.flag(CKA_TRUSTED) == Some(true) {
        return refuse(Rv::CKR_ATTRIBUTE_READ_ONLY, "Only a crypto officer trusts a key or a certificate.");
    }
    if given.flag(CKA_ALWAYS_AUTHENTICATE) == Some(true) {
        return refuse(
            Rv::CKR_ATTRIBUTE_VALUE_INVALID,
            "The token has no keys that ask for a password each time.",
        );
    }
    if given.number(CKA_CASEMATE_QUORUM).is_some_and(|count| count > limits::QUORUM_MAX as u64) {
        return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "A quorum has 8 approvals at most.");
    }
    Ok(())
}

/// Makes an object, and keeps it. The template has been checked against the rules of its class.
pub(super) fn keep(
    token: &mut Token,
    asked: &Asked<'_>,
    given: &Given,
    content: Content,
) -> Result<Handle, Fault> {
    let Content { class, key_type, spki, secret, origin } = content;
    let owner = admit(asked, given, class)?;
    let session = (given.flag(CKA_TOKEN) != Some(true)).then_some(asked.session);
    let mut object = Object::new(owner, session);
    object.set_number(CKA_CLASS, class);
    // A key that wraps reads what it wraps if it decrypts too: that is for those who say so.
    let wraps = [CKA_WRAP, CKA_UNWRAP].iter().any(|kind| given.flag(*kind) == Some(true));
    for kind in FLAGS {
        if super::attributes::has(class, kind)
            && let Some(value) = default_of(class, key_type, kind)
        {
            let nobodys = kind == CKA_PRIVATE && object.owner.is_empty();
            let reads = wraps && matches!(kind, CKA_ENCRYPT | CKA_DECRYPT);
            object.set_flag(kind, value && !nobodys && !reads);
        }
    }
    for kind in EMPTY {
        if super::attributes::has(class, kind) {
            object.set(kind, &[]);
        }
    }
    for (kind, value) in given.iter() {
        // What tells a secret is in the secret, and the length of one is what it is.
        if !material::is_secret(class, kind) && !matches!(kind, CKA_VALUE_LEN | CKA_PUBLIC_KEY_INFO) {
            object.set(kind, value);
        }
    }
    if let Some(key_type) = key_type {
        describe_key(&mut object, class, key_type, origin);
        match class {
            CKO_SECRET_KEY => describe_secret(&mut object, key_type, &secret),
            _ => describe_pair(&mut object, class, given, spki.as_deref().unwrap_or_default())?,
        }
    }
    token.insert(asked, object.with_secret(secret))
}

fn describe_key(object: &mut Object, class: u64, key_type: u64, origin: Origin) {
    object.set_number(CKA_KEY_TYPE, key_type);
    object.set_flag(CKA_LOCAL, origin.mechanism.is_some());
    object.set_number(CKA_KEY_GEN_MECHANISM, origin.mechanism.unwrap_or(UNAVAILABLE));
    if class != CKO_PUBLIC_KEY {
        let (sensitive, extractable) = (object.flag(CKA_SENSITIVE), object.flag(CKA_EXTRACTABLE));
        object.set_flag(CKA_ALWAYS_SENSITIVE, origin.always_sensitive && sensitive);
        object.set_flag(CKA_NEVER_EXTRACTABLE, origin.never_extractable && !extractable);
        if object.get(CKA_CASEMATE_QUORUM).is_none() {
            object.set_number(CKA_CASEMATE_QUORUM, 0);
        }
    }
}

fn describe_secret(object: &mut Object, key_type: u64, secret: &[u8]) {
    object.set_number(CKA_VALUE_LEN, u64::try_from(secret.len()).unwrap_or(u64::MAX));
    // PKCS#11 3.1, 4.10.2: the first bytes of a block of zeroes, encrypted.
    let mode = match key_type {
        CKK_AES => Mode::Ecb,
        CKK_DES3 => Mode::Des3Ecb,
        _ => return,
    };
    let zeroes = [0; BLOCK];
    let block = zeroes.get(..mode.block()).unwrap_or_default();
    if let Some(block) = aes::crypt(mode, true, secret, &[], false, block) {
        object.set(CKA_CHECK_VALUE, block.get(..3).unwrap_or_default());
    }
}

fn describe_pair(object: &mut Object, class: u64, given: &Given, spki: &[u8]) -> Result<(), Fault> {
    let Some((kind, attributes)) = material::describe(spki) else {
        return Err(broken("public key encoding"));
    };
    for (kind, value) in attributes {
        // The names that a curve has are the caller's to choose.
        let named = kind == CKA_EC_PARAMS && given.get(kind).is_some();
        if !named && !material::is_secret(class, kind) {
            object.set(kind, &value);
        }
    }
    if class == CKO_PUBLIC_KEY && kind == Kind::Rsa {
        let bits = PKey::public(spki).map_or(0, |key| key.bits());
        object.set_number(CKA_MODULUS_BITS, u64::try_from(bits).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// What a mechanism for key generation makes: the type, and how long a secret is if it says nothing else.
fn generates(mechanism: u64) -> Option<(u64, Option<u64>)> {
    Some(match mechanism {
        CKM_AES_KEY_GEN => (CKK_AES, None),
        CKM_DES3_KEY_GEN => (CKK_DES3, Some(DES3_LEN)),
        CKM_GENERIC_SECRET_KEY_GEN => (CKK_GENERIC_SECRET, None),
        CKM_SHA_1_KEY_GEN => (CKK_SHA_1_HMAC, Some(20)),
        CKM_SHA224_KEY_GEN => (CKK_SHA224_HMAC, Some(28)),
        CKM_SHA256_KEY_GEN => (CKK_SHA256_HMAC, Some(32)),
        CKM_SHA384_KEY_GEN => (CKK_SHA384_HMAC, Some(48)),
        CKM_SHA512_KEY_GEN => (CKK_SHA512_HMAC, Some(64)),
        _ => return None,
    })
}

/// Whether a secret key of that type can have that length.
pub(super) fn check_length(key_type: u64, length: u64) -> Result<(), Fault> {
    let fine = match key_type {
        CKK_AES => matches!(length, 16 | 24 | 32),
        CKK_DES3 => length == DES3_LEN,
        CKK_GENERIC_SECRET | CKK_SHA_1_HMAC | CKK_SHA224_HMAC | CKK_SHA256_HMAC | CKK_SHA384_HMAC
        | CKK_SHA512_HMAC => (1..=SECRET_MAX).contains(&length),
        _ => return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The token has no secret keys of that type."),
    };
    if fine {
        return Ok(());
    }
    refuse(Rv::CKR_KEY_SIZE_RANGE, "AES keys have 16, 24 or 32 bytes, triple DES keys 24, others 1 to 512.")
}

/// Sets the parity of a triple DES key that is made here: odd in every byte, by its lowest bit (NIST SP 800-67). Other keys
/// stay as they are.
pub(super) fn set_parity(key_type: u64, secret: &mut [u8]) {
    if key_type == CKK_DES3 {
        for byte in secret {
            *byte ^= u8::from(even(*byte));
        }
    }
}

/// Whether the parity of a key from outside is right; PKCS#11 3.1 has others refused.
pub(super) fn has_parity(key_type: u64, secret: &[u8]) -> bool {
    key_type != CKK_DES3 || !secret.iter().copied().any(even)
}

const fn even(byte: u8) -> bool {
    byte.count_ones().is_multiple_of(2)
}

/// The mechanism of a request that takes no parameter.
fn plain(mechanism: Option<&Mechanism>) -> Result<u64, Fault> {
    match mechanism {
        None => refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Mechanism."),
        Some(Mechanism { kind, parameter: Parameter::None }) => Ok(*kind),
        Some(_) => refuse(Rv::CKR_MECHANISM_PARAM_INVALID, "The mechanism takes no parameter."),
    }
}

/// GenerateKey.
pub(super) fn generate_key(
    token: &mut Token,
    asked: &Asked<'_>,
    request: Request,
) -> Result<Response, Fault> {
    let mechanism = plain(request.mechanism.as_ref())?;
    let Some((key_type, length)) = generates(mechanism) else {
        return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not make secret keys.");
    };
    let given = Given::new(request.template)?;
    given.agrees(CKA_CLASS, CKO_SECRET_KEY)?;
    given.agrees(CKA_KEY_TYPE, key_type)?;
    given.check(CKO_SECRET_KEY, Use::Generate)?;
    admit(asked, &given, CKO_SECRET_KEY)?;
    let Some(length) = given.number(CKA_VALUE_LEN).or(length) else {
        return refuse(Rv::CKR_TEMPLATE_INCOMPLETE, "The template lacks CKA_VALUE_LEN.");
    };
    check_length(key_type, length)?;
    let mut secret = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or_default()]);
    crypto::random(&mut secret)?;
    set_parity(key_type, &mut secret);
    let content = Content {
        class: CKO_SECRET_KEY,
        key_type: Some(key_type),
        spki: None,
        secret,
        origin: Origin::made(mechanism),
    };
    Ok(Response { object: Some(keep(token, asked, &given, content)?), ..Response::default() })
}

/// GenerateKeyPair.
pub(super) fn generate_key_pair(
    token: &mut Token,
    asked: &Asked<'_>,
    request: Request,
) -> Result<Response, Fault> {
    let mechanism = plain(request.mechanism.as_ref())?;
    let key_type = match mechanism {
        CKM_RSA_PKCS_KEY_PAIR_GEN | CKM_RSA_X9_31_KEY_PAIR_GEN => CKK_RSA,
        CKM_EC_KEY_PAIR_GEN => CKK_EC,
        CKM_EC_EDWARDS_KEY_PAIR_GEN => CKK_EC_EDWARDS,
        CKM_ML_DSA_KEY_PAIR_GEN => CKK_ML_DSA,
        _ => return refuse(Rv::CKR_MECHANISM_INVALID, "The mechanism does not make key pairs."),
    };
    let public = Given::new(request.public_template)?;
    let private = Given::new(request.template)?;
    for (given, class) in [(&public, CKO_PUBLIC_KEY), (&private, CKO_PRIVATE_KEY)] {
        given.agrees(CKA_CLASS, class)?;
        given.agrees(CKA_KEY_TYPE, key_type)?;
        given.check(class, Use::Generate)?;
        admit(asked, given, class)?;
    }
    let kind = Kind::asked(key_type, &public)?;
    let key = match kind {
        Kind::Rsa => generate_rsa(asked, &public)?,
        Kind::Ec(curve) => PKey::generate(Pair::Ec(curve)),
        Kind::Ed25519 => PKey::generate(Pair::Ed25519),
        Kind::MlDsa(parameters) => PKey::generate(Pair::MlDsa(parameters)),
    };
    let failed = || broken("key generation");
    let key = key.ok_or_else(failed)?;
    let (spki, secret) = (key.to_spki().ok_or_else(failed)?, key.to_pkcs8().ok_or_else(failed)?);
    let origin = Origin::made(mechanism);
    let content =
        |class, secret| Content { class, key_type: Some(key_type), spki: Some(spki.clone()), secret, origin };
    let public_object = keep(token, asked, &public, content(CKO_PUBLIC_KEY, Zeroizing::default()))?;
    let object = match keep(token, asked, &private, content(CKO_PRIVATE_KEY, secret)) {
        Ok(object) => object,
        Err(fault) => {
            token.remove(public_object);
            return Err(fault);
        }
    };
    Ok(Response { object: Some(object), public_object: Some(public_object), ..Response::default() })
}

/// RSA keys of the usual sizes come from stock, so that nobody else waits: see [`crate::access::Call::generate`].
fn generate_rsa(asked: &Asked<'_>, given: &Given) -> Result<Option<PKey>, Fault> {
    given.need(CKA_MODULUS_BITS)?;
    if given.get(CKA_PUBLIC_EXPONENT).is_some_and(|e| e.iter().skip_while(|b| **b == 0).ne(&[1, 0, 1])) {
        return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The public exponent of RSA keys is 65537.");
    }
    // What takes seconds of everybody's time is not for strangers.
    if given.number(CKA_MODULUS_BITS).is_some_and(|bits| bits > 2048) {
        asked.crypto_user()?;
    }
    let (spec, bits) = match given.number(CKA_MODULUS_BITS) {
        Some(4096) => (KeySpec::Rsa4096, 4096),
        Some(3072) => (KeySpec::Rsa3072, 3072),
        Some(2048) => (KeySpec::Rsa2048, 2048),
        // Fast enough to be made at once.
        Some(1024) => return Ok(pkey::generate_rsa(1024)),
        _ => return refuse(Rv::CKR_KEY_SIZE_RANGE, "RSA keys are made with 1024, 2048, 3072 or 4096 bits."),
    };
    Ok(match asked.call.rsa_from_stock(spec)? {
        Some(pkcs8) => PKey::private(&pkcs8),
        None => pkey::generate_rsa(bits),
    })
}

/// CreateObject.
pub(super) fn create_object(
    token: &mut Token,
    asked: &Asked<'_>,
    request: Request,
) -> Result<Response, Fault> {
    let given = Given::new(request.template)?;
    given.need(CKA_CLASS)?;
    let class = given.number(CKA_CLASS).unwrap_or(u64::MAX);
    given.check(class, Use::Create)?;
    admit(asked, &given, class)?;
    let key_type = given.number(CKA_KEY_TYPE);
    let empty = Zeroizing::default;
    let (key_type, spki, secret) = match class {
        CKO_PUBLIC_KEY => {
            let spki = material::public_given(&given)?;
            (key_type, Some(spki), empty())
        }
        CKO_PRIVATE_KEY => {
            let secret = material::private_given(&given)?;
            let spki = PKey::private(&secret).and_then(|key| key.to_spki());
            (key_type, spki, secret)
        }
        CKO_SECRET_KEY => {
            given.need(CKA_KEY_TYPE)?;
            let (value, kind) = (given.need(CKA_VALUE)?, key_type.unwrap_or(u64::MAX));
            check_length(kind, u64::try_from(value.len()).unwrap_or(u64::MAX))?;
            if !has_parity(kind, value) {
                return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The bytes of a DES key have odd parity.");
            }
            (key_type, None, Zeroizing::new(value.to_vec()))
        }
        CKO_CERTIFICATE => {
            given.need(CKA_CERTIFICATE_TYPE)?;
            if given.number(CKA_CERTIFICATE_TYPE) != Some(CKC_X_509) {
                return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "Certificates are of type CKC_X_509.");
            }
            given.need(CKA_VALUE)?;
            (None, None, empty())
        }
        _ => (None, None, empty()),
    };
    let content = Content { class, key_type, spki, secret, origin: Origin::OUTSIDE };
    Ok(Response { object: Some(keep(token, asked, &given, content)?), ..Response::default() })
}

/// CopyObject.
pub(super) fn copy_object(token: &mut Token, asked: &Asked<'_>, request: Request) -> Result<Response, Fault> {
    let given = Given::new(request.template)?;
    let (_, object) = token.owned(asked, request.object)?;
    given.check(object.class(), Use::Copy)?;
    check_given(&given)?;
    if !object.flag(CKA_COPYABLE) {
        return refuse(Rv::CKR_ACTION_PROHIBITED, "The object cannot be copied.");
    }
    let on_token = given.flag(CKA_TOKEN).unwrap_or_else(|| object.flag(CKA_TOKEN));
    let private = given.flag(CKA_PRIVATE).unwrap_or_else(|| object.flag(CKA_PRIVATE));
    let owner = asked.maker(private, on_token)?;
    let mut copy = object.copy(owner, (!on_token).then_some(asked.session));
    change::apply(&mut copy, &given, Some((UserType::CryptoUser, Use::Copy)))?;
    if copy.flag(CKA_TRUSTED) {
        copy.set_flag(CKA_TRUSTED, false);
    }
    Ok(Response { object: Some(token.insert(asked, copy)?), ..Response::default() })
}
