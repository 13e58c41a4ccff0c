//! The counters of volumes, where the platform key is in a TPM.

use std::path::Path;

use aws_lc_rs::hmac;
use casemate_tpm::chip;
use casemate_volume::ratchet::{Counters, MAC_LEN};

use crate::platform::{ANCHOR, Client, ClientError, Role};

/// The TPM service of a volume, and the key of its ratchet.
struct TpmCounters {
    service: Client,
    key: hmac::Key,
}

/// The counters of the platform in `folder`; `None` if its key is a file, and nothing that root cannot turn back counts.
pub(super) fn of(folder: &Path) -> Result<Option<Box<dyn Counters>>, ClientError> {
    if !chip::is_in(folder) {
        return Ok(None);
    }
    let service = Client::start(folder, Role::Volume)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, service.secret(&[ANCHOR])?.as_slice());
    Ok(Some(Box::new(TpmCounters { service, key })))
}

impl Counters for TpmCounters {
    fn count(&self, volume: &[u8; 16]) -> Result<Option<u64>, String> {
        self.service.count(volume).map_err(|error| error.to_string())
    }

    fn advance(&self, volume: &[u8; 16]) -> Result<u64, String> {
        self.service.increment(volume).map_err(|error| error.to_string())
    }

    fn mac(&self, text: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        mac.iter_mut().zip(hmac::sign(&self.key, text).as_ref()).for_each(|(to, from)| *to = *from);
        mac
    }
}
