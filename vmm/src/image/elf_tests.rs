//! Each rule by a valid file with one thing wrong, and all of them at once before noise.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use casemate_abi::{PRIVATE_BASE, PRIVATE_MAX};
use casemate_attestation::eif::{Builder, HEADER_LEN};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::image::Image;

const READ: u32 = PF_R;
const TEXT: u32 = PF_R | PF_X;
const DATA: u32 = PF_R | PF_W;

/// A program header.
#[derive(Clone, Copy, Debug)]
struct Program {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
}

impl Program {
    const fn load(flags: u32, offset: u64, address: u64, in_file: u64, in_memory: u64) -> Self {
        Self { kind: PT_LOAD, flags, offset, address, in_file, in_memory }
    }
}

/// An ELF file under construction.
#[derive(Clone, Debug)]
struct Sketch {
    e_type: u16,
    machine: u16,
    entry: u64,
    programs: Vec<Program>,
    len: usize,
}

/// Text, read-only data and data with bss.
fn valid() -> Sketch {
    Sketch {
        e_type: ET_EXEC,
        machine: EM_X86_64,
        entry: IMAGE_BASE + 8,
        programs: vec![
            Program::load(TEXT, 0x1000, IMAGE_BASE, 0x1800, 0x1800),
            Program::load(READ, 0x3000, IMAGE_BASE + 0x2000, 0x1000, 0x1000),
            Program::load(DATA, 0x4000, DATA_BASE, 0x10, 0x5010),
        ],
        len: 0x4010,
    }
}

impl Sketch {
    fn build(&self) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([self.e_type, self.machine].map(u16::to_le_bytes).concat());
        file.extend(1_u32.to_le_bytes());
        file.extend([self.entry, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0_u32.to_le_bytes());
        file.extend([64, 56, self.programs.len() as u16, 64, 0, 0].map(u16::to_le_bytes).concat());
        for program in &self.programs {
            let Program { kind, flags, offset, address, in_file, in_memory } = *program;
            file.extend([kind, flags].map(u32::to_le_bytes).concat());
            let words = [offset, address, address, in_file, in_memory, PAGE_SIZE];
            file.extend(words.map(u64::to_le_bytes).concat());
        }
        file.resize(self.len.max(file.len()), 0xcc);
        file
    }

    fn parse(&self) -> Result<GuestElf, Error> {
        GuestElf::parse(&self.build())
    }
}

