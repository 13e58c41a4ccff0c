//! The C interface without a guest: what is answered before anything is asked of a token.
#![allow(
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "a test may fail by panicking, and plays the C caller"
)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use casemate_pkcs11::ffi::table::{C_GetFunctionList, C_GetInterface, C_GetInterfaceList};
use cryptoki_sys::*;

/// The module is the process's: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The module's functions, by C_GetFunctionList.
struct Module {
    list: *const CK_FUNCTION_LIST,
    _turn: MutexGuard<'static, ()>,
}

/// Calls a function of the list.
macro_rules! call {
    ($module:expr, $name:ident($($argument:expr),* $(,)?)) => {
        unsafe { (*$module.list).$name.unwrap()($($argument),*) }
    };
}

impl Module {
    /// With this configuration.
    fn new(name: &str, configuration: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Whoever is at this address, if anybody, has another certificate.
        std::fs::write(
            folder.join("nobody.pem"),
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, configuration).unwrap();
        // SAFETY: the other tests wait for their turn.
        unsafe { std::env::set_var("CASEMATE_PKCS11_CONF", &path) };
        let mut list = null_mut();
        assert_eq!(unsafe { C_GetFunctionList(&raw mut list) }, CKR_OK);
        Self { list, _turn: turn }
    }
}

/// A slot whose guest is not there: nobody listens on port 1.
const NOBODY: &str =
    "[[token]]\nlabel = 'nobody'\nendpoint = 'https://127.0.0.1:1'\ncertificate = 'nobody.pem'\n";

fn nobody(name: &str) -> Module {
    Module::new(name, NOBODY)
}

fn initialize(module: &Module) {
    assert_eq!(call!(module, C_Initialize(null_mut())), CKR_OK);
}

fn finalize(module: &Module) {
    assert_eq!(call!(module, C_Finalize(null_mut())), CKR_OK);
}

#[test]
fn interfaces_are_found_by_name_and_version() {
    let _module = nobody("interfaces");
    assert_eq!(unsafe { C_GetFunctionList(null_mut()) }, CKR_ARGUMENTS_BAD);
    let mut count = 0;
    assert_eq!(unsafe { C_GetInterfaceList(null_mut(), null_mut()) }, CKR_ARGUMENTS_BAD);
    assert_eq!(unsafe { C_GetInterfaceList(null_mut(), &raw mut count) }, CKR_OK);
    assert_eq!(count, 2);
    let mut interfaces = [CK_INTERFACE::default(); 2];
    count = 1;
    assert_eq!(unsafe { C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count) }, CKR_BUFFER_TOO_SMALL);
    assert_eq!(count, 2);
    assert_eq!(unsafe { C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count) }, CKR_OK);

    let get = |name: *const u8, version: Option<(u8, u8)>, flags| {
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let version = version.as_mut().map_or(null_mut(), |version| &raw mut *version);
        let mut found: *mut CK_INTERFACE = null_mut();
        let rv = unsafe { C_GetInterface(name.cast_mut(), version, &raw mut found, flags) };
        // Every list begins with its version.
        (rv == CKR_OK).then(|| unsafe { *(*found).pFunctionList.cast::<CK_VERSION>() })
    };
    let (three, two) = (CK_VERSION { major: 3, minor: 0 }, CK_VERSION { major: 2, minor: 40 });
    let of = |version: CK_VERSION| Some((version.major, version.minor));
    let same = |found: Option<CK_VERSION>, version| assert_eq!(found.and_then(of), of(version));
    same(get(null(), None, 0), three);
    same(get(c"PKCS 11".as_ptr().cast(), None, 0), three);
    same(get(c"PKCS 11".as_ptr().cast(), Some((2, 40)), 0), two);
    same(get(null(), Some((3, 0)), 0), three);
    assert!(get(c"Other".as_ptr().cast(), None, 0).is_none());
    assert!(get(null(), Some((3, 2)), 0).is_none());
    assert!(get(null(), None, CKF_INTERFACE_FORK_SAFE).is_none());
}

