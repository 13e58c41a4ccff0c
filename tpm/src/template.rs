//! What each kind of key may do: public areas (part 2, 12.2) to make keys from, and checks of those that others show.

use casemate_attestation::es384;
use tpm2_protocol::TpmUnmarshal as _;
use tpm2_protocol::data::{
    Tpm2bDigest, Tpm2bEccParameter, Tpm2bPublicKeyRsa, TpmAlgId, TpmEccCurve, TpmaObject, TpmsEccParms,
    TpmsEccPoint, TpmsKeyedhashParms, TpmsRsaParms, TpmsSchemeHash, TpmtEccScheme, TpmtKdfScheme,
    TpmtKeyedhashScheme, TpmtPublic, TpmtRsaScheme, TpmtSymDefObject, TpmuAsymScheme, TpmuPublicId,
    TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
};

use crate::command::{self, Error};
use crate::pcr::{self, sha256};

/// What can never be changed about a key that stays where it was made.
const STAYS: TpmaObject = TpmaObject::from_bits_truncate(
    TpmaObject::FIXED_TPM.bits() | TpmaObject::FIXED_PARENT.bits() | TpmaObject::SENSITIVE_DATA_ORIGIN.bits(),
);

/// AES-128 in CFB mode, by which parents protect their children.
fn aes() -> TpmtSymDefObject {
    TpmtSymDefObject {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(128.into()),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

fn no_cipher() -> TpmtSymDefObject {
    TpmtSymDefObject { algorithm: TpmAlgId::Null, key_bits: TpmuSymKeyBits::Null, mode: TpmuSymMode::Null }
}

fn ecdsa(hash: TpmAlgId) -> TpmtEccScheme {
    TpmtEccScheme {
        scheme: TpmAlgId::Ecdsa,
        details: TpmuAsymScheme::Hash(TpmsSchemeHash { hash_alg: hash }),
    }
}

fn ecc(symmetric: TpmtSymDefObject, scheme: TpmtEccScheme, curve: TpmEccCurve) -> TpmuPublicParms {
    let kdf = TpmtKdfScheme::default();
    TpmuPublicParms::Ecc(TpmsEccParms { symmetric, scheme, curve_id: curve, kdf })
}

/// The parent of what is kept on disk: a storage key of the owner's (TCG TPM v2.0 Provisioning Guidance, 7.5.1: SRK, P-256).
pub fn parent() -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: STAYS
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT,
        auth_policy: Tpm2bDigest::default(),
        parameters: ecc(aes(), TpmtEccScheme::default(), TpmEccCurve::NistP256),
        unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
    }
}

/// The platform key: signs with ES384, is used under `policy` alone, and never leaves.
pub fn platform(policy: &[u8; pcr::LEN]) -> Result<TpmtPublic, Error> {
    Ok(TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: STAYS | TpmaObject::NO_DA | TpmaObject::SIGN_ENCRYPT,
        auth_policy: Tpm2bDigest::try_from(&policy[..])?,
        parameters: ecc(no_cipher(), ecdsa(TpmAlgId::Sha384), TpmEccCurve::NistP384),
        unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
    })
}

/// A secret that is given out under `policy` alone.
pub fn sealed(policy: &[u8; pcr::LEN]) -> Result<TpmtPublic, Error> {
    Ok(TpmtPublic {
        object_type: TpmAlgId::KeyedHash,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::NO_DA,
        auth_policy: Tpm2bDigest::try_from(&policy[..])?,
        parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms { scheme: TpmtKeyedhashScheme::default() }),
        unique: TpmuPublicId::KeyedHash(Tpm2bDigest::default()),
    })
}

