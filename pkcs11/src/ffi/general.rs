//! The module itself, slots, tokens, sessions: PKCS#11 3.0, 5.4 to 5.6.

use std::ffi::c_void;

use casemate_hsm::{ck, limits};
use cryptoki_sys as sys;
use cryptoki_sys::{
    CK_BBOOL, CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_INFO, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_NOTIFY,
    CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG,
    CK_USER_TYPE, CK_UTF8CHAR, CK_VERSION,
};

use super::memory::{array, bytes, padded, put, put_array};
use super::state::{self, guarded, with};
use super::table::NEW;
use crate::rv::{Rv, ensure};

const MANUFACTURER: &str = "Casemate";
/// The crate's version is 0.x and will be 1.x: two numbers are all that there is room for.
const VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };

pub unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { state::initialize(arguments.cast::<CK_C_INITIALIZE_ARGS>()) })
}

pub extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    guarded(|| {
        ensure(reserved.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        state::finalize()
    })
}

pub unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    with(|_| {
        let told = CK_INFO {
            cryptokiVersion: NEW,
            manufacturerID: padded(MANUFACTURER),
            flags: 0,
            libraryDescription: padded("Casemate token of a sealed guest"),
            libraryVersion: VERSION,
        };
        // SAFETY: as the caller promises.
        unsafe { put(info, told) }
    })
}

pub unsafe extern "C" fn C_GetSlotList(
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    with(|module| {
        ensure(!count.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        unsafe { put_array(&module.slots(present != 0), list, count) }
    })
}

pub unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    with(|module| {
        let remote = module.token(slot)?.remote();
        ensure(!info.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let present = if module.describe(slot).is_ok() { sys::CKF_TOKEN_PRESENT } else { 0 };
        let told = CK_SLOT_INFO {
            slotDescription: padded(&format!("{} at {}", remote.label(), remote.place())),
            manufacturerID: padded(MANUFACTURER),
            // A guest comes and goes.
            flags: present | sys::CKF_REMOVABLE_DEVICE,
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
        };
        // SAFETY: as the caller promises.
        unsafe { put(info, told) }
    })
}

pub unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    with(|module| {
        ensure(!info.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let token = module.describe(slot)?;
        let (sessions, read_write) = module.count(slot);
        let number = |number: usize| CK_ULONG::try_from(number).unwrap_or(sys::CK_UNAVAILABLE_INFORMATION);
        // A pin is a name, a colon and a password.
        let longest = limits::USER_MAX + 1 + limits::PASSWORD_MAX;
        let told = CK_TOKEN_INFO {
            label: padded(&token.label),
            manufacturerID: padded(MANUFACTURER),
            model: padded("Casemate signer"),
            serialNumber: padded(&token.serial),
            flags: token.flags,
            ulMaxSessionCount: sys::CK_EFFECTIVELY_INFINITE,
            ulSessionCount: number(sessions),
            ulMaxRwSessionCount: sys::CK_EFFECTIVELY_INFINITE,
            ulRwSessionCount: number(read_write),
            ulMaxPinLen: number(longest),
            ulMinPinLen: number(limits::PASSWORD_MIN),
            ulTotalPublicMemory: sys::CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: sys::CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: sys::CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: sys::CK_UNAVAILABLE_INFORMATION,
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
            utcTime: padded(""),
        };
        // SAFETY: as the caller promises.
        unsafe { put(info, told) }
    })
}

pub unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    with(|module| {
        let mechanisms = module.token(slot)?.mechanisms()?;
        let types: Vec<CK_MECHANISM_TYPE> = mechanisms.iter().map(|mechanism| mechanism.kind).collect();
        // SAFETY: as the caller promises.
        unsafe { put_array(&types, list, count) }
    })
}

pub unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    with(|module| {
        let mechanism = module.token(slot)?.mechanism(kind, 0)?;
        let told = CK_MECHANISM_INFO {
            ulMinKeySize: mechanism.min,
            ulMaxKeySize: mechanism.max,
            flags: mechanism.flags,
        };
        // SAFETY: as the caller promises.
        unsafe { put(info, told) }
    })
}

