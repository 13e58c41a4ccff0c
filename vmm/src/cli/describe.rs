//! `describe` (nitro-cli's `describe-enclaves`): the running guests.

use super::error::Failure;
use super::output::{DescribeInfo, print_json};
use super::registry::Registry;

/// Flags of `describe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the images' metadata too
    #[arg(long)]
    metadata: bool,
}

/// Prints nitro-cli's JSON: an array, empty if nothing runs.
pub fn run(args: &Args) -> Result<(), Failure> {
    let guests = Registry::open()?.guests()?;
    let list: Vec<DescribeInfo> = guests
        .into_iter()
        .map(|guest| DescribeInfo::new(guest.record, args.metadata))
        .collect();
    print_json(&list)
}
