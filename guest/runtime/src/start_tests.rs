//! The linker script says what casemate-abi says, and thread-local storage is laid out as the ABI has it.

use super::*;

#[test]
fn the_linker_script_has_the_addresses_of_the_interface() {
    let script = include_str!("../guest.ld");
    for address in [casemate_abi::IMAGE_BASE, casemate_abi::DATA_BASE] {
        assert!(script.contains(&format!(". = {address:#x};")), "{address:#x}");
    }
    assert!(script.contains(&format!("<= {TLS_ALIGN}")));
}

#[test]
fn storage_lies_below_the_thread_pointer_and_the_control_block_above() {
    #[repr(align(64))]
    struct Area([u8; 1024]);
    let mut area = Area([0; 1024]);
    let template = [1, 2, 3];
    let image = TlsImage { template: template.as_ptr(), template_size: 3, size: 100 };
    let base = area.0.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: 1024 zeroed bytes, aligned, and the area takes 128 + 256 of them.
    let pointer = unsafe { image.lay_out(base, 0xCA_4A_87) };
    assert_eq!(pointer, base + 128);
    assert_eq!(area_size(image.size), 128 + TCB_SIZE);
    assert_eq!(area.0[..4], [1, 2, 3, 0]);
    assert_eq!(area.0[128..136], pointer.to_le_bytes());
    assert_eq!(area.0[128 + 0x28..128 + 0x30], 0xCA_4A_87_u64.to_le_bytes());
}

#[test]
fn the_heap_begins_behind_both_areas() {
    let start = heap_start_behind(0x4020_1000, 5000);
    assert!(start >= 0x4020_1000 + 2 * area_size(5000) && start.is_multiple_of(PAGE_SIZE));
}

/// On Linux CR4.FSGSBASE is set since 5.9: the switch runs here as it does in a guest. The "other" identity is this
/// thread's own, so that whatever runs meanwhile finds its storage.
#[test]
fn the_switch_of_identities_calls_and_comes_back() {
    extern "C" fn work(argument: *mut c_void) {
        // SAFETY: points to the integer below.
        unsafe { *argument.cast::<u32>() += 1 };
    }
    let own: usize;
    // SAFETY: the first word at FS is the thread pointer itself (ELF TLS, variant II), on Linux as in a guest.
    unsafe { core::arch::asm!("mov {}, fs:[0]", out(reg) own, options(nostack, readonly)) };
    let mut calls = 0_u32;
    // SAFETY: `own` is this thread's pointer, both times.
    unsafe { call_with_thread_pointer(work, (&raw mut calls).cast(), own, own) };
    assert_eq!(calls, 1);
}
