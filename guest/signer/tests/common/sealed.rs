//! Guests that can attest themselves: a signer, and others on the same platform or on another.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_attestation::nsm::Nsm;
use casemate_attestation::pcr::{Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_signer::{AttestError, Platform, Signer};

#[path = "../../../../attestation/tests/support/mod.rs"]
pub mod support;

use support::{FixedClock, Leaf};

/// A guest's side of attestation.
pub struct Guest(RefCell<Nsm<Leaf, FixedClock>>);

impl Guest {
    /// A guest on that platform. Its documents are made `ago` seconds before now, or after it if that is negative.
    pub fn new(platform: &PlatformKey, mode: Mode, ago: i64) -> Self {
        let then = now().saturating_add_signed(-ago);
        Self(RefCell::new(support::nsm(platform, mode, then)))
    }

    /// The same guest, with its key in a security module of this PCR0, or in its VMM.
    pub fn kept_by(module: Option<&Pcr>, platform: &PlatformKey) -> Self {
        let leaf = Leaf::kept_by(module, platform, support::MODULE_ID, now());
        let launch = support::launch(Mode::Production);
        Self(RefCell::new(Nsm::new(support::MODULE_ID.into(), &launch, leaf, FixedClock(now()))))
    }

    /// A signer, whose image is another than that of the guests.
    fn signer(platform: &PlatformKey) -> Self {
        Self(RefCell::new(support::nsm_of_another(platform, now())))
    }

    pub fn document(&self, nonce: Option<&[u8]>, public_key: Option<&[u8]>) -> Vec<u8> {
        support::document(&mut self.0.borrow_mut(), None, nonce, public_key)
    }
}

impl Platform for Guest {
    fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError> {
        Ok(support::document(&mut self.0.borrow_mut(), user_data, nonce, public_key))
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// A platform, and a signer on it.
pub fn sealed_signer() -> (PlatformKey, Rc<Signer>) {
    let platform = PlatformKey::generate(now()).expect("a platform key");
    let signer = Signer::new(Box::new(Guest::signer(&platform)));
    (platform, signer)
}
