//! The registry of running guests: one folder each under the runtime directory.
//!
//! Promises: a guest that is listed has a living VMM process; a name, an identifier and a context identifier belong
//! to one guest at a time; what a killed VMM leaves behind is removed by the next command.
//!
//! Trusts: the file system, and whoever runs as the same user. The runtime directory is refused unless it belongs to
//! this user and nobody else can enter it, because whoever can enter it can talk to every guest.
//!
//! The security module ([`crate::module`]) is a guest too, in the folder `<runtime>/module/`. It is in nobody's list, and goes
//! where processors are reserved for others, like the rest.
//!
//! A folder `<runtime>/<enclave-id>/` holds
//!
//! | file | what |
//! | --- | --- |
//! | `lock` | locked (flock) by the VMM process for as long as it lives |
//! | `guest.json` | [`GuestRecord`]; appears once the guest runs |
//! | `vsock.sock` | the way in: `CONNECT <port>\n` → `OK <n>\n` |
//! | `console.sock` | the log, in debug mode only |
//! | `root.pem` | the root certificate that the guest's attestation documents lead to |
//! | `posture.cbor` | the measured posture of the host, which a verifier is given beside the document |
//! | `volume.json` | which volume the guest has ([`crate::volume::attachment`]) |

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_attestation::pcr::Pcr;

use crate::guest::{CONSOLE_SOCKET, VSOCK_SOCKET};
use crate::isolation::cores::{self, CpuList, Machine, Neighbour, Placement};
use crate::module;
use serde::{Deserialize, Serialize};

/// The security module's context identifier: the last that there is.
const MODULE_CID: u64 = u32::MAX as u64 - 1;

/// Why the registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime directory could be entered by somebody else.
    #[error(
        "the runtime directory {} is not private ({problem}): remove it, or set CASEMATE_RUNTIME_DIR to a folder of yours with mode 0700",
        path.display()
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Who else could enter it.
        problem: String,
    },
    /// A record could not be understood.
    #[error("{} is not a guest record ({source}): terminate that guest and remove its folder", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// The name cannot be used.
    #[error("`{0}` cannot be a guest's name: use 1 to 64 letters, digits, `-`, `_` and `.`")]
    BadName(String),
    /// The context identifier cannot be used.
    #[error("context identifier {0} is reserved: use one from 4 to 4294967294")]
    BadCid(u64),
    /// The context identifier belongs to another guest.
    #[error(
        "context identifier {cid} belongs to the running guest `{name}`: choose another, or leave --enclave-cid out"
    )]
    CidTaken {
        /// The wanted identifier.
        cid: u64,
        /// Who has it.
        name: String,
    },
    /// The processors cannot be had.
    #[error(transparent)]
    Cores(#[from] cores::Error),
    /// No guest matches.
    #[error("no running guest {wanted}; running: {list}")]
    NotFound {
        /// What was looked for.
        wanted: String,
        /// The names of those that run.
        list: String,
    },
    /// No guest runs at all.
    #[error("no guest is running: start one with `casemate run`")]
    NoneRuns,
    /// Several guests match.
    #[error("{count} guests are running ({list}): say which one with --guest NAME")]
    Ambiguous {
        /// How many.
        count: usize,
        /// Their names.
        list: String,
    },
}

/// What is known about a running guest, as kept in `guest.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestRecord {
    /// The name that the user chose, or the image's.
    pub name: String,
    /// The enclave identifier; also the name of its folder.
    pub id: String,
    /// `module_id` in the guest's attestation documents.
    pub module_id: String,
    /// The VMM process.
    pub pid: u32,
    /// The vsock context identifier.
    pub cid: u64,
    /// The processors that the virtual CPU has to itself, with their cores; empty: it shares.
    pub cpu_ids: Vec<u32>,
    /// Private memory in MiB.
    pub memory_mib: u64,
    /// Debug mode: the PCRs in attestation documents are zero and there is a console.
    pub debug: bool,
    /// `kvm` or `process`.
    pub backend: String,
    /// PCRs as attested (all zero in debug mode and on the process backend), in nitro-cli's `Measurements` form.
    pub measurements: BTreeMap<String, String>,
    /// The host's posture in one line.
    pub posture: String,
    /// The image's name from its metadata.
    pub image_name: Option<String>,
    /// The image's version from its metadata.
    pub image_version: Option<String>,
    /// The image's metadata (EIF section 5).
    pub metadata: Option<serde_json::Value>,
    /// When the guest was launched, in milliseconds since 1970.
    pub started_ms: u64,
    /// The image's file.
    pub image: PathBuf,
}