/// The rule that a valid file breaks after `change`, which is all that is wrong with it.
fn broken(change: impl FnOnce(&mut Vec<Program>)) -> &'static str {
    let mut sketch = valid();
    change(&mut sketch.programs);
    match sketch.parse() {
        Err(Error::Segment { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// What a [`GuestElf`] promises about the `file_len` bytes that it came from. Returns a promise that is broken.
fn promises(elf: &GuestElf, file_len: usize) -> Result<(), &'static str> {
    let holds = |promise: bool, what| if promise { Ok(()) } else { Err(what) };
    let image = IMAGE_BASE..=IMAGE_BASE + IMAGE_MAX;
    let private = DATA_BASE..=PRIVATE_BASE + PRIVATE_MAX;
    let mut previous_end = 0;
    for segment in &elf.segments {
        let end = segment.start.checked_add(segment.len).ok_or("no end")?;
        let region = if segment.access == Access::Write { &private } else { &image };
        holds(region.contains(&segment.start) && region.contains(&end), "outside of its region")?;
        holds(region.contains(&segment.page_end()), "its last page is outside of its region")?;
        holds(segment.start >= previous_end, "shares a page with the one before it")?;
        holds(segment.len > 0, "is empty")?;
        holds(
            segment.start.is_multiple_of(PAGE_SIZE) && (segment.file.start as u64).is_multiple_of(PAGE_SIZE),
            "not aligned",
        )?;
        holds(segment.file.start <= segment.file.end && segment.file.end <= file_len, "outside of the file")?;
        let zeros = segment.len.checked_sub(segment.file.len() as u64).ok_or("more file than memory")?;
        holds(zeros == 0 || segment.access == Access::Write, "zeros where nothing can be mapped")?;
        previous_end = segment.page_end();
    }
    let in_text = |segment: &&Segment| {
        segment.access == Access::Execute
            && elf.entry >= segment.start
            && elf.entry < segment.start + segment.len
    };
    holds(elf.segments.iter().find(in_text).is_some(), "the entry is not in text")?;
    holds(elf.segments.len() <= SEGMENTS_MAX, "too many")?;
    holds(
        elf.data_end.is_multiple_of(PAGE_SIZE) && elf.data_end >= previous_end.max(DATA_BASE),
        "the heap is in the data",
    )
}

#[test]
fn a_valid_file_is_taken_as_it_is() {
    let elf = valid().parse().unwrap();
    assert_eq!(promises(&elf, valid().len), Ok(()));
    assert_eq!((elf.entry, elf.data_end), (IMAGE_BASE + 8, DATA_BASE + 0x6000));
    let accesses = elf.segments.iter().map(|segment| segment.access);
    assert_eq!(accesses.collect::<Vec<_>>(), [Access::Execute, Access::Read, Access::Write]);
    assert_eq!(elf.segments[2].file, 0x4000..0x4010);
    // Empty segments and notes say nothing; a guest needs no data.
    let mut sketch = valid();
    sketch.programs[1].in_memory = 0;
    sketch.programs[2].kind = elf::abi::PT_NOTE;
    let elf = sketch.parse().unwrap();
    assert_eq!((elf.segments.len(), elf.data_end), (1, DATA_BASE));
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let good = valid().build();
    for (at, byte) in [(0, b'X'), (4, 1), (5, 2), (54, 55)] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        assert!(matches!(GuestElf::parse(&bytes), Err(Error::Malformed(_))), "byte {at}");
    }
    for len in [0, 3, 63, 64, 64 + 3 * 56 - 1] {
        assert!(matches!(GuestElf::parse(&good[..len]), Err(Error::Malformed(_))), "{len} bytes");
    }
    let (mut shared_object, mut arm) = (valid(), valid());
    shared_object.e_type = elf::abi::ET_DYN;
    arm.machine = elf::abi::EM_AARCH64;
    assert!(matches!(shared_object.parse(), Err(Error::WrongKind { e_type: 3, e_machine: 62 })));
    assert!(matches!(arm.parse(), Err(Error::WrongKind { e_type: 2, e_machine: 183 })));
    for kind in [PT_INTERP, PT_DYNAMIC] {
        let mut sketch = valid();
        sketch.programs[1].kind = kind;
        assert!(matches!(sketch.parse(), Err(Error::Dynamic)));
    }
}

#[test]
fn an_entry_outside_of_text_is_refused() {
    for entry in [0, IMAGE_BASE - 1, IMAGE_BASE + 0x1800, IMAGE_BASE + 0x2000, DATA_BASE, u64::MAX] {
        let sketch = Sketch { entry, ..valid() };
        assert!(matches!(sketch.parse(), Err(Error::Entry(refused)) if refused == entry), "{entry:#x}");
    }
    let sketch = Sketch { programs: Vec::new(), ..valid() };
    assert!(matches!(sketch.parse(), Err(Error::Entry(_))));
}

#[test]
fn no_segment_is_writable_and_executable_or_anything_else_unforeseen() {
    for flags in [0, PF_W, PF_X, PF_W | PF_X, PF_R | PF_W | PF_X] {
        let why = broken(|programs| programs[0].flags = flags);
        assert_eq!(why, "must be read-execute, read-only or read-write", "{flags}");
    }
}

#[test]
fn segments_stay_in_the_region_for_their_rights() {
    let outside = "lies outside of the region for its rights";
    assert_eq!(broken(|programs| programs[0].address = IMAGE_BASE - PAGE_SIZE), outside);
    assert_eq!(broken(|programs| programs[1].address = IMAGE_BASE + IMAGE_MAX), outside);
    assert_eq!(broken(|programs| programs[1].address = DATA_BASE), outside);
    assert_eq!(broken(|programs| programs[2].address = IMAGE_BASE + 0x10_0000), outside);
    assert_eq!(broken(|programs| programs[2].address = DATA_BASE - PAGE_SIZE), outside);
    assert_eq!(broken(|programs| programs[2].in_memory = PRIVATE_MAX), outside);
    assert_eq!(broken(|programs| programs[2].in_memory = u64::MAX - DATA_BASE), outside);
    assert_eq!(broken(|programs| programs[2].in_memory = u64::MAX), "wraps round the address space");
}

#[test]
fn segments_do_not_share_a_page() {
    let overlaps = "overlaps the segment before it";
    assert_eq!(broken(|programs| programs[1].address = IMAGE_BASE + 0x1000), overlaps);
    assert_eq!(broken(|programs| programs[1].address = IMAGE_BASE + 0x1800), overlaps);
    assert_eq!(broken(|programs| programs.swap(0, 1)), overlaps);
    assert_eq!(broken(|programs| programs[1] = programs[0]), overlaps);
}

#[test]
fn segments_begin_at_pages_and_lie_in_the_file() {
    let unaligned = "is not page aligned";
    assert_eq!(broken(|programs| programs[1].address += 8), unaligned);
    assert_eq!(broken(|programs| programs[1].offset += 8), unaligned);
    let size = "has a file size that does not fit its memory size";
    assert_eq!(broken(|programs| programs[0].in_memory += 1), size);
    assert_eq!(broken(|programs| programs[1].in_file -= 1), size);
    assert_eq!(broken(|programs| programs[2].in_file = 0x5011), size);
    let outside = "lies outside of the file";
    assert_eq!(broken(|programs| programs[2].in_file = 0x11), outside);
    assert_eq!(broken(|programs| programs[2].offset = 0x5000), outside);
    assert_eq!(broken(|programs| programs[2].offset = !(PAGE_SIZE - 1)), outside);
    let wraps = |programs: &mut Vec<Program>| {
        (programs[2].offset, programs[2].in_file) = (!(PAGE_SIZE - 1), 0x5000);
    };
    assert_eq!(broken(wraps), "wraps round the file");
}

#[test]
fn there_are_at_most_eight_segments() {
    let many = |count: u64| {
        let mut sketch = valid();
        let more = (0..count).map(|n| Program::load(READ, 0x1000, IMAGE_BASE + (n + 4) * PAGE_SIZE, 8, 8));
        sketch.programs.splice(2..2, more);
        sketch.parse()
    };
    assert_eq!(many(5).unwrap().segments.len(), SEGMENTS_MAX);
    assert!(matches!(many(6), Err(Error::Segment { index: 8, why: "too many segments", .. })));
}

/// Values at which rules change their mind, and a few in between.
fn word() -> impl Strategy<Value = u64> {
    let edges = vec![
        0,
        1,
        8,
        0x800,
        PAGE_SIZE,
        0x1800,
        0x2000,
        0x3000,
        0x4000,
        0x4010,
        IMAGE_BASE,
        IMAGE_BASE + PAGE_SIZE,
        IMAGE_BASE + 0x2000,
        IMAGE_BASE + IMAGE_MAX - PAGE_SIZE,
        IMAGE_BASE + IMAGE_MAX,
        IMAGE_MAX,
        DATA_BASE,
        DATA_BASE + PAGE_SIZE,
        PRIVATE_BASE,
        PRIVATE_BASE + PRIVATE_MAX - PAGE_SIZE,
        PRIVATE_BASE + PRIVATE_MAX,
        PRIVATE_MAX,
        u64::MAX,
        !(PAGE_SIZE - 1),
        1 << 63,
    ];
    prop_oneof![8 => select(edges), 1 => any::<u64>()]
}

/// A valid file with some numbers in its program headers replaced.
fn distorted() -> impl Strategy<Value = Sketch> {
    let change = (any::<Index>(), 0..6_u8, word(), select(vec![READ, TEXT, DATA, 7, 0, 6]));
    let entry = prop_oneof![3 => Just(IMAGE_BASE + 8), 1 => word()];
    (prop::collection::vec(change, 0..4), entry, prop::option::of(0..0x5000_usize)).prop_map(
        |(changes, entry, len)| {
            let mut sketch = Sketch { entry, len: len.unwrap_or(valid().len), ..valid() };
            for (index, field, value, flags) in changes {
                let programs = &mut sketch.programs;
                let program = index.get_mut(programs);
                match field {
                    0 => program.flags = flags,
                    1 => program.offset = value,
                    2 => program.address = value,
                    3 => program.in_file = value,
                    4 => program.in_memory = value,
                    _ => programs.push(Program::load(flags, 0x1000, value, 8, 8)),
                }
            }
            sketch
        },
    )
}

/// `original` with some bytes set, most of them among its first `hot`.
fn spoiled(original: &[u8], hot: usize, changes: &[(Index, bool, u8)]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for (index, anywhere, byte) in changes {
        let range = if *anywhere { bytes.len() } else { hot.min(bytes.len()) };
        bytes[index.index(range)] = *byte;
    }
    bytes
}

fn spoiling() -> impl Strategy<Value = Vec<(Index, bool, u8)>> {
    prop::collection::vec((any::<Index>(), prop::bool::weighted(0.1), any::<u8>()), 1..5)
}

/// An image whose kernel is `elf`, with `change` done to it and the check sum corrected.
fn image(elf: &[u8], cmdline: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut image = change(Builder::guest(elf, cmdline).build().unwrap());
    if image.len() > HEADER_LEN {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&image[..HEADER_LEN - 4]);
        sum.update(&image[HEADER_LEN..]);
        image[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&sum.finalize().to_be_bytes());
    }
    image
}

