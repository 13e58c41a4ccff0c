//! `printf` into memory, for what C libraries write into names and error texts: integers, characters and strings.
//! A conversion that is not supported (floating point, `%n`) makes the function fail, as C allows.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int};

/// `va_list` of the System V ABI for x86-64 (section 3.5.7, figure 3.34).
#[repr(C)]
#[derive(Debug)]
pub struct VaList {
    gp_offset: u32,
    fp_offset: u32,
    overflow: *const u64,
    registers: *const u8,
}

/// Size of the saved general-purpose registers within the register save area.
const GP_END: u32 = 48;

impl VaList {
    /// The next integer or pointer argument.
    ///
    /// # Safety
    /// The caller of the variadic function passed one.
    unsafe fn next(&mut self) -> u64 {
        // SAFETY: the ABI lays both areas out like this, and there is an argument left.
        unsafe {
            if self.gp_offset < GP_END {
                let value = self.registers.add(self.gp_offset as usize).cast::<u64>().read();
                self.gp_offset += 8;
                value
            } else {
                let value = self.overflow.read();
                self.overflow = self.overflow.add(1);
                value
            }
        }
    }
}

/// C's `vsnprintf`: the length of the whole text, of which as much as fits was written, and a null byte.
///
/// # Safety
/// `buffer` is valid for `size` bytes, `format` ends with a null byte, `arguments` are those it names.
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn vsnprintf(
    buffer: *mut c_char,
    size: usize,
    format: *const c_char,
    arguments: *mut VaList,
) -> c_int {
    // SAFETY: the caller's promise.
    let text = unsafe { expand(super::string::bytes(format), &mut *arguments) };
    if let Some(room) = size.checked_sub(1) {
        let text = text.as_deref().unwrap_or_default();
        let length = text.len().min(room);
        // SAFETY: `length` and the null byte are within `size`.
        unsafe {
            core::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), length);
            buffer.add(length).write(0);
        }
    }
    text.and_then(|text| c_int::try_from(text.len()).ok()).unwrap_or(-1)
}

/// C's `snprintf`: saves the argument registers as the ABI has it, and goes on in [`vsnprintf`].
///
/// # Safety
/// As for [`vsnprintf`].
#[unsafe(naked)]
#[cfg_attr(casemate_guest, unsafe(no_mangle))]
pub unsafe extern "C" fn snprintf(buffer: *mut c_char, size: usize, format: *const c_char) -> c_int {
    naked_asm!(
        "sub rsp, 88",
        // The register save area at rsp + 24: only what comes after `format` is read.
        "mov [rsp + 24 + 24], rcx",
        "mov [rsp + 24 + 32], r8",
        "mov [rsp + 24 + 40], r9",
        // The va_list at rsp.
        "mov dword ptr [rsp], 24",
        "mov dword ptr [rsp + 4], 176",
        "lea rax, [rsp + 96]",
        "mov [rsp + 8], rax",
        "lea rax, [rsp + 24]",
        "mov [rsp + 16], rax",
        "mov rcx, rsp",
        "call {}",
        "add rsp, 88",
        "ret",
        sym vsnprintf
    )
}

/// Flags, width, precision and length of one conversion (C17, 7.21.6.1).
#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    /// Bytes of the integer argument.
    size: u32,
}

/// Widest field and longest precision that is honoured; more is an error.
const WIDEST: usize = 4096;

/// Expands `format`; `None` for an unsupported conversion.
///
/// # Safety
/// `arguments` are those that `format` names.
unsafe fn expand(format: &[u8], arguments: &mut VaList) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    let mut rest = format.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            output.push(byte);
            continue;
        }
        // SAFETY: the caller's promise, for this conversion.
        unsafe {
            let spec = Spec::parse(&mut rest, arguments)?;
            spec.convert(rest.next()?, arguments, &mut output)?;
        }
    }
    Some(output)
}

type Rest<'a> = core::iter::Peekable<core::iter::Copied<core::slice::Iter<'a, u8>>>;

