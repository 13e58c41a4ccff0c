//! `serve`: the signer on a TCP port, for AWS clients. Launches it or finds it, and becomes its gateway.

use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::{Child, ExitCode};

use casemate_client::Client;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::registry::{Guest, Registry, Selector};
use super::run::{self, Background, LaunchArgs};
use super::terminate::{self, GRACE};
use super::text;
use crate::gateway::{Ended, Gateway, Target};
use crate::stop::Stop;

/// Added to the number of the signal that ended the gateway, as shells do it.
const EXIT_SIGNAL: u8 = 128;

/// Flags of `serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Without --guest, a running guest called `signer` (or --enclave-name) is served if there is one; else one is launched, and
ends with this command.")]
pub struct Args {
    /// Where clients connect; port 0 means any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: String,
    /// Where everybody gets revocation lists and asks whether certificates are revoked, over HTTP: nowhere if not said
    #[arg(long, value_name = "ADDRESS:PORT")]
    revocation_address: Option<String>,
    /// A further name or address that clients use, for the certificate; may be given several times, before the claim
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Serve this running guest, by name or identifier
    #[arg(long, value_name = "NAME", conflicts_with_all = ["eif_path", "memory", "enclave_name", "enclave_cid",
        "cpu_count", "cpus", "cpu_ids", "debug_mode", "attach_console", "config"])]
    guest: Option<String>,
    /// Print JSON in place of the summary
    #[arg(long)]
    json: bool,
    /// Let go of stdout once clients are served: how `hsm create` starts its child
    #[arg(long, hide = true)]
    background: bool,
    #[command(flatten)]
    launch: LaunchArgs,
}

/// The guest that is served.
pub(super) struct Served {
    guest: Guest,
    process: OwnedFd,
    /// Its VMM, if this command launched it.
    vmm: Option<Child>,
}

/// Serves until a signal comes or the guest is gone.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    // A session of its own: closing the terminal does not end it.
    let silent = if args.background {
        let _ = rustix::process::setsid();
        Some(run::open_null()?)
    } else {
        None
    };
    let gateway = listen(&args.listen, args.revocation_address.as_deref())?;
    let failed = |error| Failure::plain(format!("cannot serve: {error}"));
    let (served, stop) = match find(&args)? {
        Some(served) => (served, Stop::new().map_err(failed)?),
        None => {
            let launch = args.launch.resolved()?;
            // This may build the image first, which Ctrl-C ends: only then are signals the gateway's.
            let options = launch.options()?;
            let stop = Stop::new().map_err(failed)?;
            (Served::launched(run::start(&launch, &options, true)?)?, stop)
        }
    };
    serve(gateway, served, &stop, &args.host, args.json, silent.as_ref())
}

/// Announces the endpoint and becomes its gateway, until a signal comes, the guest is gone or a successor has taken over. With
/// `silent`, that is what stdout is once it has been announced.
pub(super) fn serve(
    gateway: Gateway,
    mut served: Served,
    stop: &Stop,
    hosts: &[String],
    as_json: bool,
    silent: Option<&File>,
) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::plain(format!("cannot serve: {error}"));
    let announced = announce(&gateway, &served, hosts, as_json)
        .and_then(|()| silent.map_or(Ok(()), |null| run::detach_output(null, None, true)));
    let ended = match announced {
        Ok(()) => {
            let target = Target {
                folder: served.guest.dir.clone(),
                port: casemate_abi::port::SIGNER_TLS,
                process: served.process.try_clone().map_err(failed)?,
            };
            gateway.run(&target, stop).or_else(|error| {
                // A guest that ends before the gateway is in jail takes its folder with it.
                match terminate::wait(&served.process, GRACE) {
                    Ok(true) => Ok(Ended::Guest),
                    Ok(false) | Err(_) => Err(Failure::plain(error)),
                }
            })
        }
        Err(failure) => Err(failure),
    };
    // From here on the process may be in the gateway's jail, which has its own way out.
    let code = match ended {
        Ok(ended) => served.end(ended),
        Err(failure) => {
            eprintln!("casemate: {failure}");
            served.end_guest();
            failure.exit
        }
    };
    crate::jail::exit(code)
}

fn listen(address: &str, public: Option<&str>) -> Result<Gateway, Failure> {
    let bad = |address: &str, error: &dyn std::fmt::Display| {
        Failure::new(Code::InvalidArgument, format!("cannot listen on {address}: {error}"))
    };
    let resolved = |address: &str| -> Result<Vec<SocketAddr>, Failure> {
        Ok(address.to_socket_addrs().map_err(|error| bad(address, &error))?.collect())
    };
    let addresses = resolved(address)?;
    if addresses.iter().any(|address| !address.ip().is_loopback()) {
        eprintln!(
            "casemate: {address} can be reached from elsewhere, and whoever comes first claims an unclaimed signer"
        );
    }
    let mut gateway = Gateway::bind(&addresses).map_err(|error| bad(address, &error))?;
    if let Some(public) = public {
        gateway.bind_public(&resolved(public)?).map_err(|error| bad(public, &error))?;
    }
    Ok(gateway)
}

