//! The platform key and its secret in a TPM, and what is kept of them on disk.
//!
//! ```text
//! owner hierarchy ─ parent (P-256, storage)
//!                     ├─ platform key   P-384, ES384; fixedTPM, fixedParent, made in the TPM; policy P, no password
//!                     └─ secret         48 random bytes, sealed; policy P, no password
//! P = TPM2_PolicyPCR over the boot registers and the VMM's register
//! ```
//!
//! `platform.tpm` holds what the TPM gave out: public areas, private parts that this TPM alone can read, and which values the
//! registers must have. It is no secret, and a copy is of no use elsewhere.
//!
//! **The VMM's register.** Whoever uses the key first since the host's start measures its own program into the register, and
//! nobody can set that back before the next start. A program that measures itself honestly and is another is refused by the
//! TPM. What no register can show is a program that measures what it is not: root can run one while the registers hold the
//! right values, until the key is closed for this start of the host ([`Chip::lock`]).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA384, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use casemate_attestation::es384::{PUBLIC_LEN, SIGNATURE_LEN};
use casemate_attestation::platform::{
    Holder, HolderError, KEY_FILE, PlatformError, PlatformKey, ROOT_FILE, SECRET_LEN,
};
use casemate_attestation::{platform, signing};
use serde::{Deserialize, Serialize};
use tpm2_protocol::data::{TpmAlgId, TpmRcBase, TpmRh, TpmtPublic, TpmtSignature, TpmuSignature};
use zeroize::Zeroizing;

use crate::command::{self, Handle, Tpm};
use crate::device::Device;
use crate::pcr::{self, Values};
use crate::template;

/// Name of the file, in the platform's folder.
pub const FILE: &str = "platform.tpm";
/// Version of its form.
const FORMAT: u8 = 1;
/// Bytes of a VMM's digest.
pub const DIGEST_LEN: usize = 48;
/// Longest file that is read.
const FILE_MAX: u64 = 64 * 1024;
/// Where the parent is kept in the TPM: the first of these that is free (owner's handles, TCG Registry of Reserved Handles).
const PARENTS: std::ops::Range<Handle> = 0x8100_ca5e..0x8100_ca66;
/// How often a key is tried again whose registers were extended in between: IMA does that all the time.
const RETRIES: usize = 8;
/// What is measured to close the key until the next start.
const LOCKED: &[u8] = b"casemate: no more launches until the next start";

/// Why the key cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The TPM is not there.
    #[error("{}: {source}", path.display())]
    Device {
        /// Its device or socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The TPM failed or refused.
    #[error(transparent)]
    Tpm(#[from] command::Error),
    /// A file cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is a platform key already.
    #[error("{} has a platform key already: everything that is sealed under it would be lost; move the folder away to start anew", .0.display())]
    Exists(PathBuf),
    /// The registers that were asked for make no sense.
    #[error("{0}")]
    Registers(String),
    /// The TPM cannot make such a key.
    #[error(
        "this TPM has no keys on P-384, which attestation documents need: use the platform key as a file"
    )]
    NoP384,
    /// This VMM is not the one.
    #[error(
        "the platform key was made for the VMM with SHA-384 {wanted}, and this one has {found}: `casemate platform update --vmm FILE` with the old one lets a new one have it"
    )]
    OtherVmm {
        /// This VMM's digest.
        found: String,
        /// The other's.
        wanted: String,
    },
    /// The registers do not hold what they held when the key was made.
    #[error("the TPM does not let this host use the platform key: {0}")]
    State(String),
    /// The root certificate cannot be made or read.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// One object, as the TPM gave it out.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Blob {
    #[serde(with = "hex::serde")]
    public: Vec<u8>,
    #[serde(with = "hex::serde")]
    private: Vec<u8>,
}

impl Blob {
    fn public(&self) -> Result<TpmtPublic, command::Error> {
        template::parse(&self.public)
    }
}

/// What `platform.tpm` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    format: u8,
    device: PathBuf,
    /// The register for the VMM's measurement.
    vmm_register: u8,
    #[serde(with = "hex::serde")]
    vmm_sha384: [u8; DIGEST_LEN],
    /// What the registers must hold, the VMM's among them.
    registers: Values,
    /// Where the TPM keeps the parent, if it does.
    parent: Option<Handle>,
    key: Blob,
    secret: Blob,
}

