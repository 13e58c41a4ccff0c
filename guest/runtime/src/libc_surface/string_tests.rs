//! Every length round the thresholds, every alignment, every direction of overlap, against plain Rust.

use super::*;

const LENGTHS: [usize; 24] =
    [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 1000, 4095, 4096, 5000];

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256 * 13 + 1) as u8).collect()
}

#[test]
fn memmove_moves_any_length_at_any_distance() {
    for length in LENGTHS.into_iter().chain(0..300) {
        for (from, to) in
            [(64, 64), (64, 65), (64, 79), (64, 80), (64, 144), (65, 64), (80, 64), (99, 64), (64, 0)]
        {
            let mut memory = pattern(length + 256);
            let mut expected = memory.clone();
            expected.copy_within(from..from + length, to);
            let base = memory.as_mut_ptr();
            // SAFETY: both ranges lie within `memory`.
            let result = unsafe { memmove(base.add(to).cast(), base.add(from).cast(), length) };
            assert_eq!(result, base.wrapping_add(to).cast());
            assert!(memory == expected, "{length} bytes from {from} to {to}");
        }
    }
}

#[test]
fn memcpy_copies_between_buffers_and_writes_nothing_else() {
    for length in LENGTHS {
        for offset in 0..17 {
            let source = pattern(length + 32);
            let mut target = vec![0xEE; length + 64];
            // SAFETY: both buffers are longer than offset + length.
            unsafe { memcpy(target.as_mut_ptr().add(offset).cast(), source.as_ptr().add(3).cast(), length) };
            assert_eq!(target[offset..offset + length], source[3..3 + length]);
            assert!(target[..offset].iter().chain(&target[offset + length..]).all(|byte| *byte == 0xEE));
        }
    }
}

#[test]
fn memset_fills_exactly() {
    for length in LENGTHS.into_iter().chain(0..300) {
        for offset in 0..17 {
            let mut target = vec![0xEE_u8; length + 64];
            // SAFETY: the buffer is longer than offset + length. C passes any int; its low byte counts.
            let result = unsafe { memset(target.as_mut_ptr().add(offset).cast(), 0x15A, length) };
            assert_eq!(result.addr(), target.as_ptr().addr() + offset, "{length} bytes at {offset}");
            assert!(target[offset..offset + length].iter().all(|byte| *byte == 0x5A), "{length}");
            assert!(target[..offset].iter().chain(&target[offset + length..]).all(|byte| *byte == 0xEE));
        }
    }
}

#[test]
fn memcmp_orders_by_the_first_difference() {
    // SAFETY: both slices have the length that is passed.
    let compare = |left: &[u8], right: &[u8]| unsafe {
        assert_eq!(left.len(), right.len());
        memcmp(left.as_ptr().cast(), right.as_ptr().cast(), left.len())
    };
    for length in LENGTHS {
        let left = pattern(length + 8);
        let (range, end) = (5..5 + length, 5 + length);
        assert_eq!(compare(&left[range.clone()], &left.clone()[range.clone()]), 0);
        for at in (0..length).step_by(length / 40 + 1) {
            let mut right = left.clone();
            right[5 + at] ^= 0x80;
            right[end..].fill(0);
            let expected = left[range.clone()].cmp(&right[range.clone()]) as c_int;
            assert_eq!(
                compare(&left[range.clone()], &right[range.clone()]).signum(),
                expected,
                "{length} at {at}"
            );
            assert_eq!(compare(&right[range.clone()], &left[range.clone()]).signum(), -expected);
        }
    }
}

#[test]
fn searches_agree_with_rust() {
    for length in 0..100 {
        for offset in 0..17 {
            let mut text = vec![b'x'; offset];
            text.extend(std::iter::repeat_n(b'a', length));
            text.extend(b"\0xx\0");
            let start = text[offset..].as_ptr();
            // SAFETY: the text ends with a null byte, and is at least length + 3 bytes long.
            unsafe {
                assert_eq!(strlen(start.cast()), length);
                assert_eq!(memchr(start.cast(), 0, length), core::ptr::null_mut());
                assert_eq!(memchr(start.cast(), 0, length + 3).addr(), start.addr() + length);
                assert_eq!(memchr(start.cast(), 0, usize::MAX).addr(), start.addr() + length);
                assert_eq!(memchr(start.cast(), c_int::from(b'x'), length), core::ptr::null_mut());
                assert_eq!(
                    memrchr(start.cast(), c_int::from(b'x'), length + 3).addr(),
                    start.addr() + length + 2
                );
                assert_eq!(strnlen(start.cast(), 7), length.min(7));
            }
        }
    }
}

#[test]
fn strings_compare_as_in_c() {
    let pairs = [(c"abc", c"abd", -1), (c"abc", c"ab", 1), (c"", c"", 0), (c"a\xff", c"a\x01", 1)];
    for (left, right, expected) in pairs {
        // SAFETY: C string literals.
        unsafe {
            assert_eq!(strcmp(left.as_ptr(), right.as_ptr()), expected);
            assert_eq!(strncmp(left.as_ptr(), right.as_ptr(), 1), 0);
            assert_eq!(strcasecmp(left.as_ptr(), right.as_ptr()).signum(), expected);
        }
    }
    let text = c"one two one";
    // SAFETY: C string literals.
    unsafe {
        assert_eq!(strchr(text.as_ptr(), c_int::from(b' ')).addr(), text.as_ptr().addr() + 3);
        assert_eq!(strrchr(text.as_ptr(), c_int::from(b'o')).addr(), text.as_ptr().addr() + 8);
        assert_eq!(strstr(text.as_ptr(), c"two".as_ptr()).addr(), text.as_ptr().addr() + 4);
        assert!(strstr(text.as_ptr(), c"three".as_ptr()).is_null());
    }
}
