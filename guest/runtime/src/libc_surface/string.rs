//! `string.h` and `strings.h`: moving, filling, comparing and searching bytes.
//!
//! The hot ones are written in assembly, for two reasons: a compiler may turn a loop that copies into a call of
//! `memcpy`, that is, of itself; and `memcpy` decides the speed of big-number arithmetic (16-byte loads and stores
//! made RSA signing 40 % faster than `rep movsb`). They use SSE2 only, which every x86-64 has, and touch no byte
//! outside the ranges given, except that `strlen` and `memchr` read to the end of an aligned 16-byte block, which
//! lies in the same page.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};

/// C's `memcpy`. The ranges may overlap here (it is `memmove`), which C does not ask for.
///
/// # Safety
/// `source` and `target` are valid for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(target: *mut c_void, source: *const c_void, length: usize) -> *mut c_void {
    naked_asm!("jmp {}", sym memmove)
}

/// C's `memmove`.
///
/// Up to 128 bytes: all loads come before the first store, so overlap does not matter. Beyond, the direction is
/// chosen so that nothing is overwritten before it is read, and both ends are loaded in advance; the loop moves 64
/// bytes at a time to an aligned target. From 4 KiB on, and where the ranges allow it, the CPU's own string move is
/// faster (ERMS).
///
/// # Safety
/// `source` and `target` are valid for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(target: *mut c_void, source: *const c_void, length: usize) -> *mut c_void {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb 20f",
        "cmp rdx, 32",
        "ja 2f",
        // 16 to 32: two halves that may overlap.
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        "2: cmp rdx, 64",
        "ja 3f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + rdx - 32]",
        "movups xmm3, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + rdx - 32], xmm2",
        "movups [rdi + rdx - 16], xmm3",
        "ret",
        "3: cmp rdx, 128",
        "ja 4f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "movups xmm4, [rsi + rdx - 64]",
        "movups xmm5, [rsi + rdx - 48]",
        "movups xmm6, [rsi + rdx - 32]",
        "movups xmm7, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + 32], xmm2",
        "movups [rdi + 48], xmm3",
        "movups [rdi + rdx - 64], xmm4",
        "movups [rdi + rdx - 48], xmm5",
        "movups [rdi + rdx - 32], xmm6",
        "movups [rdi + rdx - 16], xmm7",
        "ret",
        // Longer. Backwards only if the target begins within the source.
        "4: mov rcx, rdi",
        "sub rcx, rsi",
        "cmp rcx, rdx",
        "jb 6f",
        "cmp rdx, 4096",
        "jae 8f",
        // Forwards. xmm8: head, xmm4–7: tail, r8: where the tail goes.
        "movups xmm8, [rsi]",
        "movups xmm4, [rsi + rdx - 64]",
        "movups xmm5, [rsi + rdx - 48]",
        "movups xmm6, [rsi + rdx - 32]",
        "movups xmm7, [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 64]",
        "mov rcx, rdi",
        "neg rcx",
        "and rcx, 15",
        "add rsi, rcx",
        "add rdi, rcx",
        "5: movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "movaps [rdi], xmm0",
        "movaps [rdi + 16], xmm1",
        "movaps [rdi + 32], xmm2",
        "movaps [rdi + 48], xmm3",
        "add rsi, 64",
        "add rdi, 64",
        "cmp rdi, r8",
        "jb 5b",
        "movups [r8], xmm4",
        "movups [r8 + 16], xmm5",
        "movups [r8 + 32], xmm6",
        "movups [r8 + 48], xmm7",
        "movups [rax], xmm8",
        "ret",
        // Backwards. xmm8: tail, xmm4–7: head, r9: one past the target, aligned down.
        "6: movups xmm8, [rsi + rdx - 16]",
        "movups xmm4, [rsi]",
        "movups xmm5, [rsi + 16]",
        "movups xmm6, [rsi + 32]",
        "movups xmm7, [rsi + 48]",
        "lea r9, [rdi + rdx]",
        "lea r8, [r9 - 16]",
        "lea r10, [rsi + rdx]",
        "mov rcx, r9",
        "and rcx, 15",
        "sub r9, rcx",
        "sub r10, rcx",
        "lea rcx, [rdi + 64]",
        "7: movups xmm0, [r10 - 16]",
        "movups xmm1, [r10 - 32]",
        "movups xmm2, [r10 - 48]",
        "movups xmm3, [r10 - 64]",
        "movaps [r9 - 16], xmm0",
        "movaps [r9 - 32], xmm1",
        "movaps [r9 - 48], xmm2",
        "movaps [r9 - 64], xmm3",
        "sub r10, 64",
        "sub r9, 64",
        "cmp r9, rcx",
        "ja 7b",
        "movups [rdi], xmm4",
        "movups [rdi + 16], xmm5",
        "movups [rdi + 32], xmm6",
        "movups [rdi + 48], xmm7",
        "movups [r8], xmm8",
        "ret",
        "8: mov rcx, rdx",
        "rep movsb",
        "ret",
        // 0 to 15.
        "20: cmp edx, 8",
        "jb 21f",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        "21: cmp edx, 4",
        "jb 22f",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
        "22: test edx, edx",
        "jz 23f",
        // 1 to 3: first, last and middle byte, which may be the same.
        "movzx ecx, byte ptr [rsi]",
        "movzx r8d, byte ptr [rsi + rdx - 1]",
        "mov r9, rdx",
        "shr r9, 1",
        "movzx r10d, byte ptr [rsi + r9]",
        "mov [rdi], cl",
        "mov [rdi + r9], r10b",
        "mov [rdi + rdx - 1], r8b",
        "23: ret"
    )
}

