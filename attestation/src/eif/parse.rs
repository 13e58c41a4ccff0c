//! Reads an image without copying it. An [`Eif`] exists only if every check passed; nothing else makes one.

use aws_lc_rs::digest::{Context, SHA384};

use super::signature::{self, SignatureError};
use super::{
    CRC_AT, FLAG_ARM64, HEADER_LEN, MAGIC, OFFSETS_AT, SECTION_HEADER_LEN, SECTIONS_MAX, SIZES_AT,
    SectionType, VERSION, checksum,
};
use crate::pcr::{ImageMeasurements, Pcr};

/// Why a file is not an image, or not one we run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EifError {
    /// The file ends too early.
    #[error("the file ends at byte {length}, within {what}")]
    Truncated {
        /// What should be there.
        what: &'static str,
        /// The file's length.
        length: usize,
    },
    /// Another file format.
    #[error("the file does not begin with `.eif`: it is no enclave image")]
    Magic,
    /// Another version.
    #[error("the image has format version {0}; only {VERSION} is supported: build it again")]
    Version(u16),
    /// A header field that must be zero is not.
    #[error("header field `{0}` holds a value that version {VERSION} does not define")]
    Reserved(&'static str),
    /// A wrong number of sections.
    #[error("the image has {0} sections; 3 to {SECTIONS_MAX} are possible")]
    SectionCount(u16),
    /// A section that is not where or what it should be.
    #[error("section {index}: {fault}")]
    Section {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        fault: &'static str,
    },
    /// There is something after the last section.
    #[error("{0} bytes follow the last section")]
    Trailing(usize),
    /// The file was damaged.
    #[error("the CRC is {found:08x} but should be {stored:08x}: the file is damaged")]
    Crc {
        /// In the header.
        stored: u32,
        /// Over the file.
        found: u32,
    },
}

/// An image whose structure is right, and its CRC too if [`Eif::parse`] made it. It borrows the file.
#[derive(Clone, Debug)]
pub struct Eif<'a> {
    /// Header flag: for arm64.
    pub arm64: bool,
    /// Header field: memory to give by default.
    pub default_memory: u64,
    /// Header field: CPUs to give by default.
    pub default_cpus: u64,
    /// The kernel; here the guest's ELF.
    pub kernel: &'a [u8],
    /// The command line.
    pub cmdline: &'a str,
    /// JSON metadata; nobody has parsed it.
    pub metadata: Option<&'a [u8]>,
    /// One or more ramdisks.
    pub ramdisks: Vec<&'a [u8]>,
    /// The signature section; nobody has checked it.
    pub signature: Option<&'a [u8]>,
    /// All of the file.
    file: &'a [u8],
}

impl<'a> Eif<'a> {
    /// Reads an image, all of `file`.
    pub fn parse(file: &'a [u8]) -> Result<Self, EifError> {
        let image = Self::structure(file)?;
        image.check_crc()?;
        Ok(image)
    }

    /// Compares the CRC in the header with that of the bytes, all of them.
    pub fn check_crc(&self) -> Result<(), EifError> {
        let (stored, found) = (self.crc(), checksum(self.file));
        if stored == found { Ok(()) } else { Err(EifError::Crc { stored, found }) }
    }

    /// Reads headers only: for whoever has the bytes checked in another way, or elsewhere at the same time.
    pub fn structure(file: &'a [u8]) -> Result<Self, EifError> {
        let header: &[u8; HEADER_LEN] =
            file.first_chunk().ok_or(EifError::Truncated { what: "the header", length: file.len() })?;
        let (flags, count) = check_header(header)?;
        let mut image = Self {
            arm64: flags & FLAG_ARM64 != 0,
            default_memory: u64::from_be_bytes(field(header, 8)),
            default_cpus: u64::from_be_bytes(field(header, 16)),
            kernel: &[],
            cmdline: "",
            metadata: None,
            ramdisks: Vec::new(),
            signature: None,
            file,
        };
        image.read_sections(file, header, count)?;
        Ok(image)
    }

    fn read_sections(
        &mut self,
        file: &'a [u8],
        header: &[u8; HEADER_LEN],
        count: usize,
    ) -> Result<(), EifError> {
        let mut rest = file.get(HEADER_LEN..).unwrap_or_default();
        let mut before = None;
        for index in 0..SECTIONS_MAX {
            let fault = |fault| EifError::Section { index, fault };
            let offset = u64::from_be_bytes(field(header, OFFSETS_AT + 8 * index));
            let size = u64::from_be_bytes(field(header, SIZES_AT + 8 * index));
            if index >= count {
                if offset != 0 || size != 0 {
                    return Err(fault("is not counted, but has an offset or a size"));
                }
                continue;
            }
            if usize::try_from(offset) != Ok(file.len() - rest.len()) {
                return Err(fault("does not begin where the one before it ends"));
            }
            let (kind, data, after) = split_section(rest, size, file.len()).map_err(|error| match error {
                Ok(truncated) => truncated,
                Err(text) => fault(text),
            })?;
            rest = after;
            self.place(kind, data, before).map_err(fault)?;
            before = Some(kind);
        }
        if self.ramdisks.is_empty() {
            return Err(EifError::Section { index: count, fault: "there is no ramdisk" });
        }
        if !rest.is_empty() {
            return Err(EifError::Trailing(rest.len()));
        }
        Ok(())
    }