/// The attestation key: restricted, so that what it signs and calls its own (`TPM_GENERATED_VALUE`) was made by its TPM.
pub fn attestation() -> Result<TpmtPublic, Error> {
    // A primary key is computed from its template: this makes ours another than everybody's.
    let x = Tpm2bEccParameter::try_from(&sha256(&[b"casemate attestation key 1"])[..])?;
    Ok(TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: STAYS
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::RESTRICTED
            | TpmaObject::SIGN_ENCRYPT,
        auth_policy: Tpm2bDigest::default(),
        parameters: ecc(no_cipher(), ecdsa(TpmAlgId::Sha256), TpmEccCurve::NistP256),
        unique: TpmuPublicId::Ecc(TpmsEccPoint { x, y: Tpm2bEccParameter::default() }),
    })
}

/// The endorsement key: RSA-2048, template L-1 (TCG EK Credential Profile 2.5, B.3.3), which every TPM has a certificate for.
pub fn endorsement() -> Result<TpmtPublic, Error> {
    let zeros = [0; 256];
    Ok(TpmtPublic {
        object_type: TpmAlgId::Rsa,
        name_alg: TpmAlgId::Sha256,
        object_attributes: STAYS
            | TpmaObject::ADMIN_WITH_POLICY
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT,
        auth_policy: Tpm2bDigest::try_from(&endorsement_policy()[..])?,
        parameters: TpmuPublicParms::Rsa(TpmsRsaParms {
            symmetric: aes(),
            scheme: TpmtRsaScheme::default(),
            key_bits: 2048.into(),
            exponent: 0.into(),
        }),
        unique: TpmuPublicId::Rsa(Tpm2bPublicKeyRsa::try_from(&zeros[..])?),
    })
}

/// PolicyA (B.6.2): whoever has the endorsement hierarchy's authorisation.
fn endorsement_policy() -> [u8; pcr::LEN] {
    let secret = (tpm2_protocol::data::TpmCc::PolicySecret as u32).to_be_bytes();
    let entity = (tpm2_protocol::data::TpmRh::Endorsement as u32).to_be_bytes();
    let first = sha256(&[&[0; pcr::LEN], &secret, &entity]);
    // The second round adds policyRef, which is empty (part 3, 23.4).
    sha256(&[&first])
}

/// The public area in `bytes`, which hold nothing else.
pub fn parse(bytes: &[u8]) -> Result<TpmtPublic, Error> {
    let (public, rest) = TpmtPublic::unmarshal(bytes)?;
    // Encoded again it must be the same: names are digests of the encoding.
    if !rest.is_empty() || command::bytes(&public)? != bytes {
        return Err(Error::Malformed("a public area with something behind it".into()));
    }
    Ok(public)
}

/// The name of a key: the algorithm, and the digest of its public area (part 1, 16). All of ours use SHA-256.
pub fn name(public: &TpmtPublic) -> Result<Vec<u8>, Error> {
    let digest = sha256(&[&command::bytes(public)?]);
    let algorithm = (TpmAlgId::Sha256 as u16).to_be_bytes();
    Ok([&algorithm[..], &digest].concat())
}

/// Whether `public` is made from `template`: everything the same but the key itself.
pub fn is_made_from(public: &TpmtPublic, template: &TpmtPublic) -> bool {
    TpmtPublic { unique: template.unique.clone(), ..public.clone() } == *template
}

/// The public key of an ECC key as an uncompressed point with coordinates of `size` bytes.
pub fn point(public: &TpmtPublic, size: usize) -> Option<Vec<u8>> {
    let TpmuPublicId::Ecc(point) = &public.unique else { return None };
    let mut out = vec![4];
    for coordinate in [&point.x, &point.y] {
        // A TPM may leave leading zeros out.
        let missing = size.checked_sub(coordinate.len())?;
        out.resize(out.len().saturating_add(missing), 0);
        out.extend_from_slice(coordinate);
    }
    Some(out)
}

/// The platform key's public key.
pub fn p384(public: &TpmtPublic) -> Option<[u8; es384::PUBLIC_LEN]> {
    point(public, 48)?.try_into().ok()
}

/// The modulus of an RSA key.
pub fn modulus(public: &TpmtPublic) -> Option<&[u8]> {
    match &public.unique {
        TpmuPublicId::Rsa(modulus) => Some(modulus),
        _ => None,
    }
}
