//! `run` and `run-enclave`: launch a guest, in the foreground or in the background.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use clap::{Args, FromArgMatches as _};
use rustix::process::{Pid, Signal};
use serde::Deserialize;

use super::error::{Code, Failure};
use super::launch::{Announcement, launch};
use super::output::{RunInfo, print_json};
use super::registry::{GuestRecord, Registry};
use super::text;
use crate::isolation::cores::CpuList;

/// What `run` does, in a line.
pub const ABOUT: &str = "Launch a guest and stay with it until it ends (the signer, if no image is named)";

/// Private memory of a guest if nothing else is said, in MiB.
const DEFAULT_MEMORY_MIB: u64 = 64;

/// What a launch needs to know. The launch itself is [`super::launch::launch`].
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The image.
    pub image: PathBuf,
    /// The wanted name; else the image file's, made unique.
    pub name: Option<String>,
    /// The wanted vsock context identifier; else the first free one.
    pub cid: Option<u64>,
    /// Processors that the virtual one has to itself, with their cores; empty: it shares.
    pub cpus: CpuList,
    /// Private memory in MiB.
    pub memory_mib: u64,
    /// Debug mode: zero PCRs and a console.
    pub debug: bool,
    /// Copy the guest's log to this process's stdout as well (debug mode only).
    pub console_on_stdout: bool,
    /// What runs the guest.
    pub backend: Backend,
    /// The volume that the guest's state is kept on.
    pub state: Option<PathBuf>,
    /// Where the VMM says what happens, in place of stderr.
    pub log: Option<PathBuf>,
    /// Whether this guest is the security module.
    pub is_module: bool,
}

pub use crate::backend::Kind as Backend;

/// Flags of `run` and `run-enclave`: nitro-cli's, and ours.
#[derive(Clone, Debug, Args)]
pub struct LaunchArgs {
    /// The image (EIF); without it the signer, built first if need be
    #[arg(long, visible_alias = "image", value_name = "FILE")]
    eif_path: Option<PathBuf>,
    /// Private memory in MiB
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// A name for the guest
    #[arg(long, visible_alias = "name", value_name = "NAME")]
    enclave_name: Option<String>,
    /// The guest's vsock context identifier
    #[arg(long, value_name = "CID")]
    enclave_cid: Option<u64>,
    /// Number of virtual processors: a sealed guest has one
    #[arg(long, value_name = "N", conflicts_with = "cpu_ids")]
    cpu_count: Option<u32>,
    /// Processors for this guest alone, as in 2 or 2-3,6: no other guest runs on their cores
    #[arg(long, value_name = "LIST", conflicts_with_all = ["cpu_count", "cpu_ids"])]
    cpus: Option<CpuList>,
    /// The same, one by one, as nitro-cli has it
    #[arg(long, value_name = "ID", num_args = 1..)]
    cpu_ids: Vec<u32>,
    /// Debug mode: the guest has a console, and its PCRs are zero
    #[arg(long, visible_alias = "debug")]
    debug_mode: bool,
    /// Show the guest's console on stdout (implies --debug-mode)
    #[arg(long)]
    attach_console: bool,
    /// What runs the guest
    #[arg(long, value_enum, default_value_t = Backend::Kvm)]
    backend: Backend,
    /// Keep the guest's state on the volume in this file, made if it is not there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Once the guest runs, append to this file what the VMM says on stderr: each connection, and the guest's end
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Read these settings from a JSON file, as nitro-cli does
    #[arg(long, value_name = "FILE", conflicts_with_all = ["eif_path", "memory", "enclave_name", "enclave_cid",
        "cpu_count", "cpus", "cpu_ids", "debug_mode"])]
    config: Option<PathBuf>,
}