impl Spec {
    /// # Safety
    /// As for [`expand`].
    unsafe fn parse(rest: &mut Rest<'_>, arguments: &mut VaList) -> Option<Self> {
        let mut spec = Self { size: 4, ..Self::default() };
        while let Some(flag) = rest.next_if(|byte| b"-0+ #".contains(byte)) {
            match flag {
                b'-' => spec.left = true,
                b'0' => spec.zero = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                _ => spec.alternate = true,
            }
        }
        // SAFETY: the caller's promise, here and below.
        let width = unsafe { number(rest, arguments)? };
        spec.left |= width < 0;
        spec.width = usize::try_from(width.unsigned_abs()).ok().filter(|width| *width <= WIDEST)?;
        if rest.next_if_eq(&b'.').is_some() {
            // SAFETY: as above. A negative precision counts as none.
            spec.precision = usize::try_from(unsafe { number(rest, arguments)? }).ok();
            if spec.precision.is_some_and(|precision| precision > WIDEST) {
                return None;
            }
        }
        while let Some(length) = rest.next_if(|byte| b"hlzjt".contains(byte)) {
            spec.size = if length == b'h' { spec.size / 2 } else { 8 };
        }
        Some(spec)
    }

    /// # Safety
    /// As for [`expand`].
    unsafe fn convert(&self, kind: u8, arguments: &mut VaList, output: &mut Vec<u8>) -> Option<()> {
        if kind == b'%' {
            output.push(b'%');
            return Some(());
        }
        if !b"diuxXopcs".contains(&kind) {
            return None;
        }
        // SAFETY: the caller's promise: each of these takes one argument.
        let value = unsafe { arguments.next() };
        match kind {
            b'c' => self.pad(b"", &[value as u8], false, output),
            b's' => {
                // SAFETY: the caller's promise: a string, null-terminated or as long as the precision says.
                let text = unsafe { string(value as *const c_char, self.precision) };
                self.pad(b"", text, false, output);
            }
            b'd' | b'i' => {
                let unused = 64_u32.saturating_sub(self.size * 8);
                let value = (value << unused) as i64 >> unused;
                let sign: &[u8] = match (value < 0, self.plus, self.space) {
                    (true, ..) => b"-",
                    (_, true, _) => b"+",
                    (.., true) => b" ",
                    _ => b"",
                };
                self.integer(sign, value.unsigned_abs().to_string(), output);
            }
            b'p' => self.integer(b"0x", format!("{value:x}"), output),
            _ => {
                let unused = 64_u32.saturating_sub(self.size * 8);
                let value = value << unused >> unused;
                let (prefix, digits): (&[u8], _) = match kind {
                    b'x' => (b"0x", format!("{value:x}")),
                    b'X' => (b"0X", format!("{value:X}")),
                    b'o' => (b"0", format!("{value:o}")),
                    _ => (b"", value.to_string()),
                };
                self.integer(if self.alternate && value != 0 { prefix } else { b"" }, digits, output);
            }
        }
        Some(())
    }

    /// An integer: the precision is its least number of digits, and turns the flag 0 off.
    fn integer(&self, prefix: &[u8], digits: String, output: &mut Vec<u8>) {
        let digits = match self.precision {
            Some(0) if digits == "0" => String::new(),
            Some(least) => format!("{digits:0>least$}"),
            None => digits,
        };
        self.pad(prefix, digits.as_bytes(), self.zero && self.precision.is_none(), output);
    }

    /// Prefix and body, filled up to the width.
    fn pad(&self, prefix: &[u8], body: &[u8], zeroes: bool, output: &mut Vec<u8>) {
        let missing = self.width.saturating_sub(prefix.len() + body.len());
        let fill = |output: &mut Vec<u8>, byte, wanted: bool| {
            output.extend(core::iter::repeat_n(byte, if wanted { missing } else { 0 }));
        };
        fill(output, b' ', !self.left && !zeroes);
        output.extend(prefix);
        fill(output, b'0', !self.left && zeroes);
        output.extend(body);
        fill(output, b' ', self.left);
    }
}

/// A width or precision: digits, or `*` for an argument; 0 if there is neither. `None` if it is absurd.
///
/// # Safety
/// As for [`expand`].
unsafe fn number(rest: &mut Rest<'_>, arguments: &mut VaList) -> Option<i32> {
    if rest.next_if_eq(&b'*').is_some() {
        // SAFETY: the caller's promise; the argument is an int.
        return Some(unsafe { arguments.next() } as i32);
    }
    let mut number = 0_i32;
    while let Some(digit) = rest.next_if(u8::is_ascii_digit) {
        number = number.checked_mul(10)?.checked_add(i32::from(digit - b'0'))?;
    }
    Some(number)
}

/// # Safety
/// `text` is null, ends with a null byte, or is `most` bytes long.
unsafe fn string<'a>(text: *const c_char, most: Option<usize>) -> &'a [u8] {
    if text.is_null() {
        return b"(null)";
    }
    // SAFETY: the caller's promise.
    unsafe {
        let length = match most {
            Some(most) => super::string::strnlen(text, most),
            None => super::string::strlen(text),
        };
        core::slice::from_raw_parts(text.cast(), length)
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
