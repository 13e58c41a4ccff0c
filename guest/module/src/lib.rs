//! The security module: a sealed guest that holds the attestation keys of all guests of this user.
//!
//! A leaf key is made here, certified by a launch, used here and never leaves: what launched a guest, and what relays its
//! requests, has none. Launches open sessions with the secret that platform and module share, guests speak with a key of
//! their own (`casemate_attestation::nsm::session`). A connection is a session: with it go key and registers.
//!
//! Trusts: nothing that comes in before its tag has been checked, the host's clock, and the host for liveness.
//!
//! Start at [`Module`]; [`serve`](Module::serve) is one connection.

mod leaf;
mod serve;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use casemate_attestation::nsm::session::Authority;
use casemate_attestation::pcr::ImageMeasurements;

use leaf::LeafKey;
pub use serve::Error;

/// Key pairs made ahead, so that no launch waits for one.
const READY: usize = 4;

/// What all sessions have in common.
pub struct Module {
    authority: Authority,
    measurements: ImageMeasurements,
    ready: RefCell<VecDeque<LeafKey>>,
}

impl Module {
    /// The module that holds this secret of platform and module, and measures this.
    pub fn new(authority: Authority, measurements: ImageMeasurements) -> Rc<Self> {
        Rc::new(Self { authority, measurements, ready: RefCell::default() })
    }

    /// Makes key pairs ahead, until there are enough. To be called when there is nothing else to do.
    pub fn prepare(&self) -> Result<(), Error> {
        while self.ready.borrow().len() < READY {
            let key = LeafKey::generate()?;
            self.ready.borrow_mut().push_back(key);
        }
        Ok(())
    }

    fn leaf_key(&self) -> Result<LeafKey, Error> {
        let ready = self.ready.borrow_mut().pop_front();
        ready.map_or_else(LeafKey::generate, Ok)
    }
}
