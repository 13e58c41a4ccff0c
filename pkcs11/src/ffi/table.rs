//! The lists of functions, and the three symbols that a program looks up. Only these are exported: a program may have
//! loaded other modules, whose functions have the same names.

use std::ffi::{CStr, c_void};
use std::ptr;

use casemate_hsm::ck;
use cryptoki_sys::{
    CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_PTR, CK_INTERFACE,
    CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_UTF8CHAR, CK_VERSION,
};

use super::crypto::*;
use super::general::*;
use super::memory::{get, put, put_array};
use super::objects::*;
use super::state::guarded;
use crate::rv::{Rv, ensure};

/// The version that programs ask for with C_GetFunctionList.
const OLD: CK_VERSION = CK_VERSION { major: 2, minor: 40 };
/// The version that programs find with C_GetInterface.
pub(super) const NEW: CK_VERSION = CK_VERSION { major: 3, minor: 0 };

macro_rules! unsupported {
    ($($name:ident($($argument:ty),+);)+) => {$(
        extern "C" fn $name($(_: $argument),+) -> CK_RV {
            ck::CKR_FUNCTION_NOT_SUPPORTED
        }
    )+};
}

// Operations cannot be taken along, recovered or doubled up, and there are none on messages in the sense of 3.0.
unsupported! {
    C_GetOperationState(CK_SESSION_HANDLE, *mut CK_BYTE, *mut CK_ULONG);
    C_SetOperationState(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);
    C_SignRecoverInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_SignRecover(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_VerifyRecoverInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_VerifyRecover(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DigestEncryptUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DecryptDigestUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_SignEncryptUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DecryptVerifyUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_MessageEncryptInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_EncryptMessage(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_EncryptMessageBegin(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG);
    C_EncryptMessageNext(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG, CK_FLAGS);
    C_MessageEncryptFinal(CK_SESSION_HANDLE);
    C_MessageDecryptInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_DecryptMessage(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DecryptMessageBegin(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG);
    C_DecryptMessageNext(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG, CK_FLAGS);
    C_MessageDecryptFinal(CK_SESSION_HANDLE);
    C_MessageSignInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_SignMessage(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_SignMessageBegin(CK_SESSION_HANDLE, *mut c_void, CK_ULONG);
    C_SignMessageNext(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_MessageSignFinal(CK_SESSION_HANDLE);
    C_MessageVerifyInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_VerifyMessage(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, CK_ULONG);
    C_VerifyMessageBegin(CK_SESSION_HANDLE, *mut c_void, CK_ULONG);
    C_VerifyMessageNext(CK_SESSION_HANDLE, *mut c_void, CK_ULONG, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, CK_ULONG);
    C_MessageVerifyFinal(CK_SESSION_HANDLE);
}

/// The two lists: 3.0's begins with the functions of 2.40.
macro_rules! lists {
    (old { $($old:ident,)+ } new { $($new:ident,)+ }) => {
        static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST { version: OLD, $($old: Some($old),)+ };

        static FUNCTIONS_3_0: CK_FUNCTION_LIST_3_0 =
            CK_FUNCTION_LIST_3_0 { version: NEW, $($old: Some($old),)+ $($new: Some($new),)+ };
    };
}

lists! {
    old {
        C_Initialize,
        C_Finalize,
        C_GetInfo,
        C_GetFunctionList,
        C_GetSlotList,
        C_GetSlotInfo,
        C_GetTokenInfo,
        C_GetMechanismList,
        C_GetMechanismInfo,
        C_InitToken,
        C_InitPIN,
        C_SetPIN,
        C_OpenSession,
        C_CloseSession,
        C_CloseAllSessions,
        C_GetSessionInfo,
        C_GetOperationState,
        C_SetOperationState,
        C_Login,
        C_Logout,
        C_CreateObject,
        C_CopyObject,
        C_DestroyObject,
        C_GetObjectSize,
        C_GetAttributeValue,
        C_SetAttributeValue,
        C_FindObjectsInit,
        C_FindObjects,
        C_FindObjectsFinal,
        C_EncryptInit,
        C_Encrypt,
        C_EncryptUpdate,
        C_EncryptFinal,
        C_DecryptInit,
        C_Decrypt,
        C_DecryptUpdate,
        C_DecryptFinal,
        C_DigestInit,
        C_Digest,
        C_DigestUpdate,
        C_DigestKey,
        C_DigestFinal,
        C_SignInit,
        C_Sign,
        C_SignUpdate,
        C_SignFinal,
        C_SignRecoverInit,
        C_SignRecover,
        C_VerifyInit,
        C_Verify,
        C_VerifyUpdate,
        C_VerifyFinal,
        C_VerifyRecoverInit,
        C_VerifyRecover,
        C_DigestEncryptUpdate,
        C_DecryptDigestUpdate,
        C_SignEncryptUpdate,
        C_DecryptVerifyUpdate,
        C_GenerateKey,
        C_GenerateKeyPair,
        C_WrapKey,
        C_UnwrapKey,
        C_DeriveKey,
        C_SeedRandom,
        C_GenerateRandom,
        C_GetFunctionStatus,
        C_CancelFunction,
        C_WaitForSlotEvent,
    }
    new {
        C_GetInterfaceList,
        C_GetInterface,
        C_LoginUser,
        C_SessionCancel,
        C_MessageEncryptInit,
        C_EncryptMessage,
        C_EncryptMessageBegin,
        C_EncryptMessageNext,
        C_MessageEncryptFinal,
        C_MessageDecryptInit,
        C_DecryptMessage,
        C_DecryptMessageBegin,
        C_DecryptMessageNext,
        C_MessageDecryptFinal,
        C_MessageSignInit,
        C_SignMessage,
        C_SignMessageBegin,
        C_SignMessageNext,
        C_MessageSignFinal,
        C_MessageVerifyInit,
        C_VerifyMessage,
        C_VerifyMessageBegin,
        C_VerifyMessageNext,
        C_MessageVerifyFinal,
    }
}

/// The only interface that the specification names.
const PKCS11: &CStr = c"PKCS 11";

/// What a program gets to see of an interface.
struct Interfaces([CK_INTERFACE; 2]);

// SAFETY: the pointers go to the constants above, which nobody changes.
unsafe impl Sync for Interfaces {}

/// The preferred one first.
static INTERFACES: Interfaces =
    Interfaces([interface((&raw const FUNCTIONS_3_0).cast()), interface((&raw const FUNCTIONS).cast())]);

const fn interface(functions: *const c_void) -> CK_INTERFACE {
    CK_INTERFACE {
        pInterfaceName: PKCS11.as_ptr().cast_mut().cast(),
        pFunctionList: functions.cast_mut(),
        // A forked child is not initialised, and can be: state::Process.
        flags: 0,
    }
}

/// C_GetFunctionList (5.4.4).
///
/// # Safety
///
/// `list` is null or points to a pointer that can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut CK_FUNCTION_LIST_PTR) -> CK_RV {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { put(list, (&raw const FUNCTIONS).cast_mut()) })
}

/// C_GetInterfaceList (5.4.5).
///
/// # Safety
///
/// `count` is null or points to a number; `list` is null or points to as many interfaces that can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { put_array(&INTERFACES.0, list, count) })
}

/// C_GetInterface (5.4.6): by name, version and flags, each of which may be left open.
///
/// # Safety
///
/// `name` is null or a string that ends with a zero byte; `version` is null or points to a version; `interface` is null or
/// points to a pointer that can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    guarded(|| {
        // SAFETY: as the caller promises.
        let known = name.is_null() || unsafe { CStr::from_ptr(name.cast()) } == PKCS11;
        ensure(known && flags == 0, ck::CKR_FUNCTION_FAILED)?;
        let wanted = if version.is_null() {
            None
        } else {
            // SAFETY: as the caller promises.
            Some(unsafe { get(version) }?)
        };
        let versions = INTERFACES.0.iter().zip([NEW, OLD]);
        let mut fitting = versions.filter(|(_, version)| {
            wanted.is_none_or(|wanted| (wanted.major, wanted.minor) == (version.major, version.minor))
        });
        let (found, _) = fitting.next().ok_or(Rv(ck::CKR_FUNCTION_FAILED))?;
        // SAFETY: as the caller promises.
        unsafe { put(interface, ptr::from_ref(found).cast_mut()) }
    })
}
