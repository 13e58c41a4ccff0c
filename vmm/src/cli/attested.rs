//! A connection to a signer that has proved what it is: TLS first, then the attestation that speaks for the certificate.
//!
//! ```text
//! TLS handshake                 the other side holds the key of certificate C
//! POST /attestation/tls, nonce  a document under a root that the verifier trusts: the measured guest with the demanded
//!                               PCRs and posture states, now, that its certificate is C
//! ⇒ the other side is that guest, and everything on this connection goes to it and to nobody else
//! ```

use casemate_attestation::statement;
use casemate_attestation::verify::Established;
use serde_json::{Map, Value};

use super::client::{Client, field};
use super::endpoint::{Endpoint, Trust};
use super::error::Failure;
use super::registry::Guest;
use super::text;
use super::verify::DemandArgs;

/// Where the signer is.
pub enum Place {
    /// Served on a TCP port.
    Endpoint(Endpoint),
    /// A guest of this host, through its own socket.
    Guest(Box<Guest>),
}

/// A signer that is what the verifier demands.
pub struct Attested {
    /// The connection on which it was established.
    pub client: Client,
    /// What its document established.
    pub established: Established,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
}

/// Why a signer is not believed.
pub enum Refusal {
    /// What it proved is not what was demanded; this says what is off.
    Unproved(String),
    /// It could not be asked.
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<super::client::ClientError> for Refusal {
    fn from(error: super::client::ClientError) -> Self {
        Self::Failed(error.into())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(endpoint) => write!(f, "https://{}", endpoint.authority),
            Self::Guest(guest) => f.write_str(&guest.record.name),
        }
    }
}

/// Connects and verifies. Nothing but the request for the attestation is sent before all of it holds.
pub fn connect(place: &Place, trust: &DemandArgs) -> Result<Attested, Refusal> {
    let demands = trust.demands()?;
    let (mut client, certificate) = match place {
        Place::Endpoint(endpoint) => Client::open_endpoint(endpoint, Trust::Later)?,
        Place::Guest(guest) => Client::open_tls(&guest.vsock_path(), Trust::Later)?,
    };
    let mut nonce = [0; 32];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Failure::plain(format!("no random nonce: {errno}")))?;
    let mut request = Map::new();
    request.insert("nonce".to_owned(), Value::String(text::encode(&nonce)));
    let answer = client.post_json(
        "/attestation/tls",
        &[("content-type", "application/json")],
        &Value::Object(request),
    )?;
    let document = text::decode("document", field(&answer, "attestation", "document")?)?;
    let posture = match (trust.posture()?, answer.get("posture").and_then(Value::as_str)) {
        (Some(given), _) => Some(given),
        (None, Some(told)) => Some(text::decode("posture", told)?),
        // A guest of this host's has it beside its socket. PCR15 says whether it is the right one.
        (None, None) => match place {
            Place::Guest(guest) => Some(text::read(&guest.posture_path())?),
            Place::Endpoint(_) => None,
        },
    };
    let established = demands
        .verify(&document, posture.as_deref(), Some(&nonce))
        .map_err(|error| Refusal::Unproved(error.to_string()))?;
    statement::check_tls(&established, &certificate).map_err(|error| Refusal::Unproved(error.to_string()))?;
    Ok(Attested { client, established, certificate })
}

impl Attested {
    /// The certificate, PEM: a CA file for this signer and nothing else.
    pub fn ca_file(&self) -> Result<String, Failure> {
        casemate_attestation::platform::encode_root(&self.certificate)
            .map_err(|error| Failure::plain(format!("the certificate cannot be written: {error}")))
    }
}
