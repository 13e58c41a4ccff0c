//! Keys between their two forms: the structures in which aws-lc and the world have them, and PKCS#11's attributes.

use casemate_hsm::Bytes;
use casemate_hsm::ck::*;
use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader as _, Sequence, SliceReader};
use k256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use k256::pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::crypto::pkey::{Curve, MlDsa, PKey};

use super::attributes::Given;
use super::fault::{Fault, Rv, broken, refuse};

/// `rsaEncryption` (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `id-Ed25519` (RFC 8410).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// DER of a PrintableString: the other name that PKCS#11 3.0 has for the curve.
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";
/// Bits of an RSA modulus.
pub(super) const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;

/// RFC 8017, A.1.1.
#[derive(Sequence)]
struct RsaPublic<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

/// RFC 8017, A.1.2, with two primes.
#[derive(Sequence)]
struct RsaPrivate<'a> {
    version: u8,
    n: UintRef<'a>,
    e: UintRef<'a>,
    d: UintRef<'a>,
    p: UintRef<'a>,
    q: UintRef<'a>,
    dp: UintRef<'a>,
    dq: UintRef<'a>,
    qi: UintRef<'a>,
}

/// RFC 5915.
#[derive(Sequence)]
struct EcPrivate<'a> {
    version: u8,
    key: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    parameters: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    public: Option<BitStringRef<'a>>,
}

/// An ECDSA signature (RFC 3279, 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// What kind of key a SubjectPublicKeyInfo holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    Ec(Curve),
    Ed25519,
    MlDsa(MlDsa),
}

impl Kind {
    /// `CKK_`…
    pub(super) const fn key_type(self) -> u64 {
        match self {
            Self::Rsa => CKK_RSA,
            Self::Ec(_) => CKK_EC,
            Self::Ed25519 => CKK_EC_EDWARDS,
            Self::MlDsa(_) => CKK_ML_DSA,
        }
    }

    fn of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<Self> {
        match algorithm.oid {
            RSA => Some(Self::Rsa),
            ED25519 => Some(Self::Ed25519),
            EC => {
                let oid = algorithm.parameters_oid().ok()?;
                Curve::ALL.into_iter().find(|curve| curve.oid() == oid).map(Self::Ec)
            }
            oid => MlDsa::ALL.into_iter().find(|parameters| parameters.oid() == oid).map(Self::MlDsa),
        }
    }

    /// The kind of a private key.
    pub(super) fn of_private(pkcs8: &[u8]) -> Option<Self> {
        Self::of(&PrivateKeyInfoRef::try_from(pkcs8).ok()?.algorithm)
    }

    /// The kind of a public key.
    pub(super) fn of_public(spki: &[u8]) -> Option<Self> {
        Self::of(&SubjectPublicKeyInfoRef::try_from(spki).ok()?.algorithm)
    }

    /// The kind that a template for a key pair, or for a key, asks for.
    pub(super) fn asked(key_type: u64, given: &Given) -> Result<Self, Fault> {
        Ok(match key_type {
            CKK_RSA => Self::Rsa,
            CKK_EC => Self::Ec(curve(given.need(CKA_EC_PARAMS)?)?),
            CKK_EC_EDWARDS => {
                let parameters = given.need(CKA_EC_PARAMS)?;
                let oid = ObjectIdentifier::from_der(parameters).ok();
                if oid != Some(ED25519) && parameters != EDWARDS25519 {
                    return refuse(Rv::CKR_CURVE_NOT_SUPPORTED, "The only Edwards curve is edwards25519.");
                }
                Self::Ed25519
            }
            CKK_ML_DSA => {
                given.need(CKA_PARAMETER_SET)?;
                match given.number(CKA_PARAMETER_SET) {
                    Some(CKP_ML_DSA_44) => Self::MlDsa(MlDsa::MlDsa44),
                    Some(CKP_ML_DSA_65) => Self::MlDsa(MlDsa::MlDsa65),
                    Some(CKP_ML_DSA_87) => Self::MlDsa(MlDsa::MlDsa87),
                    _ => {
                        return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "There is no such parameter set.");
                    }
                }
            }
            _ => return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The token has no keys of that type."),
        })
    }

    fn algorithm(self) -> (ObjectIdentifier, Option<ObjectIdentifier>) {
        match self {
            Self::Rsa => (RSA, None),
            Self::Ec(curve) => (EC, Some(curve.oid())),
            Self::Ed25519 => (ED25519, None),
            Self::MlDsa(parameters) => (parameters.oid(), None),
        }
    }

    fn parameters(self, curve: Option<&ObjectIdentifier>) -> Option<AnyRef<'_>> {
        match self {
            Self::Rsa => Some(AnyRef::NULL),
            _ => curve.map(AnyRef::from),
        }
    }
}

