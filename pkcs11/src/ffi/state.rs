//! The module of this process.
//!
//! A child after fork() has its parent's memory, but is not initialised (PKCS#11 3.0, 5.4.1): state belongs to the process
//! that made it. A child must also not wait for a lock that some thread of its parent held, so its state is another
//! altogether, and the parent's is left as it lies: it speaks for connections that are the parent's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, RwLock};

use casemate_hsm::ck;
use cryptoki_sys::{CK_C_INITIALIZE_ARGS, CK_RV, CKF_OS_LOCKING_OK, CKR_CANT_LOCK};

use super::memory;
use crate::log;
use crate::module::Module;
use crate::rv::{Result, Rv, ensure};
use crate::sync::{read, write};

/// The state of one process. Made once in each, and never freed.
struct Process {
    id: u32,
    module: RwLock<Option<Arc<Module>>>,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// This process's state, if it is made.
fn process() -> Option<&'static Process> {
    // SAFETY: the pointer is null or comes from `Box::leak` in `make`, and nothing is ever freed.
    let process = unsafe { PROCESS.load(Ordering::Acquire).as_ref() };
    process.filter(|process| process.id == std::process::id())
}

/// This process's state, made if it is not.
fn make() -> &'static Process {
    loop {
        if let Some(process) = process() {
            return process;
        }
        let before = PROCESS.load(Ordering::Acquire);
        let new: &'static mut Process =
            Box::leak(Box::new(Process { id: std::process::id(), module: RwLock::new(None) }));
        // Of two threads that try, one makes it. The other's stays behind, a few bytes.
        let _ = PROCESS.compare_exchange(before, new, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// C_Initialize.
///
/// # Safety
///
/// `arguments` is null or points to initialised CK_C_INITIALIZE_ARGS.
pub unsafe fn initialize(arguments: *const CK_C_INITIALIZE_ARGS) -> Result<()> {
    if !arguments.is_null() {
        // SAFETY: as the caller promises.
        let arguments = unsafe { memory::get(arguments) }?;
        ensure(arguments.pReserved.is_null(), ck::CKR_ARGUMENTS_BAD)?;
        let given = [
            arguments.CreateMutex.is_some(),
            arguments.DestroyMutex.is_some(),
            arguments.LockMutex.is_some(),
            arguments.UnlockMutex.is_some(),
        ];
        let all = given.iter().all(|given| *given);
        ensure(all || !given.contains(&true), ck::CKR_ARGUMENTS_BAD)?;
        // Locks are the system's. A program that has only its own cannot be served.
        ensure(!all || arguments.flags & CKF_OS_LOCKING_OK != 0, CKR_CANT_LOCK)?;
    }
    let mut module = write(&make().module);
    ensure(module.is_none(), ck::CKR_CRYPTOKI_ALREADY_INITIALIZED)?;
    let loaded = Module::load().map_err(|error| {
        log::warn(format_args!("{error}"));
        Rv(ck::CKR_GENERAL_ERROR)
    })?;
    *module = Some(Arc::new(loaded));
    Ok(())
}

/// C_Finalize.
pub fn finalize() -> Result<()> {
    let process = process().ok_or(Rv(ck::CKR_CRYPTOKI_NOT_INITIALIZED))?;
    let module = write(&process.module).take().ok_or(Rv(ck::CKR_CRYPTOKI_NOT_INITIALIZED))?;
    module.finalize();
    Ok(())
}

/// Runs a function of the interface. A panic does not get any further: unwinding into C is undefined.
pub fn guarded(function: impl FnOnce() -> Result<()>) -> CK_RV {
    // A function leaves nothing half done behind that the next one sees: see `sync`.
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(())) => ck::CKR_OK,
        Ok(Err(Rv(rv))) => rv,
        Err(_) => ck::CKR_GENERAL_ERROR,
    }
}

/// Runs a function that needs the module.
pub fn with(function: impl FnOnce(&Module) -> Result<()>) -> CK_RV {
    guarded(|| {
        let module = process().and_then(|process| read(&process.module).clone());
        function(&*module.ok_or(Rv(ck::CKR_CRYPTOKI_NOT_INITIALIZED))?)
    })
}
