//! Numbers from text, sorting, and the streams of `stdio.h`: standard error goes to the log, no file ever opens.

use core::ffi::{c_char, c_int, c_long, c_ulong, c_void};

use super::{errno, fail};
use crate::log;

/// C's `strtol`.
///
/// # Safety
/// `text` ends with a null byte; `end` is null or points to a pointer.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strtol(text: *const c_char, end: *mut *mut c_char, base: c_int) -> c_long {
    // SAFETY: the caller's promise.
    let (negative, magnitude) = unsafe { parse(text, end, base) };
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    c_long::try_from(value).unwrap_or_else(|_| {
        fail(errno::ERANGE);
        if negative { c_long::MIN } else { c_long::MAX }
    })
}

/// C's `strtoul`.
///
/// # Safety
/// As for [`strtol`].
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strtoul(text: *const c_char, end: *mut *mut c_char, base: c_int) -> c_ulong {
    // SAFETY: the caller's promise.
    let (negative, magnitude) = unsafe { parse(text, end, base) };
    if negative { magnitude.wrapping_neg() } else { magnitude }
}

/// What newer headers call [`strtol`].
///
/// # Safety
/// As for [`strtol`].
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn __isoc23_strtol(text: *const c_char, end: *mut *mut c_char, base: c_int) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { strtol(text, end, base) }
}

/// What newer headers call [`strtoul`].
///
/// # Safety
/// As for [`strtol`].
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn __isoc23_strtoul(
    text: *const c_char,
    end: *mut *mut c_char,
    base: c_int,
) -> c_ulong {
    // SAFETY: the caller's promise.
    unsafe { strtoul(text, end, base) }
}

/// Sign and magnitude of the number that `text` begins with (C17, 7.22.1.4); saturates with ERANGE. `end` is set
/// behind it, or to `text` if there is none.
///
/// # Safety
/// As for [`strtol`].
unsafe fn parse(text: *const c_char, end: *mut *mut c_char, base: c_int) -> (bool, u64) {
    // SAFETY: the caller's promise.
    let bytes = unsafe { super::string::bytes(text) };
    let (negative, magnitude, length) = number(bytes, base);
    if !end.is_null() {
        // SAFETY: the caller's promise; `length` is within the text.
        unsafe { *end = text.add(length).cast_mut() };
    }
    (negative, magnitude)
}

/// Sign, magnitude and length of the number that `text` begins with; all zero if there is none.
fn number(text: &[u8], base: c_int) -> (bool, u64, usize) {
    let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let body = text.get(blank..).unwrap_or_default();
    let negative = body.first() == Some(&b'-');
    let signed = usize::from(matches!(body.first(), Some(b'-' | b'+')));
    let body = body.get(signed..).unwrap_or_default();
    let is_hex = matches!(body, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
    let (base, prefix) = match (base, body.first()) {
        (0 | 16, _) if is_hex => (16, 2),
        (0, Some(b'0')) => (8, 0),
        (0, _) => (10, 0),
        (2..=36, _) => (base as u32, 0),
        _ => {
            fail(errno::EINVAL);
            return (false, 0, 0);
        }
    };
    let digits = body.get(prefix..).unwrap_or_default();
    let digits = digits.iter().map_while(|byte| char::from(*byte).to_digit(base));
    let count = digits.clone().count();
    if count == 0 {
        return (false, 0, 0);
    }
    let magnitude = digits
        .map(u64::from)
        .try_fold(0_u64, |number, digit| number.checked_mul(u64::from(base))?.checked_add(digit));
    let magnitude = magnitude.unwrap_or_else(|| {
        fail(errno::ERANGE);
        u64::MAX
    });
    (negative, magnitude, blank + signed + prefix + count)
}

/// C's `strerror`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn strerror(_error: c_int) -> *const c_char {
    c"C error".as_ptr()
}

/// C's `strpbrk`.
///
/// # Safety
/// Both end with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strpbrk(text: *const c_char, accepted: *const c_char) -> *mut c_char {
    // SAFETY: the caller's promise.
    let (all, accepted) = unsafe { (super::string::bytes(text), super::string::bytes(accepted)) };
    match all.iter().position(|byte| accepted.contains(byte)) {
        Some(at) => text.cast_mut().wrapping_add(at),
        None => core::ptr::null_mut(),
    }
}

/// C's `sscanf`, refused: no input matches. aws-lc uses it for an environment variable, which there is none of.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn __isoc99_sscanf(_text: *const c_char, _format: *const c_char) -> c_int {
    0
}

/// What newer headers call `sscanf`.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn __isoc23_sscanf(_text: *const c_char, _format: *const c_char) -> c_int {
    0
}

/// C's `qsort`: heap sort, in place, without recursion; the order of equal elements is unspecified, as C has it.
///
/// # Safety
/// `base` is `count` elements of `size` bytes, and `compare` orders two of them.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn qsort(
    base: *mut c_void,
    count: usize,
    size: usize,
    compare: unsafe extern "C" fn(*const c_void, *const c_void) -> c_int,
) {
    let at = |index: usize| base.cast::<u8>().wrapping_add(index * size);
    // SAFETY: both indexes below are less than `count`; the caller vouches for the rest.
    let less = |left: usize, right: usize| unsafe { compare(at(left).cast(), at(right).cast()) < 0 };
    // SAFETY: as above, and two elements are either the same or do not overlap.
    let swap = |left: usize, right: usize| unsafe {
        if left != right {
            core::ptr::swap_nonoverlapping(at(left), at(right), size);
        }
    };
    let sift = |mut root: usize, end: usize| {
        while let Some(left) = root.checked_mul(2).map(|twice| twice + 1).filter(|left| *left < end) {
            let larger = if left + 1 < end && less(left, left + 1) { left + 1 } else { left };
            if !less(root, larger) {
                return;
            }
            swap(root, larger);
            root = larger;
        }
    };
    (0..count / 2).rev().for_each(|root| sift(root, count));
    for end in (1..count).rev() {
        swap(0, end);
        sift(0, end);
    }
}