/// The running guest that is meant; none if one is to be launched.
fn find(args: &Args) -> Result<Option<Served>, Failure> {
    let registry = Registry::open()?;
    let guest = match (&args.guest, args.launch.wanted_signer()) {
        (Some(guest), _) => registry.find(&Selector::Either(guest.clone()))?,
        (None, Some(name)) => match registry.guests()?.into_iter().find(|guest| guest.record.name == name) {
            Some(guest) => guest,
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    if args.launch.has_state() {
        return Err(Failure::new(
            Code::InvalidArgument,
            format!(
                "{0} runs already, and --state is for a guest that is launched: `casemate volume attach FILE --guest {0}`",
                guest.record.name
            ),
        ));
    }
    let process = terminate::open_process(&guest)?;
    let gone = || {
        Failure::new(Code::EnclaveProcessConnectionFailure, format!("{} has just ended", guest.record.name))
    };
    Ok(Some(Served { process: process.ok_or_else(gone)?, guest, vmm: None }))
}

/// Tells the guest what its host is, for verifiers that cannot ask the host, and the user how to go on.
fn announce(gateway: &Gateway, served: &Served, hosts: &[String], as_json: bool) -> Result<(), Failure> {
    let guest = &served.guest;
    let record = &guest.record;
    let mut client = Client::open(&guest.vsock_path(), casemate_abi::port::SIGNER)?;
    let mut names = hosts.to_vec();
    let listening = gateway.address().ip();
    if !listening.is_loopback() && !listening.is_unspecified() {
        names.push(listening.to_string());
    }
    let headers = [("content-type", "application/json")];
    if !names.is_empty() {
        client.post_json("/names", &headers, &json!({"names": names}))?;
    }
    let posture = json!({"posture": text::encode(&text::read(&guest.posture_path())?)});
    client.post_json("/attestation/posture", &headers, &posture)?;
    let claimed = client.get_json("/health")?.get("claimed") == Some(&Value::Bool(true));
    let endpoint = format!("https://{}", gateway.address());
    if as_json {
        return print_json(&json!({
            "Endpoint": endpoint,
            "RevocationAddress": gateway.public_address().map(|address| address.to_string()),
            "EnclaveName": record.name,
            "EnclaveID": record.id,
            "ProcessID": record.pid,
            "Launched": served.vmm.is_some(),
            "Claimed": claimed,
        }));
    }
    print_line(&format!(
        "{} is served at {endpoint} ({}, {} MiB, process {})\n{}{}{}\n{}",
        record.name,
        record.backend,
        record.memory_mib,
        record.pid,
        gateway
            .public_address()
            .map(|at| format!("Revocation lists and OCSP are at http://{at}\n"))
            .unwrap_or_default(),
        run::facts(record),
        next_steps(&endpoint, guest, claimed),
        if served.vmm.is_some() {
            "Ctrl-C ends the gateway and the guest."
        } else {
            "Ctrl-C ends the gateway; the guest goes on."
        },
    ))
}

fn next_steps(endpoint: &str, guest: &Guest, claimed: bool) -> String {
    let check = format!("casemate verify --tls {endpoint} --root root.pem --policy policy.json");
    if claimed {
        return format!("It has an owner. Is it the one that you trust?\n  {check} --out ca.pem");
    }
    format!(
        "It belongs to nobody yet. Claim it, once, with a root that you trust (this host's is {}):\n  casemate claim --endpoint {endpoint} --root root.pem --policy policy.json\nThen\n  export AWS_PROFILE=casemate\n  aws kms list-keys",
        guest.root_path().display()
    )
}

impl Served {
    /// The guest that was launched for this.
    pub(super) fn launched(background: Background) -> Result<Self, Failure> {
        let Background { vmm, record } = background;
        let opened = i32::try_from(vmm.id()).ok().and_then(Pid::from_raw);
        // A child that nobody has waited for keeps its number.
        let process =
            opened.ok_or(rustix::io::Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let process = process.map_err(|errno| {
            Failure::new(Code::ProcessSpawnFailure, format!("cannot watch the VMM process: {errno}"))
        })?;
        let guest = Registry::open()?.find(&Selector::Id(record.id))?;
        Ok(Self { guest, process, vmm: Some(vmm) })
    }

    /// What is left to do, and the exit code.
    fn end(&mut self, ended: Ended) -> u8 {
        match ended {
            Ended::Signal(number) => {
                self.end_guest();
                EXIT_SIGNAL.saturating_add(u8::try_from(number).unwrap_or(0))
            }
            Ended::HandedOver => {
                eprintln!("casemate: {}: its clients are another gateway's now", self.guest.record.name);
                self.end_guest();
                0
            }
            // The VMM that was launched for this has said why.
            Ended::Guest => match self.end_guest() {
                Some(code) => code,
                None => {
                    eprintln!("casemate: {} is gone; there is nothing left to serve", self.guest.record.name);
                    1
                }
            },
        }
    }

    /// Ends the guest, if it was launched for this, and returns its exit code.
    fn end_guest(&mut self) -> Option<u8> {
        let vmm = self.vmm.as_mut()?;
        for signal in [Signal::TERM, Signal::KILL] {
            let _ = pidfd_send_signal(&self.process, signal);
            if terminate::wait(&self.process, GRACE).unwrap_or(false) {
                break;
            }
        }
        let status = vmm.wait().ok()?;
        Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}