/// `casemate run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    launch: LaunchArgs,
    /// Print nitro-cli's JSON in place of the summary
    #[arg(long)]
    json: bool,
    /// Detach once the guest runs: how `run-enclave` starts its child
    #[arg(long, hide = true)]
    background: bool,
    /// This guest is the security module: how the first launch starts it
    #[arg(long, hide = true)]
    security_module: bool,
    /// In the background, go on saying on stderr what happens: how `serve` starts its child
    #[arg(long, hide = true)]
    attended: bool,
}

impl RunArgs {
    /// Parses this process's arguments, which begin with `casemate run`.
    pub fn parse_alone() -> Self {
        let matches = Self::command_alone().get_matches_from(std::env::args_os().skip(1));
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command line of `run`, without that of the other commands.
    pub(super) fn command_alone() -> clap::Command {
        Self::augment_args(clap::Command::new("run")).about(ABOUT).bin_name("casemate run")
    }
}

/// `casemate run-enclave`.
#[derive(Clone, Debug, Args)]
pub struct RunEnclaveArgs {
    #[command(flatten)]
    launch: LaunchArgs,
}

/// nitro-cli's `--config` file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    eif_path: Option<PathBuf>,
    enclave_cid: Option<u64>,
    memory_mib: Option<u64>,
    #[serde(default)]
    cpu_ids: Option<Vec<u32>>,
    #[serde(default)]
    debug_mode: bool,
    #[serde(default)]
    attach_console: bool,
    cpu_count: Option<u32>,
    enclave_name: Option<String>,
}

impl LaunchArgs {
    /// Those of a guest of which nothing but the image is said.
    pub(super) fn of_image(file: &Path) -> Self {
        Self {
            eif_path: Some(file.to_owned()),
            memory: None,
            enclave_name: None,
            enclave_cid: None,
            cpu_count: None,
            cpus: None,
            cpu_ids: Vec::new(),
            debug_mode: false,
            attach_console: false,
            backend: Backend::Kvm,
            state: None,
            log: None,
            config: None,
        }
    }

    /// Those of a guest of this image in the place of one that ran, with its volume.
    pub(super) fn in_place_of(record: &GuestRecord, image: &Path, state: &Path) -> Self {
        Self {
            memory: Some(record.memory_mib),
            enclave_name: Some(record.name.clone()),
            cpus: (!record.cpu_ids.is_empty()).then(|| record.cpu_ids.iter().copied().collect()),
            state: Some(state.to_owned()),
            ..Self::of_image(image)
        }
    }

    /// The settings of `--config`, if there is one, in the place of the flags.
    pub(super) fn resolved(mut self) -> Result<Self, Failure> {
        let Some(path) = self.config.take() else {
            return Ok(self);
        };
        let config: Config = serde_json::from_slice(&text::read(&path)?).map_err(|error| {
            Failure::new(Code::SerdeError, format!("{} is no launch configuration: {error}", path.display()))
        })?;
        self.eif_path = config.eif_path;
        self.enclave_cid = config.enclave_cid;
        self.memory = config.memory_mib;
        self.cpu_ids = config.cpu_ids.unwrap_or_default();
        self.debug_mode = config.debug_mode;
        self.attach_console |= config.attach_console;
        self.cpu_count = config.cpu_count;
        self.enclave_name = config.enclave_name;
        Ok(self)
    }

