//! `volume serve`: keep a guest's records in a file. `run --state` and `volume attach` start it in the background.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use casemate_volume::keeper::KeeperError;
use rustix::process::{PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};

use super::{anchors, one_line_panics};
use crate::cli::access::GuestArgs;
use crate::cli::error::{Code, Failure};
use crate::cli::output::print_line;
use crate::cli::registry::{self, Guest, state_dir};
use crate::cli::run;
use crate::volume::{Events, Service};

/// Flags of `volume serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
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
    /// Run in the background, and let go of stdout once the guest has the volume
    #[arg(long, hide = true)]
    background: bool,
    /// Let go of stderr too
    #[arg(long, hide = true)]
    unattended: bool,
}

/// Runs `volume serve`.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    end_on_signals()?;
    one_line_panics(&args.file);
    if let Some(folder) = &args.folder {
        return serve_child(args, folder);
    }
    let null = if args.background { Some(into_background()?) } else { None };
    let guest = args.guest.find()?;
    let service = Service::open(&args.file, &anchors(args.anchors.as_deref()), &state_dir())?;
    let name = &guest.record.name;
    let mut events = Attended { name, file: &args.file, null };
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

/// Lets go of the terminal and of whatever else the caller had. What is returned takes the place of the output later.
fn into_background() -> Result<File, Failure> {
    crate::jail::close_inherited();
    let _ = rustix::process::setsid();
    run::open_null()
}

/// Tells the user what happens.
struct Attended<'a> {
    name: &'a str,
    file: &'a Path,
    /// What stdout and stderr become once the guest has the volume.
    null: Option<File>,
}

impl Events for Attended<'_> {
    fn attached(&mut self, records: u64, counter: u64) {
        let (name, file) = (self.name, self.file.display());
        let _ =
            print_line(&format!("{name} keeps its state in {file} ({records} records, {counter} commits)"));
        if let Some(null) = self.null.take() {
            let _ = run::detach_output(&null, None, false);
        }
    }

    fn lost(&mut self, why: &KeeperError) {
        eprintln!("casemate: {}: {why}; connecting again", self.name);
    }
}

/// The service as a child of the VMM, with a socket to it as stdin.
fn serve_child(args: &Args, folder: &Path) -> Result<(), Failure> {
    let lost = |error: rustix::io::Errno| Failure::plain(format!("cannot talk to the VMM: {error}"));
    // A session of its own: Ctrl-C ends the guest, and this only when that is done.
    let null = into_background()?;
    let vmm = getppid().and_then(|parent| pidfd_open(parent, PidfdFlags::empty()).ok());
    let socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin()).map_err(lost)?);
    let mut announcer = Announcer { socket: Some(socket), announced: false, args, null };
    let opened = Service::open(&args.file, &anchors(args.anchors.as_deref()), &state_dir());
    let served = opened.and_then(|service| {
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
    args: &'a Args,
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
        let _ = run::detach_output(&self.null, None, !self.args.unattended);
    }

    fn lost(&mut self, why: &KeeperError) {
        eprintln!("casemate: the volume {}: {why}; connecting again", self.args.file.display());
    }
}

/// Starts the service of a guest that runs, in the background, and returns once the guest has the volume.
pub(super) fn start(file: &Path, guest: &Guest) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Code::ProcessSpawnFailure, format!("cannot start the volume service: {error}"))
    };
    let mut service = Process::new(std::env::current_exe().map_err(failed)?);
    service
        .args(["volume", "serve", "--background", "--guest"])
        .arg(&guest.record.id)
        .arg("--file")
        .arg(file);
    service.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It lets go of both once it has nothing more to say.
    let mut started = service.spawn().map_err(failed)?;
    let (mut said, mut complaint) = (String::new(), String::new());
    let _ = started.stdout.take().map(|mut pipe| pipe.read_to_string(&mut said));
    if !said.is_empty() {
        return Ok(());
    }
    let _ = started.stderr.take().map(|mut pipe| pipe.read_to_string(&mut complaint));
    let _ = started.wait();
    let complaint = complaint.trim().strip_prefix("casemate: ").unwrap_or(complaint.trim());
    Err(Failure::plain(if complaint.is_empty() {
        "the volume service ended before the guest had the volume"
    } else {
        complaint
    }))
}

/// The volume service of a guest that is being launched, as a child of this process, which is to be its VMM.
pub(in crate::cli) struct Child {
    socket: UnixStream,
}

impl Child {
    /// Starts it, and returns once it has the file open and waits at the guest's socket.
    pub(in crate::cli) fn start(
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
    pub(in crate::cli) fn announce(mut self, text: &str) -> Result<(), Failure> {
        let said =
            self.socket.write_all(text.as_bytes()).and_then(|()| self.socket.shutdown(Shutdown::Write));
        said.map_err(|error| {
            Failure::new(Code::ProcessSpawnFailure, format!("the volume service is gone: {error}"))
        })
    }
}
