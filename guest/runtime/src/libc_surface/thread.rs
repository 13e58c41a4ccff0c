//! Threads: refused for now. Locks and thread-specific data work, and would with more vCPUs too.
//!
//! `std` builds its own locks on futexes; the pthread ones serve C libraries (aws-lc).

use core::cell::Cell;
use core::ffi::{c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use super::errno;
use crate::idle;

/// `pthread_create`: a guest has one thread.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn pthread_create(
    _thread: *mut usize,
    _attributes: *const c_void,
    _start: *const c_void,
    _argument: *mut c_void,
) -> c_int {
    errno::EAGAIN
}

/// `pthread_self`: the address of this thread's errno tells threads apart.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn pthread_self() -> usize {
    super::__errno_location().addr()
}

/// `sched_yield`: there is nobody to yield to.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn sched_yield() -> c_int {
    core::hint::spin_loop();
    0
}

/// Functions on threads and attributes that cannot exist, or that change nothing with one thread.
macro_rules! answers {
    ($($name:ident = $answer:expr;)*) => {$(
        /// Answers without looking at its arguments; see the list in the source.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub extern "C" fn $name() -> c_int {
            $answer
        }
    )*};
}

answers! {
    // No thread was created, so none can be waited for.
    pthread_join = errno::EINVAL;
    pthread_detach = errno::EINVAL;
    pthread_getattr_np = errno::ENOSYS;
    pthread_setname_np = 0;
    pthread_sigmask = 0;
    pthread_atfork = 0;
    pthread_attr_init = 0;
    pthread_attr_destroy = 0;
    pthread_attr_setstacksize = 0;
    pthread_attr_setguardsize = 0;
    pthread_attr_getstack = errno::ENOSYS;
    pthread_attr_getguardsize = errno::ENOSYS;
    pthread_mutexattr_init = 0;
    pthread_mutexattr_settype = 0;
    pthread_mutexattr_destroy = 0;
    pthread_mutex_destroy = 0;
    pthread_rwlock_destroy = 0;
}

/// Bits of a lock word: how many read, or that one writes.
const WRITER: u32 = 1 << 31;

/// Takes a lock: `step` says what the word becomes, or `None` while it has to wait.
fn acquire(word: &AtomicU32, step: impl Fn(u32) -> Option<u32>) -> c_int {
    loop {
        match word.fetch_update(Ordering::Acquire, Ordering::Relaxed, &step) {
            Ok(_) => return 0,
            Err(current) => drop(idle::wait(word, current, None)),
        }
    }
}

fn to_written(word: u32) -> Option<u32> {
    (word == 0).then_some(WRITER)
}

fn to_read(word: u32) -> Option<u32> {
    (word & WRITER == 0 && word != WRITER - 1).then(|| word + 1)
}

fn to_released(word: u32) -> Option<u32> {
    if word == WRITER { Some(0) } else { word.checked_sub(1) }
}

/// A lock in C's memory: its first word, which `*_INITIALIZER` sets to zero, as `*_init` does.
macro_rules! lock_functions {
    ($($name:ident($word:ident) = $work:expr;)*) => {$(
        /// POSIX's function of this name.
        ///
        /// # Safety
        /// The argument points to an initialised lock of the kind.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(lock: *const AtomicU32) -> c_int {
            // SAFETY: the caller's promise; every pthread lock type is larger than a word and aligned for it.
            let $word = unsafe { &*lock };
            $work
        }
    )*};
}

lock_functions! {
    pthread_mutex_lock(word) = acquire(word, to_written);
    pthread_mutex_trylock(word) =
        if word.fetch_update(Ordering::Acquire, Ordering::Relaxed, to_written).is_ok() { 0 } else { errno::EBUSY };
    pthread_mutex_unlock(word) = release(word);
    pthread_rwlock_rdlock(word) = acquire(word, to_read);
    pthread_rwlock_wrlock(word) = acquire(word, to_written);
    pthread_rwlock_unlock(word) = release(word);
}

fn release(word: &AtomicU32) -> c_int {
    match word.fetch_update(Ordering::Release, Ordering::Relaxed, to_released) {
        Ok(_) => 0,
        Err(_) => errno::EINVAL,
    }
}

/// POSIX's `pthread_mutex_init`; attributes are not looked at.
///
/// # Safety
/// `lock` points to a mutex that nobody uses.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn pthread_mutex_init(lock: *mut AtomicU32, _attributes: *const c_void) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock.write(AtomicU32::new(0)) };
    0
}

