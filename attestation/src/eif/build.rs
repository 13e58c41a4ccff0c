//! Writes images. The same input gives the same bytes: there is no clock, no path and no randomness in here.

use serde::{Deserialize, Serialize};

use super::{
    CRC_AT, Eif, FLAG_ARM64, HEADER_LEN, MAGIC, OFFSETS_AT, SECTION_HEADER_LEN, SECTIONS_MAX, SIZES_AT,
    SectionType, VERSION, checksum,
};

/// Why an image could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More ramdisks than there are sections.
    #[error("an image has at most {SECTIONS_MAX} sections; {0} are too many")]
    TooManySections(usize),
    /// No ramdisk.
    #[error("an image needs a ramdisk; it may be empty")]
    NoRamdisk,
}

/// What goes into an image.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
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
    /// JSON metadata, usually a [`Metadata`].
    pub metadata: Option<&'a [u8]>,
    /// One or more ramdisks.
    pub ramdisks: Vec<&'a [u8]>,
    /// A signature section.
    pub signature: Option<&'a [u8]>,
}

impl<'a> Builder<'a> {
    /// An image of a guest: its ELF, its command line, an empty ramdisk.
    pub fn guest(elf: &'a [u8], cmdline: &'a str) -> Self {
        Self {
            arm64: false,
            default_memory: 0,
            default_cpus: 1,
            kernel: elf,
            cmdline,
            metadata: None,
            ramdisks: vec![&[]],
            signature: None,
        }
    }

    /// The same image again.
    pub fn from_image(image: &Eif<'a>) -> Self {
        Self {
            arm64: image.arm64,
            default_memory: image.default_memory,
            default_cpus: image.default_cpus,
            kernel: image.kernel,
            cmdline: image.cmdline,
            metadata: image.metadata,
            ramdisks: image.ramdisks.clone(),
            signature: image.signature,
        }
    }

    /// The bytes of the image.
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        if self.ramdisks.is_empty() {
            return Err(BuildError::NoRamdisk);
        }
        let sections = self.sections();
        if sections.len() > SECTIONS_MAX {
            return Err(BuildError::TooManySections(sections.len()));
        }
        let data: usize = sections.iter().map(|(_, data)| SECTION_HEADER_LEN + data.len()).sum();
        let mut image = Vec::with_capacity(HEADER_LEN + data);
        image.extend(self.header(&sections));
        for (kind, data) in &sections {
            image.extend((*kind as u16).to_be_bytes());
            image.extend([0; 2]);
            image.extend((data.len() as u64).to_be_bytes());
            image.extend(*data);
        }
        let crc = checksum(&image);
        put(&mut image, CRC_AT, &crc.to_be_bytes());
        Ok(image)
    }

    fn sections(&self) -> Vec<(SectionType, &'a [u8])> {
        let mut sections =
            vec![(SectionType::Kernel, self.kernel), (SectionType::Cmdline, self.cmdline.as_bytes())];
        sections.extend(self.metadata.map(|data| (SectionType::Metadata, data)));
        sections.extend(self.ramdisks.iter().map(|data| (SectionType::Ramdisk, *data)));
        sections.extend(self.signature.map(|data| (SectionType::Signature, data)));
        sections
    }

    /// The header, with a CRC of zero. There are at most [`SECTIONS_MAX`] sections.
    fn header(&self, sections: &[(SectionType, &[u8])]) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        put(&mut header, 0, &MAGIC);
        put(&mut header, 4, &VERSION.to_be_bytes());
        put(&mut header, 6, &(if self.arm64 { FLAG_ARM64 } else { 0 }).to_be_bytes());
        put(&mut header, 8, &self.default_memory.to_be_bytes());
        put(&mut header, 16, &self.default_cpus.to_be_bytes());
        put(&mut header, 26, &(sections.len() as u16).to_be_bytes());
        let mut offset = HEADER_LEN;
        for (index, (_, data)) in sections.iter().enumerate() {
            put(&mut header, OFFSETS_AT + 8 * index, &(offset as u64).to_be_bytes());
            put(&mut header, SIZES_AT + 8 * index, &(data.len() as u64).to_be_bytes());
            offset += SECTION_HEADER_LEN + data.len();
        }
        header
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The metadata section as `nitro-cli` writes and expects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    /// Name of the image.
    pub image_name: String,
    /// Version of the image.
    pub image_version: String,
    /// How it was built.
    pub build_metadata: BuildInfo,
    /// Where it came from; null here.
    pub docker_info: serde_json::Value,
    /// What the user adds.
    pub custom_metadata: serde_json::Value,
}

/// How an image was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BuildInfo {
    /// When. Not measured, but leave it constant where builds must be equal.
    pub build_time: String,
    /// With what.
    pub build_tool: String,
    /// With which version of it.
    pub build_tool_version: String,
    /// For which operating system.
    pub operating_system: String,
    /// For which kernel.
    pub kernel_version: String,
}

impl Metadata {
    /// The section's bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and JSON values always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the section.
    pub fn parse(section: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(section)
    }
}