#[test]
fn nothing_works_before_initialize_or_after_finalize() {
    let module = nobody("uninitialized");
    let mut count = 0;
    for _ in 0..2 {
        let uninitialized = [
            call!(module, C_Finalize(null_mut())),
            call!(module, C_GetSlotList(0, null_mut(), &raw mut count)),
            call!(module, C_GetInfo(null_mut())),
            call!(module, C_CloseSession(1)),
            call!(module, C_Sign(1, null_mut(), 0, null_mut(), null_mut())),
        ];
        assert_eq!(uninitialized, [CKR_CRYPTOKI_NOT_INITIALIZED; 5]);
        initialize(&module);
        assert_eq!(call!(module, C_Initialize(null_mut())), CKR_CRYPTOKI_ALREADY_INITIALIZED);
        assert_eq!(call!(module, C_Finalize((&raw mut count).cast())), CKR_ARGUMENTS_BAD);
        finalize(&module);
    }
}

#[test]
fn locks_are_the_systems_or_there_is_no_service() {
    unsafe extern "C" fn make(_: *mut *mut c_void) -> CK_RV {
        CKR_OK
    }
    unsafe extern "C" fn other(_: *mut c_void) -> CK_RV {
        CKR_OK
    }
    let module = nobody("locks");
    let own = CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(make),
        DestroyMutex: Some(other),
        LockMutex: Some(other),
        UnlockMutex: Some(other),
        flags: 0,
        pReserved: null_mut(),
    };
    let none = CK_C_INITIALIZE_ARGS::default();
    let mut reserved = 0;
    for (arguments, rv) in [
        (none, CKR_OK),
        (CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..none }, CKR_OK),
        (CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..own }, CKR_OK),
        (own, CKR_CANT_LOCK),
        (CK_C_INITIALIZE_ARGS { LockMutex: None, ..own }, CKR_ARGUMENTS_BAD),
        (CK_C_INITIALIZE_ARGS { pReserved: (&raw mut reserved).cast(), ..none }, CKR_ARGUMENTS_BAD),
    ] {
        let mut arguments = arguments;
        assert_eq!(call!(module, C_Initialize((&raw mut arguments).cast())), rv);
        if rv == CKR_OK {
            finalize(&module);
        }
    }
}