/// How a platform key is to be made.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The TPM's device or socket.
    pub device: PathBuf,
    /// The boot registers that must keep their values.
    pub registers: Vec<u8>,
    /// The register for the VMM's measurement.
    pub vmm_register: u8,
    /// SHA-384 of the VMM's program.
    pub vmm_sha384: [u8; DIGEST_LEN],
}

impl Wish {
    fn check(&self) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Registers(reason));
        if let Some(register) = self.registers.iter().find(|register| **register >= pcr::COUNT) {
            return refuse(format!("there is no PCR {register}: a TPM has 0 to {}", pcr::COUNT - 1));
        }
        if self.vmm_register >= pcr::FIRST_RESETTABLE {
            return refuse(format!(
                "PCR {} can be set back without a restart, so it cannot hold the VMM's measurement: use one of 8 to 15",
                self.vmm_register
            ));
        }
        if self.registers.contains(&self.vmm_register) {
            return refuse(format!("PCR {} cannot be both a boot register and the VMM's", self.vmm_register));
        }
        Ok(())
    }
}

/// A platform key in a TPM.
#[derive(Debug)]
pub struct Chip {
    folder: PathBuf,
    record: Record,
    device: Device,
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::File { path: path.to_owned(), reason: error.to_string() }
}

/// The platform's folder, locked for as long as the value lives: one process at a time changes what is in it, or the VMM's
/// register.
fn locked(folder: &Path) -> Result<File, Error> {
    let lock = File::open(folder).map_err(file_error(folder))?;
    lock.lock().map_err(file_error(folder))?;
    Ok(lock)
}

fn open_device(path: &Path) -> Result<Device, Error> {
    Device::open(path).map_err(|source| Error::Device { path: path.to_owned(), source })
}

fn connect(device: &Device) -> Result<Tpm, Error> {
    let connection = device.connect();
    Ok(Tpm::new(connection.map_err(|source| Error::Device { path: device.path().to_owned(), source })?))
}

/// Whether the platform in `folder` has its key in a TPM.
pub fn is_in(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// SHA-384 of a program's file.
pub fn measure_program(path: &Path) -> std::io::Result<[u8; DIGEST_LEN]> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA384);
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut piece)?;
        match piece.get(..read) {
            Some(bytes) if !bytes.is_empty() => context.update(bytes),
            _ => break,
        }
    }
    <[u8; DIGEST_LEN]>::try_from(context.finish().as_ref()).map_err(std::io::Error::other)
}

