//! From an image file to sealed, checked, measured bytes.
//!
//! The file is copied once, into a memfd that is then sealed against writing; everything else, the checks, the
//! digests and the guest's own view of its code, is taken from the sealed copy. Whoever changes the file meanwhile
//! changes nothing.
//!
//! An [`Image`] is sealed, and its headers are right: it can be mapped. A [`Measurement`] proves more: that all of its
//! bytes were read, and what came out. Because the copy cannot change, one thread may map it while another measures it.

mod elf;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_abi::{CMDLINE_MAX, IMAGE_MAX, PAGE_SIZE};

pub use elf::{Error as ElfError, GuestElf, Segment};

use casemate_attestation::eif::{Eif, Metadata};
use casemate_attestation::pcr::ImageMeasurements;
use casemate_attestation::recall;

use crate::memory::{self, SealedFile, UnsealedFile};
use crate::page_tables::Access;

/// Where the kernel section's content begins in an EIF: after the header (548 bytes) and its section header (12).
const KERNEL_OFFSET: u64 = 560;
/// The file is copied to here, so that the kernel section, an ELF file with page-aligned segments, begins at a page
/// and its text can be mapped from where it lies.
const FILE_OFFSET: u64 = PAGE_SIZE - KERNEL_OFFSET;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the image {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Too large for the memory map.
    #[error("the image has {0} bytes; at most {IMAGE_MAX} are possible")]
    TooLarge(u64),
    /// Not an Enclave Image File.
    #[error("not a usable EIF image: {0}")]
    Eif(#[from] casemate_attestation::eif::EifError),
    /// It cannot be measured.
    #[error(transparent)]
    Measure(#[from] recall::Error),
    /// The kernel section is not where Casemate can map it.
    #[error("the kernel section does not come first in the image: rebuild it with `casemate build`")]
    KernelNotFirst,
    /// The command line is too long or no text.
    #[error("the command line has {0} bytes; at most {CMDLINE_MAX} are possible")]
    CommandLine(usize),
    /// The kernel section cannot run sealed.
    #[error("this image cannot run as a sealed guest: {0}")]
    Elf(#[from] ElfError),
    /// The sealed copy could not be made.
    #[error(transparent)]
    Memory(#[from] memory::Error),
}

/// A sealed image whose headers are right.
#[derive(Debug)]
pub struct Image {
    file: SealedFile,
    eif: Range<usize>,
    kernel: Range<usize>,
    cmdline: Range<usize>,
    elf: GuestElf,
    metadata: Option<Metadata>,
}

/// An image, and what it measures. Only [`Image::measure`] makes one, so the two belong together.
#[derive(Debug)]
pub struct Measurement {
    image: Arc<Image>,
    registers: ImageMeasurements,
}

impl Measurement {
    /// PCR0–2 and PCR8.
    pub fn registers(&self) -> &ImageMeasurements {
        &self.registers
    }

    /// Whether this is the measurement of `image`: the very same sealed bytes.
    pub fn is_of(&self, image: &Arc<Image>) -> bool {
        Arc::ptr_eq(&self.image, image)
    }
}

impl Image {
    /// Copies the file at `path`, seals the copy and checks its headers.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.into(), source };
        let source = File::open(path).map_err(read)?;
        let len = source.metadata().map_err(read)?.len();
        Self::sealed(len, |copy| copy.copy_from(&source, FILE_OFFSET, len).map(drop))
    }

    /// An image of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::sealed(bytes.len() as u64, |copy| copy.write(FILE_OFFSET, bytes))
    }

    fn sealed(
        len: u64,
        fill: impl FnOnce(&UnsealedFile) -> Result<(), memory::Error>,
    ) -> Result<Self, Error> {
        if len > IMAGE_MAX - PAGE_SIZE {
            return Err(Error::TooLarge(len));
        }
        let copy = UnsealedFile::new("casemate-image", FILE_OFFSET + len)?;
        fill(&copy)?;
        Self::check(copy.seal()?, FILE_OFFSET as usize..(FILE_OFFSET + len) as usize)
    }

    fn check(file: SealedFile, eif: Range<usize>) -> Result<Self, Error> {
        let bytes = file.bytes();
        let parsed = Eif::structure(bytes.get(eif.clone()).unwrap_or_default())?;
        let place = |section: &[u8]| {
            let start = (section.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
            start..start.wrapping_add(section.len())
        };
        let kernel = place(parsed.kernel);
        if !(kernel.start as u64).is_multiple_of(PAGE_SIZE) {
            return Err(Error::KernelNotFirst);
        }
        let cmdline = place(parsed.cmdline.as_bytes());
        if cmdline.len() as u64 > CMDLINE_MAX {
            return Err(Error::CommandLine(cmdline.len()));
        }
        let elf = GuestElf::parse(parsed.kernel)?;
        let metadata = parsed.metadata.and_then(|section| Metadata::parse(section).ok());
        Ok(Self { file, eif, kernel, cmdline, elf, metadata })
    }

    /// The guest executable.
    pub fn elf(&self) -> &GuestElf {
        &self.elf
    }

    /// The measured command line.
    pub fn cmdline(&self) -> &[u8] {
        self.file.bytes().get(self.cmdline.clone()).unwrap_or_default()
    }

    /// Name, version and build, if the image says. Not measured, so not to be believed.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Guest address and initial bytes of each data segment.
    pub fn data(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let kernel = self.file.bytes().get(self.kernel.clone()).unwrap_or_default();
        let data = self.elf.segments.iter().filter(|segment| segment.access == Access::Write);
        data.map(move |segment| (segment.start, kernel.get(segment.file.clone()).unwrap_or_default()))
    }

    /// Where the bytes of `segment` begin in the sealed file.
    pub fn offset_in_file(&self, segment: &Segment) -> u64 {
        (self.kernel.start + segment.file.start) as u64
    }

    /// The sealed file.
    pub fn file(&self) -> &SealedFile {
        &self.file
    }

    /// Has all of the image's bytes checked and measured by `measure`: [`recall::measure_anew`], or
    /// [`recall::measure`], which remembers.
    pub fn measure(
        self: &Arc<Self>,
        measure: impl FnOnce(&Eif<'_>) -> Result<ImageMeasurements, recall::Error>,
    ) -> Result<Measurement, Error> {
        let eif = Eif::structure(self.file.bytes().get(self.eif.clone()).unwrap_or_default())?;
        Ok(Measurement { image: Arc::clone(self), registers: measure(&eif)? })
    }
}
