//! A guest from an image file to its end: puts machine, devices, attestation and jail together.
//!
//! ```text
//! main thread   keys ── VM, virtual CPU ── posture ─┬── load ──┬─ seal ── jail ── [announce] ── packets ── end
//! beside it     copy, seal image ───────────────────┴ measure ─┘
//! vcpu                                                                       └──────── the guest runs ──┘
//! ```
//!
//! What does not need each other is done side by side; nothing is sealed before it is measured, and the guest does not run
//! before the jail is closed.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::SystemTime;

use casemate_attestation::eif::Metadata;
use casemate_attestation::executable;
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::posture::{Posture, PostureError, fact};
use casemate_attestation::sealing::Sealing;
use vmm_sys_util::eventfd::EventFd;

use crate::backend;
use crate::beside;
use crate::console::Console;
use crate::image::{self, Image, Measurement};
use crate::isolation::controls::{Controls, Linux};
use crate::isolation::cores::{self, Placement};
use crate::jail;
use crate::jail::seccomp::{Filter, Thread};
use crate::machine::{self, Config, Machine, Sealed};
use crate::memory::{FileReference, SealedPrivateMemory, SealingMethod};
use crate::nsm::{self, Certifier, Place};
use crate::stop::{self, Ending, Received, Stop};
use crate::timing::{self, Stage};
use crate::vcpu::{Devices, End, GuestEvents};
use crate::volume::attachment;
use crate::vsock::{self, Log, Notifier, VsockDevice};

/// What a launch needs to know beside the image.
#[derive(Clone, Debug)]
pub struct Options {
    /// The guest's name in attestation documents.
    pub module_id: String,
    /// Where the platform key is, or is to be made.
    pub state_dir: PathBuf,
    /// The guest's own directory: its sockets are made here and removed at the end.
    pub directory: PathBuf,
    /// Memory, mode, context identifier.
    pub machine: Config,
    /// Which processors the virtual CPU runs on.
    pub placement: Placement,
    /// In debug mode, copy the guest's log to stdout too.
    pub console_on_stdout: bool,
}

/// The file name of the socket on which clients reach the guest.
pub const VSOCK_SOCKET: &str = "vsock.sock";
/// The file name of the socket on which a debug guest's log can be read.
pub const CONSOLE_SOCKET: &str = "console.sock";

