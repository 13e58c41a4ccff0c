//! Unwinding, refused: guests are compiled with `panic = "abort"`, and their image holds no unwind tables. The
//! precompiled `std` still refers to the unwinder, for backtraces.

use core::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK` (Itanium C++ ABI, exception handling, 1.1).
const END_OF_STACK: c_int = 5;

/// A backtrace has no frames.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// No frames, so nothing to find.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn dl_iterate_phdr(_callback: *const c_void, _argument: *mut c_void) -> c_int {
    0
}

/// Functions that only ever run within an unwind that cannot begin.
macro_rules! never_called {
    ($($name:ident)*) => {$(
        /// Refused: only called while unwinding, which ends the guest instead.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub extern "C" fn $name() -> ! {
            super::abort()
        }
    )*};
}

never_called! {
    _Unwind_DeleteException _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetIP
    _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase
    _Unwind_RaiseException _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
}