fn curve(parameters: &[u8]) -> Result<Curve, Fault> {
    let Ok(oid) = ObjectIdentifier::from_der(parameters) else {
        return refuse(Rv::CKR_DOMAIN_PARAMS_INVALID, "CKA_EC_PARAMS must be the DER of a curve's OID.");
    };
    let curve = Curve::ALL.into_iter().find(|curve| curve.oid() == oid);
    curve.map_or_else(|| refuse(Rv::CKR_CURVE_NOT_SUPPORTED, "The token does not have that curve."), Ok)
}

/// Attributes, by type.
type Described = Vec<(u64, Vec<u8>)>;

/// The attributes that a public key has, and the private one beside its secret.
pub(super) fn describe(spki: &[u8]) -> Option<(Kind, Described)> {
    let kind = Kind::of_public(spki)?;
    let info = SubjectPublicKeyInfoRef::try_from(spki).ok()?;
    let public = info.subject_public_key.as_bytes()?;
    let mut attributes = vec![(CKA_PUBLIC_KEY_INFO, spki.to_vec())];
    match kind {
        Kind::Rsa => {
            let RsaPublic { n, e } = RsaPublic::from_der(public).ok()?;
            attributes.push((CKA_MODULUS, n.as_bytes().to_vec()));
            attributes.push((CKA_PUBLIC_EXPONENT, e.as_bytes().to_vec()));
        }
        Kind::Ec(curve) => {
            attributes.push((CKA_EC_PARAMS, curve.oid().to_der().ok()?));
            attributes.push((CKA_EC_POINT, OctetStringRef::new(public).ok()?.to_der().ok()?));
        }
        Kind::Ed25519 => {
            attributes.push((CKA_EC_PARAMS, ED25519.to_der().ok()?));
            attributes.push((CKA_EC_POINT, OctetStringRef::new(public).ok()?.to_der().ok()?));
        }
        Kind::MlDsa(parameters) => {
            let set = match parameters {
                MlDsa::MlDsa44 => CKP_ML_DSA_44,
                MlDsa::MlDsa65 => CKP_ML_DSA_65,
                MlDsa::MlDsa87 => CKP_ML_DSA_87,
            };
            attributes.push((CKA_PARAMETER_SET, set.to_le_bytes().to_vec()));
            // For the public key alone: a private key's CKA_VALUE is another thing.
            attributes.push((CKA_VALUE, public.to_vec()));
        }
    }
    Some((kind, attributes))
}

/// The bare public key in a SubjectPublicKeyInfo.
pub(super) fn public_bytes(spki: &[u8]) -> Option<&[u8]> {
    SubjectPublicKeyInfoRef::try_from(spki).ok()?.subject_public_key.as_bytes()
}

/// A point as CKA_EC_POINT or a mechanism has it: bare, or in a DER octet string.
pub(super) fn point(value: &[u8]) -> &[u8] {
    <&OctetStringRef>::from_der(value).map_or(value, OctetStringRef::as_bytes)
}

/// The SubjectPublicKeyInfo of a public key whose parts these are.
pub(super) fn spki(kind: Kind, public: &[u8]) -> Option<Vec<u8>> {
    let (oid, curve) = kind.algorithm();
    let parameters = kind.parameters(curve.as_ref());
    let algorithm = AlgorithmIdentifierRef { oid, parameters };
    SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(public).ok()? }
        .to_der()
        .ok()
}

