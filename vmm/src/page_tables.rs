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
#[path = "page_tables_tests.rs"]
mod tests;