    /// Checks the flags and finds the image.
    pub(super) fn options(&self) -> Result<RunOptions, Failure> {
        let cpus = self.cpu_count.unwrap_or(1);
        if cpus != 1 {
            eprintln!("casemate: a sealed guest has one virtual processor; --cpu-count {cpus} gives it one");
        }
        let image = match &self.eif_path {
            Some(path) => path.clone(),
            None => {
                crate::build::signer_image().map_err(|error| Failure::new(Code::EifBuildingError, error))?
            }
        };
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Failure::file("find", path, error));
        let image = absolute(&image)?;
        let state = self.state.as_deref().map(absolute).transpose()?;
        let log = self.log.as_deref().map(absolute).transpose()?;
        Ok(RunOptions {
            image,
            name: self.enclave_name.clone(),
            cid: self.enclave_cid,
            cpus: self.own_cpus()?,
            memory_mib: self.memory.unwrap_or(DEFAULT_MEMORY_MIB),
            debug: self.debug_mode || self.attach_console,
            console_on_stdout: self.attach_console,
            backend: self.backend,
            state,
            log,
            is_module: false,
        })
    }

    /// The processors that are to be the guest's own.
    fn own_cpus(&self) -> Result<CpuList, Failure> {
        if let Some(cpus) = &self.cpus {
            return Ok(cpus.clone());
        }
        let cpus: CpuList = self.cpu_ids.iter().copied().collect();
        match self.cpu_ids.iter().find(|cpu| cpus.numbers().all(|known| known != **cpu)) {
            Some(cpu) => Err(Failure::new(Code::InvalidArgument, format!("there is no processor {cpu}"))),
            None => Ok(cpus),
        }
    }

    /// Whether a volume is named.
    pub(super) fn has_state(&self) -> bool {
        self.state.is_some()
    }

    /// The name of the guest that `serve` looks for before it launches one: none if an image was named.
    pub(super) fn wanted_signer(&self) -> Option<&str> {
        match &self.eif_path {
            Some(_) => None,
            None => Some(self.enclave_name.as_deref().unwrap_or("signer")),
        }
    }

    /// The same flags as arguments for the child that `run-enclave` starts.
    fn arguments(&self, options: &RunOptions) -> Vec<String> {
        let mut arguments = vec![
            "run".to_owned(),
            "--background".to_owned(),
            format!("--eif-path={}", options.image.display()),
            format!("--memory={}", options.memory_mib),
        ];
        arguments.extend(options.name.iter().map(|name| format!("--enclave-name={name}")));
        arguments.extend(options.cid.iter().map(|cid| format!("--enclave-cid={cid}")));
        arguments.extend((!options.cpus.is_empty()).then(|| format!("--cpus={}", options.cpus)));
        arguments.extend(options.debug.then(|| "--debug-mode".to_owned()));
        arguments.extend((options.backend == Backend::Process).then(|| "--backend=process".to_owned()));
        arguments.extend(options.state.iter().map(|file| format!("--state={}", file.display())));
        arguments.extend(options.log.iter().map(|file| format!("--log={}", file.display())));
        arguments
    }
}

/// Launches and stays until the guest ends; the exit code is the guest's.
pub fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let (background, attended, json) = (args.background, args.attended, args.json);
    let launch_args = args.launch.resolved()?;
    let options = RunOptions { is_module: args.security_module, ..launch_args.options()? };
    // Nothing that this process needs is open yet.
    crate::jail::close_inherited();
    let log = options.log.as_deref().map(open_log).transpose()?;
    if background {
        // A session of its own: closing the terminal does not end the guest. Fails only for a process group's
        // leader, which the child of `run-enclave` is not.
        let _ = rustix::process::setsid();
        let null = open_null()?;
        return launch(
            &options,
            Announcement {
                text: &|record| serde_json::to_string(record).map_err(|e| Failure::new(Code::SerdeError, e)),
                then: &|| detach_output(&null, log.as_ref(), attended),
                background,
                attended,
            },
        );
    }
    let text = |record: &GuestRecord| match json {
        true => {
            serde_json::to_string_pretty(&RunInfo::new(record)).map_err(|e| Failure::new(Code::SerdeError, e))
        }
        false => Ok(summary(record)),
    };
    let then = || log.as_ref().map_or(Ok(()), stderr_to);
    launch(&options, Announcement { text: &text, then: &then, background, attended })
}

/// A guest that runs in the background.
pub(super) struct Background {
    /// Its VMM, a child of this process.
    pub(super) vmm: Child,
    /// What is known about it.
    pub(super) record: GuestRecord,
}

impl Background {
    /// Ends the guest.
    pub(super) fn end(&mut self) {
        // Its VMM scrubs the guest's memory before it goes.
        let _ = rustix::process::kill_process(Pid::from_child(&self.vmm), Signal::TERM);
        let _ = self.vmm.wait();
    }
}