/// A `FILE`, of which only the address counts.
#[repr(C)]
#[derive(Debug)]
pub struct Stream(u8);

static STREAM: Stream = Stream(0);

/// C's standard error stream.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
#[allow(non_upper_case_globals, reason = "the name is C's")]
pub static stderr: &Stream = &STREAM;

/// C's standard output stream: the same, it all goes to the log.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
#[allow(non_upper_case_globals, reason = "the name is C's")]
pub static stdout: &Stream = &STREAM;

/// C's standard input stream; nothing is ever read from it.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
#[allow(non_upper_case_globals, reason = "the name is C's")]
pub static stdin: &Stream = &STREAM;

/// C's `fwrite`: to the log.
///
/// # Safety
/// `data` is `count` elements of `size` bytes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn fwrite(
    data: *const c_void,
    size: usize,
    count: usize,
    _stream: *mut Stream,
) -> usize {
    let length = size.saturating_mul(count);
    if length > 0 {
        // SAFETY: the caller's promise.
        log::write(unsafe { core::slice::from_raw_parts(data.cast(), length) });
    }
    count
}

/// C's `fputs`: to the log.
///
/// # Safety
/// `text` ends with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn fputs(text: *const c_char, _stream: *mut Stream) -> c_int {
    // SAFETY: the caller's promise.
    log::write(unsafe { super::string::bytes(text) });
    0
}

/// C's `fputc`: to the log.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub extern "C" fn fputc(byte: c_int, _stream: *mut Stream) -> c_int {
    log::write(&[byte as u8]);
    byte & 0xff
}

/// C's `fprintf`: the format goes to the log as it is, without its arguments.
///
/// # Safety
/// `format` ends with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn fprintf(stream: *mut Stream, format: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { fputs(format, stream) }
}

/// C's `perror`: to the log.
///
/// # Safety
/// `text` ends with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn perror(text: *const c_char) {
    // SAFETY: the caller's promise.
    unsafe { fputs(text, core::ptr::null_mut()) };
    log::write(b"\n");
}

/// Functions on files, which cannot be reached: `fopen` never returns one. Those on the standard streams find an
/// empty stream in order.
macro_rules! stream_functions {
    ($($name:ident = $answer:expr;)*) => {$(
        /// Answers without looking at its arguments; see the list in the source.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub extern "C" fn $name() -> isize {
            $answer
        }
    )*};
}

stream_functions! {
    fflush = 0; fclose = 0; clearerr = 0; ferror = 0; feof = 1; fread = 0; fgets = 0; fseek = -1; ftell = -1;
    fileno = 2; setvbuf = 0;
}

/// Checks that compiled C code makes of itself, and finds to have failed: the guest ends.
macro_rules! failed_checks {
    ($($name:ident)*) => {$(
        /// Ends the guest: C code found itself in a state that must not be.
        #[cfg_attr(casemate_guest, unsafe(no_mangle))]
        pub extern "C" fn $name() -> ! {
            log::write(concat!("casemate: C code failed a check: ", stringify!($name), "\n").as_bytes());
            super::abort()
        }
    )*};
}

failed_checks! { __assert_fail __stack_chk_fail __chk_fail __fortify_fail }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_does() {
        type Case = (&'static [u8], c_int, (bool, u64, usize));
        let cases: [Case; 11] = [
            (b"42", 10, (false, 42, 2)),
            (b"  -17x", 10, (true, 17, 5)),
            (b"+0x1F", 0, (false, 31, 5)),
            (b"0x", 0, (false, 0, 1)),
            (b"0x", 16, (false, 0, 1)),
            (b"010", 0, (false, 8, 3)),
            (b"", 10, (false, 0, 0)),
            (b"-", 10, (false, 0, 0)),
            (b"z", 36, (false, 35, 1)),
            (b"1", 37, (false, 0, 0)),
            (b"99999999999999999999", 10, (false, u64::MAX, 20)),
        ];
        for (text, base, expected) in cases {
            assert_eq!(number(text, base), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn strtol_saturates_and_says_where_it_stopped() {
        let text = c"-9223372036854775809 rest";
        let mut end = core::ptr::null_mut();
        // SAFETY: a C string and a live pointer.
        assert_eq!(unsafe { strtol(text.as_ptr(), &mut end, 10) }, c_long::MIN);
        assert_eq!(end.addr(), text.as_ptr().addr() + 20);
        // SAFETY: a C string; nobody asks for the end.
        let least = unsafe { strtol(c"-9223372036854775808".as_ptr(), core::ptr::null_mut(), 10) };
        assert_eq!(least, c_long::MIN);
    }

    #[test]
    fn qsort_sorts() {
        unsafe extern "C" fn compare(left: *const c_void, right: *const c_void) -> c_int {
            // SAFETY: qsort passes pointers to two elements.
            unsafe { (*left.cast::<u32>()).cmp(&*right.cast::<u32>()) as c_int }
        }
        for count in 0..70_u32 {
            let mut numbers: Vec<u32> = (0..count).map(|at| at.wrapping_mul(2_654_435_761) % 37).collect();
            let mut expected = numbers.clone();
            expected.sort_unstable();
            // SAFETY: `count` elements of four bytes.
            unsafe { qsort(numbers.as_mut_ptr().cast(), numbers.len(), 4, compare) };
            assert_eq!(numbers, expected);
        }
    }
}
