//! The platform key: it certifies the leaf key of each guest at launch, and is dropped before the guest runs.
//!
//! It has three verbs, whatever holds it ([`Holder`]): it **signs** (a guest's certificate, [`PlatformKey::certify`], or a
//! statement, [`PlatformKey::sign`]), it **derives** secrets, and it has a **root** certificate. Nothing else of it is ever
//! seen by those who use it.
//!
//! The holder made here is a file, the embedded root of trust: two files in a directory that its owner protects. Whoever can
//! read `platform.key` can forge documents; the posture says `root_of_trust = file`, so that a verifier can ask for more.
//!
//! | file | holds | mode |
//! | --- | --- | --- |
//! | `platform.key` | the private key, PKCS#8 PEM | 0600, anything wider is refused |
//! | `root.pem` | its self-signed certificate, for verifiers | 0644 |
//!
//! Creation holds a lock on the directory, writes each file completely under another name, and renames
//! `root.pem` first: once `platform.key` is there, both are, whatever was killed when.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use der::pem::LineEnding;
use der::{Decode, DecodePem, EncodePem};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::certificate::{self, CertificateError, Issuer};
use crate::chain::{ChainFault, Link};
use crate::es384::{PUBLIC_LEN, SIGNATURE_LEN};
use crate::pcr::Pcr;
use crate::signing::{self, SigningError, SigningScalar};

/// Name of the private key's file.
pub const KEY_FILE: &str = "platform.key";
/// Name of the root certificate's file.
pub const ROOT_FILE: &str = "root.pem";
/// Longest file that is read.
const FILE_MAX: u64 = 16 * 1024;

/// Bytes in a derived secret.
pub const SECRET_LEN: usize = 48;

/// What holds a platform's private key and the secret that others derive from: bytes in this process, or a chip that nobody
/// can take them from.
pub trait Holder: Send + Sync {
    /// An ES384 signature (r ‖ s) over `message`.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], HolderError>;

    /// A secret for one purpose; the parts count as one string. The same purpose has the same secret for as long as the
    /// platform has its key.
    fn derive(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; SECRET_LEN]>, HolderError>;

    /// What it is, as the posture says it (`root_of_trust`).
    fn root_of_trust(&self) -> &'static str;
}

/// The holder did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HolderError(pub String);

impl From<SigningError> for HolderError {
    fn from(error: SigningError) -> Self {
        Self(error.to_string())
    }
}

/// The private key of a file.
impl Holder for SigningScalar {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], HolderError> {
        Ok(SigningScalar::sign(self, message)?)
    }

    fn derive(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; SECRET_LEN]>, HolderError> {
        Ok(SigningScalar::derive(self, purpose))
    }

    fn root_of_trust(&self) -> &'static str {
        "file"
    }
}