/// C's `memset`.
///
/// # Safety
/// `target` is valid for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn memset(target: *mut c_void, byte: c_int, length: usize) -> *mut c_void {
    naked_asm!(
        "mov r9, rdi",
        "movzx eax, sil",
        "mov rcx, 0x0101010101010101",
        "imul rcx, rax",
        "cmp rdx, 16",
        "jb 20f",
        "cmp rdx, 4096",
        "jae 6f",
        "movq xmm0, rcx",
        "punpcklqdq xmm0, xmm0",
        "lea r8, [rdi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [r8], xmm0",
        "cmp rdx, 32",
        "jbe 9f",
        "movups [rdi + 16], xmm0",
        "movups [r8 - 16], xmm0",
        "cmp rdx, 64",
        "jbe 9f",
        "movups [rdi + 32], xmm0",
        "movups [rdi + 48], xmm0",
        "movups [r8 - 32], xmm0",
        "movups [r8 - 48], xmm0",
        "cmp rdx, 128",
        "jbe 9f",
        // The first and the last 64 bytes are done; fill what lies between, aligned.
        "lea r8, [rdi + rdx - 64]",
        "add rdi, 64",
        "and rdi, -16",
        "5: movaps [rdi], xmm0",
        "movaps [rdi + 16], xmm0",
        "movaps [rdi + 32], xmm0",
        "movaps [rdi + 48], xmm0",
        "add rdi, 64",
        "cmp rdi, r8",
        "jb 5b",
        "9: mov rax, r9",
        "ret",
        "6: mov rcx, rdx",
        "rep stosb",
        "mov rax, r9",
        "ret",
        "20: mov rax, r9",
        "cmp edx, 8",
        "jb 21f",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], rcx",
        "ret",
        "21: cmp edx, 4",
        "jb 22f",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], ecx",
        "ret",
        "22: test edx, edx",
        "jz 23f",
        "mov r8, rdx",
        "shr r8, 1",
        "mov [rdi], cl",
        "mov [rdi + r8], cl",
        "mov [rdi + rdx - 1], cl",
        "23: ret"
    )
}

