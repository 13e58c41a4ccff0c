//! Linker errors in plain words.
//!
//! A guest that calls something which only an operating system can do fails to link. The linker names the symbol and
//! some object file; the author wants to know which crate to look at and what to do instead.

use std::collections::BTreeMap;

use super::instructions::plain_name;

/// A symbol that nothing provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub symbol: String,
    /// The functions (or else the object files) that use it, without duplicates.
    pub wanted_by: Vec<String>,
}

/// Reads the missing symbols out of what a linker wrote: GNU ld's and lld's wording.
pub fn missing_symbols(linker: &str) -> Vec<Missing> {
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut symbol: Option<String> = None;
    // GNU ld says first in which function it is, then what is missing.
    let mut function: Option<String> = None;
    for line in linker.lines() {
        if let Some(name) = after(line, "undefined symbol: ") {
            let name = plain_name(name.trim());
            missing.entry(name.clone()).or_default();
            symbol = Some(name);
        } else if let Some(user) = after(line, ">>> ") {
            if let Some(wanted_by) = symbol.as_ref().and_then(|name| missing.get_mut(name)) {
                add(wanted_by, lld_user(user));
            }
        } else if let Some(name) = after(line, "in function `") {
            function = name.split('\'').next().map(plain_name);
        } else if let Some(name) = after(line, "undefined reference to `") {
            let wanted_by = missing
                .entry(plain_name(name.split('\'').next().unwrap_or(name)))
                .or_default();
            add(wanted_by, function.clone());
        }
    }
    missing
        .into_iter()
        .map(|(symbol, wanted_by)| Missing { symbol, wanted_by })
        .collect()
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

fn add(users: &mut Vec<String>, user: Option<String>) {
    if let Some(user) = user.filter(|user| !user.is_empty() && !users.contains(user)) {
        users.push(user);
    }
}

/// lld: `referenced by lib.rs:12 (src/lib.rs:12)`, then indented `object.o:(function) in archive libfoo.rlib`.
fn lld_user(text: &str) -> Option<String> {
    let text = text.trim();
    if text.starts_with("referenced ") || text.starts_with("did you mean") || text.starts_with("defined in") {
        return None;
    }
    let function = text
        .split_once(":(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(inside, _)| inside);
    match function {
        Some(name) => Some(plain_name(name.trim_start_matches(".text."))),
        None => text.split_whitespace().next().map(str::to_owned),
    }
}

/// The crate that a demangled path belongs to: `<a::B as c::D>::e` is `a`'s.
fn crate_of(path: &str) -> Option<&str> {
    let path = path
        .trim_start_matches(['<', '&', '*'])
        .trim_start_matches("mut ")
        .trim_start_matches("dyn ");
    path.split_once("::")
        .map(|(name, _)| name)
        .filter(|name| !name.contains(['/', ' ', '.']))
}

/// What a sealed guest has instead, for the symbols people run into.
fn instead(symbol: &str) -> Option<&'static str> {
    let groups: [(&[&str], &str); 7] = [
        (
            &[
                "getaddrinfo",
                "freeaddrinfo",
                "gai_strerror",
                "socket",
                "connect",
                "bind",
                "listen",
                "accept",
                "accept4",
                "send",
                "sendto",
                "sendmsg",
                "recv",
                "recvfrom",
                "recvmsg",
                "getsockopt",
                "setsockopt",
                "getpeername",
                "getsockname",
                "shutdown",
                "socketpair",
            ],
            "there is no network: take connections with casemate_guest::vsock, and turn off features such as tokio's `net`",
        ),
        (
            &[
                "fork",
                "vfork",
                "execve",
                "execvp",
                "posix_spawn",
                "posix_spawnp",
                "waitpid",
                "waitid",
                "wait4",
                "kill",
                "pidfd_getpid",
                "setsid",
                "setuid",
                "setgid",
            ],
            "there are no processes: do the work in the guest itself",
        ),
        (
            &[
                "epoll_create1",
                "epoll_ctl",
                "epoll_wait",
                "eventfd",
                "poll",
                "ppoll",
                "select",
                "pipe",
                "pipe2",
                "kqueue",
            ],
            "there is nothing to poll: use casemate_guest's executor, and turn off features such as tokio's `net`, `process`, `signal` and `rt-multi-thread`",
        ),
        (
            &[
                "sigaction",
                "signal",
                "sigprocmask",
                "pthread_sigmask",
                "raise",
                "sigaltstack",
            ],
            "there are no signals: a fault ends the guest",
        ),
        (
            &[
                "opendir",
                "readdir",
                "readdir64",
                "fdopendir",
                "mkdir",
                "rename",
                "unlink",
                "rmdir",
                "ftruncate64",
                "chmod",
                "symlink",
                "link",
                "statx",
                "fsync",
                "flock",
                "lseek64",
                "pread64",
                "pwrite64",
            ],
            "there are no files: compile data in with include_bytes!, or ask a client for it",
        ),
        (
            &["dlopen", "dlsym", "dlclose", "dlerror"],
            "nothing can be loaded at run time: link it in",
        ),
        (
            &[
                "_Unwind_RaiseException",
                "__gxx_personality_v0",
                "_ZSt9terminatev",
            ],
            "there is no unwinding: a panic ends the guest; C++ needs -fno-exceptions",
        ),
    ];
    groups
        .iter()
        .find(|(symbols, _)| symbols.contains(&symbol))
        .map(|(_, advice)| *advice)
}

/// One paragraph for each missing symbol.
pub fn explain(missing: &[Missing]) -> String {
    let mut text = String::new();
    for Missing { symbol, wanted_by } in missing {
        text.push_str(&format!(
            "the guest needs `{symbol}`, which a sealed guest does not have"
        ));
        if let Some(advice) = instead(symbol) {
            text.push_str(&format!(": {advice}"));
        }
        let crates: Vec<&str> = {
            let mut crates: Vec<&str> = wanted_by.iter().filter_map(|user| crate_of(user)).collect();
            crates.sort_unstable();
            crates.dedup();
            crates
        };
        match (crates.as_slice(), wanted_by.first()) {
            ([], None) => {}
            ([], Some(user)) => text.push_str(&format!("; wanted by {user}")),
            ([one], Some(user)) => text.push_str(&format!("; wanted by crate `{one}` (in {user})")),
            (many, _) => text.push_str(&format!("; wanted by crates `{}`", many.join("`, `"))),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
