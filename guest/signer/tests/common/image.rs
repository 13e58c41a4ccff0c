//! Signers' images on platforms, with attestation as a sealed guest has it.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::cell::RefCell;
use std::rc::Rc;

use casemate_attestation::nsm::Nsm;
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::sealing::{self, Sealing};
use casemate_signer::{AttestError, Platform, Signer};
use zeroize::Zeroizing;

use crate::sealed;
use crate::sealed::support::{self, FixedClock, Leaf};

/// A signer's image on a platform.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    pub platform: &'a PlatformKey,
    pub name: &'a str,
    pub mode: Mode,
    /// Whose certificate signed it, and the command line that is measured with it.
    pub signed_by: Option<&'a str>,
    pub command_line: &'a str,
}

pub struct Sealed {
    pub nsm: RefCell<Nsm<Leaf, FixedClock>>,
    pub sealing_key: [u8; 32],
    pub measurement: [u8; 48],
    pub command_line: String,
}

impl Platform for Sealed {
    fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError> {
        Ok(support::document(&mut self.nsm.borrow_mut(), user_data, nonce, public_key))
    }

    fn command_line(&self) -> &str {
        &self.command_line
    }

    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        Some(Zeroizing::new(self.sealing_key))
    }

    fn measurement(&self) -> [u8; 48] {
        self.measurement
    }
}

impl Image<'_> {
    pub fn pcr0(&self) -> Pcr {
        Pcr::measure(format!("{} {}", self.name, self.command_line).as_bytes())
    }

    pub fn pcr8(&self) -> Option<Pcr> {
        self.signed_by.map(|name| Pcr::measure(name.as_bytes()))
    }

    pub fn launch(&self) -> Rc<Signer> {
        Signer::new(Box::new(self.platform()))
    }

    pub fn platform(&self) -> Sealed {
        let image =
            ImageMeasurements { pcr0: self.pcr0(), pcr8: self.pcr8(), ..support::launch(self.mode).image };
        let launch = Launch { image, ..support::launch(self.mode) };
        let now = sealed::now();
        let leaf = Leaf::new(self.platform, support::MODULE_ID, now);
        let production = self.mode == Mode::Production;
        let sealing = if production { Sealing::Production } else { Sealing::Debug };
        Sealed {
            nsm: RefCell::new(Nsm::new(support::MODULE_ID.into(), &launch, leaf, FixedClock(now))),
            sealing_key: *sealing::key(self.platform, sealing, &image).expect("a key"),
            measurement: if production { *self.pcr0().as_bytes() } else { [0; 48] },
            command_line: self.command_line.to_owned(),
        }
    }
}
