//! Digests, signatures, encryption: PKCS#11 3.0, 5.8 to 5.14.

use casemate_hsm::ck;
use cryptoki_sys::{CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG};

use super::memory::{Output, bytes};
use super::state::with;
use super::values::mechanism;
use crate::key::Use;
use crate::rv::{Rv, ensure};
use crate::session::Session;

/// The flag that C_SessionCancel has for it: an Init function without a mechanism ends what is going on (5.2).
const fn flag(usage: Use) -> u64 {
    match usage {
        Use::Sign => ck::CKF_SIGN,
        Use::Verify => ck::CKF_VERIFY,
        Use::Encrypt => ck::CKF_ENCRYPT,
        Use::Decrypt => ck::CKF_DECRYPT,
    }
}

/// # Safety
///
/// As of [`mechanism`].
unsafe fn begin(
    session: CK_SESSION_HANDLE,
    of: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    usage: Use,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        if of.is_null() {
            session.cancel(flag(usage));
            return Ok(());
        }
        // SAFETY: as the caller promises.
        let mechanism = unsafe { mechanism(of) }?;
        match usage {
            Use::Sign => session.sign_init(mechanism, key),
            Use::Verify => session.verify_init(mechanism, key),
            Use::Encrypt | Use::Decrypt => session.cipher_init(usage, mechanism, key),
        }
    })
}

/// Runs a function that takes data at once and gives a result.
///
/// # Safety
///
/// `data` is null or points to `length` bytes; the rest as of [`Output::new`].
unsafe fn whole(
    session: CK_SESSION_HANDLE,
    data: *mut u8,
    length: CK_ULONG,
    result: *mut u8,
    result_length: *mut CK_ULONG,
    function: impl FnOnce(&Session, &casemate_hsm::Bytes, &mut Output) -> crate::rv::Result<()>,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        let (data, mut output) = unsafe { (bytes(data, length)?, Output::new(result, result_length)?) };
        function(&session, &data, &mut output)
    })
}

/// Runs a function that ends what came in parts, and gives a result.
///
/// # Safety
///
/// As of [`Output::new`].
unsafe fn last(
    session: CK_SESSION_HANDLE,
    result: *mut u8,
    result_length: *mut CK_ULONG,
    function: impl FnOnce(&Session, &mut Output) -> crate::rv::Result<()>,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        let mut output = unsafe { Output::new(result, result_length) }?;
        function(&session, &mut output)
    })
}

/// Runs a function that takes a part.
///
/// # Safety
///
/// `part` is null or points to `length` bytes.
unsafe fn next(
    session: CK_SESSION_HANDLE,
    part: *mut u8,
    length: CK_ULONG,
    function: impl FnOnce(&Session, &[u8]) -> crate::rv::Result<()>,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        function(&session, &unsafe { bytes(part, length) }?)
    })
}

pub unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, of: *mut CK_MECHANISM) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        if of.is_null() {
            session.cancel(ck::CKF_DIGEST);
            return Ok(());
        }
        // SAFETY: as the caller promises.
        session.digest_init(&unsafe { mechanism(of) }?)
    })
}

pub unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: *mut u8,
    length: CK_ULONG,
    digest: *mut u8,
    digest_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe {
        whole(session, data, length, digest, digest_length, |session, data, output| {
            session.digest(Some(data), output)
        })
    }
}

pub unsafe extern "C" fn C_DigestUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut u8,
    length: CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { next(session, part, length, Session::digest_update) }
}

pub extern "C" fn C_DigestKey(session: CK_SESSION_HANDLE, _: CK_OBJECT_HANDLE) -> CK_RV {
    with(|module| {
        module.session(session)?;
        // Digests are computed here, where no key is.
        Err(Rv(ck::CKR_KEY_INDIGESTIBLE))
    })
}

pub unsafe extern "C" fn C_DigestFinal(
    session: CK_SESSION_HANDLE,
    digest: *mut u8,
    digest_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { last(session, digest, digest_length, |session, output| session.digest(None, output)) }
}

pub unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { begin(session, mechanism, key, Use::Sign) }
}

pub unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut u8,
    length: CK_ULONG,
    signature: *mut u8,
    signature_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe {
        whole(session, data, length, signature, signature_length, |session, data, output| {
            session.sign(Some(data), output)
        })
    }
}

pub unsafe extern "C" fn C_SignUpdate(session: CK_SESSION_HANDLE, part: *mut u8, length: CK_ULONG) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { next(session, part, length, Session::sign_update) }
}

pub unsafe extern "C" fn C_SignFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut u8,
    signature_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { last(session, signature, signature_length, |session, output| session.sign(None, output)) }
}

pub unsafe extern "C" fn C_VerifyInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { begin(session, mechanism, key, Use::Verify) }
}

pub unsafe extern "C" fn C_Verify(
    session: CK_SESSION_HANDLE,
    data: *mut u8,
    length: CK_ULONG,
    signature: *mut u8,
    signature_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!signature.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let (data, signature) = unsafe { (bytes(data, length)?, bytes(signature, signature_length)?) };
        session.verify(Some(&data), signature)
    })
}

pub unsafe extern "C" fn C_VerifyUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut u8,
    length: CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { next(session, part, length, Session::verify_update) }
}

pub unsafe extern "C" fn C_VerifyFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut u8,
    signature_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!signature.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        session.verify(None, unsafe { bytes(signature, signature_length) }?)
    })
}

macro_rules! ciphers {
    ($($usage:expr, $init:ident, $whole:ident, $update:ident, $last:ident;)+) => {$(
        pub unsafe extern "C" fn $init(
            session: CK_SESSION_HANDLE,
            mechanism: *mut CK_MECHANISM,
            key: CK_OBJECT_HANDLE,
        ) -> CK_RV {
            // SAFETY: as the caller promises.
            unsafe { begin(session, mechanism, key, $usage) }
        }

        pub unsafe extern "C" fn $whole(
            session: CK_SESSION_HANDLE,
            input: *mut u8,
            length: CK_ULONG,
            result: *mut u8,
            result_length: *mut CK_ULONG,
        ) -> CK_RV {
            // SAFETY: as the caller promises.
            unsafe {
                whole(session, input, length, result, result_length, |session, input, output| {
                    session.cipher($usage, Some(input), output)
                })
            }
        }

        pub unsafe extern "C" fn $update(
            session: CK_SESSION_HANDLE,
            part: *mut u8,
            length: CK_ULONG,
            result: *mut u8,
            result_length: *mut CK_ULONG,
        ) -> CK_RV {
            // SAFETY: as the caller promises.
            unsafe {
                whole(session, part, length, result, result_length, |session, part, output| {
                    session.cipher_update($usage, part, output)
                })
            }
        }

        pub unsafe extern "C" fn $last(
            session: CK_SESSION_HANDLE,
            result: *mut u8,
            result_length: *mut CK_ULONG,
        ) -> CK_RV {
            // SAFETY: as the caller promises.
            unsafe {
                last(session, result, result_length, |session, output| session.cipher($usage, None, output))
            }
        }
    )+};
}

ciphers! {
    Use::Encrypt, C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal;
    Use::Decrypt, C_DecryptInit, C_Decrypt, C_DecryptUpdate, C_DecryptFinal;
}
