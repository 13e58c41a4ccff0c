//! Objects and key management: PKCS#11 3.0, 5.7 and 5.18.

use casemate_hsm::{Attribute, ck};
use cryptoki_sys as sys;
use cryptoki_sys::{CK_ATTRIBUTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG};

use super::memory::{Output, array, bytes, put, put_array};
use super::state::with;
use super::values::{mechanism, template};
use crate::rv::{Result, Rv, ensure};

pub unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!attributes.is_null() && !object.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let made = session.create_object(unsafe { template(attributes, count) }?)?;
        // SAFETY: as the caller promises.
        unsafe { put(object, made) }
    })
}

pub unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    copy: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!copy.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let made = session.copy_object(object, unsafe { template(attributes, count) }?)?;
        // SAFETY: as the caller promises.
        unsafe { put(copy, made) }
    })
}

pub extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    with(|module| module.session(session)?.destroy_object(object))
}

pub unsafe extern "C" fn C_GetObjectSize(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    size: *mut CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!size.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        session.attributes(object, &[ck::CKA_CLASS])?;
        // SAFETY: as the caller promises.
        unsafe { put(size, sys::CK_UNAVAILABLE_INFORMATION) }
    })
}

pub unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!attributes.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let wanted = unsafe { array(attributes, count) }?;
        let types: Vec<u64> = wanted.iter().map(|attribute| attribute.type_).collect();
        let told = session.attributes(object, &types)?;
        let mut rv = told.rv;
        for (index, (mut wanted, told)) in wanted.into_iter().zip(&told.template).enumerate() {
            // SAFETY: as the caller promises of each attribute.
            match unsafe { give(&mut wanted, told) } {
                Err(Rv(failure)) if rv == ck::CKR_OK => rv = failure,
                _ => {}
            }
            // SAFETY: `index` is less than `count`, and the array is the caller's to be written to.
            unsafe { put(attributes.add(index), wanted) }?;
        }
        ensure(rv == ck::CKR_OK, rv)
    })
}

/// Gives the caller one attribute (5.7.5).
///
/// # Safety
///
/// `pValue` is null or points to `ulValueLen` bytes that can be written.
unsafe fn give(wanted: &mut CK_ATTRIBUTE, told: &Attribute) -> Result<()> {
    let Some(value) = &told.value else {
        wanted.ulValueLen = sys::CK_UNAVAILABLE_INFORMATION;
        return Ok(());
    };
    // SAFETY: as the caller promises; the length is this structure's own.
    let given = unsafe {
        Output::new(wanted.pValue.cast(), &raw mut wanted.ulValueLen).and_then(|mut output| output.put(value))
    };
    if given.is_err() {
        wanted.ulValueLen = sys::CK_UNAVAILABLE_INFORMATION;
    }
    given
}

pub unsafe extern "C" fn C_SetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!attributes.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        session.set_attributes(object, unsafe { template(attributes, count) }?)
    })
}

pub unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        session.find_init(&unsafe { template(attributes, count) }?)
    })
}

pub unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!objects.is_null() && !count.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let found = session.find(usize::try_from(most).unwrap_or(usize::MAX))?;
        let mut room = most;
        // SAFETY: as the caller promises: there is room for `most` handles, and no more were taken.
        unsafe { put_array(&found, objects, &raw mut room) }?;
        // SAFETY: as the caller promises.
        unsafe { put(count, room) }
    })
}

pub extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    with(|module| module.session(session)?.find_final())
}

pub unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    of: *mut CK_MECHANISM,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!key.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let (mechanism, template) = unsafe { (mechanism(of)?, template(attributes, count)?) };
        let made = session.generate_key(mechanism, template)?;
        // SAFETY: as the caller promises.
        unsafe { put(key, made) }
    })
}

pub unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    of: *mut CK_MECHANISM,
    public_attributes: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_attributes: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public: *mut CK_OBJECT_HANDLE,
    private: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!public.is_null() && !private.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let mechanism = unsafe { mechanism(of) }?;
        // SAFETY: as the caller promises.
        let of_public = unsafe { template(public_attributes, public_count) }?;
        // SAFETY: as the caller promises.
        let of_private = unsafe { template(private_attributes, private_count) }?;
        let made = session.generate_key_pair(mechanism, of_public, of_private)?;
        // SAFETY: as the caller promises.
        unsafe { put(public, made.0).and_then(|()| put(private, made.1)) }
    })
}

pub unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    of: *mut CK_MECHANISM,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut u8,
    wrapped_length: *mut CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        let (mechanism, mut output) = unsafe { (mechanism(of)?, Output::new(wrapped, wrapped_length)?) };
        session.wrap_key(mechanism, wrapping, key, &mut output)
    })
}

pub unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    of: *mut CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut u8,
    wrapped_length: CK_ULONG,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!wrapped.is_null() && !key.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let (mechanism, wrapped) = unsafe { (mechanism(of)?, bytes(wrapped, wrapped_length)?) };
        // SAFETY: as the caller promises.
        let template = unsafe { template(attributes, count) }?;
        let made = session.unwrap_key(mechanism, unwrapping, wrapped, template)?;
        // SAFETY: as the caller promises.
        unsafe { put(key, made) }
    })
}

pub unsafe extern "C" fn C_DeriveKey(
    session: CK_SESSION_HANDLE,
    of: *mut CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!key.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let (mechanism, template) = unsafe { (mechanism(of)?, template(attributes, count)?) };
        let made = session.derive_key(mechanism, base, template)?;
        // SAFETY: as the caller promises.
        unsafe { put(key, made) }
    })
}
