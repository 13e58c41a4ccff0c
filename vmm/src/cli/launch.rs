//! The seam between the command line and the machine: turns [`RunOptions`] into a running guest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use super::error::{Code, Failure};
use super::module;
use super::output::print_line;
use super::registry::{GuestRecord, Registry, RegistryError, Reservation, now_ms, state_dir};
use super::run::{Backend, RunOptions};
use super::volume;
use crate::guest::{self, Ended, Options};
use crate::machine::Config;
use crate::nsm::Place;
use crate::vcpu::End;

/// Exit code after a guest was stopped for something it may not do; a guest's own exit codes are passed on.
const EXIT_FAULT: u8 = 70;
/// Added to the number of the signal that ended the VMM, as shells do it.
const EXIT_SIGNAL: u8 = 128;

/// How a guest that runs is announced.
#[derive(Clone, Copy)]
pub struct Announcement<'a> {
    /// What is printed: by this process before the jail closes, or by the volume service once the guest has its volume.
    pub text: &'a dyn Fn(&GuestRecord) -> Result<String, Failure>,
    /// What this process does then.
    pub then: &'a dyn Fn() -> Result<(), Failure>,
    /// Whether somebody waits on stdout for the announcement, and for its end.
    pub background: bool,
    /// Whether somebody goes on reading stderr.
    pub attended: bool,
}

/// Launches a guest, announces it, and returns when it has ended.
pub fn launch(options: &RunOptions, announcement: Announcement<'_>) -> Result<ExitCode, Failure> {
    let copying = guest::Copying::start(options.image.clone(), state_dir())?;
    let registry = Registry::open()?;
    let module = match options.backend {
        Backend::Kvm if !options.is_module => module::find(&registry)?,
        Backend::Kvm | Backend::Process => None,
    };
    let beginning = copying.settle()?;
    let stem = options.image.file_stem().map_or_else(|| "guest".into(), |stem| stem.to_string_lossy());
    let reservation = match options.is_module {
        true => registry.reserve_module()?,
        false => registry.reserve(options.name.as_deref(), &stem, options.cid, &options.cpus)?,
    };
    reservation.placement().keep_off().map_err(RegistryError::from)?;
    let place = match module {
        Some(module) => Place::Module(module::offer(module, &registry)?),
        None if options.is_module => Place::Nowhere,
        None => Place::Here,
    };
    let ready = guest::launch(beginning, guest_options(options, &reservation), place)?;
    let root = casemate_attestation::platform::encode_root(ready.root())
        .map_err(|error| Failure::new(Code::EnclaveBootFailure, error))?;
    reservation.write_evidence(&root, &ready.posture().encode())?;
    // Before anybody else knows of the guest: nothing is to happen in it before it has its volume.
    let Announcement { background, attended, .. } = announcement;
    let start = |file: &PathBuf| volume::Child::start(file, reservation.dir(), background, attended);
    let volume = options.state.as_ref().map(start).transpose()?;
    let record = record(options, &reservation, &ready);
    reservation.publish(&record)?;
    if options.backend == crate::backend::Kind::Process {
        eprintln!(
            "casemate: the process backend seals nothing: this user and root can read the guest's memory, and its PCRs are zero"
        );
    }
    registry.move_away(&reservation)?;
    let (ended, mut log) = ready.run(|| {
        let text = (announcement.text)(&record)?;
        match volume {
            Some(volume) => volume.announce(&text)?,
            None => print_line(&text)?,
        }
        (announcement.then)()?;
        // From here on the process cannot remove directories: the lock must live as long as it does.
        std::mem::forget(reservation);
        Ok::<(), Failure>(())
    })?;
    log.end(format_args!("{}: {ended}", record.name));
    crate::jail::exit(exit_code(&ended))
}

impl From<guest::Error> for Failure {
    fn from(error: guest::Error) -> Self {
        Self::new(Code::EnclaveBootFailure, error)
    }
}

fn guest_options(options: &RunOptions, reservation: &Reservation) -> Options {
    Options {
        module_id: reservation.id().to_owned(),
        state_dir: state_dir(),
        directory: reservation.dir().to_owned(),
        machine: Config {
            memory: options.memory_mib.saturating_mul(1 << 20),
            debug: options.debug,
            cid: reservation.cid(),
            backend: options.backend,
            anonymous_memory: false,
            volume: options.state.is_some(),
        },
        placement: reservation.placement().clone(),
        console_on_stdout: options.console_on_stdout,
    }
}

fn record(options: &RunOptions, reservation: &Reservation, ready: &guest::Ready) -> GuestRecord {
    let mut measurements: BTreeMap<String, String> = BTreeMap::new();
    measurements.insert("HashAlgorithm".into(), "Sha384 { ... }".into());
    let pcrs = ready.shown_measurements();
    for (name, pcr) in
        [("PCR0", Some(pcrs.pcr0)), ("PCR1", Some(pcrs.pcr1)), ("PCR2", Some(pcrs.pcr2)), ("PCR8", pcrs.pcr8)]
    {
        measurements.extend(pcr.map(|pcr| (name.to_owned(), pcr.to_string())));
    }
    let metadata = ready.metadata();
    GuestRecord {
        name: reservation.name().to_owned(),
        id: reservation.id().to_owned(),
        module_id: reservation.id().to_owned(),
        pid: std::process::id(),
        cid: reservation.cid(),
        cpu_ids: options.cpus.numbers().collect(),
        memory_mib: options.memory_mib,
        debug: options.debug,
        backend: options.backend.name().into(),
        measurements,
        posture: ready.posture_summary(),
        image_name: metadata.map(|metadata| metadata.image_name.clone()),
        image_version: metadata.map(|metadata| metadata.image_version.clone()),
        metadata: metadata.and_then(|metadata| serde_json::to_value(metadata).ok()),
        started_ms: now_ms(),
        image: options.image.clone(),
    }
}

/// The exit code that says how the guest ended.
fn exit_code(ended: &Ended) -> u8 {
    match ended {
        Ended::Guest(End::Exit(code)) => *code,
        Ended::Guest(End::Fault(_) | End::BadDoorbell(_) | End::Stopped | End::Failed(_)) => EXIT_FAULT,
        Ended::Signal(received) => EXIT_SIGNAL.saturating_add(u8::try_from(received.number).unwrap_or(0)),
    }
}
