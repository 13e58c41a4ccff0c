//! `volume`: the files that guests keep their records in. A volume has a name in the user's folder of volumes ([`shelf`]), or
//! is any file; it is attached to one running guest at a time ([`attach`]), by the service that keeps it ([`serve`]).

mod attach;
mod info;
mod serve;
mod shelf;

use std::path::{Path, PathBuf};

use super::error::Failure;
use super::registry::state_dir;
use crate::volume::ANCHORS;

pub(super) use serve::Child;

/// Commands about volumes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make an empty volume
    Create(shelf::CreateArgs),
    /// List the volumes, and which guests they are attached to
    List(shelf::ListArgs),
    /// Attach a volume to a running guest, with its owner's consent
    Attach(attach::AttachArgs),
    /// Detach a volume: the guest keeps nothing of what is on it
    Detach(attach::DetachArgs),
    /// Delete a volume and everything on it
    Delete(shelf::DeleteArgs),
    /// Keep the records of a running guest in a file, until the guest ends
    Serve(serve::Args),
    /// Show what the host can see of a volume's file
    Info(info::Args),
}

/// Runs a command about volumes.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => shelf::create(args),
        Command::List(args) => shelf::list(args),
        Command::Attach(args) => attach::attach(args),
        Command::Detach(args) => attach::detach(args),
        Command::Delete(args) => shelf::delete(args),
        Command::Serve(args) => serve::run(args),
        Command::Info(args) => info::run(args),
    }
}

fn anchors(directory: Option<&Path>) -> PathBuf {
    directory.map_or_else(|| state_dir().join(ANCHORS), Path::to_owned)
}

impl From<crate::volume::Error> for Failure {
    fn from(error: crate::volume::Error) -> Self {
        Self::plain(error)
    }
}

/// The database's checksums catch damage to the file; what they do not catch must not fill the terminal either.
fn one_line_panics(file: &Path) {
    let file = file.display().to_string();
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or("no reason given");
        let what: String = what.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        eprintln!("casemate: {file}: the volume service failed, the file may be damaged ({what})");
        std::process::exit(1);
    }));
}