/// C's `memcmp`. Not constant-time: secrets are compared by `CRYPTO_memcmp` or `subtle`.
///
/// # Safety
/// `left` and `right` are valid for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn memcmp(left: *const c_void, right: *const c_void, length: usize) -> c_int {
    naked_asm!(
        "xor r8d, r8d",
        "sub rdx, 16",
        "jb 4f",
        "2: movdqu xmm0, [rdi + r8]",
        "movdqu xmm1, [rsi + r8]",
        "pcmpeqb xmm0, xmm1",
        "pmovmskb ecx, xmm0",
        "sub ecx, 0xffff",
        "jnz 6f",
        "cmp r8, rdx",
        "jae 5f",
        "add r8, 16",
        // The last block ends where the ranges end, and overlaps the one before.
        "cmp r8, rdx",
        "cmova r8, rdx",
        "jmp 2b",
        // Fewer than 16 bytes.
        "4: add rdx, 16",
        "3: cmp r8, rdx",
        "je 5f",
        "movzx eax, byte ptr [rdi + r8]",
        "movzx ecx, byte ptr [rsi + r8]",
        "inc r8",
        "sub eax, ecx",
        "jz 3b",
        "ret",
        "5: xor eax, eax",
        "ret",
        // ecx = mask - 0xffff: its lowest set bit is the mask's lowest clear one.
        "6: bsf ecx, ecx",
        "add r8, rcx",
        "movzx eax, byte ptr [rdi + r8]",
        "movzx ecx, byte ptr [rsi + r8]",
        "sub eax, ecx",
        "ret"
    )
}

/// BSD's `bcmp`.
///
/// # Safety
/// `left` and `right` are valid for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn bcmp(left: *const c_void, right: *const c_void, length: usize) -> c_int {
    naked_asm!("jmp {}", sym memcmp)
}

/// C's `strlen`.
///
/// # Safety
/// `text` ends with a null byte.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    naked_asm!(
        "pxor xmm0, xmm0",
        "mov rax, rdi",
        "and rax, -16",
        "mov ecx, edi",
        "and ecx, 15",
        "movdqa xmm1, [rax]",
        "pcmpeqb xmm1, xmm0",
        "pmovmskb edx, xmm1",
        // Forget what lies before the text.
        "shr edx, cl",
        "test edx, edx",
        "jnz 3f",
        "2: add rax, 16",
        "movdqa xmm1, [rax]",
        "pcmpeqb xmm1, xmm0",
        "pmovmskb edx, xmm1",
        "test edx, edx",
        "jz 2b",
        "bsf edx, edx",
        "sub rax, rdi",
        "add rax, rdx",
        "ret",
        "3: bsf eax, edx",
        "ret"
    )
}

/// C's `memchr`.
///
/// # Safety
/// `text` is valid for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn memchr(text: *const c_void, byte: c_int, length: usize) -> *mut c_void {
    naked_asm!(
        "test rdx, rdx",
        "jz 4f",
        "movzx esi, sil",
        "mov r8, 0x0101010101010101",
        "imul rsi, r8",
        "movq xmm0, rsi",
        "punpcklqdq xmm0, xmm0",
        "mov rax, rdi",
        "and rax, -16",
        // rdx: one past the end; a length that wraps means "until found".
        "add rdx, rdi",
        "jnc 5f",
        "mov rdx, -1",
        "5: mov ecx, edi",
        "and ecx, 15",
        "movdqa xmm1, [rax]",
        "pcmpeqb xmm1, xmm0",
        "pmovmskb esi, xmm1",
        "shr esi, cl",
        "shl esi, cl",
        "2: test esi, esi",
        "jnz 3f",
        "add rax, 16",
        "cmp rax, rdx",
        "jae 4f",
        "movdqa xmm1, [rax]",
        "pcmpeqb xmm1, xmm0",
        "pmovmskb esi, xmm1",
        "jmp 2b",
        "3: bsf esi, esi",
        "add rax, rsi",
        "cmp rax, rdx",
        "jae 4f",
        "ret",
        "4: xor eax, eax",
        "ret"
    )
}

