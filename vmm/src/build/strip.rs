//! Reduces a linked guest to what is loaded: ELF header, program headers, segments.
//!
//! Section headers, symbols and debug information are not part of what runs, so they are not part of what is
//! measured either: the image gets smaller, has less to parse, and does not change when only they do.

use elf::ElfBytes;
use elf::abi::{PT_LOAD, SHT_NOBITS};
use elf::endian::LittleEndian;

/// Why an ELF file could not be reduced.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripError {
    /// It could not be parsed.
    #[error("not a 64-bit ELF file: {0}")]
    Parse(String),
    /// A segment's bytes are not all in the file.
    #[error("the segment at {address:#x} ends beyond the end of the file")]
    Truncated {
        /// Where it would be loaded.
        address: u64,
    },
}

/// Offset and size of `e_shoff` (System V gABI, 4.1: ELF header, 64 bit).
const E_SHOFF: std::ops::Range<usize> = 0x28..0x30;
/// Offset and size of `e_shentsize`, `e_shnum` and `e_shstrndx`.
const E_SH: std::ops::Range<usize> = 0x3a..0x40;

/// The file without everything behind its last loaded byte, and without section headers.
pub fn strip(elf: &[u8]) -> Result<Vec<u8>, StripError> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(elf).map_err(|e| StripError::Parse(e.to_string()))?;
    let headers = u64::from(file.ehdr.e_phnum).saturating_mul(u64::from(file.ehdr.e_phentsize));
    let mut end = file.ehdr.e_phoff.saturating_add(headers);
    for segment in file.segments().into_iter().flatten().filter(|s| s.p_type == PT_LOAD) {
        let last = segment.p_offset.checked_add(segment.p_filesz);
        let last = last.ok_or(StripError::Truncated { address: segment.p_vaddr })?;
        if usize::try_from(last).map_or(true, |last| last > elf.len()) {
            return Err(StripError::Truncated { address: segment.p_vaddr });
        }
        end = end.max(last);
    }
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(elf.len());
    let mut stripped = elf.get(..end).unwrap_or(elf).to_vec();
    blank_unloaded(&file, &mut stripped);
    for range in [E_SHOFF, E_SH] {
        if let Some(field) = stripped.get_mut(range) {
            field.fill(0);
        }
    }
    Ok(stripped)
}

/// A linker may put a section that is not loaded between two that are: its bytes are set to zero.
fn blank_unloaded(file: &ElfBytes<'_, LittleEndian>, bytes: &mut [u8]) {
    let is_loaded = |flags: u64| flags & u64::from(elf::abi::SHF_ALLOC) != 0;
    for section in file.section_headers().into_iter().flatten() {
        if is_loaded(section.sh_flags) || section.sh_type == SHT_NOBITS || section.sh_size == 0 {
            continue;
        }
        let range = usize::try_from(section.sh_offset)
            .ok()
            .zip(usize::try_from(section.sh_offset.saturating_add(section.sh_size)).ok());
        let Some((start, end)) = range else { continue };
        let end = end.min(bytes.len());
        if let Some(gap) = bytes.get_mut(start..end) {
            gap.fill(0);
        }
    }
}
