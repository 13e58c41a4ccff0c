//! A guest executable: what is accepted keeps the promises in the parser's documentation.
#![no_main]

use casemate::image::GuestElf;
use casemate::page_tables::Access;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(elf) = GuestElf::parse(input) else { return };
    let mut entry_in_text = false;
    for segment in &elf.segments {
        assert!(
            input
                .get(segment.file.clone())
                .is_some_and(|file| file.len() as u64 <= segment.len)
        );
        let text = segment.access == Access::Execute;
        entry_in_text |= text && (segment.start..segment.start + segment.len).contains(&elf.entry);
    }
    assert!(
        entry_in_text
            && elf
                .segments
                .is_sorted_by(|low, high| low.page_end() <= high.start)
    );
});