impl Chip {
    /// Makes a platform key in a TPM for the VMM with this digest, in `folder`, which has none. `now` is in seconds since 1970.
    pub fn init(folder: &Path, wish: &Wish, now: u64) -> Result<Self, Error> {
        wish.check()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file_error(folder))?;
        let lock = locked(folder)?;
        if [FILE, KEY_FILE].iter().any(|name| folder.join(name).exists()) {
            return Err(Error::Exists(folder.to_owned()));
        }
        let device = open_device(&wish.device)?;
        let mut tpm = connect(&device)?;
        let mut registers = tpm.read_registers(wish.registers.iter().copied())?;
        registers.insert(wish.vmm_register, pcr::of_vmm(&wish.vmm_sha384));
        measure_vmm(&mut tpm, wish.vmm_register, &wish.vmm_sha384)?;
        let parent = keep_parent(&mut tpm)?;
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        let random = || Error::Tpm(command::Error::Malformed("no random bytes".into()));
        SystemRandom::new().fill(secret.as_mut_slice()).map_err(|_| random())?;
        let made = with_parent(&mut tpm, parent, |tpm, parent| objects(tpm, parent, &registers, &secret));
        let (key, secret) = made.map_err(|error| match error.is(TpmRcBase::Curve) {
            true => Error::NoP384,
            false => error.into(),
        })?;
        let record = Record {
            format: FORMAT,
            device: fs::canonicalize(&wish.device).map_err(file_error(&wish.device))?,
            vmm_register: wish.vmm_register,
            vmm_sha384: wish.vmm_sha384,
            registers,
            parent,
            key,
            secret,
        };
        let chip = Self { folder: folder.to_owned(), record, device };
        chip.store()?;
        drop((tpm, lock));
        chip.ensure_root(now)?;
        Ok(chip)
    }

    /// The platform key of `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let mut text = String::new();
        let file = File::open(&path).map_err(file_error(&path))?;
        file.take(FILE_MAX).read_to_string(&mut text).map_err(file_error(&path))?;
        let malformed = |reason: String| Error::File { path: path.clone(), reason };
        let record: Record = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if record.format != FORMAT {
            return Err(malformed(format!("is of form {}, and this version knows {FORMAT}", record.format)));
        }
        let device = open_device(&record.device)?;
        Ok(Self { folder: folder.to_owned(), record, device })
    }

    /// Where the TPM is.
    pub fn device(&self) -> &Path {
        &self.record.device
    }

    /// Whether it is a device of Linux's, and not the socket of an emulator.
    pub fn is_device(&self) -> bool {
        self.device.is_character()
    }

    /// The VMM that may use the key.
    pub fn vmm_sha384(&self) -> &[u8; DIGEST_LEN] {
        &self.record.vmm_sha384
    }

    /// The VMM's register.
    pub fn vmm_register(&self) -> u8 {
        self.record.vmm_register
    }

    /// What the registers must hold.
    pub fn registers(&self) -> &Values {
        &self.record.registers
    }

    /// What is different now from what the registers must hold, in words.
    pub fn difference(&self) -> Result<Option<String>, Error> {
        let found = self.tpm()?.read_registers(self.record.registers.keys().copied())?;
        Ok(pcr::difference(&found, &self.record.registers))
    }

    /// The root certificate, DER.
    pub fn root(&self) -> Result<Vec<u8>, Error> {
        let path = self.folder.join(ROOT_FILE);
        let pem = fs::read(&path).map_err(file_error(&path))?;
        let der = platform::parse_root(&pem);
        der.map_err(|fault| Error::File { path, reason: fault.to_string() })
    }

    pub(crate) fn tpm(&self) -> Result<Tpm, Error> {
        connect(&self.device)
    }

    /// The platform key's public area.
    pub fn public(&self) -> Result<TpmtPublic, Error> {
        Ok(self.record.key.public()?)
    }

    /// To be called before the key is used: refuses any VMM but the right one, and sees to it that the program that asks has
    /// been measured since the host's start. `vmm_sha384` is the digest of this process's own program.
    pub fn admit(&self, vmm_sha384: &[u8; DIGEST_LEN]) -> Result<(), Error> {
        if *vmm_sha384 != self.record.vmm_sha384 {
            let wanted = hex::encode(self.record.vmm_sha384);
            return Err(Error::OtherVmm { found: hex::encode(vmm_sha384), wanted });
        }
        // Two at once would both find the register empty, and measure twice.
        let _lock = locked(&self.folder)?;
        measure_vmm(&mut self.tpm()?, self.record.vmm_register, vmm_sha384)
    }

    /// Closes the key for this start of the host: nothing can be launched any more, and no program can use the key, honest or
    /// not. What runs goes on.
    pub fn lock(&self) -> Result<(), Error> {
        Ok(self.tpm()?.measure(self.record.vmm_register, LOCKED)?)
    }

    /// Makes the root certificate if there is none yet. Nobody can sign it before the registers hold what they must.
    pub fn ensure_root(&self, now: u64) -> Result<(), Error> {
        let public = self.public_point()?;
        // Two at once would make two certificates.
        let _lock = locked(&self.folder)?;
        let path = self.folder.join(ROOT_FILE);
        if path.exists() {
            if crate::evidence::public_point(&self.root()?).as_deref() == Some(&public[..]) {
                return Ok(());
            }
            // That of the key before an update.
            fs::rename(&path, self.folder.join(format!("{ROOT_FILE}.old"))).map_err(file_error(&path))?;
        }
        let borrowed = Self::open(&self.folder)?;
        let platform = PlatformKey::with_new_root(Box::new(borrowed), public, now)?;
        let pem = platform::encode_root(platform.root());
        let pem = pem.map_err(|error| Error::File { path, reason: error.to_string() })?;
        Ok(platform::replace(&self.folder, ROOT_FILE, pem.as_bytes(), 0o644)?)
    }

    /// The platform key as an uncompressed point.
    fn public_point(&self) -> Result<[u8; PUBLIC_LEN], Error> {
        let not_a_point = || command::Error::Malformed("the platform key is not on P-384".into());
        Ok(template::p384(&self.public()?).ok_or_else(not_a_point)?)
    }

    /// Lets another VMM have the secret, and what is sealed under it, and makes a new key for that VMM. To be called while this
    /// one may use them. `expected` are boot registers that will hold other values then. The new VMM makes the new root
    /// certificate at its first launch.
    pub fn update(&self, vmm_sha384: [u8; DIGEST_LEN], expected: &Values) -> Result<(), Error> {
        let mut registers = self.record.registers.clone();
        for (register, value) in expected {
            if *register == self.record.vmm_register || registers.insert(*register, *value).is_none() {
                return Err(Error::Registers(format!(
                    "PCR {register} is not among the platform key's boot registers"
                )));
            }
        }
        registers.insert(self.record.vmm_register, pcr::of_vmm(&vmm_sha384));
        let secret = self.secret()?;
        let mut tpm = self.tpm()?;
        let (key, secret) = with_parent(&mut tpm, self.record.parent, |tpm, parent| {
            objects(tpm, parent, &registers, &secret)
        })?;
        let record = Record { vmm_sha384, registers, key, secret, ..self.record.clone() };
        Self { folder: self.folder.clone(), record, device: open_device(&self.record.device)? }.store()
    }

    fn store(&self) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        Ok(platform::replace(&self.folder, FILE, &json, 0o600)?)
    }

    /// The secret from which others derive. It leaves the TPM with this call.
    pub fn secret(&self) -> Result<Zeroizing<[u8; SECRET_LEN]>, Error> {
        let unsealed = self.authorised(&self.record.secret, Tpm::unseal)?;
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        if unsealed.len() != SECRET_LEN {
            return Err(command::Error::Malformed("the sealed secret has another length".into()).into());
        }
        secret.copy_from_slice(&unsealed);
        Ok(secret)
    }

    /// An ES384 signature (r ‖ s) over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], Error> {
        let digest = digest(&SHA384, message);
        let signature =
            self.authorised(&self.record.key, |tpm, key, session| tpm.sign(key, session, digest.as_ref()))?;
        let fixed = fixed(&signature, TpmAlgId::Sha384, SIGNATURE_LEN / 2)
            .and_then(|signature| signature.try_into().ok());
        Ok(fixed.ok_or_else(|| command::Error::Malformed("the signature is not one of P-384".into()))?)
    }

    /// Loads the platform key for `work`, which needs no use of its private part.
    pub(crate) fn with_key<R>(
        &self,
        tpm: &mut Tpm,
        work: impl FnOnce(&mut Tpm, Handle) -> Result<R, command::Error>,
    ) -> Result<R, Error> {
        let blob = &self.record.key;
        Ok(with_parent(tpm, self.record.parent, |tpm, parent| {
            let key = tpm.load(parent, &blob.private, &blob.public()?)?;
            tpm.holding(key, |tpm| work(tpm, key))
        })?)
    }

    /// Uses an object under the policy.
    fn authorised<R>(
        &self,
        blob: &Blob,
        work: impl Fn(&mut Tpm, Handle, Handle) -> Result<R, command::Error>,
    ) -> Result<R, Error> {
        let mut tpm = self.tpm()?;
        let used = with_parent(&mut tpm, self.record.parent, |tpm, parent| {
            let object = tpm.load(parent, &blob.private, &blob.public()?)?;
            tpm.holding(object, |tpm| {
                let mut tries = 0;
                loop {
                    let session = tpm.start_policy()?;
                    let used = tpm.holding(session, |tpm| {
                        tpm.policy_pcr(session, self.record.registers.keys().copied())?;
                        work(tpm, object, session)
                    });
                    match used {
                        Err(error) if error.is(TpmRcBase::PcrChanged) && tries < RETRIES => tries += 1,
                        used => return used,
                    }
                }
            })
        });
        match used {
            Err(error) if error.is(TpmRcBase::PolicyFail) => {
                drop(tpm);
                let unknown =
                    || "its registers hold what they should, but not under the policy of the key".to_owned();
                Err(Error::State(self.difference()?.unwrap_or_else(unknown)))
            }
            used => Ok(used?),
        }
    }
}