/// What an [`Image`] promises: its executable's promises, and bytes for all that is to be mapped or copied.
fn image_promises(image: Image) -> Result<(), String> {
    let elf = image.elf().clone();
    promises(&elf, usize::MAX)?;
    let data = |segment: &&Segment| segment.access == Access::Write;
    for ((start, bytes), segment) in image.data().zip(elf.segments.iter().filter(data)) {
        if start != segment.start || bytes.len() != segment.file.len() {
            return Err(format!("{segment:?} has {} bytes", bytes.len()));
        }
    }
    if image.cmdline().len() as u64 > casemate_abi::CMDLINE_MAX {
        return Err("the command line is too long".to_owned());
    }
    let _ = image.metadata();
    let offsets: Vec<_> = elf.segments.iter().map(|segment| image.offset_in_file(segment)).collect();
    let file = image.file();
    for (segment, offset) in elf.segments.iter().zip(offsets) {
        let end = offset as usize + segment.file.len();
        if !offset.is_multiple_of(PAGE_SIZE) || end > file.bytes().len() {
            return Err(format!("{segment:?} is mapped from {offset:#x}"));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn accepted_numbers_keep_the_promises(sketch in distorted()) {
        let file = sketch.build();
        if let Ok(elf) = GuestElf::parse(&file) {
            prop_assert_eq!(promises(&elf, file.len()), Ok(()));
        }
    }

    #[test]
    fn accepted_bytes_keep_the_promises(changes in spoiling(), cut in prop::option::of(any::<Index>())) {
        let mut file = spoiled(&valid().build(), 64 + 3 * 56, &changes);
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len())));
        if let Ok(elf) = GuestElf::parse(&file) {
            prop_assert_eq!(promises(&elf, file.len()), Ok(()));
        }
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
        let start: &[u8] = if magic { b"\x7fELF\x02\x01\x01\0" } else { b"" };
        prop_assert!(GuestElf::parse(&[start, &noise].concat()).is_err());
    }

    /// The whole way from an image file's bytes, check sum corrected.
    #[test]
    fn accepted_images_keep_the_promises(sketch in distorted(), changes in prop::option::of(spoiling())) {
        let spoil = |image: Vec<u8>| match &changes {
            Some(changes) => spoiled(&image, HEADER_LEN + 12, changes),
            None => image,
        };
        if let Ok(image) = Image::from_bytes(&image(&sketch.build(), "a=b", spoil)) {
            prop_assert_eq!(image_promises(image), Ok(()));
        }
    }
}

/// The properties above say nothing if nothing is accepted, or everything.
#[test]
fn the_distorted_files_are_neither_all_good_nor_all_bad() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted =
        (0..1000).filter(|_| distorted().new_tree(&mut runner).unwrap().current().parse().is_ok()).count();
    assert!((100..900).contains(&accepted), "{accepted} of 1000 are accepted");
}
