//! `casemate selftest`: root attacks a signer of this host in every way that this program knows.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use casemate_attacks::target::{Place, checkout};
use casemate_attacks::{holder, suite, table};
use clap::{Parser, Subcommand};

/// Attacks a signer that is launched for this, as root, and says what came of it.
///
/// The signer holds a key whose bytes are known. Each attack either fails, or is a limit of this host: then the posture says
/// so, and the last line of its entry what closes it. Exits with 1 if anything else comes out.
#[derive(Debug, Parser)]
#[command(name = "casemate selftest", bin_name = "casemate selftest", version)]
struct Cli {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The `casemate` to test, in place of the one that was built from here
    #[arg(long, value_name = "FILE")]
    casemate: Option<PathBuf>,
    /// The signer's image, in place of the one that is built from here
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Be the process that holds a key openly, which stdin tells
    #[command(hide = true)]
    Holder,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.role {
        Some(Role::Holder) => hold().map(|()| true),
        None => test(&cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("casemate selftest: {error}");
            ExitCode::from(2)
        }
    }
}

fn hold() -> std::io::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    holder::hold(&hex::decode(line.trim()).map_err(std::io::Error::other)?)
}

fn test(cli: &Cli) -> std::io::Result<bool> {
    let other = std::io::Error::other;
    if !rustix::process::geteuid().is_root() {
        return Err(other("these are root's attacks: run it as root"));
    }
    if !std::path::Path::new("/dev/kvm").exists() {
        return Err(other("there is no /dev/kvm, so nothing is sealed: see `casemate doctor`"));
    }
    let casemate = match &cli.casemate {
        Some(casemate) => casemate.canonicalize()?,
        None => built(&["build", "--release", "--quiet", "--package", "casemate"], "casemate")?,
    };
    let place = Place::new(casemate)?;
    let place = match &cli.image {
        Some(image) => place.with_image(image.canonicalize()?),
        None => {
            let image = place.file("signer.eif");
            let manifest = checkout().join("guest/signer/Cargo.toml").display().to_string();
            let output = image.display().to_string();
            place.casemate(&[
                "build",
                "--manifest-path",
                &manifest,
                "--bin",
                "signer",
                "--output",
                &output,
            ])?;
            place.with_image(image)
        }
    };
    let mut said = 0;
    let rows = suite::run(&place, &mut |row| {
        said += 1;
        if !cli.json {
            eprintln!("{said:>3}  {}", row.attack);
        }
    })?;
    if cli.json {
        println!("{:#}", table::json(&rows));
    } else {
        print!("\n{}", table::text(&rows));
    }
    Ok(table::holds(&rows))
}

/// Has cargo build a program of this checkout, and says where it is.
fn built(arguments: &[&str], name: &str) -> std::io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let status = command.args(arguments).current_dir(checkout()).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(std::io::Error::other(format!("cargo cannot build {name}")));
    }
    // Beside this program, which cargo has built into the same folder.
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(&own).join(name))
}
