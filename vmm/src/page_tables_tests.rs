use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Walks the tables as the processor does.
fn translate(tables: &PageTables, address: u64) -> Option<(u64, u64)> {
    let mut table = 0;
    for level in (0..4).rev() {
        let entry = tables.tables[table][(address >> (12 + 9 * level)) as usize % ENTRIES];
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 0 {
            return Some(((entry & ADDRESS) | (address & 0xfff), entry));
        }
        if entry & LARGE != 0 {
            return Some(((entry & ADDRESS) | (address & (LARGE_PAGE_SIZE - 1)), entry));
        }
        table = ((entry & ADDRESS) - PAGE_TABLES_BASE) as usize / PAGE_SIZE as usize;
    }
    None
}

#[test]
fn small_and_large_pages_translate_and_the_rest_is_absent() {
    let mut tables = PageTables::default();
    tables.map(0x1000_0000, 0x2000_1000, 0x3001, Access::Execute).expect("text");
    tables.map(0x4000_1000, 0x4000_1000, 0x60_0000, Access::Write).expect("data");
    assert_eq!(translate(&tables, 0x1000_3fff).map(|page| page.0), Some(0x2000_4fff));
    assert_eq!(translate(&tables, 0x1000_4000), None);
    assert_eq!(translate(&tables, 0x4000_0fff), None);
    for address in [0x4000_1000, 0x4020_0123, 0x4060_0fff] {
        let (physical, entry) = translate(&tables, address).expect("mapped");
        assert_eq!(physical, address);
        assert_eq!(entry & (WRITE | NO_EXECUTE), WRITE | NO_EXECUTE);
        assert_eq!(entry & LARGE != 0, (0x4020_0000..0x4060_0000).contains(&address));
    }
    assert_eq!(translate(&tables, 0x4060_1000), None);
}

#[test]
fn no_page_is_writable_and_executable() {
    for access in [Access::Execute, Access::Read, Access::Write] {
        assert!(access.bits() & WRITE == 0 || access.bits() & NO_EXECUTE != 0);
        assert_eq!(access.bits() & (USER | ACCESSED | DIRTY), USER | ACCESSED | DIRTY);
    }
}

#[test]
fn overlaps_and_odd_addresses_are_refused() {
    let mut tables = PageTables::default();
    tables.map(0x4000_0000, 0x4000_0000, LARGE_PAGE_SIZE, Access::Write).expect("large");
    let overlap = tables.map(0x4000_1000, 0, PAGE_SIZE, Access::Execute);
    assert_eq!(overlap, Err(Error::MappedTwice(0x4000_1000)));
    assert_eq!(tables.map(0x1, 0, 1, Access::Read), Err(Error::Address(1)));
    assert_eq!(tables.map(1 << 47, 0, 1, Access::Read), Err(Error::Address(1 << 47)));
}

#[test]
fn ranges_end_where_addresses_do() {
    let mut tables = PageTables::default();
    let last = (1 << 47) - PAGE_SIZE;
    assert_eq!(tables.map(last, last, PAGE_SIZE, Access::Read), Ok(()));
    for len in [PAGE_SIZE + 1, 1 << 47, u64::MAX] {
        assert_eq!(tables.map(last, 0, len, Access::Read), Err(Error::Address(last)), "{len:#x}");
    }
}

/// Ranges that meet, overlap and share tables: few places, sizes round the two sizes of page.
fn ranges() -> impl Strategy<Value = Vec<(u64, u64, u64, Access)>> {
    let place = || {
        let far =
            select(vec![0, 0x1000_0000, 0x3fe0_0000, 0x4000_0000, 0x80_0000_0000, (1 << 47) - (8 << 20)]);
        let near = select(vec![0, 1, 2, 511, 512, 513, 1024, 1536]);
        (far, near).prop_map(|(far, near)| far + near * PAGE_SIZE)
    };
    let len =
        select(vec![0, 1, 0x1000, 0x1001, 0x3000, 0x1f_f000, 0x20_0000, 0x20_1000, 0x60_0001, 0x80_0000]);
    let access = select(vec![Access::Execute, Access::Read, Access::Write]);
    prop::collection::vec((place(), place(), len, access), 1..8)
}