/// GNU's `memrchr`.
///
/// # Safety
/// `text` is valid for `length` bytes.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn memrchr(text: *const c_void, byte: c_int, length: usize) -> *mut c_void {
    let bytes = match length {
        0 => &[][..],
        // SAFETY: the caller's promise; with a length of zero the pointer may be anything, and is not used.
        _ => unsafe { core::slice::from_raw_parts(text.cast::<u8>(), length) },
    };
    match bytes.iter().rposition(|other| c_int::from(*other) == byte & 0xff) {
        Some(at) => text.cast::<u8>().cast_mut().wrapping_add(at).cast(),
        None => core::ptr::null_mut(),
    }
}

/// The bytes of a C string.
///
/// # Safety
/// `text` ends with a null byte and is not written while the result is used.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { core::ffi::CStr::from_ptr(text) }.to_bytes()
}

/// Orders two strings as C does: as unsigned bytes.
fn order(left: &[u8], right: &[u8]) -> c_int {
    left.cmp(right) as c_int
}

/// C's `strcmp`.
///
/// # Safety
/// Both end with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strcmp(left: *const c_char, right: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { order(bytes(left), bytes(right)) }
}

/// C's `strnlen`.
///
/// # Safety
/// `text` is valid for `most` bytes, or to its null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strnlen(text: *const c_char, most: usize) -> usize {
    // SAFETY: the caller's promise: memchr reads no further than the block of the byte that it finds.
    let end = unsafe { memchr(text.cast(), 0, most) };
    if end.is_null() { most } else { end.addr() - text.addr() }
}

/// C's `strncmp`.
///
/// # Safety
/// Both are valid for `most` bytes, or end with a null byte before.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strncmp(left: *const c_char, right: *const c_char, most: usize) -> c_int {
    // SAFETY: the caller's promise; `strnlen` finds how much of each there is.
    unsafe {
        let slice = |text: *const c_char| core::slice::from_raw_parts(text.cast::<u8>(), strnlen(text, most));
        order(slice(left), slice(right))
    }
}

/// POSIX's `strcasecmp`, for ASCII.
///
/// # Safety
/// Both end with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strcasecmp(left: *const c_char, right: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let [left, right] = [left, right].map(|text| unsafe { bytes(text) }.iter().map(u8::to_ascii_lowercase));
    left.cmp(right) as c_int
}

/// POSIX's `strncasecmp`, for ASCII.
///
/// # Safety
/// Both are valid for `most` bytes, or end with a null byte before.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strncasecmp(left: *const c_char, right: *const c_char, most: usize) -> c_int {
    // SAFETY: the caller's promise; `strnlen` finds how much of each there is.
    let [left, right] = [left, right].map(|text| unsafe {
        core::slice::from_raw_parts(text.cast::<u8>(), strnlen(text, most)).iter().map(u8::to_ascii_lowercase)
    });
    left.cmp(right) as c_int
}

/// Points at `at` in `text`, or nowhere.
fn pointer(text: *const c_char, at: Option<usize>) -> *mut c_char {
    at.map_or(core::ptr::null_mut(), |at| text.cast_mut().wrapping_add(at))
}

/// C's `strchr`. The null byte counts as part of the text.
///
/// # Safety
/// `text` ends with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strchr(text: *const c_char, byte: c_int) -> *mut c_char {
    // SAFETY: the caller's promise.
    let all = unsafe { core::ffi::CStr::from_ptr(text) }.to_bytes_with_nul();
    pointer(text, all.iter().position(|other| *other == byte as u8))
}

/// C's `strrchr`.
///
/// # Safety
/// `text` ends with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strrchr(text: *const c_char, byte: c_int) -> *mut c_char {
    // SAFETY: the caller's promise.
    let all = unsafe { core::ffi::CStr::from_ptr(text) }.to_bytes_with_nul();
    pointer(text, all.iter().rposition(|other| *other == byte as u8))
}

/// C's `strstr`.
///
/// # Safety
/// Both end with a null byte.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn strstr(text: *const c_char, part: *const c_char) -> *mut c_char {
    // SAFETY: the caller's promise.
    let (all, part) = unsafe { (bytes(text), bytes(part)) };
    if part.is_empty() {
        return text.cast_mut();
    }
    pointer(text, all.windows(part.len()).position(|window| window == part))
}

#[cfg(test)]
#[path = "string_tests.rs"]
mod tests;
