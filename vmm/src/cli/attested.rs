//! A connection to a signer that has proved what it is, as commands make it.

use casemate_client::attested::{self, Attested, Place};

use super::error::Failure;
use super::registry::Guest;
use super::verify::DemandArgs;

/// Why a signer is not believed.
pub enum Refusal {
    /// What it proved is not what was demanded; this says what is off.
    Unproved(String),
    /// It could not be asked.
    Failed(Failure),
}

impl From<attested::Refusal> for Refusal {
    fn from(refusal: attested::Refusal) -> Self {
        use attested::Refusal as R;
        match refusal {
            R::Unproved(reason) => Self::Unproved(reason),
            R::Failed(error) => Self::Failed(error.into()),
            R::Posture { path, source } => Self::Failed(Failure::file("read", &path, source)),
            R::Random => Self::Failed(Failure::plain(refusal)),
        }
    }
}

impl Guest {
    /// Where a client finds it.
    pub fn place(&self) -> Place {
        Place::Guest {
            name: self.record.name.clone(),
            socket: self.vsock_path(),
            posture: self.posture_path(),
        }
    }
}

/// Connects and verifies. Nothing but the request for the attestation is sent before all of it holds.
pub fn connect(place: &Place, demands: &DemandArgs) -> Result<Attested, Refusal> {
    let demands = demands.demands().map_err(Refusal::Failed)?;
    Ok(attested::connect(place, &demands)?)
}

/// The certificate, PEM: a CA file for this signer and nothing else.
pub fn ca_file(attested: &Attested) -> Result<String, Failure> {
    casemate_attestation::platform::encode_root(&attested.certificate)
        .map_err(|error| Failure::plain(format!("the certificate cannot be written: {error}")))
}