/// The runtime directory.
#[derive(Clone, Debug)]
pub struct Registry {
    dir: PathBuf,
}

/// A running guest: its record and its folder.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What `guest.json` says.
    pub record: GuestRecord,
    /// The guest's folder.
    pub dir: PathBuf,
}

/// Which guest a command means.
#[derive(Clone, Debug)]
pub enum Selector {
    /// The one that runs, if there is only one.
    Only,
    /// By name or identifier.
    Either(String),
    /// By identifier.
    Id(String),
    /// By name.
    Name(String),
}

/// A folder made for a guest about to be launched, locked by this process. Dropping it removes the folder.
#[derive(Debug)]
pub struct Reservation {
    dir: PathBuf,
    id: String,
    name: String,
    cid: u64,
    placement: Placement,
    /// Held for its lock alone: the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::Io { action, path, source }
}

/// Where the guests' folders are: `$CASEMATE_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/casemate`, for root `/run/casemate`, else
/// `/tmp/casemate-<uid>`.
pub fn runtime_dir() -> PathBuf {
    if let Some(dir) = non_empty_var("CASEMATE_RUNTIME_DIR") {
        return dir;
    }
    if let Some(dir) = non_empty_var("XDG_RUNTIME_DIR") {
        return dir.join("casemate");
    }
    match rustix::process::geteuid().as_raw() {
        0 => PathBuf::from("/run/casemate"),
        uid => PathBuf::from(format!("/tmp/casemate-{uid}")),
    }
}

/// Where the platform key is kept: `$CASEMATE_HOME`, for root `/var/lib/casemate`, else `$XDG_DATA_HOME/casemate` or
/// `~/.local/share/casemate`.
pub fn state_dir() -> PathBuf {
    if let Some(dir) = non_empty_var("CASEMATE_HOME") {
        return dir;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/casemate");
    }
    if let Some(dir) = non_empty_var("XDG_DATA_HOME") {
        return dir.join("casemate");
    }
    match non_empty_var("HOME") {
        Some(home) => home.join(".local/share/casemate"),
        None => runtime_dir().join("state"),
    }
}

fn non_empty_var(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A fresh identifier of Nitro's form: the instance, then the enclave. The instance part is derived from the machine's
/// identifier but does not reveal it (machine-id(5) asks for that).
pub fn new_enclave_id() -> Result<String, RegistryError> {
    let path = Path::new("/dev/urandom");
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| io_error("read", path)(errno.into()))?;
    let machine = fs::read("/etc/machine-id").unwrap_or_default();
    let digest = Pcr::measure(&[b"casemate instance", machine.as_slice()].concat());
    let instance: String = digest.to_string().chars().take(17).collect();
    Ok(format!("i-{instance}-enc{}", hex::encode(random)))
}

impl Registry {
    /// Opens the runtime directory, making it if it is not there.
    pub fn open() -> Result<Self, RegistryError> {
        Self::at(&runtime_dir())
    }

