//! `new`: makes the crate of a guest.

use std::path::PathBuf;

use super::error::{Code, Failure};

/// Flags of `new`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the new crate; its last part is the crate's name
    path: PathBuf,
    /// Where the guest runtime's crate is, if not in the checkout that this casemate was built from
    #[arg(long, value_name = "DIR")]
    runtime: Option<PathBuf>,
}

/// Makes the crate.
pub fn run(args: &Args) -> Result<(), Failure> {
    crate::build::template::create(&args.path, args.runtime.as_deref())
        .map_err(|error| Failure::new(Code::FileOperationFailure, error))?;
    let path = args.path.display();
    eprintln!(
        "Made {path}. Next:\n  casemate build --manifest-path {path}/Cargo.toml --output {path}.eif\n  casemate run --image {path}.eif"
    );
    Ok(())
}
