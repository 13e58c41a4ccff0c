//! `describe` (nitro-cli's `describe-enclaves`): the running guests; with `--seccomp`, what a VMM may still do.

use super::error::Failure;
use super::output::{DescribeInfo, print_json};
use super::registry::Registry;
use crate::jail::seccomp::{ALLOWED, Thread, allowed};

/// Flags of `describe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the images' metadata too
    #[arg(long)]
    metadata: bool,
    /// Show instead which system calls a VMM may make once its guest is sealed; any other ends it
    #[arg(long, conflicts_with = "metadata")]
    seccomp: bool,
}

/// Prints nitro-cli's JSON: an array, empty if nothing runs.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.seccomp {
        // On this host, for a sealed guest: the tracer belongs to the process backend.
        let here: Vec<_> = allowed(Thread::Vcpu).chain(allowed(Thread::Io)).map(|call| call.name).collect();
        let list: Vec<_> = ALLOWED.iter().filter(|call| here.contains(&call.name)).collect();
        return print_json(&list);
    }
    let guests = Registry::open()?.guests()?;
    let list: Vec<DescribeInfo> =
        guests.into_iter().map(|guest| DescribeInfo::new(guest.record, args.metadata)).collect();
    print_json(&list)
}
