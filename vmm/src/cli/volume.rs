//! `volume`: keep a guest's records in a file; show what the host can see of such a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use casemate_volume::anchor::AnchorFile;
use casemate_volume::keeper::KeeperError;
use casemate_volume::layout::{RootPrefix, digest};
use casemate_volume::store::Store;
use casemate_volume::{Anchor, Header};
use rustix::process::{PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use super::access::GuestArgs;
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::registry::{self, state_dir};
use crate::volume::{ANCHORS, Events, Service};

/// Commands about volumes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Keep the records of a running guest in a file, until the guest ends
    Serve(ServeArgs),
    /// Show what the host can see of a volume's file
    Info(InfoArgs),
}

/// Flags of `volume serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// The file; made if it is not there
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Where to keep how far volumes have got
    #[arg(long, value_name = "DIRECTORY")]
    anchors: Option<PathBuf>,
    /// Started by the VMM of the guest in this folder: announces the guest on stdout once it has taken the volume, and
    /// ends the guest if it refuses it
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    folder: Option<PathBuf>,
    /// Let go of stdout after that
    #[arg(long, hide = true)]
    background: bool,
    /// Let go of stderr too
    #[arg(long, hide = true)]
    unattended: bool,
}

/// Flags of `volume info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where volumes' progress is kept
    #[arg(long, value_name = "DIRECTORY")]
    anchors: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a command about volumes.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve(args),
        Command::Info(args) => info(args),
    }
}

fn anchors(directory: Option<&Path>) -> PathBuf {
    directory.map_or_else(|| state_dir().join(ANCHORS), Path::to_owned)
}

impl From<crate::volume::Error> for Failure {
    fn from(error: crate::volume::Error) -> Self {
        Self::plain(error)
    }
}

fn serve(args: &ServeArgs) -> Result<(), Failure> {
    end_on_signals()?;
    one_line_panics(&args.file);
    if let Some(folder) = &args.folder {
        return serve_child(args, folder);
    }
    let guest = args.guest.find()?;
    let service = Service::open(&args.file, &anchors(args.anchors.as_deref()))?;
    let name = &guest.record.name;
    let mut events = Attended { name, file: &args.file };
    Ok(service.run(&guest.dir, &|| registry::is_alive(&guest.dir).unwrap_or(false), &mut events)?)
}

/// Whoever started this process may have blocked them.
fn end_on_signals() -> Result<(), Failure> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        vmm_sys_util::signal::unblock_signal(signal)
            .map_err(|error| Failure::plain(format!("cannot take signals: {error:?}")))?;
    }
    Ok(())
}

/// The database's checksums catch damage to the file; what they do not catch must not fill the terminal either.
fn one_line_panics(file: &Path) {
    let file = file.display().to_string();
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or("no reason given");
        let what: String = what.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        eprintln!("casemate: {file}: the volume service failed, the file may be damaged ({what})");
        std::process::exit(1);
    }));
}

/// Tells the user what happens.
struct Attended<'a> {
    name: &'a str,
    file: &'a Path,
}

impl Events for Attended<'_> {
    fn attached(&mut self, records: u64, counter: u64) {
        let (name, file) = (self.name, self.file.display());
        let _ =
            print_line(&format!("{name} keeps its state in {file} ({records} records, {counter} commits)"));
    }

    fn lost(&mut self, why: &KeeperError) {
        eprintln!("casemate: {}: {why}; connecting again", self.name);
    }
}

/// The service as a child of the VMM, with a socket to it as stdin.
fn serve_child(args: &ServeArgs, folder: &Path) -> Result<(), Failure> {
    let lost = |error: rustix::io::Errno| Failure::plain(format!("cannot talk to the VMM: {error}"));
    crate::jail::close_inherited();
    // A session of its own: Ctrl-C ends the guest, and this only when that is done.
    let _ = rustix::process::setsid();
    let vmm = getppid().and_then(|parent| pidfd_open(parent, PidfdFlags::empty()).ok());
    let socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin()).map_err(lost)?);
    let null = super::run::open_null()?;
    let mut announcer = Announcer { socket: Some(socket), announced: false, args, null };
    let served = Service::open(&args.file, &anchors(args.anchors.as_deref())).and_then(|service| {
        service.run(folder, &|| registry::is_alive(folder).unwrap_or(false), &mut announcer)
    });
    match served {
        Err(error) if !announcer.announced => {
            // A guest that was to have a volume is of no use without.
            if let Some(vmm) = &vmm {
                let _ = pidfd_send_signal(vmm, Signal::TERM);
            }
            Err(error.into())
        }
        other => Ok(other?),
    }
}

/// Announces the guest in the VMM's words, once it has its volume.
struct Announcer<'a> {
    socket: Option<UnixStream>,
    announced: bool,
    args: &'a ServeArgs,
    null: File,
}

impl Events for Announcer<'_> {
    fn connected(&mut self) {
        // An error means that the VMM is gone, which shows soon enough.
        let _ = self.socket.as_mut().map(|socket| socket.write_all(b"c"));
    }

    fn attached(&mut self, records: u64, counter: u64) {
        let Some(mut socket) = self.socket.take() else { return };
        let mut text = String::new();
        self.announced = socket.read_to_string(&mut text).is_ok() && print_line(text.trim_end()).is_ok();
        if !self.args.background {
            let file = self.args.file.display();
            eprintln!("casemate: the guest keeps its state in {file} ({records} records, {counter} commits)");
            return;
        }
        let _ = super::run::detach_output(&self.null, !self.args.unattended);
    }

    fn lost(&mut self, why: &KeeperError) {
        eprintln!("casemate: the volume {}: {why}; connecting again", self.args.file.display());
    }
}