    /// Opens this directory as the runtime directory, making it if it is not there.
    pub fn at(dir: &Path) -> Result<Self, RegistryError> {
        match DirBuilder::new().mode(0o700).recursive(false).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(io_error("make", dir))?;
            }
            Err(error) => return Err(io_error("make", dir)(error)),
        }
        let metadata = fs::symlink_metadata(dir).map_err(io_error("look at", dir))?;
        let uid = rustix::process::geteuid().as_raw();
        let problem = if !metadata.is_dir() {
            Some("it is not a directory".to_owned())
        } else if metadata.uid() != uid {
            Some(format!("it belongs to user {}", metadata.uid()))
        } else if metadata.mode() & 0o077 != 0 {
            Some(format!("its mode is {:04o}", metadata.mode() & 0o7777))
        } else {
            None
        };
        match problem {
            Some(problem) => Err(RegistryError::NotPrivate { path: dir.to_owned(), problem }),
            None => Ok(Self { dir: dir.to_owned() }),
        }
    }

    /// Makes and locks a folder for a new guest. The name is `wanted`, or `image` made unique as nitro-cli does it
    /// (`app`, `app_1`, …). The cores of `cpus` are the guest's own from now on: whoever is on them is moved away.
    pub fn reserve(
        &self,
        wanted: Option<&str>,
        image: &str,
        cid: Option<u64>,
        cpus: &CpuList,
    ) -> Result<Reservation, RegistryError> {
        let _guard = self.guard()?;
        let running = self.sweep()?;
        let base = wanted.unwrap_or(image);
        let name = unique_name(base, &running)?;
        let cid = choose_cid(cid, &running)?;
        let neighbours: Vec<Neighbour> = running.into_iter().map(Neighbour::from).collect();
        let placement = Placement::find(cpus, &neighbours, &Machine)?;
        let id = new_enclave_id()?;
        let reservation = Reservation::make(self.dir.join(&id), id, name, cid, placement)?;
        reservation.placement.move_away(&neighbours)?;
        Ok(reservation)
    }

    /// Makes and locks the folder of the security module.
    pub fn reserve_module(&self) -> Result<Reservation, RegistryError> {
        let _guard = self.guard()?;
        let neighbours: Vec<Neighbour> = self.sweep()?.into_iter().map(Neighbour::from).collect();
        let placement = Placement::find(&CpuList::default(), &neighbours, &Machine)?;
        Reservation::make(
            self.module_dir(),
            new_enclave_id()?,
            module::FOLDER.to_owned(),
            MODULE_CID,
            placement,
        )
    }

    /// The security module's folder, whether it runs or not.
    pub fn module_dir(&self) -> PathBuf {
        self.dir.join(module::FOLDER)
    }

    /// The security module, if it runs and no guest does, nor is about to.
    pub fn unused_module(&self) -> Result<Option<Guest>, RegistryError> {
        let _guard = self.guard()?;
        let mut running = self.sweep()?;
        let last = if running.len() == 1 { running.pop() } else { None };
        Ok(last.and_then(|taken| taken.guest).filter(Guest::is_module))
    }

    /// Held by who starts the security module: there is one, whoever else wants to.
    pub fn module_start(&self) -> Result<File, RegistryError> {
        let directory = File::open(&self.dir).map_err(io_error("open", &self.dir))?;
        directory.lock().map_err(io_error("lock", &self.dir))?;
        Ok(directory)
    }

    /// Once more moves away who runs on this guest's own cores: one that was being launched when they were reserved may have
    /// made threads meanwhile.
    pub fn move_away(&self, reservation: &Reservation) -> Result<(), RegistryError> {
        if reservation.placement.own.is_empty() {
            return Ok(());
        }
        let _guard = self.guard()?;
        let others = self.sweep()?.into_iter().map(Neighbour::from);
        let others: Vec<Neighbour> = others.filter(|other| other.pid != std::process::id()).collect();
        Ok(reservation.placement.move_away(&others)?)
    }

    /// The running guests, oldest first. Folders of guests that are gone are removed.
    pub fn guests(&self) -> Result<Vec<Guest>, RegistryError> {
        let _guard = self.guard()?;
        let mut guests: Vec<Guest> = self.sweep()?.into_iter().filter_map(|entry| entry.guest).collect();
        guests.retain(|guest| !guest.is_module());
        guests.sort_by(|a, b| (a.record.started_ms, &a.record.id).cmp(&(b.record.started_ms, &b.record.id)));
        Ok(guests)
    }

    /// The guest that a command means.
    pub fn find(&self, selector: &Selector) -> Result<Guest, RegistryError> {
        let mut guests = self.guests()?;
        let list = names(&guests);
        if guests.is_empty() {
            return Err(RegistryError::NoneRuns);
        }
        let (wanted, matches): (String, &dyn Fn(&GuestRecord) -> bool) = match selector {
            Selector::Only if guests.len() > 1 => {
                return Err(RegistryError::Ambiguous { count: guests.len(), list });
            }
            Selector::Only => (String::new(), &|_| true),
            Selector::Either(key) => (format!("is called `{key}`"), &|g| g.id == *key || g.name == *key),
            Selector::Id(id) => (format!("has the identifier `{id}`"), &|g| g.id == *id),
            Selector::Name(name) => (format!("is called `{name}`"), &|g| g.name == *name),
        };
        guests.retain(|guest| matches(&guest.record));
        guests.pop().ok_or(RegistryError::NotFound { wanted, list })
    }

    /// Serialises making and removing folders, so that nobody removes one that is being made.
    fn guard(&self) -> Result<File, RegistryError> {
        let path = self.dir.join("registry.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(file)
    }

    /// Goes through all folders: removes the stale ones and returns the others. The caller holds the guard.
    fn sweep(&self) -> Result<Vec<Taken>, RegistryError> {
        let mut taken = Vec::new();
        let entries = fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))?;
        for entry in entries {
            let dir = entry.map_err(io_error("list", &self.dir))?.path();
            let is_guest = dir
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("i-") || name == module::FOLDER);
            if !is_guest || !dir.is_dir() {
                continue;
            }
            if is_alive(&dir)? {
                taken.push(Taken::read(dir)?);
            } else {
                match fs::remove_dir_all(&dir) {
                    // Its own VMM may be removing it at this moment.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("remove", &dir)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(taken)
    }
}

