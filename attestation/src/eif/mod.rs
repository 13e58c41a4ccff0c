//! Enclave Image Format, version 4: [parse](Eif::parse), [build](Builder), [measure](Eif::measure), [sign](sign).
//!
//! All numbers are big-endian.
//!
//! | offset | size | header field | here |
//! | --- | --- | --- | --- |
//! | 0 | 4 | magic | `.eif` |
//! | 4 | 2 | version | 4 |
//! | 6 | 2 | flags | bit 0: arm64; the others are zero |
//! | 8 | 8 | default memory | any |
//! | 16 | 8 | default CPUs | any |
//! | 24 | 2 | reserved | zero |
//! | 26 | 2 | number of sections | 3 to 32 |
//! | 28 | 256 | offsets of the sections | each directly after the one before; unused ones zero |
//! | 284 | 256 | sizes of the sections | as in the section header; unused ones zero |
//! | 540 | 4 | unused | zero |
//! | 544 | 4 | CRC-32 (ISO-HDLC) of everything else | checked |
//!
//! A section is a 12-byte header (u16 type, u16 flags, u64 size) and its data. Their order is kernel, command line,
//! metadata (optional), one or more ramdisks, signature (optional). In Casemate images the kernel is the guest's
//! static ELF and the only ramdisk is empty.

mod build;
mod parse;
mod signature;

pub use build::{BuildError, BuildInfo, Builder, Metadata};
pub use parse::{Eif, EifError};
pub use signature::{SignatureError, sign};

/// First bytes of an image.
pub const MAGIC: [u8; 4] = *b".eif";
/// The version that is read and written.
pub const VERSION: u16 = 4;
/// Header flag: the image is for arm64.
pub const FLAG_ARM64: u16 = 1;
/// Bytes in the header.
pub const HEADER_LEN: usize = 548;
/// Bytes in a section header.
pub const SECTION_HEADER_LEN: usize = 12;
/// Most sections in an image.
pub const SECTIONS_MAX: usize = 32;

const OFFSETS_AT: usize = 28;
const SIZES_AT: usize = OFFSETS_AT + 8 * SECTIONS_MAX;
const CRC_AT: usize = HEADER_LEN - 4;

/// The type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum SectionType {
    /// The kernel; here the guest's ELF.
    Kernel = 1,
    /// The command line.
    Cmdline = 2,
    /// A ramdisk.
    Ramdisk = 3,
    /// CBOR: who signed PCR0.
    Signature = 4,
    /// JSON: name, version, how it was built.
    Metadata = 5,
}

impl SectionType {
    const fn decode(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::Kernel,
            2 => Self::Cmdline,
            3 => Self::Ramdisk,
            4 => Self::Signature,
            5 => Self::Metadata,
            _ => return None,
        })
    }
}

/// The CRC that belongs into the header of `image`, which has at least a header.
fn checksum(image: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(image.get(..CRC_AT).unwrap_or_default());
    crc.update(image.get(HEADER_LEN..).unwrap_or_default());
    crc.finalize()
}
