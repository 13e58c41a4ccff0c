//! The keys that the VMM left for the guest.
//!
//! The sealing key: the secret that this image finds again when it is launched again on the same platform.
//!
//! The VMM derives it from the platform key, the mode and the image's measurements, and puts it into private memory
//! before that is sealed (`casemate_abi::SEALING_KEY`). Start-up code takes it from there and erases the place; whoever
//! asks first gets it, and nobody after that. The key of the channel to the security module lies beside it, and goes to
//! [`crate::nsm`].

use std::sync::{Mutex, PoisonError};

use casemate_abi::SEALING_KEY_LEN;
use zeroize::{Zeroize, Zeroizing};

/// The key until it is asked for; all zero: there is none.
static HELD: Mutex<[u8; SEALING_KEY_LEN]> = Mutex::new([0; SEALING_KEY_LEN]);

/// Takes the keys from where the VMM put them and erases those places. Called once, before anything uses the far end of the
/// stack.
#[cfg(casemate_guest)]
pub(crate) fn init() {
    hold(&take(casemate_abi::SEALING_KEY));
    crate::nsm::open_channel(&take(casemate_abi::CHANNEL_KEY));
}

#[cfg(casemate_guest)]
fn take(place: u64) -> Zeroizing<[u8; 32]> {
    let place = place as *mut [u8; 32];
    // SAFETY: the place is that of a key, in private memory, mapped read-write (casemate-abi's memory map), and nothing else
    // uses the stack's far end this early; every bit pattern is an array of bytes.
    unsafe {
        let key = Zeroizing::new(place.read_volatile());
        place.write_volatile([0; 32]);
        key
    }
}

fn hold(key: &[u8; SEALING_KEY_LEN]) {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).copy_from_slice(key);
}

/// The guest's sealing key, for the first who asks; `None` for everybody else, and where the VMM gave none.
///
/// Another image, another platform, debug mode and the process backend each get another key. Derive keys from it for
/// each use; never use it twice itself.
pub fn sealing_key() -> Option<Zeroizing<[u8; SEALING_KEY_LEN]>> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let key = Zeroizing::new(*held);
    held.zeroize();
    (*key != [0; SEALING_KEY_LEN]).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_given_once() {
        assert!(sealing_key().is_none());
        hold(&[7; SEALING_KEY_LEN]);
        assert_eq!(sealing_key().as_deref(), Some(&[7; SEALING_KEY_LEN]));
        assert!(sealing_key().is_none());
    }
}
