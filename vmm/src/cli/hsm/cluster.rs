//! `hsm create`, `hsm delete`, `hsm list`: HSMs that come and go, and are backups in between ([`crate::cluster`]).
//!
//! An HSM is a signer that `casemate serve` serves, in the background, with a volume of the store's. Creating one is placing its
//! volume and serving; deleting one is what `casemate update` does to the signer that it replaces, and then the volume becomes
//! a backup. There is no other way to launch or to end one.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::error::{Code, Failure};
use super::super::output::{print_json, print_line};
use super::super::registry::{Guest, Registry, state_dir};
use super::super::terminate;
use crate::cluster::{
    self, Backup, Cluster, Error, FOLDER, Hsm, Lock, Running, Sealed, Store, new_id, now_ms, running,
};
use crate::gateway::handover;
use crate::volume::ANCHORS;
use crate::volume::attachment::{Attachment, is_in_use};

/// How long an HSM's last requests may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long its volume service may take to end after it.
const LETTING_GO: Duration = Duration::from_secs(10);

/// Which store.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// The folder of clusters and backups [default: hsm, beside the platform key]
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,
}

/// Flags of `hsm create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --cluster and --from-backup a new cluster is made, whose signer belongs to nobody yet: claim it, then `casemate hsm init`.
An HSM that comes back is as it was: owner, users, policies and keys, at the same address with the same certificate.")]
pub struct CreateArgs {
    /// The cluster whose HSM is wanted again: its identifier or name. It begins with its newest backup
    #[arg(long, value_name = "CLUSTER", conflicts_with_all = ["from_backup", "name"])]
    cluster: Option<String>,
    /// The backup to begin with: its identifier, or its folder with a `/` in it
    #[arg(long, value_name = "BACKUP")]
    from_backup: Option<String>,
    /// A name for a new cluster and its guest [default: the cluster's identifier]
    #[arg(long, visible_alias = "enclave-name", value_name = "NAME")]
    name: Option<String>,
    /// Where clients connect to a new cluster [default: a loopback address of its own, port 8443]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "cluster")]
    listen: Option<String>,
    /// The image [default: the backup's; for a new cluster the signer, built first if need be]
    #[arg(long, visible_alias = "image", value_name = "FILE")]
    eif_path: Option<PathBuf>,
    /// Private memory in MiB
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Begin with a backup although there were changes after it, which are lost
    #[arg(long, requires = "from_backup")]
    roll_back: bool,
    /// Where its HSM is to be, in CloudHSM's words: kept and shown
    #[arg(long, hide = true)]
    zone: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Flags of `hsm delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Identifier or name of the HSM, or of its cluster
    name: String,
    /// Make no backup: users, policies and keys since the last one are gone for ever
    #[arg(long)]
    without_backup: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Flags of `hsm list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

impl StoreArgs {
    /// Where it is.
    pub fn dir(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(|| state_dir().join(FOLDER))
    }

    /// Opens it.
    pub fn open(&self) -> Result<Store, Failure> {
        Ok(Store::at(&self.dir())?)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Io { .. } => Code::FileOperationFailure,
            Error::Record { .. } => Code::SerdeError,
            Error::Volume { .. } | Error::NotFound { .. } | Error::State(_) => Code::InvalidArgument,
        };
        Self::new(code, error)
    }
}

fn refuse<T>(message: impl std::fmt::Display) -> Result<T, Failure> {
    Err(Failure::new(Code::InvalidArgument, message))
}

/// Creates an HSM, and prints where it is.
pub fn create(args: &CreateArgs) -> Result<(), Failure> {
    let store = args.store.open()?;
    let lock = store.lock()?;
    let Chosen { cluster, backup, is_new } = chosen(args, &store, &lock)?;
    let (begun, begins_empty) = (cluster.clone(), backup.is_none());
    launch(args, &store, &lock, cluster, backup).inspect_err(|_| {
        if is_new {
            // Nobody was told of it, and nobody can have had it make anything.
            let _ = if begins_empty { store.clear(&begun) } else { Ok(()) };
            let _ = store.delete_cluster(&lock, &begun.id);
        }
    })
}

