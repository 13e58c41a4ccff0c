//! Tiny guests, written in assembly, for tests of the machine.

/// Assembles a tiny guest into a function that returns its machine code:
/// `guest!(name, "instruction", ...)`, Intel syntax. `ring` is a macro for the doorbell: `"ring 0x706"`.
#[macro_export]
macro_rules! guest {
    ($name:ident, $($line:expr),+ $(,)?) => {
        std::arch::global_asm!(
            ".pushsection .rodata.guests,\"a\"",
            ".ifndef guest_macros", "guest_macros = 1",
            ".macro ring value", "mov rdi, 0x3ffff000", "mov rax, \\value", "mov [rdi], rax", ".endm",
            ".endif",
            concat!(".globl guest_", stringify!($name)), concat!("guest_", stringify!($name), ":"),
            $($line,)+
            concat!(".globl guest_", stringify!($name), "_end"), concat!("guest_", stringify!($name), "_end:"),
            ".popsection",
        );
        fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("guest_", stringify!($name))]
                static START: u8;
                #[link_name = concat!("guest_", stringify!($name), "_end")]
                static END: u8;
            }
            // SAFETY: both labels are in one section of this program, END after START.
            unsafe {
                let len = (&raw const END).offset_from(&raw const START);
                std::slice::from_raw_parts(&raw const START, len as usize)
            }
        }
    };
}

const PAGE: u64 = 4096;

/// A static ELF executable with one text segment and one data segment.
pub fn elf(code: &[u8], data: &[u8], bss: u64) -> Vec<u8> {
    let text = casemate_abi::IMAGE_BASE;
    let text_len = code.len().next_multiple_of(PAGE as usize);
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [text, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let data_len = data.len() as u64;
    let segments = [
        (5_u32, PAGE, text, text_len as u64, text_len as u64),
        (6, PAGE + text_len as u64, casemate_abi::DATA_BASE, data_len, data_len + bss),
    ];
    for (flags, offset, address, file_size, memory_size) in segments {
        file.extend(1_u32.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, address, address, file_size, memory_size, PAGE] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(PAGE as usize, 0);
    file.extend_from_slice(code);
    file.resize(PAGE as usize + text_len, 0xcc);
    file.extend_from_slice(data);
    file
}