/// The public key that a template describes.
pub(super) fn public_given(given: &Given) -> Result<Vec<u8>, Fault> {
    let invalid = || refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The attributes are not those of a public key.");
    let key_type = key_type(given)?;
    let kind = Kind::asked(key_type, given)?;
    let spki = match kind {
        Kind::Rsa => {
            let (n, e) = (given.need(CKA_MODULUS)?, given.need(CKA_PUBLIC_EXPONENT)?);
            let (Ok(n), Ok(e)) = (UintRef::new(n), UintRef::new(e)) else { return invalid() };
            RsaPublic { n, e }.to_der().ok().and_then(|public| spki(kind, &public))
        }
        Kind::Ec(_) | Kind::Ed25519 => spki(kind, point(given.need(CKA_EC_POINT)?)),
        Kind::MlDsa(_) => spki(kind, given.need(CKA_VALUE)?),
    };
    let Some(spki) = spki else { return invalid() };
    let Some(key) = PKey::public(&spki) else { return invalid() };
    fits(kind, &key)?;
    Ok(spki)
}

/// The private key that a template describes, in PKCS #8.
pub(super) fn private_given(given: &Given) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let invalid =
        || refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The attributes are not those of a private key.");
    let key_type = key_type(given)?;
    let kind = Kind::asked(key_type, given)?;
    let key = match kind {
        Kind::Rsa => {
            let mut numbers = Vec::with_capacity(8);
            for kind in [
                CKA_MODULUS,
                CKA_PUBLIC_EXPONENT,
                CKA_PRIVATE_EXPONENT,
                CKA_PRIME_1,
                CKA_PRIME_2,
                CKA_EXPONENT_1,
                CKA_EXPONENT_2,
                CKA_COEFFICIENT,
            ] {
                let Ok(number) = UintRef::new(given.need(kind)?) else { return invalid() };
                numbers.push(number);
            }
            let Ok([n, e, d, p, q, dp, dq, qi]) = <[UintRef<'_>; 8]>::try_from(numbers) else {
                return invalid();
            };
            let structure = RsaPrivate { version: 0, n, e, d, p, q, dp, dq, qi };
            from_structure(kind, &structure)
        }
        Kind::Ec(curve) => {
            let scalar = given.need(CKA_VALUE)?;
            let Some(missing) = curve.len().checked_sub(scalar.len()) else { return invalid() };
            let mut padded = Zeroizing::new(vec![0; missing]);
            padded.reserve_exact(scalar.len());
            padded.extend_from_slice(scalar);
            let Ok(key) = OctetStringRef::new(&padded) else { return invalid() };
            from_structure(kind, &EcPrivate { version: 1, key, parameters: None, public: None })
        }
        Kind::Ed25519 => given.need(CKA_VALUE)?.try_into().ok().and_then(PKey::ed25519),
        Kind::MlDsa(parameters) => {
            let seed = given.need(CKA_SEED)?.try_into().ok();
            seed.and_then(|seed| PKey::ml_dsa(parameters, seed))
        }
    };
    let Some(key) = key else { return invalid() };
    fits(kind, &key)?;
    key.to_pkcs8().ok_or_else(|| broken("private key encoding"))
}

/// The key whose private structure this is.
fn from_structure(kind: Kind, structure: &impl Encode) -> Option<PKey> {
    let private = Zeroizing::new(structure.to_der().ok()?);
    let (oid, curve) = kind.algorithm();
    let algorithm = AlgorithmIdentifierRef { oid, parameters: kind.parameters(curve.as_ref()) };
    let pkcs8 = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&private).ok()?);
    PKey::private(&Zeroizing::new(pkcs8.to_der().ok()?))
}

/// What comes before the zeros with which some fill a key's last half-block: SoftHSM2 does, and KWP does not tell of them.
fn unfilled(pkcs8: &[u8]) -> Option<&[u8]> {
    let key = SliceReader::new(pkcs8).ok()?.tlv_bytes().ok()?;
    let rest = pkcs8.get(key.len()..)?;
    (rest.len() < 8 && rest.iter().all(|byte| *byte == 0)).then_some(key)
}