/// POSIX's `pthread_rwlock_init`; attributes are not looked at.
///
/// # Safety
/// `lock` points to a lock that nobody uses.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn pthread_rwlock_init(lock: *mut AtomicU32, _attributes: *const c_void) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock.write(AtomicU32::new(0)) };
    0
}

/// States of a `pthread_once_t`; `PTHREAD_ONCE_INIT` is 0.
const ONCE_RUNNING: u32 = 1;
const ONCE_DONE: u32 = 2;

/// POSIX's `pthread_once`.
///
/// # Safety
/// `once` points to a `pthread_once_t`; `work` is safe to call.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn pthread_once(once: *const AtomicU32, work: extern "C" fn()) -> c_int {
    // SAFETY: the caller's promise; a pthread_once_t is an int.
    let once = unsafe { &*once };
    loop {
        match once.compare_exchange(0, ONCE_RUNNING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                work();
                once.store(ONCE_DONE, Ordering::Release);
                return 0;
            }
            Err(ONCE_DONE) => return 0,
            Err(state) => drop(idle::wait(once, state, None)),
        }
    }
}

/// Most keys of thread-specific data; POSIX asks for at least 128.
const KEYS: usize = 128;
/// The next key to hand out. Keys are not used again: libraries make a handful, for ever.
static NEXT_KEY: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static SPECIFIC: [Cell<*const c_void>; KEYS] = const { [const { Cell::new(core::ptr::null()) }; KEYS] };
}

/// POSIX's `pthread_key_create`. Destructors would run when a thread ends, and a guest's thread ends with it.
///
/// # Safety
/// `key` points to a `pthread_key_t`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn pthread_key_create(key: *mut c_uint, _destructor: *const c_void) -> c_int {
    let next = |next: u32| (next < KEYS as u32).then(|| next + 1);
    match NEXT_KEY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
        Ok(new) => {
            // SAFETY: the caller's promise.
            unsafe { *key = new };
            0
        }
        Err(_) => errno::EAGAIN,
    }
}

/// POSIX's `pthread_key_delete`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn pthread_key_delete(key: c_uint) -> c_int {
    pthread_setspecific(key, core::ptr::null())
}

/// POSIX's `pthread_setspecific`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int {
    SPECIFIC.with(|slots| match slots.get(key as usize) {
        Some(slot) => {
            slot.set(value);
            0
        }
        None => errno::EINVAL,
    })
}

/// POSIX's `pthread_getspecific`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn pthread_getspecific(key: c_uint) -> *mut c_void {
    SPECIFIC.with(|slots| slots.get(key as usize).map_or(core::ptr::null_mut(), |slot| slot.get().cast_mut()))
}

/// Registers a destructor of a thread-local value: accepted, and never run, because a guest's thread ends with it.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn __cxa_thread_atexit_impl(
    _destructor: *const c_void,
    _object: *mut c_void,
    _library: *mut c_void,
) -> c_int {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_writers_do_not() {
        let lock = AtomicU32::new(0);
        // SAFETY: a live lock.
        unsafe {
            assert_eq!((pthread_rwlock_rdlock(&lock), pthread_rwlock_rdlock(&lock)), (0, 0));
            assert_eq!(pthread_mutex_trylock(&lock), errno::EBUSY);
            assert_eq!((pthread_rwlock_unlock(&lock), pthread_rwlock_unlock(&lock)), (0, 0));
            assert_eq!(pthread_rwlock_wrlock(&lock), 0);
            assert_eq!(pthread_mutex_trylock(&lock), errno::EBUSY);
            assert_eq!(pthread_rwlock_unlock(&lock), 0);
            assert_eq!(pthread_rwlock_unlock(&lock), errno::EINVAL);
        }
    }

    #[test]
    fn keys_hold_values_until_there_are_no_more() {
        let mut key = 0;
        // SAFETY: points to an integer.
        while unsafe { pthread_key_create(&mut key, core::ptr::null()) } == 0 {
            assert_eq!(pthread_setspecific(key, core::ptr::without_provenance(usize::MAX)), 0);
            assert_eq!(pthread_getspecific(key).addr(), usize::MAX);
        }
        assert_eq!(key as usize, KEYS - 1);
        assert_eq!(pthread_setspecific(KEYS as u32, core::ptr::null()), errno::EINVAL);
        assert!(pthread_getspecific(KEYS as u32).is_null());
    }

    #[test]
    fn once_is_once() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        extern "C" fn work() {
            RUNS.fetch_add(1, Ordering::Relaxed);
        }
        let once = AtomicU32::new(0);
        // SAFETY: a live pthread_once_t.
        assert!((0..3).all(|_| unsafe { pthread_once(&once, work) } == 0));
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    }
}