/// Why a guest was not launched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The machine cannot be made.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// There is no attestation key.
    #[error(transparent)]
    Nsm(#[from] nsm::Error),
    /// A fact about host or VMM cannot be encoded.
    #[error("cannot record the posture: {0}")]
    Posture(#[from] PostureError),
    /// The vsock device failed.
    #[error(transparent)]
    Vsock(#[from] vsock::Error),
    /// The jail could not be closed.
    #[error("{0}; the guest was not started")]
    Jail(#[from] jail::Error),
    /// The security module is no place for keys here.
    #[error("the security module's memory cannot be sealed on this host")]
    ModuleNotSealed,
    /// Something else of the host's.
    #[error("cannot {what}: {source}")]
    Host {
        /// The step, as in "cannot ...".
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

fn host<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Host { what, source: source.into() }
}

/// Wakes the guest from idling.
type Waker = Box<dyn Fn()>;

fn waker(event: EventFd) -> Waker {
    Box::new(move || {
        // The only error is a full counter, and that is a wake-up already.
        let _ = event.write(1);
    })
}

/// A sealed guest that has not started yet.
pub struct Ready {
    machine: Machine<Sealed>,
    device: VsockDevice<Waker>,
    devices: Devices,
    stop: Stop,
    options: Options,
    posture: Posture,
    root: Vec<u8>,
    metadata: Option<Metadata>,
    console: Option<(Console, UnixListener)>,
    filters: Filters,
}

/// How a guest's time ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Guest(End),
    /// By a signal to the VMM.
    Signal(Received),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Guest(end) => end.fmt(f),
            Self::Signal(received) => {
                let how = if received.number == libc::SIGINT { "interrupted" } else { "terminated" };
                write!(f, "{how}: the guest is gone, and its memory with it ({received})")
            }
        }
    }
}

/// An image that is being copied: what takes longest of a launch and needs to know least, so it begins before anything else.
pub struct Copying(Beside);

impl Copying {
    /// Begins to copy the EIF image at `path`. `state_dir` is that of the [`Options`] to come. To be called while this process
    /// has one thread: memory is arranged here for all that follow.
    pub fn start(path: PathBuf, state_dir: PathBuf) -> Result<Self, Error> {
        jail::keep_memory_on_brk();
        Ok(Self(Beside::start(path, state_dir).map_err(host("start a thread"))?))
    }

    /// From here on nothing of this process can dial out, and a signal ends the guest in good order.
    pub fn settle(self) -> Result<Beginning, Error> {
        jail::passive::enter().map_err(host("give up the network"))?;
        let stop = Stop::new().map_err(host("watch for the end"))?;
        Ok(Beginning { stop, beside: self.0 })
    }
}

/// A launch that has begun.
pub struct Beginning {
    stop: Stop,
    beside: Beside,
}

/// The other thread of a launch. One, and not one for each task: more would keep each other waiting on two processors.
struct Beside {
    image: Receiver<Arc<Image>>,
    certifier: SyncSender<Certifier>,
    thread: JoinHandle<Result<Measured, Error>>,
}

/// What the other thread found out, and the keys that it was lent.
struct Measured {
    measurement: Measurement,
    /// SHA-384 of this program.
    program: Option<[u8; executable::LEN]>,
    certifier: Certifier,
}

impl Beside {
    /// Copies and seals the image, then measures it, and this program, with the certifier that arrives.
    fn start(path: PathBuf, state_dir: PathBuf) -> std::io::Result<Self> {
        let (to_main, image) = mpsc::sync_channel(1);
        let (certifier, from_main) = mpsc::sync_channel::<Certifier>(1);
        let work = move || {
            // What reads the image does not dial out, not even before the rest of the process gives that up.
            jail::passive::enter().map_err(host("give up the network"))?;
            stop::block().map_err(host("leave signals to the main thread"))?;
            let image = Arc::new(Image::open(&path)?);
            // Whoever does not listen any more has failed, and says so itself.
            let _ = to_main.send(Arc::clone(&image));
            let mut certifier = from_main.recv().map_err(|_| nsm::Error::NoPlatformKey)?;
            let measurement = image.measure(|eif| certifier.measure(&state_dir, eif))?;
            // A host without /proc cannot tell; the fact is then missing.
            let program = certifier.measure_program(&state_dir).ok();
            Ok(Measured { measurement, program, certifier })
        };
        Ok(Self { image, certifier, thread: beside::spawn("launch", work)? })
    }

    fn join(self) -> Result<Measured, Error> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Makes everything ready for the first instruction of a guest whose attestation key is there.
pub fn launch(beginning: Beginning, options: Options, place: Place) -> Result<Ready, Error> {
    let Beginning { stop, beside } = beginning;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let is_module = matches!(place, Place::Nowhere);
    let certifier = Certifier::new(&options.state_dir, &options.module_id, now, place)?;
    // If nobody takes it, the image cannot be used, and that is reported when it is asked for.
    let _ = beside.certifier.send(certifier);
    let machine = Machine::new(options.machine.clone())?;
    timing::reached(Stage::Vm);
    let (kick, wake) = (event()?, event()?);
    let device = VsockDevice::new(vsock::Config {
        memory: machine.shared().guest_memory().clone(),
        guest_cid: options.machine.cid,
        listener: listen(&options.directory.join(VSOCK_SOCKET))?,
        kick: kick.try_clone().map_err(host("copy an eventfd"))?,
        wake: waker(wake.try_clone().map_err(host("copy an eventfd"))?),
        stop: stop.descriptor().map_err(host("copy a descriptor"))?,
    })?;
    let filters = Filters::new(options.machine.backend)?;
    let mut facts = crate::host::posture_facts()?;
    facts.set(fact::SECCOMP_SHA384, filters.sha384())?;
    let Ok(image) = beside.image.recv() else {
        beside.join()?;
        return Err(machine::Error::OtherImage.into());
    };
    let machine = machine.load(&image, &kick)?;
    timing::reached(Stage::Loaded);
    let Measured { measurement, program, mut certifier } = beside.join()?;
    if let Some(program) = program {
        facts.set(fact::VMM_SHA384, hex::encode(program))?;
    }
    let mut machine = machine.measured(&measurement)?;
    timing::reached(Stage::Measured);
    let sealing = if is_module { Sealing::Module } else { options.machine.sealing() };
    let measurements = *machine.measurements();
    certifier.with_keys(sealing, &measurements, |keys| machine.put_keys(keys))??;
    let machine = machine.seal()?;
    timing::reached(Stage::Sealed);
    if is_module && !(options.machine.shows_pcrs() && out_of_reach(machine.private())) {
        return Err(Error::ModuleNotSealed);
    }

    let mut posture = posture(facts, &machine, &certifier)?;
    // For this thread and the virtual CPU's, which it will make. Not before: speculation makes a launch faster.
    Controls::enter(&Linux).state(&mut posture)?;
    let cores = match options.machine.backend {
        backend::Kind::Kvm => options.placement.describe(&cores::Machine),
        // The guest is another process than the one that is placed.
        backend::Kind::Process => "shared",
    };
    posture.set(fact::CORES, cores)?;
    timing::reached(Stage::Attestable);
    let launch = Launch {
        image: *machine.measurements(),
        role: Pcr::ZERO,
        instance: Pcr::ZERO,
        posture: posture.pcr(),
        mode: if options.machine.shows_pcrs() { Mode::Production } else { Mode::Debug },
    };
    let root = certifier.root().to_vec();
    let console = match options.machine.debug {
        true => {
            Some((Console::new(options.console_on_stdout), listen(&options.directory.join(CONSOLE_SOCKET))?))
        }
        false => None,
    };
    let events = Events {
        notifier: device.notifier(),
        console: console.as_ref().map(|(console, _)| console.clone()),
        ending: stop.ending().map_err(host("copy an eventfd"))?,
    };
    let nsm = certifier.finish(options.module_id.clone(), &launch)?;
    let devices = Devices { nsm, wake, stop: Arc::default(), events: Box::new(events) };
    let metadata = image.metadata().cloned();
    Ok(Ready { machine, device, devices, stop, options, posture, root, metadata, console, filters })
}

/// The seccomp filters of the two threads.
struct Filters {
    cpu: Filter,
    io: Filter,
}

impl Filters {
    fn new(backend: backend::Kind) -> Result<Self, Error> {
        let cpu = match backend {
            backend::Kind::Kvm => Thread::Vcpu,
            backend::Kind::Process => Thread::Tracer,
        };
        let make = |thread| Filter::new(thread).map_err(host("build a seccomp filter"));
        Ok(Self { cpu: make(cpu)?, io: make(Thread::Io)? })
    }

    /// The digest that goes into the posture: of the virtual CPU's filter, then the other.
    fn sha384(&self) -> String {
        let bytes = [self.cpu.bytes(), self.io.bytes()].concat();
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &bytes))
    }
}