/// A private key that comes in PKCS #8, in our own encoding.
pub(super) fn private_read(pkcs8: &[u8]) -> Result<(Kind, Zeroizing<Vec<u8>>), Fault> {
    let invalid = || refuse(Rv::CKR_WRAPPED_KEY_INVALID, "What was wrapped is not a private key of PKCS #8.");
    let Some(pkcs8) = unfilled(pkcs8) else { return invalid() };
    let (Some(kind), Some(key)) = (Kind::of_private(pkcs8), PKey::private(pkcs8)) else { return invalid() };
    fits(kind, &key)?;
    let Some(pkcs8) = key.to_pkcs8() else { return invalid() };
    Ok((kind, pkcs8))
}

/// Whether a key is of a size that the token takes.
fn fits(kind: Kind, key: &PKey) -> Result<(), Fault> {
    if kind == Kind::Rsa && !RSA_BITS.contains(&key.bits()) {
        return refuse(Rv::CKR_KEY_SIZE_RANGE, "RSA keys have 1024 to 4096 bits.");
    }
    Ok(())
}

fn key_type(given: &Given) -> Result<u64, Fault> {
    given.need(CKA_KEY_TYPE)?;
    Ok(given.number(CKA_KEY_TYPE).unwrap_or(u64::MAX))
}

/// Whether an attribute of a class tells its secret.
pub(super) fn is_secret(class: u64, kind: u64) -> bool {
    match class {
        CKO_SECRET_KEY => kind == CKA_VALUE,
        CKO_PRIVATE_KEY => {
            matches!(
                kind,
                CKA_VALUE
                    | CKA_SEED
                    | CKA_PRIVATE_EXPONENT
                    | CKA_PRIME_1
                    | CKA_PRIME_2
                    | CKA_EXPONENT_1
                    | CKA_EXPONENT_2
                    | CKA_COEFFICIENT
            )
        }
        _ => false,
    }
}

/// An attribute that tells a secret. Whether it may is the caller's to know.
pub(super) fn reveal(class: u64, key_type: Option<u64>, secret: &[u8], kind: u64) -> Option<Bytes> {
    if class == CKO_SECRET_KEY {
        return (kind == CKA_VALUE).then(|| Bytes::copy(secret));
    }
    let private = PrivateKeyInfoRef::try_from(secret).ok()?.private_key.as_bytes();
    let value = match (key_type?, kind) {
        (CKK_RSA, kind) => {
            let key = RsaPrivate::from_der(private).ok()?;
            let number = match kind {
                CKA_PRIVATE_EXPONENT => key.d,
                CKA_PRIME_1 => key.p,
                CKA_PRIME_2 => key.q,
                CKA_EXPONENT_1 => key.dp,
                CKA_EXPONENT_2 => key.dq,
                CKA_COEFFICIENT => key.qi,
                _ => return None,
            };
            number.as_bytes()
        }
        (CKK_EC, CKA_VALUE) => EcPrivate::from_der(private).ok()?.key.as_bytes(),
        // CurvePrivateKey (RFC 8410, 7) is an octet string in the octet string.
        (CKK_EC_EDWARDS, CKA_VALUE) => <&OctetStringRef>::from_der(private).ok()?.as_bytes(),
        // The seed is the choice [0] (RFC 9881, 6).
        (CKK_ML_DSA, CKA_SEED) => private.strip_prefix(&[0x80, 0x20])?,
        _ => return None,
    };
    Some(Bytes::copy(value))
}

/// An ECDSA signature as PKCS#11 has it: r ‖ s, each as long as the field's elements (3.1, 6.3.1).
pub(super) fn ecdsa_raw(signature: &[u8], len: usize) -> Option<Vec<u8>> {
    let EcdsaSignature { r, s } = EcdsaSignature::from_der(signature).ok()?;
    let mut raw = Vec::with_capacity(len.checked_mul(2)?);
    for number in [r, s] {
        raw.resize(raw.len().checked_add(len.checked_sub(number.as_bytes().len())?)?, 0);
        raw.extend_from_slice(number.as_bytes());
    }
    Some(raw)
}

/// An ECDSA signature as aws-lc has it: DER.
pub(super) fn ecdsa_der(raw: &[u8]) -> Option<Vec<u8>> {
    if !raw.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = raw.split_at_checked(raw.len() / 2)?;
    EcdsaSignature { r: UintRef::new(r).ok()?, s: UintRef::new(s).ok()? }.to_der().ok()
}
