//! `hsm control`: AWS CloudHSM's API for the HSMs of a store. The program that speaks it is `casemate-control` (`control/`), so that
//! nothing of an HTTP server is part of the VMM; here it gets its socket, its access key, and a profile for AWS's clients.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::companion;
use super::super::error::{Code, Failure};
use super::super::profile::{Entry, Files};
use super::cluster::StoreArgs;
use crate::cluster::Access;

/// Flags of `hsm control`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Its access key is made at the first start and written as an AWS profile:
  aws cloudhsmv2 describe-clusters --profile casemate-control
Whoever has it can create, delete, copy and lose HSMs and backups. It opens no key: what a backup holds only its users can use.")]
pub struct Args {
    /// Where clients connect, on this host: port 0 means any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8444")]
    listen: String,
    /// What the region of the store is called
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    region: String,
    /// A further region and its store; may be given several times
    #[arg(long, value_name = "REGION=DIRECTORY")]
    other_region: Vec<String>,
    /// The image of HSMs in new clusters [default: the signer, built first if need be]
    #[arg(long, visible_alias = "image", value_name = "FILE")]
    eif_path: Option<PathBuf>,
    /// The AWS profile to write
    #[arg(long, value_name = "NAME", default_value = "casemate-control")]
    profile: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes the profile, and becomes the endpoint.
pub fn run(args: &Args) -> Result<(), Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::new(Code::InvalidArgument, format!("cannot listen on {}: {error}", args.listen))
    };
    let listener = TcpListener::bind(&args.listen).map_err(|error| bad(&error))?;
    let address = listener.local_addr().map_err(|error| bad(&error))?;
    if !address.ip().is_loopback() {
        return Err(bad(&"it is for this host alone: an address of 127.0.0.0/8 or ::1"));
    }
    let store = args.store.open()?;
    let access = Access::load_or_make(&store, &store.lock()?)?;
    let files = Files::locate()?;
    files.prepare(&args.profile, true)?;
    let endpoint = format!("http://{address}");
    files.write(
        &args.profile,
        &Entry {
            access_key_id: &access.access_key_id,
            secret_access_key: &access.secret_access_key,
            region: &args.region,
            endpoint: Some(&endpoint),
            ca_bundle: None,
        },
    )?;
    let failed =
        |error: std::io::Error| Failure::new(Code::ProcessSpawnFailure, format!("cannot start it: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut flags: Vec<OsString> =
        vec!["--casemate".into(), program.clone().into(), "--store".into(), store.dir().into()];
    flags.extend(["--region".into(), OsString::from(&args.region)]);
    for other in &args.other_region {
        flags.extend(["--other-region".into(), OsString::from(other)]);
    }
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| Failure::file("find", path, error));
    if let Some(image) = &args.eif_path {
        flags.extend(["--eif-path".into(), absolute(image)?.into()]);
    }
    // Beside this program where they were installed together; else cargo knows.
    let beside = program.with_file_name("casemate-control");
    let mut command = match beside.is_file() {
        true => Command::new(beside),
        false => companion::built("control", "casemate-control")?,
    };
    let error = command.args(flags).stdin(Stdio::from(OwnedFd::from(listener))).exec();
    Err(failed(error))
}