/// Directly, without a process in between. Each derivation takes the secret out of the TPM again.
impl Holder for Chip {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], HolderError> {
        Self::sign(self, message).map_err(|error| HolderError(error.to_string()))
    }

    fn derive(&self, purpose: &[&[u8]]) -> Result<Zeroizing<[u8; SECRET_LEN]>, HolderError> {
        let secret = self.secret().map_err(|error| HolderError(error.to_string()))?;
        Ok(signing::derive(&secret, purpose))
    }

    fn root_of_trust(&self) -> &'static str {
        "tpm"
    }
}

/// Measures the VMM into its register, unless that has been done since the host's start.
fn measure_vmm(tpm: &mut Tpm, register: u8, vmm_sha384: &[u8; DIGEST_LEN]) -> Result<(), Error> {
    let wanted = pcr::of_vmm(vmm_sha384);
    let found = tpm.read_registers([register])?.get(&register).copied();
    match found {
        Some(found) if found == wanted => Ok(()),
        Some(found) if found.is_zero() => Ok(tpm.measure(register, vmm_sha384)?),
        _ => Err(Error::State(format!(
            "PCR {register} holds something else than this VMM's measurement since the host's start: the key was closed, another VMM was measured, or something else uses the register; restart the host, or make the key with another --vmm-pcr"
        ))),
    }
}

