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
            let wanted_by = missing.entry(plain_name(name.split('\'').next().unwrap_or(name))).or_default();
            add(wanted_by, function.clone());
        }
    }
    missing.into_iter().map(|(symbol, wanted_by)| Missing { symbol, wanted_by }).collect()
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
    let function = text.split_once(":(").and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside);
    match function {
        Some(name) => Some(plain_name(name.trim_start_matches(".text."))),
        None => text.split_whitespace().next().map(str::to_owned),
    }
}

/// The crate that a demangled path belongs to: `<a::B as c::D>::e` is `a`'s.
fn crate_of(path: &str) -> Option<&str> {
    let path = path.trim_start_matches(['<', '&', '*']).trim_start_matches("mut ").trim_start_matches("dyn ");
    path.split_once("::").map(|(name, _)| name).filter(|name| !name.contains(['/', ' ', '.']))
}

/// What a sealed guest has instead: names, beginnings of names, and advice.
const INSTEAD: [(&[&str], &[&str], &str); 7] = [
    (
        &[
            "socket",
            "connect",
            "bind",
            "listen",
            "accept",
            "accept4",
            "shutdown",
            "__res_init",
            "freeaddrinfo",
        ],
        &["getaddrinfo", "gai_", "send", "recv", "getsock", "setsock", "getpeer", "socketpair", "if_name"],
        "there is no network: take connections with casemate_guest::vsock, and turn off features such as tokio's `net`",
    ),
    (
        &[
            "fork",
            "vfork",
            "kill",
            "chdir",
            "chroot",
            "setuid",
            "setgid",
            "setgroups",
            "setpgid",
            "setsid",
            "_exit",
        ],
        &["exec", "posix_spawn", "wait", "pidfd_", "gnu_get_libc_version"],
        "there are no processes: do the work in the guest itself, and turn off features such as tokio's `process`",
    ),
    (
        &["poll", "ppoll", "select", "pipe", "pipe2", "eventfd"],
        &["epoll_", "timerfd_", "inotify_"],
        "there is nothing to poll: use casemate_guest's executor, and turn off tokio's `net` and `rt-multi-thread`",
    ),
    (&["raise", "signal", "pthread_sigmask"], &["sig"], "there are no signals: a fault ends the guest"),
    (
        &[
            "rename",
            "unlink",
            "ftruncate64",
            "symlink",
            "link",
            "statx",
            "fsync",
            "fdatasync",
            "flock",
            "lseek64",
            "pread64",
            "pwrite64",
            "fdopendir",
            "sendfile64",
            "copy_file_range",
        ],
        &[
            "opendir", "readdir", "closedir", "mkdir", "rmdir", "chmod", "fchmod", "chown", "utimens",
            "truncate",
        ],
        "there are no files: compile data in with include_bytes!, or ask a client for it",
    ),
    (&[], &["dlopen", "dlsym", "dlclose", "dlerror"], "nothing can be loaded at run time: link it in"),
    (
        &["__gxx_personality_v0"],
        &["_Unwind_", "__cxa_throw", "std::"],
        "there is no unwinding and no C++ library: a panic ends the guest",
    ),
];

fn instead(symbol: &str) -> Option<&'static str> {
    let matches = |(names, beginnings, _): &&(&[&str], &[&str], _)| {
        names.contains(&symbol) || beginnings.iter().any(|beginning| symbol.starts_with(beginning))
    };
    INSTEAD.iter().find(matches).map(|(.., advice)| *advice)
}

/// One line for each kind of thing that is missing.
pub fn explain(missing: &[Missing]) -> String {
    let mut kinds: Vec<(Option<&str>, Vec<&Missing>)> = Vec::new();
    for one in missing {
        let advice = instead(&one.symbol);
        match kinds.iter_mut().find(|(known, _)| advice.is_some() && *known == advice) {
            Some((_, members)) => members.push(one),
            None => kinds.push((advice, vec![one])),
        }
    }
    kinds.iter().map(|(advice, members)| paragraph(*advice, members)).collect::<Vec<_>>().join("\n")
}

fn paragraph(advice: Option<&str>, members: &[&Missing]) -> String {
    let symbols: Vec<String> = members.iter().map(|member| format!("`{}`", member.symbol)).collect();
    let users: Vec<&String> = members.iter().flat_map(|member| &member.wanted_by).collect();
    let mut crates: Vec<String> =
        users.iter().filter_map(|user| crate_of(user)).map(|name| format!("`{name}`")).collect();
    crates.sort_unstable();
    crates.dedup();
    let mut text = format!("the guest needs {}, which a sealed guest does not have", symbols.join(", "));
    if let Some(advice) = advice {
        text.push_str(&format!(": {advice}"));
    }
    match (crates.as_slice(), users.first()) {
        (_, None) => {}
        ([], Some(user)) => text.push_str(&format!("; wanted by {user}")),
        ([one], Some(user)) => text.push_str(&format!("; wanted by crate {one} (in {user})")),
        (many, Some(user)) => {
            text.push_str(&format!("; wanted by crates {} (first in {user})", many.join(", ")))
        }
    }
    text
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
