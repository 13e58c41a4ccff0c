//! What the volume service gives up before it meets the guest: every file but its own (which is open), the anchors and the
//! guest's socket; the network; new privileges; core dumps.

use std::path::Path;

use landlock::{AccessFs, PathFd, Scope};
use rustix::process::Resource;

use crate::isolation::controls::{Kernel as _, Linux};
use crate::jail::steps;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}; no volume was attached")]
pub struct Error {
    step: &'static str,
    source: std::io::Error,
}

fn failed<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error { step, source: source.into() }
}

/// Gives up everything but the guest's folder, of which it needs the socket and the lock, and the anchors.
pub(super) fn enter(folder: &Path, anchors: &Path) -> Result<(), Error> {
    // The VMM that started this has a cookie for its guest: this is not to share a core with it. Where there are no cookies,
    // none was inherited.
    let _ = Linux.create_cookie();
    steps::limit(Resource::Core, 0).map_err(failed("forbid core dumps"))?;
    steps::deny_inspection().map_err(failed("forbid core dumps"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))?;
    let open = |path: &Path| {
        PathFd::new(path).map_err(|error| failed("open a folder")(std::io::Error::other(error)))
    };
    let use_files = AccessFs::ReadFile | AccessFs::WriteFile;
    let keep_files = use_files | AccessFs::MakeReg | AccessFs::Truncate | AccessFs::MakeDir;
    let allowed = [(open(folder)?, use_files), (open(anchors)?, keep_files)];
    steps::enter_landlock(Scope::AbstractUnixSocket, allowed).map_err(failed("enter landlock"))?;
    Ok(())
}
