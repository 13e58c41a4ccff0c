//! `bench` and `selftest`: measure this machine, attack a guest on it. The programs that do it are `casemate-bench` (benches/)
//! and `casemate-selftest` (attacks/), built when first wanted, so that nothing of them is part of the VMM.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::error::{Code, Failure};

/// Flags of a companion: handed on.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Flags of the program; with --help it lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// Measures launch, operations and memory.
pub fn bench(args: &Args) -> Result<(), Failure> {
    become_program("benches", "casemate-bench", args)
}

/// Attacks a signer as root.
pub fn selftest(args: &Args) -> Result<(), Failure> {
    become_program("attacks", "casemate-selftest", args)
}

/// Builds the program, optimised, and becomes it.
fn become_program(folder: &str, program: &str, args: &Args) -> Result<(), Failure> {
    let error = built(folder, program)?.args(&args.flags).exec();
    Err(Failure::new(Code::ProcessSpawnFailure, format!("cannot run cargo, which builds {program}: {error}")))
}

/// The command that builds the program, optimised, and becomes it; its flags follow.
pub(super) fn built(folder: &str, program: &str) -> Result<Command, Failure> {
    let vmm = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = vmm.parent().unwrap_or(vmm).join(folder).join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::new(
            Code::FileOperationFailure,
            format!(
                "cannot find the source of {program} at {}: run casemate from the checkout that it was built from",
                manifest.display()
            ),
        ));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--release", "--quiet", "--bin", program, "--manifest-path"])
        .arg(&manifest)
        .arg("--");
    Ok(command)
}
