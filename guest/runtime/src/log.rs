//! Text for the console, in debug mode. Otherwise every byte is dropped before it reaches shared memory: a sealed
//! guest has no console, and what it prints may hold secrets.

use core::sync::atomic::{AtomicBool, Ordering};

use casemate_abi::{Doorbell, shared};

/// Held while the log buffer is written, so that later vCPUs do not mix their lines.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Writes `text` to the console if the guest is in debug mode, and drops it otherwise.
pub fn write(text: &[u8]) {
    if !crate::boot::is_debug() || !cfg!(casemate_guest) {
        return;
    }
    while BUSY.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    for piece in text.chunks(shared::LOG_MAX as usize) {
        // SAFETY: the log buffer is LOG_MAX bytes of the shared region, mapped read-write; `piece` is no longer
        // and is private memory, so the two do not overlap. Nothing in the guest holds a reference to the buffer.
        unsafe { core::ptr::copy_nonoverlapping(piece.as_ptr(), shared::LOG as *mut u8, piece.len()) };
        crate::doorbell::request(Doorbell::Log, piece.len() as u64);
    }
    BUSY.store(false, Ordering::Release);
}
