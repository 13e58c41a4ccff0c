//! The guest's page tables (AMD64 Architecture Programmer's Manual, volume 2, 5.3: long-mode translation).
//!
//! | bit | name | here |
//! | --- | --- | --- |
//! | 0 | P | set in every entry |
//! | 1 | R/W | data only; upper levels always set, the leaf decides |
//! | 2 | U/S | always set: everything runs at CPL 3 |
//! | 5 | A | preset: with nested paging a page walk must not need to write |
//! | 6 | D | preset, for the same reason |
//! | 7 | PS | in a page-directory entry: a 2 MiB page |
//! | 63 | NX | everything but text |
//!
//! The tables lie in memory that is sealed against writing, so the guest's view of memory is fixed at launch:
//! nothing becomes executable, writable or mapped afterwards.

use casemate_abi::{LARGE_PAGE_SIZE, PAGE_SIZE, PAGE_TABLES_BASE, PAGE_TABLES_MAX};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What the guest may do with a page. There is no way to ask for a page that is writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Text: fetch and read.
    Execute,
    /// Read-only data: read.
    Read,
    /// Data: read and write.
    Write,
}

impl Access {
    const fn bits(self) -> u64 {
        let always = PRESENT | USER | ACCESSED | DIRTY;
        match self {
            Self::Execute => always,
            Self::Read => always | NO_EXECUTE,
            Self::Write => always | WRITE | NO_EXECUTE,
        }
    }
}

/// Why a range cannot be mapped. The launcher's own mistake or an image that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A range must begin at a multiple of the page size and end at 2^47 or below.
    #[error("address {0:#x} cannot be mapped")]
    Address(u64),
    /// A page is in two ranges.
    #[error("page {0:#x} is mapped twice")]
    MappedTwice(u64),
    /// More tables than fit in the region for them.
    #[error("the page tables need more than {PAGE_TABLES_MAX} bytes")]
    TooLarge,
}

const ENTRIES: usize = 512;

/// Page tables under construction: the first table is the root (CR3).
#[derive(Debug)]
pub struct PageTables {
    tables: Vec<[u64; ENTRIES]>,
}

impl Default for PageTables {
    fn default() -> Self {
        Self { tables: vec![[0; ENTRIES]] }
    }
}

impl PageTables {
    /// Guest-physical address of the root table, for CR3.
    pub const ROOT: u64 = PAGE_TABLES_BASE;

    /// Maps `len` bytes (rounded up to pages) at `virtual_address` to `physical`, in 2 MiB pages where both allow it.
    pub fn map(
        &mut self,
        virtual_address: u64,
        physical: u64,
        len: u64,
        access: Access,
    ) -> Result<(), Error> {
        for address in [virtual_address, physical] {
            let fits = address < 1 << 47 && len <= (1 << 47) - address;
            if !address.is_multiple_of(PAGE_SIZE) || !fits {
                return Err(Error::Address(address));
            }
        }
        let len = len.next_multiple_of(PAGE_SIZE);
        let mut done = 0;
        while done < len {
            let (at, to) = (virtual_address + done, physical + done);
            let large = (at | to).is_multiple_of(LARGE_PAGE_SIZE) && len - done >= LARGE_PAGE_SIZE;
            self.map_page(at, to, access, large)?;
            done += if large { LARGE_PAGE_SIZE } else { PAGE_SIZE };
        }
        Ok(())
    }

    fn map_page(&mut self, address: u64, physical: u64, access: Access, large: bool) -> Result<(), Error> {
        let index = |level: u32| (address >> (12 + 9 * level)) as usize % ENTRIES;
        let leaf_level = u32::from(large);
        let mut table = 0;
        for level in (leaf_level + 1..4).rev() {
            table = self.descend(table, index(level), address)?;
        }
        let size = if large { LARGE } else { 0 };
        let entry = self.entry(table, index(leaf_level))?;
        if *entry != 0 {
            return Err(Error::MappedTwice(address));
        }
        *entry = physical | access.bits() | size;
        Ok(())
    }

    /// The table that entry `index` of `table` points to, made if there is none yet.
    fn descend(&mut self, table: usize, index: usize, address: u64) -> Result<usize, Error> {
        let next = self.tables.len();
        let entry = self.entry(table, index)?;
        if *entry & LARGE != 0 {
            return Err(Error::MappedTwice(address));
        }
        if *entry != 0 {
            return Ok(((*entry & ADDRESS) - PAGE_TABLES_BASE) as usize / PAGE_SIZE as usize);
        }
        if (next as u64 + 1) * PAGE_SIZE > PAGE_TABLES_MAX {
            return Err(Error::TooLarge);
        }
        *entry = (PAGE_TABLES_BASE + next as u64 * PAGE_SIZE) | PRESENT | WRITE | USER | ACCESSED;
        self.tables.push([0; ENTRIES]);
        Ok(next)
    }

    fn entry(&mut self, table: usize, index: usize) -> Result<&mut u64, Error> {
        self.tables.get_mut(table).and_then(|table| table.get_mut(index)).ok_or(Error::TooLarge)
    }

    /// The tables as they are to lie in memory from [`PAGE_TABLES_BASE`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.tables.len() * PAGE_SIZE as usize);
        for entry in self.tables.iter().flatten() {
            bytes.extend_from_slice(&entry.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
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
}
