//! What answers a guest's NSM requests, and how a launch makes it.
//!
//! | the attestation key is | NSM | used for |
//! | --- | --- | --- |
//! | in the security module ([`crate::module`]) | a relay: this process holds no key | guests on KVM |
//! | in this process, in secret memory ([`SecretMemory`]) | the state machine, here | where nothing can be sealed |
//! | nowhere | the state machine, which signs nothing | the security module itself |
//!
//! The platform key, which certifies it, is loaded on a secret stack, used there and dropped before the guest runs; or it is in
//! a TPM, and the service in front of that ends then ([`platform`](crate::platform)). So are the key of the guest's channel to
//! the security module and all that it was derived from.

use std::path::Path;

use casemate_abi::{CHANNEL_KEY_LEN, SEALING_KEY_LEN};
use casemate_attestation::document::{DocumentSigner, SignerError};
use casemate_attestation::eif::Eif;
use casemate_attestation::es384::SIGNATURE_LEN;
use casemate_attestation::nsm::channel::TAG_LEN;
use casemate_attestation::nsm::session::{self, NONCE_LEN, SessionError, Statement};
use casemate_attestation::nsm::{Nsm, Services, ServicesError};
use casemate_attestation::pcr::{ImageMeasurements, Launch, Pcr};
use casemate_attestation::platform::{PlatformError, PlatformKey};
use casemate_attestation::sealing::{self, Sealing};
use casemate_attestation::signing::{SigningError, SigningScalar};
use casemate_attestation::{executable, recall};
use casemate_tpm::chip;
use zeroize::Zeroizing;

use crate::memory::{self, SecretKind, SecretMemory};
use crate::module::{self, Offer, Session};
use crate::platform::{Client, ClientError, Role};
use crate::vcpu::NsmDevice;