proptest! {
    /// Whatever was mapped translates as asked, in either size of page, and nothing else translates at all.
    #[test]
    fn translation_agrees_with_what_was_asked_for(ranges in ranges()) {
        let mut tables = PageTables::default();
        let mut model: Vec<(u64, u64, u64, Access)> = Vec::new();
        for (start, physical, len, access) in ranges {
            let end = start + len.next_multiple_of(PAGE_SIZE);
            let overlap = model.iter().find(|(other, _, until, _)| start.max(*other) < end.min(*until));
            match tables.map(start, physical, len, access) {
                Ok(()) => prop_assert!(overlap.is_none(), "{overlap:x?} is mapped twice"),
                Err(Error::MappedTwice(at)) => {
                    prop_assert!(overlap.is_some() && (start..end).contains(&at));
                    // What lies before the first overlap has been mapped. A launch ends here.
                    let done = at - start;
                    model.push((start, physical, start + done, access));
                    break;
                }
                Err(Error::Address(_)) => {
                    prop_assert!(start.max(physical) > (1 << 47) - len);
                    continue;
                }
                Err(Error::TooLarge) => prop_assert!(false, "a few ranges take a few tables"),
            }
            model.push((start, physical, end, access));
        }
        for (start, _, end, _) in model.clone() {
            let middle = start.midpoint(end);
            let inside_out = [start, end, middle].map(|at| [at.wrapping_sub(1), at, at + 1, at + PAGE_SIZE]);
            for at in inside_out.into_iter().flatten().filter(|at| *at < 1 << 47) {
                let asked = model.iter().find(|(first, _, until, _)| (*first..*until).contains(&at));
                let asked = asked.map(|(first, to, _, access)| (to + (at - first), access.bits()));
                let got = translate(&tables, at).map(|(to, entry)| (to, entry & !ADDRESS & !LARGE));
                prop_assert_eq!(got, asked, "at {:#x}", at);
            }
        }
        prop_assert!(tables.to_bytes().len() as u64 <= PAGE_TABLES_MAX);
    }
}

#[test]
fn tables_stop_growing_at_their_limit_and_lead_nowhere_else() {
    let mut tables = PageTables::default();
    let mapped = (0..512)
        .take_while(|n| tables.map(n << 30, n << 30, PAGE_SIZE, Access::Read) == Ok(()))
        .count() as u64;
    assert_eq!(tables.map(mapped << 30, 0, 1, Access::Read), Err(Error::TooLarge));
    assert!((100..200).contains(&mapped) && tables.to_bytes().len() as u64 <= PAGE_TABLES_MAX);
    for n in 0..512 {
        assert_eq!(translate(&tables, n << 30).is_some(), n < mapped, "{n}");
    }
}

/// Every pair of ranges from a small world that has everything: starts and ends on both sides of a large page's edges,
/// lengths round both sizes, physical addresses that allow a large page and such that do not, all kinds of access.
///
/// For each pair: the second is refused exactly if it overlaps the first; every page translates to what was asked for it
/// and no other page to anything; none is writable and executable.
#[test]
fn all_pairs_of_ranges_of_a_small_world() {
    const P: u64 = PAGE_SIZE;
    const L: u64 = LARGE_PAGE_SIZE;
    let starts = [0, L - P, L, L + P];
    let lens = [0, 1, P, 2 * P, L - P, L, L + P];
    let accesses = [Access::Execute, Access::Read, Access::Write];
    let mut ranges = Vec::new();
    for start in starts {
        for len in lens {
            // The distance to the physical address: a multiple of a large page, or not.
            for (access, shift) in accesses.into_iter().flat_map(|access| [(access, 16 * L), (access, P)]) {
                ranges.push((start, start + shift, len, access));
            }
        }
    }
    let mut edges: Vec<u64> =
        [0, L, 2 * L].into_iter().flat_map(|edge| [edge, edge + P, edge + 2 * P]).collect();
    edges.extend([L - 2 * P, L - P, 2 * L - 2 * P, 2 * L - P, 3 * L]);
    let end = |(start, _, len, _): &(u64, u64, u64, Access)| start + len.next_multiple_of(P);
    let mut pairs = 0;
    for first in &ranges {
        for second in &ranges {
            let mut tables = PageTables::default();
            tables.map(first.0, first.1, first.2, first.3).expect("nothing is mapped yet");
            let overlap = first.0.max(second.0) < end(first).min(end(second));
            let mapped = tables.map(second.0, second.1, second.2, second.3);
            assert_eq!(mapped.is_err(), overlap, "{first:x?} {second:x?}: {mapped:?}");
            pairs += 1;
            if overlap {
                // A launch ends here.
                continue;
            }
            for at in edges.iter().flat_map(|page| [*page, page + P - 1]) {
                let of = |range: &&(u64, u64, u64, Access)| (range.0..end(range)).contains(&at);
                let asked = [first, second].into_iter().find(of);
                let asked = asked.map(|(start, to, _, access)| (to + (at - start), access.bits()));
                let got = translate(&tables, at);
                assert!(got.is_none_or(|(_, entry)| entry & WRITE == 0 || entry & NO_EXECUTE != 0));
                let got = got.map(|(to, entry)| (to, entry & !ADDRESS & !LARGE));
                assert_eq!(got, asked, "{first:x?} {second:x?} at {at:#x}");
            }
        }
    }
    assert_eq!(pairs, 168 * 168);
}