/// A folder whose VMM lives: `guest` is there once the guest runs.
struct Taken {
    name: String,
    cid: u64,
    pid: u32,
    cpus: CpuList,
    guest: Option<Guest>,
}

impl From<Taken> for Neighbour {
    fn from(taken: Taken) -> Self {
        Self { name: taken.name, pid: taken.pid, cpus: taken.cpus }
    }
}

impl Taken {
    fn read(dir: PathBuf) -> Result<Self, RegistryError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Reserved {
            name: String,
            cid: u64,
            pid: u32,
            cpu_ids: Vec<u32>,
        }
        if let Some(record) = read_json::<GuestRecord>(&dir.join("guest.json"))? {
            let (name, cid, pid) = (record.name.clone(), record.cid, record.pid);
            let cpus = record.cpu_ids.iter().copied().collect();
            return Ok(Self { name, cid, pid, cpus, guest: Some(Guest { record, dir }) });
        }
        let reserved = read_json::<Reserved>(&dir.join("reserved.json"))?;
        let Reserved { name, cid, pid, cpu_ids } = reserved.unwrap_or_default();
        Ok(Self { name, cid, pid, cpus: cpu_ids.into_iter().collect(), guest: None })
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, RegistryError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let value = serde_json::from_slice(&text)
        .map_err(|source| RegistryError::Record { path: path.to_owned(), source })?;
    Ok(Some(value))
}

/// Whether a VMM process holds the folder's lock.
pub(super) fn is_alive(dir: &Path) -> Result<bool, RegistryError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

fn names(guests: &[Guest]) -> String {
    let mut names: Vec<&str> = guests.iter().map(|guest| guest.record.name.as_str()).collect();
    names.sort_unstable();
    names.join(", ")
}

fn unique_name(base: &str, taken: &[Taken]) -> Result<String, RegistryError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if base.is_empty() || base.len() > 64 || !base.chars().all(allowed) {
        return Err(RegistryError::BadName(base.to_owned()));
    }
    let free = |name: &String| taken.iter().all(|t| t.name != *name);
    let candidates = std::iter::once(base.to_owned()).chain((1u64..).map(|n| format!("{base}_{n}")));
    let mut free_names = candidates.filter(free);
    free_names.next().ok_or_else(|| RegistryError::BadName(base.to_owned()))
}

