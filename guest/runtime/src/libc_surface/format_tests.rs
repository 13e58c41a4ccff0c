//! Against the host's own printf: every case is formatted by both.

use super::*;

mod host {
    use core::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub fn snprintf(buffer: *mut c_char, size: usize, format: *const c_char, ...) -> c_int;
    }
}

/// Our `snprintf` under the variadic type that C gives it.
type Variadic = unsafe extern "C" fn(*mut c_char, usize, *const c_char, ...) -> c_int;

fn ours() -> Variadic {
    // SAFETY: both are the C calling convention; `snprintf` saves the variadic registers itself.
    unsafe { core::mem::transmute(snprintf as *const ()) }
}

macro_rules! same {
    ($size:expr, $format:expr $(, $argument:expr)*) => {{
        let (mut expected, mut actual) = ([0x55 as c_char; 64], [0x55 as c_char; 64]);
        // SAFETY: the buffers are 64 bytes long, and the arguments are those that the format names.
        let results = unsafe {(
            host::snprintf(expected.as_mut_ptr(), $size, $format.as_ptr() $(, $argument)*),
            ours()(actual.as_mut_ptr(), $size, $format.as_ptr() $(, $argument)*),
        )};
        assert_eq!(results.0, results.1, "{:?}", $format);
        assert_eq!(expected, actual, "{:?}", $format);
    }};
}

#[test]
fn integers_strings_and_characters_are_those_of_the_host() {
    same!(64, c"plain 100%%");
    same!(64, c"%d %i %u", -5_i32, 7_i32, u32::MAX);
    same!(64, c"%ld %lu %zu", i64::MIN, u64::MAX, 3_usize);
    same!(64, c"%hd %hhu", 70_000_i32, 300_i32);
    same!(64, c"%x %X %#x %o %08lX", 255_i32, 255_i32, 255_i32, 8_i32, 0xABCD_u64);
    same!(64, c"[%5d|%-5d|%05d|%+d|% d]", 42_i32, 42_i32, -42_i32, 42_i32, 42_i32);
    same!(64, c"[%.3d|%8.3d|%.0d]", 7_i32, 7_i32, 0_i32);
    same!(
        64,
        c"[%s|%6s|%-6s|%.2s|%*s]",
        c"abc".as_ptr(),
        c"abc".as_ptr(),
        c"abc".as_ptr(),
        c"abc".as_ptr(),
        5_i32,
        c"x".as_ptr()
    );
    same!(64, c"%c%c", 65_i32, 66_i32);
    same!(64, c"error:%08lX:%s:%s:%s", 0x1234_u64, c"lib".as_ptr(), c"func".as_ptr(), c"reason".as_ptr());
}

#[test]
fn what_does_not_fit_is_cut_and_counted() {
    same!(4, c"%s", c"abcdefgh".as_ptr());
    same!(1, c"%d", 12_i32);
    same!(0, c"%d", 12_i32);
}

#[test]
fn what_is_not_supported_fails() {
    let mut buffer = [0x55 as c_char; 8];
    // SAFETY: the buffer is 8 bytes long; the conversion is refused before an argument is read.
    let result = unsafe { ours()(buffer.as_mut_ptr(), 8, c"%f".as_ptr(), 1.0_f64) };
    assert_eq!((result, buffer[0]), (-1, 0));
}