fn launch(
    args: &CreateArgs,
    store: &Store,
    lock: &Lock,
    mut cluster: Cluster,
    backup: Option<Backup>,
) -> Result<(), Failure> {
    if let Some(there) = running(store, &cluster)? {
        return refuse(format!("cluster {} has an HSM that runs: {}", cluster.id, there.guest.record.name));
    }
    let placed = place(args, store, lock, &cluster, backup)?;
    let served = serve(args, store, &cluster).inspect_err(|_| tidy(store, &cluster, placed.as_ref()))?;
    let hsm = match cluster.hsm.take() {
        Some(hsm) => hsm,
        None => Hsm { id: new_id("hsm")?, eni: eni()?, zone: args.zone.clone() },
    };
    let id = hsm.id.clone();
    cluster.hsm = Some(hsm);
    cluster.state = running(store, &cluster)?.and_then(|hsm| hsm.state()).unwrap_or(cluster.state);
    store.put_cluster(&cluster)?;
    let endpoint = served.get("Endpoint").and_then(Value::as_str).unwrap_or_default();
    if args.json {
        return print_json(&json!({
            "ClusterId": cluster.id, "HsmId": id, "EnclaveName": cluster.name, "Endpoint": endpoint,
            "BackupId": placed.map(|backup| backup.id), "State": cluster.state,
            "EnclaveID": served.get("EnclaveID"), "ProcessID": served.get("ProcessID"),
        }));
    }
    let next = match served.get("Claimed") == Some(&Value::Bool(true)) {
        true => "It has the owner, users, policies and keys that it had.".to_owned(),
        false => format!(
            "It belongs to nobody yet. Claim it, once:\n  casemate claim --endpoint {endpoint} --root root.pem --policy policy.json"
        ),
    };
    print_line(&format!(
        "{id} of {} is served at {endpoint} (guest {})\n{next}\nTake it offline with\n  casemate hsm delete {}",
        cluster.id, cluster.name, cluster.name
    ))
}

/// What is to have an HSM.
struct Chosen {
    cluster: Cluster,
    /// The backup that was asked for.
    backup: Option<Backup>,
    /// The cluster was made for this.
    is_new: bool,
}

fn chosen(args: &CreateArgs, store: &Store, lock: &Lock) -> Result<Chosen, Failure> {
    if let Some(key) = &args.cluster {
        return Ok(Chosen { cluster: store.meant(key)?, backup: None, is_new: false });
    }
    let backup = match &args.from_backup {
        Some(path) if path.contains('/') => Some(store.take_in(Path::new(path))?),
        Some(id) => Some(store.backup(id)?),
        None => None,
    };
    let cluster = match &backup {
        Some(backup) => match store.cluster(&backup.cluster) {
            Ok(cluster) => return Ok(Chosen { cluster, backup: Some(backup.clone()), is_new: false }),
            Err(Error::NotFound { .. }) => Cluster {
                id: backup.cluster.clone(),
                name: backup.name.clone(),
                ..Cluster::of(backup, now_ms())
            },
            Err(other) => return Err(other.into()),
        },
        None => Cluster::new(now_ms()),
    };
    let address = args.listen.as_deref().map(address).transpose()?;
    let cluster = Cluster {
        name: args.name.clone().unwrap_or(cluster.name),
        address: address.unwrap_or(cluster.address),
        ..cluster
    };
    Ok(Chosen { cluster: store.create_cluster(lock, cluster)?, backup, is_new: true })
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    match resolved.filter(|address| address.port() != 0) {
        Some(address) => Ok(address),
        None => refuse(format!("`{text}` is no address with a port: a cluster keeps the one that it has")),
    }
}

