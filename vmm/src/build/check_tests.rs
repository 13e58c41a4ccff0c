//! Tests of the guest check, on ELF files made by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;

const EHDR: usize = 64;
const PHDR: usize = 56;

/// A segment for [`elf`]: type, flags, address, size.
type Segment = (u32, u32, u64, u64);

const GOOD: [Segment; 3] = [
    (PT_LOAD, PF_R | PF_X, IMAGE_BASE, 0x100),
    (PT_LOAD, PF_R, IMAGE_BASE + 0x1000, 0x100),
    (PT_LOAD, PF_R | PF_W, DATA_BASE, 0x100),
];

fn elf(e_type: u16, machine: u16, entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    file.extend([0; 8]);
    file.extend(e_type.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(entry.to_le_bytes());
    file.extend((EHDR as u64).to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [EHDR as u16, PHDR as u16, segments.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let data = EHDR + PHDR * segments.len();
    for (kind, flags, address, size) in segments {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [data as u64, *address, *address, 0x100, *size, 0x1000] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(data + 0x100, 0xc3);
    file
}

fn good(segments: &[Segment]) -> Result<Checked, CheckError> {
    check(&elf(ET_EXEC, EM_X86_64, IMAGE_BASE, segments))
}

#[test]
fn a_guest_passes() {
    good(&GOOD).unwrap();
}

#[test]
fn other_kinds_of_file_do_not() {
    assert!(matches!(check(b"#!/bin/sh\n"), Err(CheckError::Parse(_))));
    assert!(matches!(
        check(&elf(ET_EXEC, 183, IMAGE_BASE, &GOOD)),
        Err(CheckError::Kind { e_machine: 183, .. })
    ));
    assert!(matches!(check(&elf(3, EM_X86_64, IMAGE_BASE, &GOOD)), Err(CheckError::Kind { e_type: 3, .. })));
    let own = std::fs::read("/proc/self/exe").unwrap();
    assert!(matches!(check(&own), Err(CheckError::Dynamic(_))), "this test is dynamically linked");
}

#[test]
fn writable_code_does_not() {
    let segments = [GOOD[0], (PT_LOAD, PF_R | PF_W | PF_X, DATA_BASE, 0x100)];
    assert!(matches!(good(&segments), Err(CheckError::Permissions { address: DATA_BASE, .. })));
    let segments = [(PT_LOAD, PF_X, IMAGE_BASE, 0x100)];
    assert!(matches!(good(&segments), Err(CheckError::Permissions { .. })));
}

#[test]
fn segments_outside_the_map_do_not() {
    for (flags, address, size) in [
        (PF_R | PF_X, 0x1000, 0x100),
        (PF_R | PF_X, IMAGE_BASE, IMAGE_MAX + 1),
        (PF_R, DATA_BASE, 0x100),
        (PF_R | PF_W, IMAGE_BASE + 0x1000, 0x100),
        (PF_R | PF_W, DATA_BASE - 0x1000, 0x100),
        (PF_R | PF_W, DATA_BASE, u64::MAX),
    ] {
        let result = good(&[GOOD[0], (PT_LOAD, flags, address, size)]);
        assert!(matches!(result, Err(CheckError::Misplaced { .. })), "{address:#x} {result:?}");
    }
    let result = good(&[GOOD[0], (PT_LOAD, PF_R, IMAGE_BASE + 0x1008, 0x100)]);
    assert!(matches!(result, Err(CheckError::Unaligned(_))));
}

#[test]
fn an_entry_outside_text_does_not() {
    let result = check(&elf(ET_EXEC, EM_X86_64, IMAGE_BASE + 0x1000, &GOOD));
    assert!(matches!(result, Err(CheckError::Entry(_))));
}

#[test]
fn a_dynamic_loader_does_not() {
    let segments = [GOOD[0], (PT_INTERP, PF_R, IMAGE_BASE + 0x1000, 0x10)];
    assert!(matches!(good(&segments), Err(CheckError::Dynamic(_))));
}

#[test]
fn stripping_keeps_what_is_loaded() {
    let mut file = elf(ET_EXEC, EM_X86_64, IMAGE_BASE, &GOOD);
    let loaded = file.len();
    file.extend(b"symbols and such");
    let stripped = crate::build::strip::strip(&file).unwrap();
    assert_eq!(stripped.len(), loaded);
    assert_eq!(stripped[EHDR..], file[EHDR..loaded]);
    assert_eq!(stripped[0x28..0x30], [0; 8], "no section headers");
    assert_eq!(stripped[0x3a..0x40], [0; 6], "none counted");
    check(&stripped).unwrap();
}
