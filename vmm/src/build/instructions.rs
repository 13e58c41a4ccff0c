//! Looks for instructions that have no business in a sealed guest: system calls, port I/O, privileged ones.
//!
//! Any of them would end the guest at run time. Finding them at build time turns a mysterious crash into a message
//! with a name in it. It is a check against mistakes, not a security boundary: that boundary is the processor, which
//! has no kernel to enter and no privilege to give.
//!
//! Functions are decoded from their symbol to its end. Hand-written assembly keeps tables between functions, and
//! decoding those gives nonsense; so what no symbol covers is not decoded, and the number of such bytes is reported.

use elf::ElfBytes;
use elf::abi::{SHF_EXECINSTR, STT_FUNC};
use elf::endian::LittleEndian;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};

/// A forbidden instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is.
    pub address: u64,
    /// What it is, as an assembler writes it.
    pub instruction: String,
    /// The function it is in.
    pub symbol: String,
}

/// What a scan covered and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes decoded.
    pub decoded: u64,
    /// Executable bytes outside every function: padding and tables.
    pub skipped: u64,
    /// The forbidden instructions.
    pub findings: Vec<Finding>,
}

/// Decodes every function of the file.
pub fn scan(file: &ElfBytes<'_, LittleEndian>) -> Result<Scan, elf::ParseError> {
    let mut scan = Scan::default();
    let functions = functions(file)?;
    for section in file.section_headers().into_iter().flatten() {
        if section.sh_flags & u64::from(SHF_EXECINSTR) == 0 {
            continue;
        }
        let (bytes, _) = file.section_data(&section)?;
        let mut reached = section.sh_addr;
        for function in &functions {
            let end = section.sh_addr.saturating_add(section.sh_size);
            if function.address < section.sh_addr || function.address >= end {
                continue;
            }
            // Aliases and nested symbols cover the same bytes: decode each byte once.
            let from = function.address.max(reached);
            let to = function.address.saturating_add(function.size).min(end);
            if to <= from {
                continue;
            }
            scan.skipped = scan.skipped.saturating_add(from.saturating_sub(reached));
            scan.decoded = scan.decoded.saturating_add(to.saturating_sub(from));
            reached = to;
            let offset = |address: u64| usize::try_from(address.saturating_sub(section.sh_addr)).ok();
            if let Some(code) = offset(from).zip(offset(to)).and_then(|(from, to)| bytes.get(from..to)) {
                scan.findings.extend(forbidden(code, from, &function.name));
            }
        }
        let end = section.sh_addr.saturating_add(section.sh_size);
        scan.skipped = scan.skipped.saturating_add(end.saturating_sub(reached));
    }
    Ok(scan)
}

struct Function {
    address: u64,
    size: u64,
    name: String,
}

/// All functions with a size, by address.
fn functions(file: &ElfBytes<'_, LittleEndian>) -> Result<Vec<Function>, elf::ParseError> {
    let Some((symbols, names)) = file.symbol_table()? else {
        return Ok(Vec::new());
    };
    let mut functions: Vec<Function> = symbols
        .iter()
        .filter(|symbol| symbol.st_symtype() == STT_FUNC && symbol.st_size > 0)
        .map(|symbol| Function {
            address: symbol.st_value,
            size: symbol.st_size,
            name: plain_name(names.get(usize::try_from(symbol.st_name).unwrap_or(usize::MAX)).unwrap_or("?")),
        })
        .collect();
    functions.sort_by_key(|function| (function.address, std::cmp::Reverse(function.size)));
    Ok(functions)
}

/// A symbol as its author wrote it, without hash. lld demangles on its own but leaves the hash.
pub fn plain_name(symbol: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    let is_hash = |end: &str| {
        end.len() == 17 && end.starts_with('h') && end.bytes().skip(1).all(|b| b.is_ascii_hexdigit())
    };
    match name.rsplit_once("::") {
        Some((path, end)) if is_hash(end) => path.to_owned(),
        _ => name,
    }
}

/// The forbidden instructions in `code`, which is to run at `address`.
fn forbidden(code: &[u8], address: u64, symbol: &str) -> Vec<Finding> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut findings = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if is_forbidden(&instruction) {
            findings.push(Finding {
                address: instruction.ip(),
                instruction: format!("{:?}", instruction.mnemonic()).to_lowercase(),
                symbol: symbol.to_owned(),
            });
        }
    }
    findings
}

/// INT3 and UD2 are allowed: they are how compilers write "never reached", and they end the guest.
fn is_forbidden(instruction: &Instruction) -> bool {
    let enters_a_kernel = matches!(
        instruction.mnemonic(),
        Mnemonic::Syscall
            | Mnemonic::Sysenter
            | Mnemonic::Sysret
            | Mnemonic::Sysretq
            | Mnemonic::Sysexit
            | Mnemonic::Sysexitq
            | Mnemonic::Int
            | Mnemonic::Int1
            | Mnemonic::Into
            | Mnemonic::Iret
            | Mnemonic::Iretd
            | Mnemonic::Iretq
            | Mnemonic::Vmcall
            | Mnemonic::Vmmcall
            | Mnemonic::Vmfunc
    );
    enters_a_kernel || (instruction.is_privileged() && instruction.code() != Code::INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &[u8]) -> Vec<String> {
        forbidden(code, 0x1000, "f").into_iter().map(|finding| finding.instruction).collect()
    }

    #[test]
    fn each_forbidden_instruction_is_found() {
        let cases: [(&[u8], &str); 14] = [
            (&[0x0f, 0x05], "syscall"),
            (&[0x0f, 0x34], "sysenter"),
            (&[0xcd, 0x80], "int"),
            (&[0xf1], "int1"),
            (&[0xec], "in"),
            (&[0xe6, 0x80], "out"),
            (&[0x6c], "insb"),
            (&[0xf4], "hlt"),
            (&[0xfa], "cli"),
            (&[0x0f, 0x30], "wrmsr"),
            (&[0x0f, 0x22, 0xd8], "mov"),
            (&[0x0f, 0x01, 0xd9], "vmmcall"),
            (&[0x0f, 0x01, 0xc1], "vmcall"),
            (&[0x48, 0xcf], "iretq"),
        ];
        for (code, name) in cases {
            assert_eq!(names(code), [name], "{code:02x?}");
        }
    }

    #[test]
    fn ordinary_instructions_are_not() {
        // nop; mov rax,rbx; mov eax,0x050f (holds the bytes of SYSCALL); ud2; int3; rdtsc; cpuid; rdrand rax;
        // mov fs:[0],rax; ret
        let code = [
            0x90, 0x48, 0x89, 0xd8, 0xb8, 0x0f, 0x05, 0x00, 0x00, 0x0f, 0x0b, 0xcc, 0x0f, 0x31, 0x0f, 0xa2,
            0x48, 0x0f, 0xc7, 0xf0, 0x64, 0x48, 0x89, 0x04, 0x25, 0, 0, 0, 0, 0xc3,
        ];
        assert_eq!(names(&code), Vec::<String>::new());
    }
}
