//! Addresses and lengths that a guest or an image can make up: what is accepted lies inside, and everything inside is accepted.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use casemate_abi::{BOOT_BASE, DOORBELL, IMAGE_BASE, PRIVATE_BASE, SHARED_BASE, SHARED_SIZE};

use super::*;

/// A number and its neighbours.
fn around(number: u64) -> [u64; 7] {
    [
        number.wrapping_sub(8),
        number.wrapping_sub(4),
        number.wrapping_sub(1),
        number,
        number.wrapping_add(1),
        number.wrapping_add(4),
        number.wrapping_add(8),
    ]
}

/// Every boundary that there is, and its neighbours; overflows of every sum included.
fn interesting(base: u64, size: u64) -> Vec<u64> {
    let edges = [0, base, base + size / 2, base + size, 1 << 31, 1 << 32, 1 << 47, 1 << 63, u64::MAX];
    let others = [BOOT_BASE, IMAGE_BASE, DOORBELL, PRIVATE_BASE];
    edges.into_iter().chain(others).flat_map(around).collect()
}

/// In 128 bits nothing overflows.
fn inside(address: u64, len: usize, base: u64, size: u64) -> bool {
    let (address, len, base, size) =
        (u128::from(address), u128::try_from(len).unwrap(), u128::from(base), u128::from(size));
    address >= base && address + len <= base + size
}

#[test]
fn the_shared_region_has_its_bytes_and_no_others() {
    let memory = SharedMemory::new().unwrap();
    let lens =
        [1, 2, 7, 8, 9, 4095, 4096, SHARED_SIZE as usize - 1, SHARED_SIZE as usize, SHARED_SIZE as usize + 1];
    let mut accepted = 0;
    for address in interesting(SHARED_BASE, SHARED_SIZE) {
        for len in lens {
            let mut bytes = vec![0; len];
            let fits = inside(address, len, SHARED_BASE, SHARED_SIZE);
            assert_eq!(memory.read(address, &mut bytes).is_ok(), fits, "read {len} at {address:#x}");
            assert_eq!(memory.write(address, &bytes).is_ok(), fits, "write {len} at {address:#x}");
            accepted += u32::from(fits);
        }
        let stored = memory.store(address, 1).is_ok();
        assert_eq!(
            stored,
            inside(address, 8, SHARED_BASE, SHARED_SIZE) && address % 8 == 0,
            "store at {address:#x}"
        );
    }
    assert!(accepted > 20);
}

#[test]
fn a_mapping_has_its_bytes_and_no_others() {
    const SIZE: usize = 3 * 4096;
    let mapping = Mapping::anonymous(SIZE).unwrap();
    for offset in interesting(0, SIZE as u64) {
        for len in [0, 1, 8, 4096, SIZE - 1, SIZE, SIZE + 1] {
            let mut bytes = vec![0; len];
            let fits = inside(offset, len, 0, SIZE as u64);
            let offset = usize::try_from(offset).unwrap();
            assert_eq!(mapping.read(offset, &mut bytes).is_ok(), fits, "read {len} at {offset:#x}");
            assert_eq!(mapping.write(offset, &bytes).is_ok(), fits, "write {len} at {offset:#x}");
        }
    }
}
