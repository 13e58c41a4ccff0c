//! What a finished guest must be before it is packed: static, complete, in its place, and without instructions that
//! would end it.
//!
//! The loader checks again what it relies on. This check exists to tell the author of a guest what is wrong in terms
//! of their source.

use casemate_abi::{DATA_BASE, IMAGE_BASE, IMAGE_MAX, PAGE_SIZE, PRIVATE_BASE, PRIVATE_MAX};
use elf::ElfBytes;
use elf::abi::{
    DT_NEEDED, EM_X86_64, ET_EXEC, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, SHN_UNDEF, STB_WEAK,
};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

use super::instructions::{self, Finding, Scan};

/// Why an ELF file is not a guest.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It could not be parsed.
    #[error("the guest is not a well-formed 64-bit ELF file: {0}")]
    Parse(#[from] elf::ParseError),
    /// It is for something else.
    #[error("the guest is not a static x86-64 executable (ELF type {e_type}, machine {e_machine})")]
    Kind {
        /// `e_type`.
        e_type: u16,
        /// `e_machine`.
        e_machine: u16,
    },
    /// It wants a dynamic loader.
    #[error(
        "the guest is dynamically linked{0}: build it with `casemate build`, which links it with the guest runtime only"
    )]
    Dynamic(String),
    /// It uses something nobody provides.
    #[error("the guest uses {0}, which nothing provides: a sealed guest has no operating system behind it")]
    Undefined(String),
    /// A segment lies where it must not.
    #[error(
        "the guest's segment at {address:#x}–{end:#x} ({permissions}) lies outside the memory map's {region}: link it with guest.ld"
    )]
    Misplaced {
        /// First byte.
        address: u64,
        /// One past the last byte.
        end: u64,
        /// `R`, `RW` or `RX`.
        permissions: String,
        /// Which region it should be in.
        region: &'static str,
    },
    /// A segment is writable and executable, or has other permissions that no guest segment has.
    #[error(
        "the guest's segment at {address:#x} has permissions {permissions}: text is RX, constants are R, data is RW, nothing else exists"
    )]
    Permissions {
        /// First byte.
        address: u64,
        /// As found.
        permissions: String,
    },
    /// A page would need two permissions at once.
    #[error("the guest's segment at {0:#x} does not begin on a page of its own: link it with guest.ld")]
    Unaligned(u64),
    /// The entry point is not in text.
    #[error("the guest's entry point {0:#x} is not in its text: was it linked with guest.ld?")]
    Entry(u64),
    /// It has forbidden instructions.
    #[error("the guest contains {} that would end it at run time:{}", count(findings.len()), list(findings))]
    Instructions {
        /// Which and where.
        findings: Vec<Finding>,
    },
}

fn count(n: usize) -> String {
    if n == 1 { "an instruction".to_owned() } else { format!("{n} instructions") }
}

fn list(findings: &[Finding]) -> String {
    let lines =
        findings.iter().take(10).map(|f| format!("\n  {:#x} `{}` in {}", f.address, f.instruction, f.symbol));
    let rest = findings.len().saturating_sub(10);
    let more = (rest > 0).then(|| format!("\n  and {rest} more"));
    lines.chain(more).collect()
}

/// What was found out about a guest that passed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The instruction scan.
    pub scan: Scan,
}

/// Checks an unstripped guest.
pub fn check(elf: &[u8]) -> Result<Checked, CheckError> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(elf)?;
    if file.ehdr.e_machine != EM_X86_64 {
        return Err(CheckError::Kind { e_type: file.ehdr.e_type, e_machine: file.ehdr.e_machine });
    }
    no_dynamic_linking(&file)?;
    if file.ehdr.e_type != ET_EXEC {
        return Err(CheckError::Kind { e_type: file.ehdr.e_type, e_machine: file.ehdr.e_machine });
    }
    no_undefined_symbols(&file)?;
    segments(&file)?;
    let scan = instructions::scan(&file)?;
    if !scan.findings.is_empty() {
        return Err(CheckError::Instructions { findings: scan.findings });
    }
    Ok(Checked { scan })
}

fn no_dynamic_linking(file: &ElfBytes<'_, LittleEndian>) -> Result<(), CheckError> {
    let needed = file.dynamic()?.into_iter().flatten().filter(|entry| entry.d_tag == DT_NEEDED).count();
    if needed > 0 {
        return Err(CheckError::Dynamic(format!(" (it needs {needed} shared libraries)")));
    }
    let loader = |segment: &ProgramHeader| matches!(segment.p_type, PT_INTERP | PT_DYNAMIC);
    if file.segments().into_iter().flatten().any(|segment| loader(&segment)) {
        return Err(CheckError::Dynamic(String::new()));
    }
    Ok(())
}

/// Weak ones may be missing: their users test the address first.
fn no_undefined_symbols(file: &ElfBytes<'_, LittleEndian>) -> Result<(), CheckError> {
    let Some((symbols, names)) = file.symbol_table()? else {
        return Ok(());
    };
    let mut missing: Vec<String> = Vec::new();
    for symbol in symbols.iter().skip(1) {
        let is_name = symbol.st_name != 0 && symbol.st_bind() != STB_WEAK;
        if symbol.st_shndx == SHN_UNDEF && is_name {
            let name = names.get(usize::try_from(symbol.st_name).unwrap_or(usize::MAX))?;
            missing.push(format!("`{}`", instructions::plain_name(name)));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(CheckError::Undefined(missing.join(", "))) }
}

fn permissions(flags: u32) -> String {
    [(PF_R, 'R'), (PF_W, 'W'), (PF_X, 'X')]
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, c)| *c)
        .collect()
}

fn segments(file: &ElfBytes<'_, LittleEndian>) -> Result<(), CheckError> {
    let image = IMAGE_BASE..IMAGE_BASE + IMAGE_MAX;
    let data = DATA_BASE..PRIVATE_BASE + PRIVATE_MAX;
    let entry = file.ehdr.e_entry;
    let mut entry_is_text = false;
    for segment in file.segments().into_iter().flatten().filter(|s| s.p_type == PT_LOAD && s.p_memsz > 0) {
        let address = segment.p_vaddr;
        let permissions = permissions(segment.p_flags);
        let end = address.saturating_add(segment.p_memsz);
        let (region, name) = match segment.p_flags & (PF_R | PF_W | PF_X) {
            f if f == PF_R | PF_X => (&image, "image region"),
            f if f == PF_R => (&image, "image region"),
            f if f == PF_R | PF_W => (&data, "data region"),
            _ => return Err(CheckError::Permissions { address, permissions }),
        };
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(CheckError::Unaligned(address));
        }
        if address < region.start || end > region.end {
            return Err(CheckError::Misplaced { address, end, permissions, region: name });
        }
        entry_is_text |= segment.p_flags & PF_X != 0 && (address..end).contains(&entry);
    }
    if entry_is_text { Ok(()) } else { Err(CheckError::Entry(entry)) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
