//! A boot page is accepted whole or refused with the field that is wrong.

use super::*;

const GOOD: BootInfo = BootInfo {
    magic: BOOT_MAGIC,
    abi_version: ABI_VERSION,
    flags: 0,
    heap_start: DATA_BASE + 3 * PAGE_SIZE,
    heap_end: DATA_BASE + (8 << 20),
    tsc_khz: 2_596_140,
    tsc_at_boot: 1,
    unix_ns: 1,
    cmdline_len: 5,
    guest_cid: 16,
};
const DATA_END: u64 = DATA_BASE + 2 * PAGE_SIZE + 17;

#[test]
fn a_good_page_is_accepted() {
    assert_eq!(check(&GOOD, DATA_END), Ok(()));
    assert_eq!(check(&BootInfo { cmdline_len: CMDLINE_MAX, ..GOOD }, DATA_END), Ok(()));
}

#[test]
fn a_heap_must_lie_in_private_memory_behind_the_data() {
    let ranges = [
        (DATA_BASE, GOOD.heap_end),
        (GOOD.heap_start + 1, GOOD.heap_end),
        (GOOD.heap_start, GOOD.heap_start),
        (GOOD.heap_end, GOOD.heap_start),
        (GOOD.heap_start, PRIVATE_BASE + PRIVATE_MAX + 1),
        (GOOD.heap_start, u64::MAX),
        (0, GOOD.heap_end),
        (casemate_abi::SHARED_BASE, casemate_abi::SHARED_BASE + PAGE_SIZE),
    ];
    for (heap_start, heap_end) in ranges {
        let page = BootInfo { heap_start, heap_end, ..GOOD };
        assert_eq!(check(&page, DATA_END), Err(BootError::Heap(heap_start, heap_end)));
    }
}

#[test]
fn every_other_field_is_checked() {
    let cases = [
        (BootInfo { magic: 0, ..GOOD }, BootError::Magic(0)),
        (BootInfo { abi_version: ABI_VERSION + 1, ..GOOD }, BootError::Version(ABI_VERSION + 1)),
        (BootInfo { tsc_khz: 0, ..GOOD }, BootError::Clock(0)),
        (BootInfo { tsc_khz: u64::MAX, ..GOOD }, BootError::Clock(u64::MAX)),
        (BootInfo { cmdline_len: CMDLINE_MAX + 1, ..GOOD }, BootError::Cmdline(CMDLINE_MAX + 1)),
    ];
    for (page, error) in cases {
        assert_eq!(check(&page, DATA_END), Err(error));
    }
}