/// Whether root has no way to this memory. The security module's has to be, or keys are better off elsewhere.
fn out_of_reach(memory: &SealedPrivateMemory) -> bool {
    memory.method() == SealingMethod::GuestMemfd
        && matches!(memory.reference(), Some(FileReference::Locked(_)))
}

/// What a verifier may want to know about VMM and host, now that the memory is sealed.
fn posture(mut posture: Posture, machine: &Machine<Sealed>, certifier: &Certifier) -> Result<Posture, Error> {
    let method = match machine.private().method() {
        SealingMethod::GuestMemfd => "guest_memfd",
        SealingMethod::Anonymous => "anonymous",
        SealingMethod::None => "none",
    };
    let reference = match machine.private().reference() {
        Some(FileReference::Locked(_)) => "io_uring",
        Some(FileReference::Descriptor(_)) => "descriptor",
        None => "none",
    };
    posture.set(fact::VMM_VERSION, env!("CARGO_PKG_VERSION"))?;
    posture.set(fact::BACKEND, machine.config().backend.name())?;
    posture.set(fact::SEALED_MEMORY, method)?;
    posture.set(fact::FILE_REFERENCE, reference)?;
    posture.set(fact::IMAGE_SEALED, "write_sealed")?;
    posture.set(fact::LEAF_KEY, certifier.leaf_key())?;
    if let Some(pcr0) = certifier.module() {
        posture.set(fact::MODULE_PCR0, pcr0.to_string())?;
    }
    // The attestation key always is; without that there is no launch.
    posture.set(fact::MEMORY_LOCKED, machine.private().is_locked())?;
    posture.set(fact::SCRUB_ON_EXIT, machine.config().backend == backend::Kind::Kvm)?;
    posture.set(fact::LANDLOCK, jail::landlock_abi())?;
    posture.set(fact::ROOT_OF_TRUST, certifier.root_of_trust())?;
    Ok(posture)
}

impl Ready {
    /// PCR0–2 and PCR8 as documents show them: zero in debug mode and on the process backend.
    pub fn shown_measurements(&self) -> ImageMeasurements {
        let real = self.machine.measurements();
        if !self.options.machine.shows_pcrs() {
            let zero = Pcr::ZERO;
            return ImageMeasurements { pcr0: zero, pcr1: zero, pcr2: zero, pcr8: real.pcr8.map(|_| zero) };
        }
        *real
    }