#[test]
fn a_slot_without_its_guest_is_empty() {
    let module = nobody("empty");
    initialize(&module);
    let mut count = 7;
    assert_eq!(call!(module, C_GetSlotList(1, null_mut(), &raw mut count)), CKR_OK);
    assert_eq!(count, 0);
    assert_eq!(call!(module, C_GetSlotList(0, null_mut(), null_mut())), CKR_ARGUMENTS_BAD);
    let mut slots = [9; 3];
    count = 0;
    assert_eq!(call!(module, C_GetSlotList(0, slots.as_mut_ptr(), &raw mut count)), CKR_BUFFER_TOO_SMALL);
    assert_eq!((count, slots), (1, [9; 3]));
    assert_eq!(call!(module, C_GetSlotList(0, slots.as_mut_ptr(), &raw mut count)), CKR_OK);
    assert_eq!((count, slots), (1, [0, 9, 9]));
    let mut info = CK_SLOT_INFO::default();
    assert_eq!(call!(module, C_GetSlotInfo(0, &raw mut info)), CKR_OK);
    assert!(info.slotDescription.starts_with(b"nobody at https://127.0.0.1:1 "));
    assert_eq!(info.flags, CKF_REMOVABLE_DEVICE);
    assert_eq!(call!(module, C_GetSlotInfo(1, &raw mut info)), CKR_SLOT_ID_INVALID);
    assert_eq!(call!(module, C_GetSlotInfo(CK_ULONG::MAX, &raw mut info)), CKR_SLOT_ID_INVALID);
    let mut token = CK_TOKEN_INFO::default();
    assert_eq!(call!(module, C_GetTokenInfo(0, &raw mut token)), CKR_TOKEN_NOT_PRESENT);
    let mut session = 0;
    let mut open = |flags| call!(module, C_OpenSession(0, flags, null_mut(), None, &raw mut session));
    assert_eq!(open(0), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    assert_eq!(open(CKF_SERIAL_SESSION), CKR_TOKEN_NOT_PRESENT);
    let (mut pin, mut label) = (*b"officer:password", [b' '; 32]);
    let rv = call!(module, C_InitToken(0, pin.as_mut_ptr(), 16, label.as_mut_ptr()));
    assert_eq!(rv, CKR_DEVICE_REMOVED);
    finalize(&module);
}

#[test]
fn whoever_waits_for_an_event_hears_of_the_end() {
    let module = nobody("events");
    initialize(&module);
    let mut slot = 0;
    let wait = |flags, slot: *mut _| call!(module, C_WaitForSlotEvent(flags, slot, null_mut()));
    assert_eq!(wait(CKF_DONT_BLOCK, &raw mut slot), CKR_NO_EVENT);
    assert_eq!(wait(CKF_DONT_BLOCK, null_mut()), CKR_ARGUMENTS_BAD);
    let list = module.list as usize;
    let waiter = std::thread::spawn(move || {
        let list = list as *const CK_FUNCTION_LIST;
        let mut slot = 0;
        unsafe { (*list).C_WaitForSlotEvent.unwrap()(0, &raw mut slot, null_mut()) }
    });
    // Whether it waits already makes no difference to what it must be told.
    finalize(&module);
    assert_eq!(waiter.join().unwrap(), CKR_CRYPTOKI_NOT_INITIALIZED);
}

#[test]
fn a_forked_child_is_not_initialised_and_can_be() {
    let module = nobody("fork");
    initialize(&module);
    let list = module.list;
    let child = unsafe { libc::fork() };
    if child == 0 {
        let list = unsafe { &*list };
        let code = unsafe {
            if list.C_GetInfo.unwrap()(null_mut()) != CKR_CRYPTOKI_NOT_INITIALIZED {
                1
            } else if list.C_Finalize.unwrap()(null_mut()) != CKR_CRYPTOKI_NOT_INITIALIZED {
                2
            } else if list.C_Initialize.unwrap()(null_mut()) != CKR_OK {
                3
            } else if list.C_GetInfo.unwrap()(null_mut()) != CKR_ARGUMENTS_BAD {
                4
            } else {
                i32::from(list.C_Finalize.unwrap()(null_mut()) != CKR_OK)
            }
        };
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child's exit code is {}", status >> 8);
    finalize(&module);
}

#[test]
fn what_is_not_supported_says_so() {
    let module = nobody("unsupported");
    initialize(&module);
    let mut length = 0;
    assert_eq!(
        [
            call!(module, C_GetOperationState(1, null_mut(), &raw mut length)),
            call!(module, C_SignRecoverInit(1, null_mut(), 0)),
            call!(module, C_DigestEncryptUpdate(1, null_mut(), 0, null_mut(), &raw mut length)),
        ],
        [CKR_FUNCTION_NOT_SUPPORTED; 3]
    );
    assert_eq!(call!(module, C_GetFunctionStatus(1)), CKR_FUNCTION_NOT_PARALLEL);
    finalize(&module);
}

#[test]
fn sessions_that_do_not_exist_are_refused_before_anything_else() {
    let module = nobody("sessions");
    initialize(&module);
    let mut length = 0;
    assert_eq!(
        [
            call!(module, C_CloseSession(0)),
            call!(module, C_GetSessionInfo(1, null_mut())),
            call!(module, C_Login(1, CKU_USER, null_mut(), 0)),
            call!(module, C_Logout(1)),
            call!(module, C_FindObjectsInit(1, null_mut(), 1)),
            call!(module, C_GetAttributeValue(1, 1, null_mut(), 1)),
            call!(module, C_SignInit(1, null_mut(), 1)),
            call!(module, C_EncryptUpdate(1, null_mut(), 1, null_mut(), &raw mut length)),
            call!(module, C_GenerateRandom(1, null_mut(), 1)),
            call!(module, C_SeedRandom(1, null_mut(), 1)),
        ],
        [CKR_SESSION_HANDLE_INVALID; 10]
    );
    finalize(&module);
}

#[test]
fn a_configuration_that_cannot_be_used_is_no_configuration() {
    for (name, configuration) in [
        ("broken", "[[token]"),
        ("unbelievable", "[[token]]\nlabel = 'a'\nendpoint = 'https://127.0.0.1:1'\n"),
    ] {
        let module = Module::new(name, configuration);
        assert_eq!(call!(module, C_Initialize(null_mut())), CKR_GENERAL_ERROR);
        assert_eq!(call!(module, C_Finalize(null_mut())), CKR_CRYPTOKI_NOT_INITIALIZED);
    }
    let module = Module::new("none", "");
    initialize(&module);
    let mut count = 1;
    assert_eq!(call!(module, C_GetSlotList(0, null_mut(), &raw mut count)), CKR_OK);
    assert_eq!(count, 0);
    finalize(&module);
}