/// The volume service of a guest that is being launched, as a child of this process, which is to be its VMM.
pub(super) struct Child {
    socket: UnixStream,
}

impl Child {
    /// Starts it, and returns once it has the file open and waits at the guest's socket.
    pub(super) fn start(
        file: &Path,
        folder: &Path,
        background: bool,
        attended: bool,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Code::ProcessSpawnFailure, format!("cannot start the volume service: {error}"))
        };
        let (mut socket, theirs) = UnixStream::pair().map_err(failed)?;
        let mut service = Process::new(std::env::current_exe().map_err(failed)?);
        service.args(["volume", "serve", "--file"]).arg(file).arg("--folder").arg(folder);
        service.args(background.then_some("--background"));
        service.args((background && !attended).then_some("--unattended"));
        service.stdin(Stdio::from(OwnedFd::from(theirs)));
        // Never waited for: it outlives this process by as long as it takes to notice.
        drop(service.spawn().map_err(failed)?);
        drop(service);
        let mut byte = [0];
        match socket.read(&mut byte).map_err(failed)? {
            1 => Ok(Self { socket }),
            // It has said on stderr what is wrong.
            _ => Err(Failure::plain(format!("{} cannot be the guest's volume", file.display()))),
        }
    }

    /// Has it announce the guest, with these words, once that has its volume.
    pub(super) fn announce(mut self, text: &str) -> Result<(), Failure> {
        let said =
            self.socket.write_all(text.as_bytes()).and_then(|()| self.socket.shutdown(Shutdown::Write));
        said.map_err(|error| {
            Failure::new(Code::ProcessSpawnFailure, format!("the volume service is gone: {error}"))
        })
    }
}

/// What the host can see of a volume.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    volume_id: String,
    format: u8,
    /// PCR0 of the guest that can open it.
    sealed_for: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_to: Option<String>,
    commits: u64,
    records: u64,
    bytes: u64,
    anchor: AnchorInfo,
}

/// How the volume compares with its anchor.
#[derive(Debug, PartialEq, Eq, Serialize)]
enum AnchorInfo {
    /// There is none.
    None,
    /// It knows the volume as it is.
    Current,
    /// It is behind: a crash cut it off.
    Behind(u64),
    /// The volume is an old copy: the anchor knows this many commits.
    Ahead(u64),
    /// As many commits, and others.
    Different,
}

impl AnchorInfo {
    fn of(anchor: Option<Anchor>, counter: u64, root: &[u8]) -> Self {
        match anchor {
            None => Self::None,
            Some(anchor) if anchor.counter < counter => Self::Behind(anchor.counter),
            Some(anchor) if anchor.counter > counter => Self::Ahead(anchor.counter),
            Some(anchor) if anchor.root == digest(root) => Self::Current,
            Some(_) => Self::Different,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::None => "none: nobody can tell whether this is an old copy".to_owned(),
            Self::Current => "knows this state".to_owned(),
            Self::Behind(counter) => format!("knows commit {counter}: a crash cut it off"),
            Self::Ahead(counter) => format!("knows commit {counter}: THIS IS AN OLD COPY"),
            Self::Different => "knows other content: THIS IS ANOTHER COPY".to_owned(),
        }
    }
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    one_line_panics(&args.file);
    let failed = |error: &dyn std::fmt::Display| Failure::plain(format!("{}: {error}", args.file.display()));
    let store = Store::open_existing(&args.file).map_err(|error| failed(&error))?;
    let head = store.head().map_err(|error| failed(&error))?;
    let (Some(header), Some(root)) = (head.header, head.root) else {
        return print_line("an empty volume: the first guest that it is attached to makes it its own");
    };
    let header = Header::parse(&header).map_err(|error| failed(&format!("its header: {error}")))?;
    let counter =
        RootPrefix::split(&root).map_err(|error| failed(&format!("its root: {error}")))?.prefix.counter;
    let statistics = store.statistics().map_err(|error| failed(&error))?;
    let directory = anchors(args.anchors.as_deref());
    let anchor = match directory.join(header.volume.to_string()).exists() {
        true => AnchorFile::open(&directory, header.volume).map_err(Failure::plain)?.last(),
        false => None,
    };
    let info = Info {
        volume_id: header.volume.to_string(),
        format: header.format,
        sealed_for: hex::encode(header.sealed.measurement.as_slice()),
        granted_to: header.grant.map(|grant| hex::encode(grant.measurement.as_slice())),
        commits: counter,
        records: statistics.records,
        bytes: statistics.bytes,
        anchor: AnchorInfo::of(anchor, counter, &root),
    };
    if args.json {
        return print_json(&info);
    }
    let granted =
        info.granted_to.as_ref().map(|pcr0| format!("granted to  PCR0 {pcr0}\n")).unwrap_or_default();
    print_line(&format!(
        "volume      {}\nsealed for  PCR0 {}\n{granted}commits     {}\nrecords     {} ({} bytes, encrypted)\nanchor      {}",
        info.volume_id,
        info.sealed_for,
        info.commits,
        info.records,
        info.bytes,
        info.anchor.words()
    ))
}