/// The program that this process runs, whatever is under its name by now (proc(5)).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What a guest finds at the far end of its stack: sealing key, channel key.
pub const KEYS_LEN: usize = SEALING_KEY_LEN + CHANNEL_KEY_LEN;
const _: () = assert!(SEALING_KEY_LEN == sealing::LEN);

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
    /// The security module gave no session.
    #[error("cannot open a session in the security module: {0}")]
    Session(#[from] SessionError),
    /// The security module cannot be talked to.
    #[error(transparent)]
    Module(#[from] module::Error),
    /// The platform key is gone: a bug of the launch.
    #[error("the platform key was dropped too early")]
    NoPlatformKey,
    /// No memory for it.
    #[error(transparent)]
    Memory(#[from] memory::Error),
}

/// Where a guest's attestation key is to be.
pub enum Place {
    /// In the security module, which offers one.
    Module(Offer),
    /// In this process.
    Here,
    /// Nowhere: this is the security module, which vouches for others and not for itself.
    Nowhere,
}

/// The keys of a launch, in secret memory: the platform's, and what the guest's documents come from, if that is here.
struct Keys {
    platform: Option<PlatformKey>,
    leaf: Option<SigningScalar>,
    /// Zero: there is no channel.
    channel: Zeroizing<[u8; CHANNEL_KEY_LEN]>,
}

/// Where the key is, with its certificate.
enum Certified {
    Module { session: Session, pcr0: Pcr, nonce: [u8; NONCE_LEN], certificate: Vec<u8> },
    Here { certificate: Vec<u8> },
    Nowhere,
}

/// The guest's key and certificates, and the platform key that made them.
pub struct Certifier {
    keys: SecretMemory<Keys>,
    certified: Certified,
    root: Vec<u8>,
    root_of_trust: &'static str,
}

impl Certifier {
    /// Has a key for the guest `module_id` certified by the platform key of `directory`, which is made as a file if there is
    /// none. `now` is in seconds since 1970.
    pub fn new(directory: &Path, module_id: &str, now: u64, place: Place) -> Result<Self, Error> {
        let service = chip::is_in(directory).then(|| Client::start(directory, Role::Launch)).transpose()?;
        let mut keys = SecretMemory::new(|| {
            let platform = match service {
                Some(service) => PlatformKey::held_by(Box::new(service), directory)?,
                None => PlatformKey::load_or_create(directory, now)?,
            };
            Ok::<_, Error>(Keys { platform: Some(platform), leaf: None, channel: Zeroizing::default() })
        })?;
        let (certified, root, root_of_trust) = keys.run(|keys| {
            let platform = keys.platform.as_ref().ok_or(Error::NoPlatformKey)?;
            let certified = match place {
                Place::Nowhere => Certified::Nowhere,
                Place::Here => {
                    let leaf = keys.leaf.insert(SigningScalar::generate(kernel_random)?);
                    Certified::Here { certificate: platform.certify(&leaf.public()?, module_id, None, now)? }
                }
                Place::Module(Offer { session, hello }) => {
                    let authority = sealing::key(platform, Sealing::Module, &hello.measurements)?;
                    let mut nonce = [0; NONCE_LEN];
                    kernel_random(&mut nonce).map_err(|_| SigningError::Random)?;
                    keys.channel = hello.channel(&authority, &nonce)?;
                    let pcr0 = hello.measurements.pcr0;
                    let certificate = platform.certify(&hello.public, module_id, Some(&pcr0), now)?;
                    Certified::Module { session, pcr0, nonce, certificate }
                }
            };
            Ok::<_, Error>((certified, platform.root().to_vec(), platform.root_of_trust()))
        })?;
        Ok(Self { keys, certified, root, root_of_trust })
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

    /// Passes the sealing key of a guest with these measurements, and the key of its channel behind it, to `deliver`, which
    /// runs on the secret stack: neither they nor anything that they were computed from touch other memory, unless `deliver`
    /// copies them there.
    pub fn with_keys<R: Send>(
        &mut self,
        sealing: Sealing,
        image: &ImageMeasurements,
        deliver: impl FnOnce(&[u8; KEYS_LEN]) -> R,
    ) -> Result<R, Error> {
        self.keys.run(|keys| {
            let platform = keys.platform.as_ref().ok_or(Error::NoPlatformKey)?;
            let sealing = sealing::key(platform, sealing, image)?;
            let mut both = Zeroizing::new([0; KEYS_LEN]);
            for (to, from) in both.iter_mut().zip(sealing.iter().chain(keys.channel.iter())) {
                *to = *from;
            }
            Ok(deliver(&both))
        })
    }

    /// What the attestation key lies in, for the posture.
    pub fn leaf_key(&self) -> &'static str {
        match (&self.certified, self.keys.kind()) {
            (Certified::Module { .. }, _) => "module",
            (Certified::Nowhere, _) => "none",
            (Certified::Here { .. }, SecretKind::MemfdSecret) => "memfd_secret",
            (Certified::Here { .. }, SecretKind::Anonymous) => "anonymous",
        }
    }

    /// PCR0 of the security module that has the attestation key, for the posture.
    pub fn module(&self) -> Option<&Pcr> {
        match &self.certified {
            Certified::Module { pcr0, .. } => Some(pcr0),
            Certified::Here { .. } | Certified::Nowhere => None,
        }
    }

    /// What holds the platform key, for the posture.
    pub fn root_of_trust(&self) -> &'static str {
        self.root_of_trust
    }

    /// The platform's root certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Drops the platform key, and every other that this process needs no more. What is left answers the guest, which was
    /// launched like this.
    pub fn finish(mut self, module_id: String, launch: &Launch) -> Result<Box<dyn NsmDevice>, Error> {
        let cabundle = vec![self.root];
        match self.certified {
            Certified::Module { mut session, nonce, certificate, .. } => {
                let cabundle = cabundle.into_iter().map(Into::into).collect();
                let statement =
                    Statement { module_id, launch: *launch, certificate: certificate.into(), cabundle };
                let statement = statement.encode()?;
                let (open, accept) = self.keys.run(|keys| {
                    let channel = &keys.channel;
                    (session::open(channel, &nonce, &statement), session::accepted(channel))
                });
                session.send(&[&open])?;
                // The answer is heard with that to the guest's first request: the jail need not wait for it.
                Ok(Box::new(Relay { session, accept: Some(accept), lost: false }))
            }
            Certified::Here { certificate } => {
                self.keys.run(|keys| keys.platform = None);
                let key = LeafKey { keys: self.keys, certificate, cabundle };
                Ok(Box::new(SecurityModule(Nsm::new(module_id, launch, key, Host))))
            }
            Certified::Nowhere => Ok(Box::new(SecurityModule(Nsm::new(module_id, launch, NoKey, Host)))),
        }
    }
}

/// The key that signs a guest's documents, in this process, with its certificates.
struct LeafKey {
    keys: SecretMemory<Keys>,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
}

impl DocumentSigner for LeafKey {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    fn sign(&mut self, to_be_signed: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        let leaf = |keys: &mut Keys| Some(keys.leaf.as_ref()?.sign(to_be_signed));
        self.keys.run(leaf).and_then(Result::ok).ok_or(SignerError)
    }
}

/// Signs nothing.
struct NoKey;

impl DocumentSigner for NoKey {
    fn certificate(&self) -> &[u8] {
        &[]
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &[]
    }

    fn sign(&mut self, _: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        Err(SignerError)
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

/// The NSM of one guest, in this process.
struct SecurityModule<S>(Nsm<S, Host>);

impl<S: DocumentSigner + Send> NsmDevice for SecurityModule<S> {
    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.handle(request)
    }
}

/// The way to the security module. What it carries is authenticated by guest and module; it can lose it, and no more.
struct Relay {
    session: Session,
    /// The module's answer to the launch, until it was heard.
    accept: Option<[u8; TAG_LEN]>,
    lost: bool,
}

impl Relay {
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        // The guest has no clock of its own, nor has the module.
        let now = Host.unix_millis().unwrap_or_default().to_le_bytes();
        self.session.send(&[&now, request])?;
        if let Some(accept) = self.accept.take()
            && self.session.receive()? != accept
        {
            return Err(SessionError::NotTheModule.into());
        }
        Ok(self.session.receive()?)
    }
}

impl NsmDevice for Relay {
    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        if self.lost {
            return Vec::new();
        }
        self.ask(request).unwrap_or_else(|error| {
            // An answer that comes too late would be taken for that to the next request.
            self.lost = true;
            eprintln!("casemate: {error}; the guest goes on, and cannot attest any more");
            Vec::new()
        })
    }
}
