//! What the volume service gives up before it meets the guest: every file but its own (which is open), the anchors and the
//! guest's socket; the network; new privileges; core dumps.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

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
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(failed("forbid core dumps"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("forbid core dumps"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))?;
    let other = |error: landlock::RulesetError| failed("enter landlock")(std::io::Error::other(error));
    let open = |path: &Path| {
        PathFd::new(path).map_err(|error| failed("open a folder")(std::io::Error::other(error)))
    };
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))
        .map_err(other)?
        .handle_access(AccessNet::from_all(ABI::V6))
        .map_err(other)?
        .scope(Scope::AbstractUnixSocket)
        .map_err(other)?
        .create()
        .map_err(other)?
        .add_rule(PathBeneath::new(open(folder)?, AccessFs::ReadFile | AccessFs::WriteFile))
        .map_err(other)?
        .add_rule(PathBeneath::new(
            open(anchors)?,
            AccessFs::ReadFile
                | AccessFs::WriteFile
                | AccessFs::MakeReg
                | AccessFs::Truncate
                | AccessFs::MakeDir,
        ))
        .map_err(other)?
        .restrict_self()
        .map_err(other)?;
    Ok(())
}
