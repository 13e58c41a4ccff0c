//! What every jail does: the VMM's, the gateway's, and those of the services for volumes and the TPM.

use std::io;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::SeccompAction;

use super::seccomp;

/// A step that failed. Who wanted the jail says what was not begun for it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct Error {
    step: &'static str,
    source: io::Error,
}

/// Says which step it was.
pub(crate) fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error { step, source: source.into() }
}

/// Limits a resource for good.
pub(crate) fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Becomes another user, with no groups but this one. Root alone can.
pub(crate) fn become_user(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: these calls take numbers only. The C library's versions change all threads, which the raw system calls
    // would not.
    let changed = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(group, group, group) == 0
            && libc::setresuid(user, user, user) == 0
    };
    if changed { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives up every capability.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}

/// Forbids core dumps and being traced by others of the same user.
pub(crate) fn deny_inspection() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Denies every file but what is `allowed`, the network, and what `scope` names; a kernel without landlock denies less.
pub(crate) fn enter_landlock(
    scope: impl Into<BitFlags<Scope>>,
    allowed: impl IntoIterator<Item = (PathFd, BitFlags<AccessFs>)>,
) -> io::Result<RulesetStatus> {
    let enter = || -> Result<RulesetStatus, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(scope)?
            .create()?;
        for (place, access) in allowed {
            rules = rules.add_rule(PathBeneath::new(place, access))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    enter().map_err(io::Error::other)
}

/// Leaves this thread, and those that it makes, these system calls, each with its reason, as [`seccomp::program`] narrows them.
pub(crate) fn enter_seccomp(allowed: &[(i64, &str)], otherwise: SeccompAction) -> Result<(), Error> {
    let filter = seccomp::program(allowed.iter().map(|(number, _)| *number), otherwise)
        .map_err(failed("make the list of system calls"))?;
    seccompiler::apply_filter(&filter).map_err(|error| failed("enter seccomp")(io::Error::other(error)))
}