/// Makes key and sealed secret for these values of the registers.
fn objects(
    tpm: &mut Tpm,
    parent: Handle,
    registers: &Values,
    secret: &[u8; SECRET_LEN],
) -> Result<(Blob, Blob), command::Error> {
    let policy = pcr::policy(registers);
    let mut made = Vec::new();
    for (public, data) in [(template::platform(&policy)?, &[][..]), (template::sealed(&policy)?, &secret[..])]
    {
        let (private, public) = tpm.create(parent, &public, data)?;
        made.push(Blob { public: command::bytes(&public)?, private });
    }
    let mut made = made.into_iter();
    let missing = || command::Error::Malformed("nothing was made".into());
    Ok((made.next().ok_or_else(missing)?, made.next().ok_or_else(missing)?))
}

/// Has the TPM keep the parent, so that it need not be made again for each launch: that takes long. A TPM without room goes on
/// without.
fn keep_parent(tpm: &mut Tpm) -> Result<Option<Handle>, Error> {
    let template = template::parent();
    for handle in PARENTS {
        match tpm.read_public(handle) {
            Ok(public) if template::is_made_from(&public, &template) => return Ok(Some(handle)),
            Ok(_) => {}
            Err(_) => {
                let (parent, _) = tpm.create_primary(TpmRh::Owner, &template)?;
                let kept = tpm.holding(parent, |tpm| Ok::<_, command::Error>(tpm.persist(parent, handle)))?;
                return Ok(kept.ok().map(|()| handle));
            }
        }
    }
    Ok(None)
}

/// Does something with the parent. One that the TPM keeps is not let go.
fn with_parent<R>(
    tpm: &mut Tpm,
    kept: Option<Handle>,
    work: impl FnOnce(&mut Tpm, Handle) -> Result<R, command::Error>,
) -> Result<R, command::Error> {
    let template = template::parent();
    if let Some(handle) = kept
        && tpm.read_public(handle).is_ok_and(|public| template::is_made_from(&public, &template))
    {
        return work(tpm, handle);
    }
    let (parent, _) = tpm.create_primary(TpmRh::Owner, &template)?;
    tpm.holding(parent, |tpm| work(tpm, parent))
}

/// An ECDSA signature over a digest of this kind, as r ‖ s, `size` bytes each.
pub(crate) fn fixed(signature: &TpmtSignature, hash: TpmAlgId, size: usize) -> Option<Vec<u8>> {
    let TpmuSignature::Ecdsa(values) = &signature.signature else { return None };
    if values.hash != hash {
        return None;
    }
    let mut out = Vec::new();
    for value in [&values.signature_r, &values.signature_s] {
        let missing = size.checked_sub(value.len())?;
        out.resize(out.len().saturating_add(missing), 0);
        out.extend_from_slice(value);
    }
    Some(out)
}
