//! `describe` (nitro-cli's `describe-enclaves`): the running guests; with `--seccomp`, what a VMM may still do.

use super::error::Failure;
use super::output::{DescribeInfo, print_json};
use super::registry::Registry;
use crate::jail::seccomp::{ALLOWED, Thread};

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
        // The tracer belongs to the process backend, which seals nothing.
        let sealed = |threads: &[Thread]| threads.iter().any(|thread| *thread != Thread::Tracer);
        let list: Vec<_> = ALLOWED.iter().filter(|allowed| sealed(allowed.threads)).collect();
        return print_json(&list);
    }
    let guests = Registry::open()?.guests()?;
    let list: Vec<DescribeInfo> =
        guests.into_iter().map(|guest| DescribeInfo::new(guest.record, args.metadata)).collect();
    print_json(&list)
}