    /// Takes a section in, if it may follow `before`.
    fn place(
        &mut self,
        kind: SectionType,
        data: &'a [u8],
        before: Option<SectionType>,
    ) -> Result<(), &'static str> {
        use SectionType::{Cmdline, Kernel, Metadata, Ramdisk, Signature};
        match (before, kind) {
            (None, Kernel) => self.kernel = data,
            (Some(Kernel), Cmdline) => {
                self.cmdline = std::str::from_utf8(data).map_err(|_| "the command line is not UTF-8")?;
            }
            (Some(Cmdline), Metadata) => self.metadata = Some(data),
            (Some(Cmdline | Metadata | Ramdisk), Ramdisk) => self.ramdisks.push(data),
            (Some(Ramdisk), Signature) => self.signature = Some(data),
            _ => return Err("is out of order: kernel, command line, metadata, ramdisks, signature"),
        }
        Ok(())
    }

    /// The bytes that this was read from.
    pub fn file(&self) -> &'a [u8] {
        self.file
    }

    /// The CRC in its header.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.file, CRC_AT))
    }

    /// The measurements, PCR8 included if the image is signed; a signature that is wrong is an error.
    ///
    /// One pass: PCR1's message is the beginning of PCR0's, so the state is copied there.
    pub fn measure(&self) -> Result<ImageMeasurements, SignatureError> {
        let mut measurements = self.measure_unsigned();
        if let Some(section) = self.signature {
            measurements.pcr8 = Some(signature::check(section, &measurements.pcr0)?);
        }
        Ok(measurements)
    }

    /// PCR0, PCR1 and PCR2, whatever the signature.
    pub(super) fn measure_unsigned(&self) -> ImageMeasurements {
        let mut image = Context::new(&SHA384);
        image.update(self.kernel);
        image.update(self.cmdline.as_bytes());
        let mut ramdisks = self.ramdisks.iter();
        if let Some(first) = ramdisks.next() {
            image.update(first);
        }
        let bootstrap = image.clone();
        let mut application = Context::new(&SHA384);
        for ramdisk in ramdisks {
            image.update(ramdisk);
            application.update(ramdisk);
        }
        let register = |context: Context| Pcr::ZERO.extended(context.finish().as_ref());
        ImageMeasurements {
            pcr0: register(image),
            pcr1: register(bootstrap),
            pcr2: register(application),
            pcr8: None,
        }
    }
}

/// Checks the fixed fields; returns flags and number of sections.
fn check_header(header: &[u8; HEADER_LEN]) -> Result<(u16, usize), EifError> {
    if field(header, 0) != MAGIC {
        return Err(EifError::Magic);
    }
    let version = u16::from_be_bytes(field(header, 4));
    if version != VERSION {
        return Err(EifError::Version(version));
    }
    let flags = u16::from_be_bytes(field(header, 6));
    if flags & !FLAG_ARM64 != 0 {
        return Err(EifError::Reserved("flags"));
    }
    if field(header, 24) != [0; 2] {
        return Err(EifError::Reserved("reserved"));
    }
    if field(header, CRC_AT - 4) != [0; 4] {
        return Err(EifError::Reserved("unused"));
    }
    let count = u16::from_be_bytes(field(header, 26));
    if !(3..=SECTIONS_MAX as u16).contains(&count) {
        return Err(EifError::SectionCount(count));
    }
    Ok((flags, usize::from(count)))
}

type Section<'a> = (SectionType, &'a [u8], &'a [u8]);

/// The type and data of the section that `rest` begins with, and what follows it.
fn split_section(
    rest: &[u8],
    size: u64,
    length: usize,
) -> Result<Section<'_>, Result<EifError, &'static str>> {
    let truncated = |what| Ok(EifError::Truncated { what, length });
    let (header, rest) =
        rest.split_first_chunk::<SECTION_HEADER_LEN>().ok_or(truncated("a section header"))?;
    let kind = SectionType::decode(u16::from_be_bytes(field(header, 0))).ok_or(Err("has an unknown type"))?;
    if field(header, 2) != [0; 2] {
        return Err(Err("has flags that this version does not define"));
    }
    if u64::from_be_bytes(field(header, 4)) != size {
        return Err(Err("has another size in its own header than in the image's"));
    }
    let size = usize::try_from(size).map_err(|_| truncated("a section"))?;
    let (data, rest) = rest.split_at_checked(size).ok_or(truncated("a section"))?;
    Ok((kind, data, rest))
}

/// The `N` bytes at `at`, which every caller takes from within the header.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