    /// Name, version and build of the image, if it says.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The facts that matter most, in a line.
    pub fn posture_summary(&self) -> String {
        let names = [
            fact::SEALED_MEMORY,
            fact::FILE_REFERENCE,
            fact::LEAF_KEY,
            fact::LOCKDOWN,
            fact::YAMA_PTRACE_SCOPE,
        ];
        let facts = names.iter().filter_map(|name| Some(format!("{name}={}", self.posture.get(name)?)));
        facts.collect::<Vec<_>>().join(" ")
    }

    /// The facts that PCR15 holds the digest of.
    pub fn posture(&self) -> &Posture {
        &self.posture
    }

    /// The platform's root certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Closes the jail, starts the guest, serves it, and returns when it has ended. `announce` is called when nothing can
    /// go wrong any more, before system calls are restricted.
    ///
    /// The process is under seccomp from here on: the caller can say how it ended, in the log that is returned, and exit.
    pub fn run<E: From<Error>>(self, announce: impl FnOnce() -> Result<(), E>) -> Result<(Ended, Log), E> {
        let Self { machine, mut device, devices, stop, options, console, filters, .. } = self;
        let directory = options.directory.clone();
        let removal = rustix::fs::open(
            &directory,
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(host("open the guest's directory"))?;
        jail::enter(&directory).map_err(Error::from)?;
        announce()?;
        // Not before: until then stderr may be somebody else's. Where there is none, there is no log.
        if let Ok(file) = rustix::stdio::stderr().try_clone_to_owned() {
            device.log_to(file);
        }
        if let Some((console, listener)) = console {
            console.serve(listener, filters.io.clone()).map_err(host("start the console"))?;
        }
        let Filters { cpu: cpu_filter, io: io_filter } = filters;
        let cpus = options.placement.own;
        let (is_made, made) = mpsc::sync_channel::<()>(1);
        let stop_guest = devices.stop.clone();
        let running = machine
            .start(devices, move || {
                if !cpus.is_empty() {
                    // Whoever makes a thread sends it somewhere first, and is to be done with that.
                    let _ = made.recv();
                    cpus.pin()?;
                }
                cpu_filter.enter()?;
                timing::reached(Stage::Started);
                Ok(())
            })
            .map_err(Error::from)?;
        let _ = is_made.send(());
        jail::let_go_of_code();
        io_filter.enter().map_err(host("enter seccomp"))?;
        let served = device.run();
        let files = ["guest.json", attachment::FILE, "posture.cbor", "root.pem", "reserved.json"];
        for name in [VSOCK_SOCKET, CONSOLE_SOCKET].into_iter().chain(files) {
            let _ = rustix::fs::unlinkat(&removal, name, rustix::fs::AtFlags::empty());
        }
        let signal = stop.signal();
        stop_guest.store(true, Ordering::Relaxed);
        device.wake_guest();
        let ended = stop.guest_end();
        let log = device.take_log();
        // Nothing is unmapped: seccomp forbids it, and a busy virtual CPU may still run. Both end with the process.
        std::mem::forget((running, device, removal, stop));
        let ended = match (ended, signal, served) {
            (_, Some(signal), _) => Ended::Signal(signal),
            (Some(end), None, Ok(())) => Ended::Guest(end),
            (None, None, Ok(())) => Ended::Guest(End::Stopped),
            (_, None, Err(error)) => return Err(Error::from(error).into()),
        };
        Ok((ended, log))
    }
}

fn event() -> Result<EventFd, Error> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(host("create an eventfd"))
}

/// A listening socket that only its owner can connect to.
fn listen(path: &Path) -> Result<UnixListener, Error> {
    use std::os::unix::fs::PermissionsExt;
    let listener = UnixListener::bind(path).map_err(host("bind the guest's socket"))?;
    // The directory is 0700 already: nobody else can have connected in between.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(host("protect the guest's socket"))?;
    Ok(listener)
}

/// What the running VMM does about the guest's doings.
struct Events {
    notifier: Notifier,
    console: Option<Console>,
    ending: Ending,
}

impl GuestEvents for Events {
    fn kick(&mut self) {
        self.notifier.kick();
    }

    fn ready(&mut self) {
        timing::reached(Stage::Ready);
        self.notifier.ready();
    }

    fn log(&mut self, text: &[u8]) {
        if let Some(console) = &self.console {
            console.write(text);
        }
    }

    fn ended(&mut self, end: &End) {
        self.ending.set(end);
        // A thread that ends unmaps its stack, which seccomp forbids; the process ends in a moment.
        loop {
            std::thread::park();
        }
    }
}
