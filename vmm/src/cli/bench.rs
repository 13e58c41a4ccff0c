//! `bench`: measures this machine. The program that does it is `casemate-bench` (benches/), built when first wanted,
//! so that nothing that only measures is part of the VMM.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::error::{Code, Failure};

/// Flags of `bench`: handed on.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Flags of the benchmark; `casemate bench --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// Builds the program, optimised, and becomes it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let vmm = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = vmm.parent().unwrap_or(vmm).join("benches/Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::new(
            Code::FileOperationFailure,
            format!(
                "cannot find the benchmark's source at {}: run casemate from the checkout that it was built from",
                manifest.display()
            ),
        ));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let error = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--bin", "casemate-bench", "--manifest-path"])
        .arg(&manifest)
        .arg("--")
        .args(&args.flags)
        .exec();
    Err(Failure::new(
        Code::ProcessSpawnFailure,
        format!("cannot run cargo, which builds the benchmark: {error}"),
    ))
}
