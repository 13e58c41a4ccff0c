//! `casemate bench`: measures this machine and says what came out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use casemate_benches::error::{Error, Result};
use casemate_benches::groups::GROUPS;
use casemate_benches::load::plan::{self, Choice, SIDES};
use casemate_benches::load::{self, pkcs11};
use casemate_benches::report::{Machine, Report};
use casemate_benches::workshop::Workshop;
use casemate_benches::{peer, plot};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// Measures sealed guests on this machine, beside ordinary processes that do the same.
#[derive(Debug, Parser)]
#[command(name = "casemate bench", bin_name = "casemate bench", version)]
struct Cli {
    /// Fewer samples: a minute in place of several
    #[arg(long)]
    quick: bool,
    /// Write every number to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the comparison into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only this group; may be repeated: launch, exits, vsock, operations, requests, primitives, memory, fleet, figures
    #[arg(long, value_name = "GROUP", value_parser = known_group)]
    only: Vec<String>,
    /// Take casemate, casemate-signer-process, signer.eif, probe.eif and module.eif from here in place of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Be the other end of a Unix socket
    #[command(hide = true)]
    Peer {
        /// echo or sink
        kind: String,
        /// Where to listen
        socket: PathBuf,
    },
    /// Be the process of a PKCS#11 library
    #[command(hide = true)]
    Pkcs11 {
        /// The library
        library: PathBuf,
        /// The user's pin
        pin: String,
        /// Make the token first
        #[arg(long)]
        new: bool,
    },
    /// Requests in a second and latencies of the signer's API, for 1, 8 and 64 clients, beside moto and SoftHSM2
    Kms(KmsArgs),
}

#[derive(Debug, clap::Args)]
struct KmsArgs {
    /// Fewer and shorter rounds: two minutes in place of ten
    #[arg(long)]
    quick: bool,
    /// Write every number to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the comparison into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only operations whose name contains this, as in "Sign P-256"; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Ask only this side; may be repeated: TLS, sealed, process, moto, PKCS#11, SoftHSM2
    #[arg(long, value_name = "SIDE", value_parser = known_side)]
    side: Vec<String>,
    /// Only so many clients; may be repeated: 1, 8, 64
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Vec<u16>,
    /// Take casemate, casemate-signer-process, signer.eif, probe.eif and module.eif from here in place of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

fn known_side(name: &str) -> std::result::Result<String, String> {
    if SIDES.iter().any(|side| side.eq_ignore_ascii_case(name)) {
        return Ok(name.to_owned());
    }
    Err(format!("there are {}", SIDES.join(", ")))
}

fn known_group(name: &str) -> std::result::Result<String, String> {
    let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("there are {}", names.join(", ")))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.role {
        Some(Role::Peer { kind, socket }) => peer::serve(kind, socket),
        Some(Role::Pkcs11 { library, pin, new }) => pkcs11::serve(library, pin, *new),
        Some(Role::Kms(arguments)) => run_kms(arguments),
        None => run(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A bar from 0 to 1000.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {percent:>3} % {msg} ({elapsed})") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position from 0 to 1000")]
fn position(part: f64) -> u64 {
    (part * 1000.0) as u64
}

fn workshop(programs: Option<&Path>, bar: &ProgressBar) -> Result<Workshop> {
    match programs {
        Some(programs) => Workshop::with_programs(programs),
        None => Workshop::open(|step| bar.set_message(step.to_owned())),
    }
}

fn run_kms(arguments: &KmsArgs) -> Result<()> {
    let bar = progress_bar();
    let workshop = workshop(arguments.programs.as_deref(), &bar)?;
    let choice = Choice {
        quick: arguments.quick,
        operations: arguments.only.clone(),
        sides: arguments.side.clone(),
        clients: arguments.clients.iter().map(|clients| usize::from(*clients)).collect(),
    };
    let step = |step: &str| bar.set_message(step.to_owned());
    let report = plan::measure(&workshop, &choice, &step, &|part| bar.set_position(position(part)))?;
    bar.finish_and_clear();
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        write(path, &format!("{json}\n"))?;
    }
    if let Some(path) = &arguments.svg {
        write(path, &load::plot::draw(&report))?;
    }
    Ok(())
}

fn run(cli: &Cli) -> Result<()> {
    let machine = Machine::describe();
    let bar = progress_bar();
    let workshop = workshop(cli.programs.as_deref(), &bar)?;
    let groups: Vec<_> = GROUPS
        .iter()
        .filter(|group| cli.only.is_empty() || cli.only.iter().any(|only| only == group.name))
        .collect();
    let mut rows = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        bar.set_message(group.name);
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let progress = |part: f64| bar.set_position(position((index as f64 + part) / groups.len() as f64));
        rows.extend((group.measure)(&workshop, cli.quick, &progress)?);
    }
    bar.finish_and_clear();
    let report = Report { machine, quick: cli.quick, rows };
    print!("{}", report.table());
    if let Some(path) = &cli.json {
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        write(path, &format!("{json}\n"))?;
    }
    if let Some(path) = &cli.svg {
        write(path, &plot::draw(&report))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::file("write", path))
}