/// Launches in the background and waits until the guest runs. With `attended`, the VMM goes on writing to this process's
/// stderr.
pub(super) fn start(
    launch: &LaunchArgs,
    options: &RunOptions,
    attended: bool,
) -> Result<Background, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Code::ProcessSpawnFailure, format!("cannot start the VMM process: {error}"))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut vmm = Command::new(program)
        .args(launch.arguments(options))
        .args(attended.then_some("--attended"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = vmm.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    }
    match serde_json::from_str::<GuestRecord>(&line) {
        Ok(record) => Ok(Background { vmm, record }),
        Err(_) => {
            // It has said on stderr what is wrong.
            let status = vmm.wait().map_err(failed)?;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            let message = format!("the guest was not launched ({status})");
            Err(Failure::new(Code::EnclaveBootFailure, message).with_exit(code.unwrap_or(1)))
        }
    }
}

/// Launches in the background and prints nitro-cli's JSON.
pub fn run_enclave(args: &RunEnclaveArgs) -> Result<(), Failure> {
    let launch = args.launch.clone().resolved()?;
    let Background { record, .. } = start(&launch, &launch.options()?, false)?;
    eprintln!(
        "Started enclave with enclave-cid: {}, memory: {} MiB, cpu-ids: {:?}",
        record.cid, record.memory_mib, record.cpu_ids
    );
    print_json(&RunInfo::new(&record))?;
    if launch.attach_console {
        let guest = Registry::open()?.find(&super::registry::Selector::Id(record.id))?;
        super::console::copy(&guest.console_path(), None)?;
    }
    Ok(())
}

/// What a person wants to know first.
fn summary(record: &GuestRecord) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "{} is running ({}, {} MiB, process {})\n",
        record.name, record.backend, record.memory_mib, record.pid
    );
    text.push_str(&facts(record));
    let _ = write!(
        text,
        "Talk to it from another terminal:\n  casemate attest --guest {0} --nonce hello --out doc.cbor\n  casemate key create --guest {0} --spec ECC_NIST_P384\n  casemate terminate --enclave-name {0}      (or Ctrl-C here)",
        record.name
    );
    text
}

/// What it is, in lines.
pub(super) fn facts(record: &GuestRecord) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let _ = writeln!(text, "  module id  {}", record.module_id);
    for (name, value) in record.measurements.iter().filter(|(name, _)| name.starts_with("PCR")) {
        let _ = writeln!(text, "  {name:<9}  {value}");
    }
    let _ = writeln!(text, "  posture    {}", record.posture);
    if record.debug {
        let _ =
            writeln!(text, "  DEBUG MODE: the log is readable and the PCRs are zero; do not give it secrets");
    }
    text
}

pub(super) fn open_null() -> Result<File, Failure> {
    let path = Path::new("/dev/null");
    File::options().read(true).write(true).open(path).map_err(|error| Failure::file("open", path, error))
}

/// A file to append to. It may name users and processes: for its owner only.
fn open_log(path: &Path) -> Result<File, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let options = File::options().append(true).create(true).mode(0o600).open(path);
    options.map_err(|error| Failure::file("open", path, error))
}

/// Lets go of the output that the parent waits on, and of stderr unless there is a log or the parent attends to it.
pub(super) fn detach_output(null: &File, log: Option<&File>, attended: bool) -> Result<(), Failure> {
    rustix::stdio::dup2_stdout(null).map_err(lost)?;
    match log {
        Some(log) => stderr_to(log),
        None if attended => Ok(()),
        None => stderr_to(null),
    }
}

fn stderr_to(file: &File) -> Result<(), Failure> {
    rustix::stdio::dup2_stderr(file).map_err(lost)
}

fn lost(error: rustix::io::Errno) -> Failure {
    Failure::new(Code::ProcessSpawnFailure, format!("cannot detach: {error}"))
}
