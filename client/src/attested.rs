//! A connection to a signer that has proved what it is: TLS first, then the attestation that speaks for the certificate.
//!
//! ```text
//! TLS handshake                 the other side holds the key of certificate C
//! POST /attestation/tls, nonce  a document under a root that the verifier trusts: the measured guest with the demanded
//!                               PCRs and posture states, now, that its certificate is C
//! ⇒ the other side is that guest, and everything on this connection goes to it and to nobody else
//! ```

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attestation::policy::Policy;
use casemate_attestation::statement;
use casemate_attestation::verify::{Established, Evidence, Expectations, VerifyError, verify};
use serde_json::json;

use crate::endpoint::{Endpoint, Trust};
use crate::http::{Client, ClientError, field};

/// Where a signer is.
#[derive(Clone, Debug)]
pub enum Place {
    /// Served on a TCP port.
    Endpoint(Endpoint),
    /// A guest of this host.
    Guest {
        /// What it is called.
        name: String,
        /// Its vsock socket.
        socket: PathBuf,
        /// Its posture, which is beside its socket. PCR15 says whether it is the right one.
        posture: PathBuf,
    },
}

/// What a verifier knows and demands.
#[derive(Clone, Debug)]
pub struct Demands {
    /// The root certificates that are trusted, DER.
    pub roots: Vec<Vec<u8>>,
    /// What is demanded of PCRs and posture.
    pub policy: Policy,
    /// Verify as of this time, in milliseconds since 1970; `None`: now.
    pub at: Option<u64>,
    /// The posture, if the verifier has it; `None`: what the signer tells.
    pub posture: Option<Vec<u8>>,
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
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What it proved is not what was demanded; this says what is off.
    #[error("{0}")]
    Unproved(String),
    /// It could not be asked.
    #[error(transparent)]
    Failed(#[from] ClientError),
    /// The system has no random nonce to give.
    #[error("no random nonce")]
    Random,
    /// Its posture could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Posture {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => write!(f, "https://{}", endpoint.authority),
            Self::Guest { name, .. } => f.write_str(name),
        }
    }
}

impl Place {
    /// Connects with TLS. Returns the certificate that was shown, DER, whose key the other side holds.
    pub fn open(&self, trust: Trust) -> Result<(Client, Vec<u8>), ClientError> {
        match self {
            Self::Endpoint(endpoint) => Client::open_endpoint(endpoint, trust),
            Self::Guest { socket, .. } => Client::open_tls(socket, trust),
        }
    }
}

impl Demands {
    /// What a document establishes under these demands.
    pub fn verify(
        &self,
        document: &[u8],
        posture: Option<&[u8]>,
        nonce: Option<&[u8]>,
    ) -> Result<Established, VerifyError> {
        let (roots, policy, now) = (self.roots.as_slice(), &self.policy, self.at.unwrap_or_else(now_ms));
        verify(Evidence { document, posture }, Expectations { roots, policy, nonce, now })
    }
}

/// Connects and verifies. Nothing but the request for the attestation is sent before all of it holds.
pub fn connect(place: &Place, demands: &Demands) -> Result<Attested, Refusal> {
    let (mut client, certificate) = place.open(Trust::Later)?;
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Refusal::Random)?;
    let request = json!({"nonce": STANDARD.encode(nonce)});
    let headers = [("content-type", "application/json")];
    let answer = client.post_json("/attestation/tls", &headers, &request)?;
    let document = decode("document", field(&answer, "attestation", "document")?)?;
    let told = answer.get("posture").and_then(serde_json::Value::as_str);
    let posture = match (&demands.posture, told, place) {
        (Some(given), ..) => Some(given.clone()),
        (None, Some(told), _) => Some(decode("posture", told)?),
        (None, None, Place::Guest { posture: path, .. }) => {
            let read = std::fs::read(path);
            Some(read.map_err(|source| Refusal::Posture { path: path.clone(), source })?)
        }
        (None, None, Place::Endpoint(_)) => None,
    };
    let unproved = |error: &dyn fmt::Display| Refusal::Unproved(error.to_string());
    let established =
        demands.verify(&document, posture.as_deref(), Some(&nonce)).map_err(|error| unproved(&error))?;
    statement::check_tls(&established, &certificate).map_err(|error| unproved(&error))?;
    Ok(Attested { client, established, certificate })
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, ClientError> {
    STANDARD.decode(text).map_err(|source| ClientError::Base64 { field, source })
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