/// nitro-cli refuses 0–3 (the hypervisor, the local machine, the host, the parent); u32::MAX means "any".
fn choose_cid(wanted: Option<u64>, taken: &[Taken]) -> Result<u64, RegistryError> {
    let Some(cid) = wanted else {
        let free = |cid: &u64| taken.iter().all(|t| t.cid != *cid);
        let mut candidates = casemate_abi::DEFAULT_GUEST_CID..u64::from(u32::MAX);
        return candidates.find(free).ok_or(RegistryError::BadCid(u64::from(u32::MAX)));
    };
    if cid < 4 || cid >= u64::from(u32::MAX) {
        return Err(RegistryError::BadCid(cid));
    }
    match taken.iter().find(|t| t.cid == cid) {
        Some(other) => Err(RegistryError::CidTaken { cid, name: other.name.clone() }),
        None => Ok(cid),
    }
}

impl Guest {
    /// The socket through which the guest is reached.
    pub fn vsock_path(&self) -> PathBuf {
        self.dir.join(VSOCK_SOCKET)
    }

    /// The socket on which a debug guest's log comes out.
    pub fn console_path(&self) -> PathBuf {
        self.dir.join(CONSOLE_SOCKET)
    }

    /// The encoded posture that the guest's posture PCR commits to.
    pub fn posture_path(&self) -> PathBuf {
        self.dir.join("posture.cbor")
    }

    /// The root certificate.
    pub fn root_path(&self) -> PathBuf {
        self.dir.join("root.pem")
    }

    /// Whether this is the security module.
    pub fn is_module(&self) -> bool {
        self.dir.ends_with(module::FOLDER)
    }

    /// Whether the VMM process still lives.
    pub fn is_alive(&self) -> Result<bool, RegistryError> {
        is_alive(&self.dir)
    }
}

impl Reservation {
    fn make(
        dir: PathBuf,
        id: String,
        name: String,
        cid: u64,
        placement: Placement,
    ) -> Result<Self, RegistryError> {
        DirBuilder::new().mode(0o700).create(&dir).map_err(io_error("make", &dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("make", &path))?;
        lock.try_lock().map_err(|error| io_error("lock", &path)(error.into()))?;
        let reservation = Self { dir, id, name, cid, placement, _lock: lock };
        // The name, the context identifier and the processors are taken from now on, not from the moment the guest runs.
        let pid = std::process::id();
        let cpu_ids: Vec<u32> = reservation.placement.own.numbers().collect();
        reservation.write(
            "reserved.json",
            format!(
                "{{\"name\":{:?},\"cid\":{cid},\"pid\":{pid},\"cpu_ids\":{cpu_ids:?}}}",
                reservation.name
            ),
        )?;
        Ok(reservation)
    }

    /// The guest's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The enclave identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The guest's vsock context identifier.
    pub fn cid(&self) -> u64 {
        self.cid
    }

    /// Where the guest runs.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Where the VMM listens for clients of the guest.
    pub fn vsock_path(&self) -> PathBuf {
        self.dir.join(VSOCK_SOCKET)
    }

    /// Where the VMM offers a debug guest's log.
    pub fn console_path(&self) -> PathBuf {
        self.dir.join(CONSOLE_SOCKET)
    }

    /// Writes the root certificate (PEM) and the encoded posture.
    pub fn write_evidence(&self, root_pem: &str, posture: &[u8]) -> Result<(), RegistryError> {
        self.write("root.pem", root_pem)?;
        self.write("posture.cbor", posture)
    }

    /// Makes the guest visible to other commands.
    pub fn publish(&self, record: &GuestRecord) -> Result<(), RegistryError> {
        let path = self.dir.join("guest.json");
        let text = serde_json::to_vec_pretty(record)
            .map_err(|source| RegistryError::Record { path: path.clone(), source })?;
        // Renamed into place: a reader sees all of it or nothing.
        self.write("guest.json.new", &text)?;
        fs::rename(self.dir.join("guest.json.new"), &path).map_err(io_error("write", &path))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), RegistryError> {
        let path = self.dir.join(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes.as_ref()))
            .map_err(io_error("write", &path))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // If this fails, the next command finds the lock free and removes the folder.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