/// Puts state and image where the HSM will look for them, and returns the backup that it will begin with.
fn place(
    args: &CreateArgs,
    store: &Store,
    lock: &Lock,
    cluster: &Cluster,
    wanted: Option<Backup>,
) -> Result<Option<Backup>, Failure> {
    let there = store.volume(cluster).exists();
    if there && let Some(wanted) = &wanted {
        return refuse(format!(
            "cluster {} has a state that is in no backup: `casemate hsm create --cluster {0}` goes on with it, `casemate hsm delete {0}` makes it a backup, and then {} can take its place",
            cluster.id, wanted.id
        ));
    }
    let backup = match wanted {
        Some(backup) => Some(backup),
        None if there => None,
        None => store.newest(cluster)?,
    };
    if let Some(backup) = &backup {
        runs_nowhere(&backup.sealed)?;
        loses_nothing(args, backup)?;
        store.put_back(lock, cluster, backup)?;
    } else if there && let Some(sealed) = Sealed::read(&store.volume(cluster))? {
        runs_nowhere(&sealed)?;
    }
    let image = store.image(cluster);
    let named = match &args.eif_path {
        Some(path) => Some(path.clone()),
        None if image.is_file() => None,
        None if backup.is_some() || there => {
            return refuse(format!(
                "the image that opens the state of cluster {} is not with it: name it with --eif-path",
                cluster.id
            ));
        }
        None => {
            Some(crate::build::signer_image().map_err(|error| Failure::new(Code::EifBuildingError, error))?)
        }
    };
    // A copy: the file may be built anew while the HSM runs, and the backup keeps it.
    if let Some(named) = named {
        std::fs::copy(&named, &image).map_err(|error| Failure::file("copy", &named, error))?;
    }
    Ok(backup)
}

/// Two guests with one state would each go their own way from there.
fn runs_nowhere(state: &Sealed) -> Result<(), Failure> {
    for guest in Registry::open()?.guests()? {
        if Attachment::of(&guest.dir).is_some_and(|attachment| attachment.volume == state.volume) {
            return refuse(format!("{} runs with that state, of volume {}", guest.record.name, state.volume));
        }
    }
    Ok(())
}

/// Going back behind what was there takes somebody who says so.
fn loses_nothing(args: &CreateArgs, backup: &Backup) -> Result<(), Failure> {
    let Some(anchor) = cluster::rolls_back(&backup.sealed, &state_dir().join(ANCHORS))? else {
        return Ok(());
    };
    if !args.roll_back {
        return refuse(format!(
            "there were changes after backup {}, which would be lost, and users and keys that were deleted would be back: --roll-back, if that is what you want",
            backup.id
        ));
    }
    // Without its anchor the volume would be refused too, and with it every later backup.
    if anchor.with_extension("ratchet").exists() {
        return refuse(format!(
            "backup {} cannot be gone back to: this platform's TPM counts, and nobody turns its counter back",
            backup.id
        ));
    }
    std::fs::remove_file(&anchor).map_err(|error| Failure::file("remove", &anchor, error))
}

/// `casemate serve`, in the background. What it says is in the cluster's log.
fn serve(args: &CreateArgs, store: &Store, cluster: &Cluster) -> Result<Value, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Code::ProcessSpawnFailure, format!("cannot start `casemate serve`: {error}"))
    };
    let path = store.log(cluster);
    let mut options = OpenOptions::new();
    let log = options.create(true).write(true).truncate(true).mode(0o600).open(&path);
    let log = log.map_err(|error| Failure::file("write", &path, error))?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(["serve", "--background", "--json", "--enclave-name", &cluster.name])
        .args(["--listen", &cluster.address.to_string()])
        .arg("--eif-path")
        .arg(store.image(cluster))
        .arg("--state")
        .arg(store.volume(cluster));
    if cluster.address.ip().is_loopback() {
        // Others it adds by itself.
        command.args(["--host", &cluster.address.ip().to_string()]);
    }
    command.args(args.memory.map(|memory| format!("--memory={memory}")));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(failed)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).map_err(failed)?;
    }
    serde_json::from_str(&said).map_err(|_| {
        let _ = child.wait();
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let why: Vec<&str> = log.lines().map(|line| line.trim_start_matches("casemate: ")).collect();
        Failure::new(Code::EnclaveBootFailure, format!("the HSM was not created: {}", why.join("; ")))
    })
}

/// After a launch that failed: what it has not changed need not stay; what it has changed is the newest there is.
fn tidy(store: &Store, cluster: &Cluster, placed: Option<&Backup>) {
    let _ = let_go(&store.volume(cluster));
    if placed.is_some_and(|backup| !store.is_beyond(cluster, backup)) {
        let _ = store.clear(cluster);
    }
    // Removes the folder of the guest.
    let _ = Registry::open().and_then(|registry| registry.guests());
}

fn eni() -> Result<String, Failure> {
    Ok(format!("eni-{}", hex::encode(cluster::random::<8>()?)))
}