/// Why there is no platform key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// A file or directory could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the private key.
    #[error("{} has mode {mode:03o}, so others can use the platform key: chmod 600 it, or make a new one", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no P-384 key in PKCS#8 PEM.
    #[error("{} is not a P-384 private key in PKCS#8 PEM", .0.display())]
    NotAKey(PathBuf),
    /// The file holds no usable root certificate.
    #[error("{}: {fault}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: ChainFault,
    },
    /// Key and certificate do not belong together.
    #[error("{KEY_FILE} and {ROOT_FILE} in {} do not belong together: restore both from one backup", .0.display())]
    Mismatch(PathBuf),
    /// The key could not be made.
    #[error("no platform key could be made: {0}")]
    Key(#[from] SigningError),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What holds the key did not do what it was asked.
    #[error("the platform key cannot be used: {0}")]
    Holder(#[from] HolderError),
}

/// The platform key with its root certificate. A private part that is in this process is erased when this is dropped.
pub struct PlatformKey {
    holder: Box<dyn Holder>,
    public: [u8; PUBLIC_LEN],
    root: Vec<u8>,
}

impl PlatformKey {
    /// Makes a key and its root certificate; nothing is written. `now` is in seconds since 1970.
    pub fn generate(now: u64) -> Result<Self, PlatformError> {
        let key = SigningScalar::generate(signing::system_random)?;
        let public = key.public()?;
        Self::with_new_root(Box::new(key), public, now)
    }

    /// The key that `holder` has, with a new root certificate, which it signs. `public` is its public key, an uncompressed
    /// point; `now` is in seconds since 1970.
    pub fn with_new_root(
        holder: Box<dyn Holder>,
        public: [u8; PUBLIC_LEN],
        now: u64,
    ) -> Result<Self, PlatformError> {
        let root = certificate::root(&*holder, &public, now)?;
        Ok(Self { holder, public, root })
    }

    /// The key that `holder` has, with the root certificate in `directory`.
    pub fn held_by(holder: Box<dyn Holder>, directory: &Path) -> Result<Self, PlatformError> {
        let path = directory.join(ROOT_FILE);
        let fault = |fault| PlatformError::Root { path: path.clone(), fault };
        let root = parse_root(&read(&path)?).map_err(fault)?;
        let link = Link::read(&root).map_err(fault)?;
        link.check_authority(0).map_err(fault)?;
        let public = link.public.as_slice().try_into().map_err(|_| fault(ChainFault::Algorithm))?;
        Ok(Self { holder, public, root })
    }

    /// Loads the key from `directory`.
    pub fn load(directory: &Path) -> Result<Self, PlatformError> {
        let path = directory.join(KEY_FILE);
        let mode = fs::metadata(&path).map_err(at(&path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PlatformError::Exposed { path, mode });
        }
        let pem = Zeroizing::new(read(&path)?);
        let (key, public) = SigningScalar::pair_from_pem(&pem).map_err(|_| PlatformError::NotAKey(path))?;
        let platform = Self::held_by(Box::new(key), directory)?;
        if platform.public != public {
            return Err(PlatformError::Mismatch(directory.to_owned()));
        }
        Ok(platform)
    }

    /// Loads the key from `directory`, and first makes both if there is none. Processes that do so at once end up
    /// with the same key. `now` is in seconds since 1970.
    pub fn load_or_create(directory: &Path, now: u64) -> Result<Self, PlatformError> {
        let absent =
            |path: &Path| matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
        let path = directory.join(KEY_FILE);
        if absent(&path) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
            let lock = File::open(directory).map_err(at(directory))?;
            lock.lock().map_err(at(directory))?;
            if absent(&path) {
                Self::create(directory, now)?;
            }
        }
        Self::load(directory)
    }

    /// The self-signed root certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The certificate of a guest's key, DER. `leaf_public` is an uncompressed point, `module` PCR0 of the security module that
    /// has the key, if one has it, `now` in seconds since 1970.
    pub fn certify(
        &self,
        leaf_public: &[u8; PUBLIC_LEN],
        module_id: &str,
        module: Option<&Pcr>,
        now: u64,
    ) -> Result<Vec<u8>, PlatformError> {
        let link =
            Link::read(&self.root).map_err(|fault| PlatformError::Root { path: ROOT_FILE.into(), fault })?;
        let issuer = Issuer {
            name: link.subject_name().as_ref().clone(),
            public: &self.public,
            key: &*self.holder,
            not_before: link.not_before(),
            not_after: link.not_after(),
        };
        Ok(certificate::leaf(&issuer, leaf_public, module_id, module, now)?)
    }

    /// An ES384 signature (r ‖ s) over a statement of the platform's. The caller gives each kind of statement a beginning of
    /// its own, which no certificate has.
    pub fn sign(&self, statement: &[u8]) -> Result<[u8; SIGNATURE_LEN], PlatformError> {
        Ok(self.holder.sign(statement)?)
    }

    /// A secret for one purpose, from which neither the private key nor any other purpose's secret follows. The parts count as
    /// one string.
    pub fn derive(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; SECRET_LEN]>, PlatformError> {
        Ok(self.holder.derive(purpose)?)
    }

    /// What holds the key: `file` or `tpm`.
    pub fn root_of_trust(&self) -> &'static str {
        self.holder.root_of_trust()
    }

    /// Makes both files. The caller holds the directory's lock.
    fn create(directory: &Path, now: u64) -> Result<(), PlatformError> {
        let key = SigningScalar::generate(signing::system_random)?;
        let root = certificate::root(&key, &key.public()?, now)?;
        let root = encode_root(&root).map_err(CertificateError::from)?;
        replace(directory, ROOT_FILE, root.as_bytes(), 0o644)?;
        replace(directory, KEY_FILE, key.to_pem()?.as_bytes(), 0o600)
    }
}

/// The DER of a certificate in PEM.
pub fn parse_root(pem: &[u8]) -> Result<Vec<u8>, ChainFault> {
    let certificate = Certificate::from_pem(pem).map_err(|error| ChainFault::Malformed(error.to_string()))?;
    der::Encode::to_der(&certificate).map_err(|error| ChainFault::Malformed(error.to_string()))
}

/// A DER certificate in PEM.
pub fn encode_root(der: &[u8]) -> der::Result<String> {
    Certificate::from_der(der)?.to_pem(LineEnding::LF)
}

fn read(path: &Path) -> Result<Vec<u8>, PlatformError> {
    // Reserved at once: a buffer that grows would leave copies of the key behind.
    let mut bytes = Vec::with_capacity(FILE_MAX as usize + 1);
    File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes)).map_err(at(path))?;
    Ok(bytes)
}

/// Writes `directory/name` so that it is there completely or not at all.
pub fn replace(directory: &Path, name: &str, contents: &[u8], mode: u32) -> Result<(), PlatformError> {
    let path = directory.join(name);
    let partial = directory.join(format!(".{name}.new"));
    let write = || -> io::Result<()> {
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(at(&path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> PlatformError {
    move |source| PlatformError::Io { path: path.to_owned(), source }
}
