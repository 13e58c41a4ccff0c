//! Digests, signatures, encryption: PKCS#11 3.0, 5.8 to 5.14.

use casemate_hsm::{Bytes, ck};
use cryptoki_sys::{CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG};

use super::memory::{Output, bytes};
use super::state::with;
use super::values::mechanism;
use crate::key::Use;
use crate::rv::{Result, ensure};
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
            return session.cancel_one(flag(usage));
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

/// Arguments that are no good end the operation of this flag, as any error but CKR_BUFFER_TOO_SMALL does (5.2).
fn or_cancel<T>(session: &Session, flag: u64, arguments: Result<T>) -> Result<T> {
    arguments.inspect_err(|_| session.cancel(flag))
}

/// Runs a function that takes data and gives a result.
///
/// # Safety
///
/// `data` is null or points to `length` bytes; the rest as of [`Output::new`].
unsafe fn whole(
    session: CK_SESSION_HANDLE,
    flag: u64,
    data: *mut u8,
    length: CK_ULONG,
    result: *mut u8,
    result_length: *mut CK_ULONG,
    function: impl FnOnce(&Session, &Bytes, &mut Output) -> Result<()>,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        let data = or_cancel(&session, flag, unsafe { bytes(data, length) })?;
        // SAFETY: as the caller promises.
        let mut output = or_cancel(&session, flag, unsafe { Output::new(result, result_length) })?;
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
    flag: u64,
    result: *mut u8,
    result_length: *mut CK_ULONG,
    function: impl FnOnce(&Session, &mut Output) -> Result<()>,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        let mut output = or_cancel(&session, flag, unsafe { Output::new(result, result_length) })?;
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
    flag: u64,
    part: *mut u8,
    length: CK_ULONG,
    function: impl FnOnce(&Session, &[u8]) -> Result<()>,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        // SAFETY: as the caller promises.
        let part = or_cancel(&session, flag, unsafe { bytes(part, length) })?;
        function(&session, &part)
    })
}

/// Runs a function that checks a signature: over `data`, or over what came in parts.
///
/// # Safety
///
/// `data` and `signature` are null or point to as many bytes as their lengths say.
unsafe fn check(
    session: CK_SESSION_HANDLE,
    data: Option<(*mut u8, CK_ULONG)>,
    signature: *mut u8,
    signature_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        or_cancel(&session, ck::CKF_VERIFY, ensure(!signature.is_null(), ck::CKR_ARGUMENTS_BAD))?;
        // SAFETY: as the caller promises.
        let data = data.map(|(data, length)| unsafe { bytes(data, length) }).transpose();
        let data = or_cancel(&session, ck::CKF_VERIFY, data)?;
        // SAFETY: as the caller promises.
        let signature = or_cancel(&session, ck::CKF_VERIFY, unsafe { bytes(signature, signature_length) })?;
        session.verify(data.as_ref(), signature)
    })
}

pub unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, of: *mut CK_MECHANISM) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        if of.is_null() {
            return session.cancel_one(ck::CKF_DIGEST);
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
        whole(session, ck::CKF_DIGEST, data, length, digest, digest_length, |session, data, output| {
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
    unsafe { next(session, ck::CKF_DIGEST, part, length, Session::digest_update) }
}

pub extern "C" fn C_DigestKey(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
    with(|module| module.session(session)?.digest_key(key))
}

pub unsafe extern "C" fn C_DigestFinal(
    session: CK_SESSION_HANDLE,
    digest: *mut u8,
    digest_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe {
        last(session, ck::CKF_DIGEST, digest, digest_length, |session, output| session.digest(None, output))
    }
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
        whole(session, ck::CKF_SIGN, data, length, signature, signature_length, |session, data, output| {
            session.sign(Some(data), output)
        })
    }
}

pub unsafe extern "C" fn C_SignUpdate(session: CK_SESSION_HANDLE, part: *mut u8, length: CK_ULONG) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { next(session, ck::CKF_SIGN, part, length, Session::sign_update) }
}

pub unsafe extern "C" fn C_SignFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut u8,
    signature_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe {
        last(session, ck::CKF_SIGN, signature, signature_length, |session, output| session.sign(None, output))
    }
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
    // SAFETY: as the caller promises.
    unsafe { check(session, Some((data, length)), signature, signature_length) }
}

pub unsafe extern "C" fn C_VerifyUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut u8,
    length: CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { next(session, ck::CKF_VERIFY, part, length, Session::verify_update) }
}

pub unsafe extern "C" fn C_VerifyFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut u8,
    signature_length: CK_ULONG,
) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe { check(session, None, signature, signature_length) }
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
                whole(session, flag($usage), input, length, result, result_length, |session, input, output| {
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
                whole(session, flag($usage), part, length, result, result_length, |session, part, output| {
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
                last(session, flag($usage), result, result_length, |session, output| session.cipher($usage, None, output))
            }
        }
    )+};
}

ciphers! {
    Use::Encrypt, C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal;
    Use::Decrypt, C_DecryptInit, C_Decrypt, C_DecryptUpdate, C_DecryptFinal;
}