/// Deletes an HSM, and leaves a backup and nothing else.
pub fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let store = args.store.open()?;
    let lock = store.lock()?;
    let mut cluster = store.meant(&args.name)?;
    if cluster.hsm.is_none() && !store.volume(&cluster).exists() {
        return refuse(format!("cluster {} has no HSM", cluster.id));
    }
    let mut image = None;
    if let Some(hsm) = running(&store, &cluster)? {
        cluster.state = hsm.state().unwrap_or(cluster.state);
        image = Some(hsm.guest.record.image.clone());
        end(&hsm)?;
    }
    let_go(&store.volume(&cluster))?;
    let backup = match args.without_backup {
        true => {
            store.clear(&cluster)?;
            None
        }
        false => store.back_up(&lock, &cluster, image.as_deref(), now_ms())?,
    };
    let hsm = cluster.hsm.take().map(|hsm| hsm.id);
    store.put_cluster(&cluster)?;
    if args.json {
        let backup = backup.map(|backup| backup.id);
        return print_json(&json!({"ClusterId": cluster.id, "HsmId": hsm, "BackupId": backup}));
    }
    let left = match backup {
        Some(backup) => format!(
            "it is {} now. To bring it back\n  casemate hsm create --cluster {}",
            backup.id, cluster.id
        ),
        None => "and there is no backup of what it was".to_owned(),
    };
    print_line(&format!("{} of {} is deleted: {left}", hsm.as_deref().unwrap_or("the HSM"), cluster.id))
}

/// Ends gateway and guest; requests on their way are finished first.
fn end(hsm: &Running) -> Result<(), Failure> {
    let guest: &Guest = &hsm.guest;
    if let Ok((listeners, gateway)) = handover::take(&guest.dir) {
        // Nobody takes the gateway's place.
        drop(listeners);
        let gone = gateway.wait(PATIENCE).map_err(|error| Failure::plain(format!("the gateway: {error}")))?;
        if !gone {
            eprintln!("casemate: the gateway takes longer than {} s; ending its guest", PATIENCE.as_secs());
        }
    }
    if terminate::open_process(guest)?.is_some() {
        terminate::end(guest.clone())?;
    }
    // Removes the folder of a guest that is gone.
    let registry = Registry::open()?;
    registry.guests()?;
    terminate::end_module(&registry)
}

/// Waits until no process has the volume open.
fn let_go(volume: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    while volume.exists() && is_in_use(volume).map_err(|error| Failure::file("open", volume, error))? {
        if began.elapsed() > LETTING_GO {
            return Err(Failure::file("take", volume, "a process has it open still"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Lists clusters with their HSMs.
pub fn list(args: &ListArgs) -> Result<(), Failure> {
    let store = args.store.open()?;
    let mut listed = Vec::new();
    for mut cluster in store.clusters()? {
        let hsm = running(&store, &cluster)?;
        if let Some(hsm) = &hsm {
            cluster.state = hsm.state().unwrap_or(cluster.state);
        }
        listed.push((cluster, hsm));
    }
    if args.json {
        let all: Vec<Value> = listed
            .iter()
            .map(|(cluster, hsm)| {
                let guest = hsm.as_ref().map(|hsm| &hsm.guest.record);
                json!({
                    "ClusterId": cluster.id, "Name": cluster.name, "State": cluster.state,
                    "Endpoint": format!("https://{}", cluster.address),
                    "HsmId": cluster.hsm.as_ref().map(|hsm| &hsm.id), "Running": hsm.is_some(),
                    "EnclaveID": guest.map(|record| &record.id), "ProcessID": guest.map(|record| record.pid),
                })
            })
            .collect();
        return print_json(&all);
    }
    for (cluster, hsm) in listed {
        let now = match (&cluster.hsm, hsm) {
            (Some(record), Some(_)) => format!("{} runs at https://{}", record.id, cluster.address),
            (Some(record), None) => {
                format!("{} has ended: `casemate hsm create --cluster {}`", record.id, cluster.id)
            }
            (None, _) => "offline".to_owned(),
        };
        print_line(&format!("{}  {:<16} {:<14} {now}", cluster.id, cluster.name, words(&cluster)))?;
    }
    Ok(())
}

fn words(cluster: &Cluster) -> &'static str {
    use crate::cluster::ClusterState::{Active, Initialized, Uninitialized};
    match cluster.state {
        Uninitialized => "UNINITIALIZED",
        Initialized => "INITIALIZED",
        Active => "ACTIVE",
    }
}
