//! The only way out of the guest: one store to a page that nothing backs.
//!
//! On KVM the store exits to the VMM, which reads the value and resumes behind the instruction; on the process
//! backend it faults, and the parent process does the same. Both rely on the exact instruction (casemate-abi).

use casemate_abi::Doorbell;

/// Stores `value` to the doorbell and returns when the VMM resumes the guest.
///
/// On an ordinary host there is no VMM to hear it, and the process ends with a fault.
#[inline]
pub fn ring(value: u64) {
    // SAFETY: nothing backs the page, so the store changes no memory of ours. The VMM may write the shared region
    // meanwhile, which the compiler is told by the memory clobber (`asm!` without `nomem`). The encoding
    // 48 89 07 is fixed by the operands.
    unsafe {
        core::arch::asm!(
            "mov qword ptr [rdi], rax",
            in("rdi") casemate_abi::DOORBELL,
            in("rax") value,
            options(nostack, preserves_flags)
        );
    }
}

/// Rings for `request` with `argument`.
#[inline]
pub fn request(request: Doorbell, argument: u64) {
    ring(request.value(argument));
}

/// Ends the guest. The VMM never resumes it; should it do so nevertheless, an undefined instruction ends it.
pub fn exit(code: u8) -> ! {
    request(Doorbell::Exit, u64::from(code));
    // SAFETY: `ud2` has no operands and raises #UD, which ends the guest.
    unsafe { core::arch::asm!("ud2", options(noreturn, nomem, nostack)) }
}
