//! The guest's security module: the NSM state machine with this host's clock and random source, and the leaf key
//! that signs its documents.
//!
//! The leaf key is made in secret memory and never leaves it ([`SecretMemory`]). The platform key, which certifies it,
//! is loaded on the same secret stack, used once and dropped before the guest runs; or it is in a TPM, and the service in front
//! of that ends then ([`platform`](crate::platform)).

use std::path::Path;

use casemate_attestation::document::{DocumentSigner, SignerError};
use casemate_attestation::eif::Eif;
use casemate_attestation::es384::SIGNATURE_LEN;
use casemate_attestation::nsm::{Nsm, Services, ServicesError};
use casemate_attestation::pcr::{ImageMeasurements, Launch};
use casemate_attestation::platform::{PlatformError, PlatformKey};
use casemate_attestation::sealing::{self, Sealing};
use casemate_attestation::signing::{SigningError, SigningScalar};
use casemate_attestation::{executable, recall};
use casemate_tpm::chip;

use crate::memory::{self, SecretKind, SecretMemory};
use crate::platform::{Client, ClientError, Role};
use crate::vcpu::NsmDevice;

/// The program that this process runs, whatever is under its name by now (proc(5)).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Why there is no attestation key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform key cannot be used.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The TPM that holds it cannot be used.
    #[error(transparent)]
    Tpm(#[from] ClientError),
    /// No leaf key could be made.
    #[error("cannot make the guest's attestation key: {0}")]
    Key(#[from] SigningError),
    /// The platform key is gone: a bug of the launch.
    #[error("the platform key was dropped too early")]
    NoPlatformKey,
    /// No memory for it.
    #[error(transparent)]
    Memory(#[from] memory::Error),
}

/// Both keys, in secret memory: the platform's until the guest is about to run, the guest's for as long as it runs.
struct Keys {
    leaf: SigningScalar,
    platform: Option<PlatformKey>,
}

/// The guest's key and certificates, and the platform key that made them.
pub struct Certifier {
    keys: SecretMemory<Keys>,
    certificate: Vec<u8>,
    root: Vec<u8>,
    root_of_trust: &'static str,
}

impl Certifier {
    /// Makes a key for the guest `module_id` and has it certified by the platform key of `directory`, which is made as a
    /// file if there is none. `now` is in seconds since 1970.
    pub fn new(directory: &Path, module_id: &str, now: u64) -> Result<Self, Error> {
        let service = chip::is_in(directory).then(|| Client::start(directory, Role::Launch)).transpose()?;
        let mut keys = SecretMemory::new(|| {
            let platform = match service {
                Some(service) => PlatformKey::held_by(Box::new(service), directory)?,
                None => PlatformKey::load_or_create(directory, now)?,
            };
            Ok::<_, Error>(Keys { leaf: SigningScalar::generate(kernel_random)?, platform: Some(platform) })
        })?;
        let (certificate, root, root_of_trust) = keys.run(|keys| {
            let platform = keys.platform.as_ref().ok_or(Error::NoPlatformKey)?;
            let certificate = platform.certify(&keys.leaf.public()?, module_id, now)?;
            Ok::<_, Error>((certificate, platform.root().to_vec(), platform.root_of_trust()))
        })?;
        Ok(Self { keys, certificate, root, root_of_trust })
    }

    /// The measurements of `image`, remembered in `directory` from an earlier launch if they were made before.
    pub fn measure(&mut self, directory: &Path, image: &Eif<'_>) -> Result<ImageMeasurements, recall::Error> {
        self.keys.run(|keys| match &keys.platform {
            Some(platform) => recall::measure(platform, directory, image),
            None => recall::measure_anew(image),
        })
    }

    /// SHA-384 of this process's program, remembered in `directory` from an earlier launch if that was the same.
    pub fn measure_program(&mut self, directory: &Path) -> std::io::Result<[u8; executable::LEN]> {
        self.keys.run(|keys| match &keys.platform {
            Some(platform) => executable::sha384(platform, directory, Path::new(OWN_PROGRAM)),
            None => Err(std::io::ErrorKind::NotFound.into()),
        })
    }

    /// Passes the sealing key of a guest with these measurements to `deliver`, which runs on the secret stack: neither the
    /// key nor anything that it was computed from touches other memory, unless `deliver` copies it there.
    pub fn with_sealing_key<R: Send>(
        &mut self,
        sealing: Sealing,
        image: &ImageMeasurements,
        deliver: impl FnOnce(&[u8; sealing::LEN]) -> R,
    ) -> Result<R, Error> {
        self.keys.run(|keys| {
            let platform = keys.platform.as_ref().ok_or(Error::NoPlatformKey)?;
            Ok(deliver(&*sealing::key(platform, sealing, image)?))
        })
    }

    /// Drops the platform key.
    pub fn finish(mut self) -> LeafKey {
        self.keys.run(|keys| keys.platform = None);
        let Self { keys, certificate, root, root_of_trust } = self;
        LeafKey { keys, certificate, cabundle: vec![root], root_of_trust }
    }
}

/// The key that signs a guest's documents, with its certificates.
pub struct LeafKey {
    keys: SecretMemory<Keys>,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
    root_of_trust: &'static str,
}

impl LeafKey {
    /// What memory the key is in, for the posture.
    pub fn kind(&self) -> SecretKind {
        self.keys.kind()
    }

    /// What holds the platform key, for the posture.
    pub fn root_of_trust(&self) -> &'static str {
        self.root_of_trust
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
        self.keys.run(|keys| keys.leaf.sign(to_be_signed)).map_err(|_| SignerError)
    }
}

/// This host's clock and random source.
struct Host;

impl Services for Host {
    fn unix_millis(&mut self) -> Result<u64, ServicesError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.ok().and_then(|now| u64::try_from(now.as_millis()).ok()).ok_or(ServicesError)
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
