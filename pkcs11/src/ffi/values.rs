//! Templates and mechanism parameters: C structures with pointers in them become values.

use casemate_hsm::mechanism::{Oaep, Pss};
use casemate_hsm::{Attribute, Bytes, Mechanism, Parameter, Template, ck};
use cryptoki_sys as sys;
use cryptoki_sys::{CK_ATTRIBUTE, CK_MECHANISM, CK_ULONG};

use super::memory::{array, bytes, get};
use crate::rv::{Result, Rv, ensure};

/// Attributes whose value is a template.
pub const fn is_template(kind: u64) -> bool {
    matches!(kind, ck::CKA_WRAP_TEMPLATE | ck::CKA_UNWRAP_TEMPLATE | ck::CKA_DERIVE_TEMPLATE)
}

/// A template.
///
/// # Safety
///
/// `attributes` is null or points to `count` attributes, whose `pValue` are null or point to `ulValueLen` bytes.
pub unsafe fn template(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template> {
    // SAFETY: as the caller promises.
    let attributes = unsafe { array(attributes, count) }?;
    let value = |attribute: CK_ATTRIBUTE| {
        // Pointers in it would mean nothing to the token.
        ensure(!is_template(attribute.type_), ck::CKR_ATTRIBUTE_TYPE_INVALID)?;
        let invalid = Rv(ck::CKR_ATTRIBUTE_VALUE_INVALID);
        // SAFETY: as the caller promises.
        let value = unsafe { bytes(attribute.pValue.cast(), attribute.ulValueLen) };
        Ok(Attribute { kind: attribute.type_, value: Some(value.map_err(|_| invalid)?) })
    };
    attributes.into_iter().map(value).collect()
}

/// A mechanism, with its parameter.
///
/// # Safety
///
/// `mechanism` is null or points to a mechanism, whose `pParameter` is null or points to `ulParameterLen` bytes; if that is
/// the size of the structure that the specification gives for the mechanism, it is that structure, and the pointers in it
/// are good as well.
pub unsafe fn mechanism(mechanism: *const CK_MECHANISM) -> Result<Mechanism> {
    // SAFETY: as the caller promises.
    let mechanism = unsafe { get(mechanism) }?;
    // SAFETY: as the caller promises.
    let parameter = unsafe { parameter(&mechanism) };
    // Whatever is wrong in there, the parameter is.
    let parameter = parameter.map_err(|_| Rv(ck::CKR_MECHANISM_PARAM_INVALID))?;
    Ok(Mechanism { kind: mechanism.mechanism, parameter })
}

/// The structure that the parameter must be.
///
/// # Safety
///
/// As of [`mechanism`], `T` being the structure for the mechanism.
unsafe fn structure<T: Copy>(mechanism: &CK_MECHANISM) -> Result<T> {
    ensure(usize::try_from(mechanism.ulParameterLen) == Ok(size_of::<T>()), ck::CKR_MECHANISM_PARAM_INVALID)?;
    // SAFETY: it has the size of the structure, and the caller says that then it is one.
    unsafe { get(mechanism.pParameter.cast::<T>()) }
}

/// # Safety
///
/// As of [`mechanism`].
unsafe fn parameter(mechanism: &CK_MECHANISM) -> Result<Parameter> {
    let whole = || {
        // SAFETY: as the caller promises.
        unsafe { bytes(mechanism.pParameter.cast(), mechanism.ulParameterLen) }
    };
    let absent = mechanism.pParameter.is_null() || mechanism.ulParameterLen == 0;
    Ok(match mechanism.mechanism {
        ck::CKM_AES_CBC | ck::CKM_AES_CBC_PAD => {
            ensure(mechanism.ulParameterLen == 16, ck::CKR_MECHANISM_PARAM_INVALID)?;
            Parameter::Iv(whole()?)
        }
        ck::CKM_DES3_CBC | ck::CKM_DES3_CBC_PAD => {
            ensure(mechanism.ulParameterLen == 8, ck::CKR_MECHANISM_PARAM_INVALID)?;
            Parameter::Iv(whole()?)
        }
        ck::CKM_AES_KEY_WRAP | ck::CKM_AES_KEY_WRAP_PAD | ck::CKM_AES_KEY_WRAP_KWP if !absent => {
            Parameter::Iv(whole()?)
        }
        ck::CKM_AES_CTR => {
            // SAFETY: as the caller promises of this mechanism.
            let ctr = unsafe { structure::<sys::CK_AES_CTR_PARAMS>(mechanism) }?;
            Parameter::Ctr { bits: ctr.ulCounterBits, block: Bytes::copy(&ctr.cb) }
        }
        // SAFETY: as the caller promises of this mechanism.
        ck::CKM_AES_GCM => unsafe { gcm(mechanism) }?,
        ck::CKM_RSA_PKCS_PSS
        | ck::CKM_SHA1_RSA_PKCS_PSS
        | ck::CKM_SHA224_RSA_PKCS_PSS
        | ck::CKM_SHA256_RSA_PKCS_PSS
        | ck::CKM_SHA384_RSA_PKCS_PSS
        | ck::CKM_SHA512_RSA_PKCS_PSS => {
            // SAFETY: as the caller promises of this mechanism.
            let pss = unsafe { structure::<sys::CK_RSA_PKCS_PSS_PARAMS>(mechanism) }?;
            Parameter::Pss(Pss { hash: pss.hashAlg, mgf: pss.mgf, salt_length: pss.sLen })
        }
        ck::CKM_RSA_PKCS_OAEP => {
            // SAFETY: as the caller promises of this mechanism.
            let parameters = unsafe { structure::<sys::CK_RSA_PKCS_OAEP_PARAMS>(mechanism) }?;
            // SAFETY: as the caller promises of this mechanism.
            Parameter::Oaep(unsafe { oaep(parameters) }?)
        }
        ck::CKM_RSA_AES_KEY_WRAP => {
            // SAFETY: as the caller promises of this mechanism.
            let wrap = unsafe { structure::<sys::CK_RSA_AES_KEY_WRAP_PARAMS>(mechanism) }?;
            // SAFETY: as the caller promises of this mechanism.
            let oaep = unsafe { oaep(get(wrap.pOAEPParams)?) }?;
            Parameter::RsaAes { aes_bits: wrap.ulAESKeyBits, oaep }
        }
        ck::CKM_ECDH1_DERIVE | ck::CKM_ECDH1_COFACTOR_DERIVE => {
            // SAFETY: as the caller promises of this mechanism.
            let ecdh = unsafe { structure::<sys::CK_ECDH1_DERIVE_PARAMS>(mechanism) }?;
            // SAFETY: as the caller promises of this mechanism.
            let shared = unsafe { bytes(ecdh.pSharedData, ecdh.ulSharedDataLen) }?;
            // SAFETY: as the caller promises of this mechanism.
            let public = unsafe { bytes(ecdh.pPublicData, ecdh.ulPublicDataLen) }?;
            Parameter::Ecdh { kdf: ecdh.kdf, shared, public }
        }
        ck::CKM_AES_CMAC_GENERAL
        | ck::CKM_SHA_1_HMAC_GENERAL
        | ck::CKM_SHA224_HMAC_GENERAL
        | ck::CKM_SHA256_HMAC_GENERAL
        | ck::CKM_SHA384_HMAC_GENERAL
        | ck::CKM_SHA512_HMAC_GENERAL => {
            // SAFETY: as the caller promises of this mechanism.
            Parameter::MacLength(unsafe { structure::<CK_ULONG>(mechanism) }?)
        }
        ck::CKM_EDDSA if !absent => {
            // SAFETY: as the caller promises of this mechanism.
            let eddsa = unsafe { structure::<sys::CK_EDDSA_PARAMS>(mechanism) }?;
            // SAFETY: as the caller promises of this mechanism.
            let context = unsafe { bytes(eddsa.pContextData, eddsa.ulContextDataLen) }?;
            Parameter::Eddsa { prehash: eddsa.phFlag != 0, context }
        }
        ck::CKM_ML_DSA if !absent => {
            // SAFETY: as the caller promises of this mechanism.
            let sign = unsafe { structure::<sys::CK_SIGN_ADDITIONAL_CONTEXT>(mechanism) }?;
            // SAFETY: as the caller promises of this mechanism.
            let context = unsafe { bytes(sign.pContext, sign.ulContextLen) }?;
            Parameter::SignContext { hedge: sign.hedgeVariant, context }
        }
        _ if absent => Parameter::None,
        _ => return Err(Rv(ck::CKR_MECHANISM_PARAM_INVALID)),
    })
}

/// # Safety
///
/// As of [`mechanism`], which is CKM_AES_GCM. The structure has two forms: headers before 2.40's errata lack `ulIvBits`.
unsafe fn gcm(mechanism: &CK_MECHANISM) -> Result<Parameter> {
    // SAFETY: as the caller promises of this mechanism.
    let (iv, iv_length, aad, aad_length, tag_bits) =
        match unsafe { structure::<sys::CK_GCM_PARAMS>(mechanism) } {
            Ok(new) => (new.pIv, new.ulIvLen, new.pAAD, new.ulAADLen, new.ulTagBits),
            Err(_) => {
                // SAFETY: as the caller promises of this mechanism.
                let old = unsafe { structure::<sys::CK_AES_GCM_PARAMS>(mechanism) }?;
                (old.pIv, old.ulIvLen, old.pAAD, old.ulAADLen, old.ulTagBits)
            }
        };
    // SAFETY: as the caller promises of this mechanism.
    let (iv, aad) = unsafe { (bytes(iv, iv_length)?, bytes(aad, aad_length)?) };
    Ok(Parameter::Gcm { iv, aad, tag_bits })
}

/// # Safety
///
/// `pSourceData` is null or points to `ulSourceDataLen` bytes.
unsafe fn oaep(parameters: sys::CK_RSA_PKCS_OAEP_PARAMS) -> Result<Oaep> {
    // Without a source there is no label.
    ensure(
        parameters.source == ck::CKZ_DATA_SPECIFIED || parameters.ulSourceDataLen == 0,
        ck::CKR_MECHANISM_PARAM_INVALID,
    )?;
    // SAFETY: as the caller promises.
    let label = unsafe { bytes(parameters.pSourceData.cast(), parameters.ulSourceDataLen) }?;
    Ok(Oaep { hash: parameters.hashAlg, mgf: parameters.mgf, label })
}
