//! `terminate` (nitro-cli's `terminate-enclave`): ends guests.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::{Code, Failure};
use super::output::{TerminateInfo, print_json};
use super::registry::{Guest, Registry, Selector};

/// How long a VMM may take to scrub and go before it is killed.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long the kernel may take to tear down a killed VMM.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Flags of `terminate`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Args {
    /// The guest's identifier
    #[arg(long, value_name = "ID")]
    enclave_id: Option<String>,
    /// The guest's name
    #[arg(long, visible_alias = "guest", value_name = "NAME")]
    enclave_name: Option<String>,
    /// All guests of this user
    #[arg(long)]
    all: bool,
}

/// Ends the named guests and prints nitro-cli's JSON: an object, or with `--all` an array.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let registry = Registry::open()?;
    if args.all {
        // Signalled all at once, then waited for: together they take as long as the slowest.
        let ending: Vec<Ending> =
            registry.guests()?.into_iter().map(Ending::begin).collect::<Result<_, _>>()?;
        let list: Vec<TerminateInfo> = ending.into_iter().map(Ending::finish).collect::<Result<_, _>>()?;
        end_module(&registry)?;
        print_json(&list)?;
        let all = list.iter().all(|info| info.terminated);
        return Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let selector = match (&args.enclave_id, &args.enclave_name) {
        (Some(id), _) => Selector::Id(id.clone()),
        (None, Some(name)) => Selector::Name(name.clone()),
        // clap demands one of the three.
        (None, None) => Selector::Only,
    };
    let info = Ending::begin(registry.find(&selector)?)?.finish()?;
    end_module(&registry)?;
    print_json(&info)?;
    Ok(if info.terminated { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends a guest.
pub(super) fn end(guest: Guest) -> Result<(), Failure> {
    let name = guest.record.name.clone();
    match Ending::begin(guest)?.finish()?.terminated {
        true => Ok(()),
        false => Err(Failure::new(Code::EnclaveProcessCommandNotExecuted, format!("{name} does not end"))),
    }
}

/// Ends the security module, and removes its folder, if the last guest that could have needed it is gone. It would end by
/// itself, but later.
pub(super) fn end_module(registry: &Registry) -> Result<(), Failure> {
    if let Some(module) = registry.unused_module()? {
        end(module)?;
        registry.guests()?;
    }
    Ok(())
}

/// A guest that has been asked to end.
struct Ending {
    guest: Guest,
    /// `None`: it was gone already.
    process: Option<rustix::fd::OwnedFd>,
}

impl Ending {
    fn begin(guest: Guest) -> Result<Self, Failure> {
        let process = open_process(&guest)?;
        if let Some(process) = &process {
            signal(&guest, process, Signal::TERM)?;
        }
        Ok(Self { guest, process })
    }

    fn finish(self) -> Result<TerminateInfo, Failure> {
        let terminated = match &self.process {
            None => true,
            Some(process) => {
                wait(process, GRACE)? || {
                    eprintln!(
                        "casemate: {} did not end within {} s; killing it",
                        self.guest.record.name,
                        GRACE.as_secs()
                    );
                    signal(&self.guest, process, Signal::KILL)?;
                    wait(process, KILL_GRACE)?
                }
            }
        };
        if terminated && !self.guest.is_module() {
            eprintln!("Successfully terminated enclave {}.", self.guest.record.id);
        }
        let record = self.guest.record;
        Ok(TerminateInfo { enclave_name: record.name, enclave_id: record.id, terminated })
    }
}

fn failed(guest: &Guest, action: &str, errno: Errno) -> Failure {
    let record = &guest.record;
    Failure::new(
        Code::EnclaveProcessCommandNotExecuted,
        format!("cannot {action} {} (process {}): {errno}", record.name, record.pid),
    )
}

/// The guest's VMM process, or `None` if it is gone.
///
/// The process identifier comes from a file, so it may by now be somebody else's. First the process is opened, then
/// the guest's lock is looked at: if it is still held, the VMM lives, so the identifier was its own when it was opened.
pub(super) fn open_process(guest: &Guest) -> Result<Option<rustix::fd::OwnedFd>, Failure> {
    let pid = i32::try_from(guest.record.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(guest, "find", Errno::SRCH))?;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(failed(guest, "open", errno)),
    };
    Ok(guest.is_alive()?.then_some(process))
}

fn signal(guest: &Guest, process: &rustix::fd::OwnedFd, signal: Signal) -> Result<(), Failure> {
    match pidfd_send_signal(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(failed(guest, "signal", errno)),
    }
}

/// Whether the process ends within this time.
pub(super) fn wait(process: &rustix::fd::OwnedFd, limit: Duration) -> Result<bool, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Failure::new(
                    Code::EnclaveProcessCommandNotExecuted,
                    format!("cannot wait for the VMM: {errno}"),
                ));
            }
        }
    }
}
