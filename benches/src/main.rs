//! `casemate bench`: measures this machine and says what came out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use casemate_benches::error::{Error, Result};
use casemate_benches::groups::GROUPS;
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
    /// Only this group; may be repeated: launch, exits, vsock, operations, primitives, memory, fleet, figures
    #[arg(long, value_name = "GROUP", value_parser = known_group)]
    only: Vec<String>,
    /// Take casemate, casemate-signer-process, signer.eif and probe.eif from here in place of building them
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

fn run(cli: &Cli) -> Result<()> {
    let machine = Machine::describe();
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {percent:>3} % {msg} ({elapsed})") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let workshop = match &cli.programs {
        Some(programs) => Workshop::with_programs(programs)?,
        None => Workshop::open(|step| bar.set_message(step.to_owned()))?,
    };
    let groups: Vec<_> = GROUPS
        .iter()
        .filter(|group| cli.only.is_empty() || cli.only.iter().any(|only| only == group.name))
        .collect();
    let mut rows = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        bar.set_message(group.name);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position from 0 to 1000"
        )]
        let progress =
            |part: f64| bar.set_position(((index as f64 + part) / groups.len() as f64 * 1000.0) as u64);
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