pub unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    with(|module| {
        module.token(slot)?;
        ensure(!pin.is_null() && !label.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises; a label has 32 bytes.
        let (pin, label) = unsafe { (bytes(pin, pin_length)?, array(label, 32)?) };
        module.init_token(slot, &pin, &label)
    })
}

pub unsafe extern "C" fn C_InitPIN(
    session: CK_SESSION_HANDLE,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        module.session(session)?;
        ensure(!pin.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        module.init_pin(session, &unsafe { bytes(pin, pin_length) }?)
    })
}

pub unsafe extern "C" fn C_SetPIN(
    session: CK_SESSION_HANDLE,
    old: *mut CK_UTF8CHAR,
    old_length: CK_ULONG,
    new: *mut CK_UTF8CHAR,
    new_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        module.session(session)?;
        ensure(!old.is_null() && !new.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let (old, new) = unsafe { (bytes(old, old_length)?, bytes(new, new_length)?) };
        module.set_pin(session, &old, &new)
    })
}

pub unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    with(|module| {
        ensure(!session.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let opened = module.open_session(slot, flags)?;
        // SAFETY: as the caller promises.
        unsafe { put(session, opened) }
    })
}

pub extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    with(|module| module.close_session(session))
}

pub extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    with(|module| module.close_all(slot))
}

pub unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        let read_write = if session.read_write { sys::CKF_RW_SESSION } else { 0 };
        let told = CK_SESSION_INFO {
            slotID: session.slot,
            state: session.state(),
            flags: sys::CKF_SERIAL_SESSION | read_write,
            ulDeviceError: 0,
        };
        // SAFETY: as the caller promises.
        unsafe { put(info, told) }
    })
}

pub unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user_type: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        module.session(session)?;
        // There is no other way to log in.
        ensure(!pin.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        module.login(session, user_type, &unsafe { bytes(pin, pin_length) }?, None)
    })
}

pub unsafe extern "C" fn C_LoginUser(
    session: CK_SESSION_HANDLE,
    user_type: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
    user: *mut CK_UTF8CHAR,
    user_length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        module.session(session)?;
        ensure(!pin.is_null() && !user.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        // SAFETY: as the caller promises.
        let (pin, user) = unsafe { (bytes(pin, pin_length)?, bytes(user, user_length)?) };
        module.login(session, user_type, &pin, Some(&user))
    })
}

pub extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    with(|module| module.session(session)?.token.logout())
}

pub extern "C" fn C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> CK_RV {
    with(|module| {
        module.session(session)?.cancel(flags);
        Ok(())
    })
}

pub extern "C" fn C_GetFunctionStatus(_: CK_SESSION_HANDLE) -> CK_RV {
    sys::CKR_FUNCTION_NOT_PARALLEL
}

pub extern "C" fn C_CancelFunction(_: CK_SESSION_HANDLE) -> CK_RV {
    sys::CKR_FUNCTION_NOT_PARALLEL
}

pub unsafe extern "C" fn C_WaitForSlotEvent(
    flags: CK_FLAGS,
    slot: *mut CK_SLOT_ID,
    reserved: *mut c_void,
) -> CK_RV {
    with(|module| {
        ensure(!slot.is_null() && reserved.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let event = module.wait_for_event(flags & sys::CKF_DONT_BLOCK == 0)?;
        // SAFETY: as the caller promises.
        unsafe { put(slot, event) }
    })
}

pub extern "C" fn C_SeedRandom(session: CK_SESSION_HANDLE, seed: *mut u8, _: CK_ULONG) -> CK_RV {
    with(|module| {
        module.session(session)?;
        ensure(!seed.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        Err(Rv(ck::CKR_RANDOM_SEED_NOT_SUPPORTED))
    })
}

pub unsafe extern "C" fn C_GenerateRandom(
    session: CK_SESSION_HANDLE,
    place: *mut u8,
    length: CK_ULONG,
) -> CK_RV {
    with(|module| {
        let session = module.session(session)?;
        ensure(!place.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let mut room = length;
        let length = usize::try_from(length).map_err(|_| Rv(ck::CKR_ARGUMENTS_BAD))?;
        let random = session.random(length)?;
        // SAFETY: as the caller promises: `place` has `length` bytes.
        unsafe { put_array(&random, place, &raw mut room) }
    })
}
