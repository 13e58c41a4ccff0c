//! The guest's security module: the NSM state machine with this host's clock and random source, and the leaf key
//! that signs its documents.
//!
//! The leaf key is made in secret memory and never leaves it ([`SecretMemory`]). The platform key, which certifies it,
//! is loaded on the same secret stack, used once and dropped before the guest runs.

use std::path::Path;

use casemate_attestation::document::{DocumentSigner, SignerError};
use casemate_attestation::nsm::{Nsm, Services, ServicesError};
use casemate_attestation::pcr::Launch;
use casemate_attestation::platform::{PlatformError, PlatformKey};
use casemate_attestation::signing::{SIGNATURE_LEN, SigningError, SigningScalar};

use crate::memory::{self, SecretKind, SecretMemory};
use crate::vcpu::NsmDevice;

/// Why there is no attestation key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform key cannot be used.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// No leaf key could be made.
    #[error("cannot make the guest's attestation key: {0}")]
    Key(#[from] SigningError),
    /// No memory for it.
    #[error(transparent)]
    Memory(#[from] memory::Error),
}

/// The key that signs a guest's documents, with its certificates.
pub struct LeafKey {
    key: SecretMemory<SigningScalar>,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
}

impl LeafKey {
    /// Makes a key for the guest `module_id` and has it certified by the platform key in `directory`, which is made
    /// if there is none. `now` is in seconds since 1970.
    pub fn certified(directory: &Path, module_id: &str, now: u64) -> Result<Self, Error> {
        let mut key = SecretMemory::new(|| SigningScalar::generate(kernel_random).map_err(Error::from))?;
        let (certificate, root) = key.run(|leaf| {
            let platform = PlatformKey::load_or_create(directory, now)?;
            let certificate = platform.certify(&leaf.public()?, module_id, now)?;
            Ok::<_, PlatformError>((certificate, platform.root().to_vec()))
        })?;
        Ok(Self {
            key,
            certificate,
            cabundle: vec![root],
        })
    }

    /// What memory the key is in, for the posture.
    pub fn kind(&self) -> SecretKind {
        self.key.kind()
    }

    /// The platform's root certificate, DER.
    pub fn root(&self) -> &[u8] {
        self.cabundle.first().map(Vec::as_slice).unwrap_or_default()
    }
}

impl DocumentSigner for LeafKey {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    fn sign(&mut self, to_be_signed: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        self.key
            .run(|key| key.sign(to_be_signed))
            .map_err(|_| SignerError)
    }
}

/// This host's clock and random source.
struct Host;

impl Services for Host {
    fn unix_millis(&mut self) -> Result<u64, ServicesError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.ok()
            .and_then(|now| u64::try_from(now.as_millis()).ok())
            .ok_or(ServicesError)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), ServicesError> {
        kernel_random(buffer)
    }
}

/// getrandom(2), rather than a generator in this process: it leaves no state that could be read.
fn kernel_random(mut buffer: &mut [u8]) -> Result<(), ServicesError> {
    while !buffer.is_empty() {
        match rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty()) {
            Ok(filled) => buffer = buffer.get_mut(filled..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(ServicesError),
        }
    }
    Ok(())
}

/// The NSM of one guest.
pub struct SecurityModule(Nsm<LeafKey, Host>);

impl SecurityModule {
    /// The NSM of a guest with these measurements.
    pub fn new(module_id: String, launch: &Launch, key: LeafKey) -> Self {
        Self(Nsm::new(module_id, launch, key, Host))
    }
}

impl NsmDevice for SecurityModule {
    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.handle(request)
    }
}
