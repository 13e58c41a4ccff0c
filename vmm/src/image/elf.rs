//! The guest's ELF file: untrusted bytes in, checked segments out.
//!
//! A [`GuestElf`] proves that every segment lies inside the file and inside the region of the memory map that
//! its rights belong to, that no segment is writable and executable, that none overlap, and that the entry point
//! lies in text. Do not add a constructor that skips [`GuestElf::parse`].

use std::ops::Range;

use casemate_abi::{DATA_BASE, IMAGE_BASE, IMAGE_MAX, PAGE_SIZE, PRIVATE_BASE};
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;

use crate::page_tables::Access;

/// Most loadable segments an image may have.
const SEGMENTS_MAX: usize = 8;

/// Why an ELF file cannot run as a sealed guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no ELF64 little-endian file, or tables lie outside of it.
    #[error("the kernel section is not a 64-bit little-endian ELF file: {0}")]
    Malformed(#[from] elf::ParseError),
    /// Another machine or file type.
    #[error("the ELF file is not a static x86-64 executable (type {e_type}, machine {e_machine})")]
    WrongKind {
        /// ELF `e_type`.
        e_type: u16,
        /// ELF `e_machine`.
        e_machine: u16,
    },
    /// The file wants a dynamic linker.
    #[error("the ELF file is dynamically linked: build the guest with `casemate build`")]
    Dynamic,
    /// A segment breaks a rule.
    #[error("segment {index} ({start:#x}, {len:#x} bytes): {why}")]
    Segment {
        /// Position among the program headers.
        index: usize,
        /// `p_vaddr`.
        start: u64,
        /// `p_memsz`.
        len: u64,
        /// The rule.
        why: &'static str,
    },
    /// The entry point is not in text.
    #[error("the entry point {0:#x} is not in an executable segment")]
    Entry(u64),
}

/// One loadable segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// First guest address, page aligned.
    pub start: u64,
    /// Bytes in memory; what exceeds `file` is zero.
    pub len: u64,
    /// Where the initial bytes lie in the ELF file.
    pub file: Range<usize>,
    /// What the guest may do with it.
    pub access: Access,
}

/// A checked guest executable.
#[derive(Clone, Debug)]
pub struct GuestElf {
    /// First instruction.
    pub entry: u64,
    /// Text, read-only data and data, ascending.
    pub segments: Vec<Segment>,
    /// First page after the data: the heap begins here.
    pub data_end: u64,
}

impl GuestElf {
    /// Checks `bytes`. Looks at headers only.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes)?;
        let header = file.ehdr;
        if header.class != Class::ELF64 {
            return Err(elf::ParseError::UnsupportedElfClass(elf::abi::ELFCLASS32).into());
        }
        if header.e_type != ET_EXEC || header.e_machine != EM_X86_64 {
            return Err(Error::WrongKind { e_type: header.e_type, e_machine: header.e_machine });
        }
        let mut segments: Vec<Segment> = Vec::new();
        for (index, program_header) in file.segments().iter().flat_map(|table| table.iter()).enumerate() {
            match program_header.p_type {
                PT_INTERP | PT_DYNAMIC => return Err(Error::Dynamic),
                PT_LOAD if program_header.p_memsz == 0 => {}
                PT_LOAD => {
                    let previous_end = segments.last().map_or(0, Segment::page_end);
                    let segment =
                        Segment::check(&program_header, bytes.len(), previous_end).map_err(|why| {
                            Error::Segment {
                                index,
                                start: program_header.p_vaddr,
                                len: program_header.p_memsz,
                                why,
                            }
                        })?;
                    segments.push(segment);
                    if segments.len() > SEGMENTS_MAX {
                        return Err(Error::Segment { index, start: 0, len: 0, why: "too many segments" });
                    }
                }
                _ => {}
            }
        }
        let in_text = |segment: &Segment| {
            segment.access == Access::Execute
                && (segment.start..segment.start + segment.len).contains(&header.e_entry)
        };
        if !segments.iter().any(in_text) {
            return Err(Error::Entry(header.e_entry));
        }
        let data_end = segments.last().map_or(0, Segment::page_end).max(DATA_BASE);
        Ok(Self { entry: header.e_entry, segments, data_end })
    }
}

impl Segment {
    /// One past the last page of the segment.
    pub fn page_end(&self) -> u64 {
        (self.start + self.len).next_multiple_of(PAGE_SIZE)
    }

    fn check(header: &ProgramHeader, file_len: usize, previous_end: u64) -> Result<Self, &'static str> {
        let access = match header.p_flags & (PF_R | PF_W | PF_X) {
            flags if flags == PF_R | PF_X => Access::Execute,
            flags if flags == PF_R | PF_W => Access::Write,
            PF_R => Access::Read,
            _ => return Err("must be read-execute, read-only or read-write"),
        };
        let region = match access {
            Access::Execute | Access::Read => IMAGE_BASE..IMAGE_BASE + IMAGE_MAX,
            // The upper bound is the guest's memory size, which the loader checks.
            Access::Write => DATA_BASE..PRIVATE_BASE + casemate_abi::PRIVATE_MAX,
        };
        let end = header.p_vaddr.checked_add(header.p_memsz).ok_or("wraps round the address space")?;
        if header.p_vaddr < region.start || end > region.end {
            return Err("lies outside of the region for its rights");
        }
        if header.p_vaddr < previous_end {
            return Err("overlaps the segment before it");
        }
        if !header.p_vaddr.is_multiple_of(PAGE_SIZE) || !header.p_offset.is_multiple_of(PAGE_SIZE) {
            return Err("is not page aligned");
        }
        if header.p_filesz > header.p_memsz || (access != Access::Write && header.p_filesz != header.p_memsz)
        {
            return Err("has a file size that does not fit its memory size");
        }
        let file_end = header.p_offset.checked_add(header.p_filesz).ok_or("wraps round the file")?;
        let file = usize::try_from(header.p_offset).ok().zip(usize::try_from(file_end).ok());
        match file {
            Some((first, last)) if last <= file_len => {
                Ok(Self { start: header.p_vaddr, len: header.p_memsz, file: first..last, access })
            }
            _ => Err("lies outside of the file"),
        }
    }
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
