//! Changes to the host that would make it stronger, as files to write and text to add.
//!
//! [`offers`] looks at what [`doctor`](super::doctor) found and says what could be changed: kernel settings, as lines of a
//! sysctl drop-in; what must be done anew at each start, as commands of a systemd unit; and what no file can do, in words.
//! Nothing here changes anything: [`files`] returns text, and who asked for it writes it.

use std::path::Path;

use super::doctor::{Finding, Grade};

/// Where the settings go.
pub const SYSCTL: &str = "etc/sysctl.d/60-casemate.conf";
/// Where the commands go.
pub const UNIT: &str = "etc/systemd/system/casemate-host.service";
/// How both files begin. One that begins otherwise is somebody else's.
pub const HEADER: &str = "# Written by `casemate doctor --fix`.";

/// A change that can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What the doctor found.
    pub finding: &'static str,
    /// What would be done about it.
    pub what: What,
    /// What it costs: the reason not to do it.
    pub costs: &'static str,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A kernel setting, applied early at boot.
    Sysctl {
        /// Its name.
        key: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// A command, run once at boot when all services have started.
    Command {
        /// The file that it writes: without it there is nothing to do.
        needs: &'static str,
        /// The command, as systemd runs it.
        line: &'static str,
    },
    /// A parameter of the kernel's command line: to be added by hand to the boot loader's configuration.
    Boot(&'static str),
}

const fn change(finding: &'static str, what: What, costs: &'static str) -> Change {
    Change { finding, what, costs }
}

const fn sysctl(key: &'static str, value: &'static str) -> What {
    What::Sysctl { key, value }
}

/// All that is known. A finding that is not here has its advice and nothing else.
pub const CHANGES: [Change; 11] = [
    change(
        "io_uring",
        sysctl("kernel.io_uring_disabled", "0"),
        "every process may use io_uring, a part of the kernel with a history of flaws; 1 with kernel.io_uring_group is narrower",
    ),
    change(
        "yama ptrace_scope",
        sysctl("kernel.yama.ptrace_scope", "3"),
        "no debugger and no strace works, for anybody, until the next boot without this line",
    ),
    change(
        "kexec",
        sysctl("kernel.kexec_load_disabled", "1"),
        "no kdump and no kexec reboot until the next boot without this line",
    ),
    change(
        "modules",
        What::Command {
            needs: "/proc/sys/kernel/modules_disabled",
            line: "/bin/sh -c 'echo 1 > /proc/sys/kernel/modules_disabled'",
        },
        "no module loads any more once the host has started: load all that it needs before (/etc/modules-load.d)",
    ),
    change(
        "swap",
        What::Command { needs: "/proc/swaps", line: "/sbin/swapoff -a" },
        "what does not fit into memory is killed; entries of /etc/fstab stay and are switched off again",
    ),
    change(
        "same-page merging",
        What::Command {
            needs: "/sys/kernel/mm/ksm/run",
            line: "/bin/sh -c 'echo 2 > /sys/kernel/mm/ksm/run'",
        },
        "pages that are merged now are parted, and take their memory again",
    ),
    change(
        "threads per core",
        What::Command {
            needs: "/sys/devices/system/cpu/smt/control",
            line: "/bin/sh -c 'echo off > /sys/devices/system/cpu/smt/control'",
        },
        "half of the processors",
    ),
    change("memfd_secret", What::Boot("secretmem.enable=1"), "no hibernation while such memory is in use"),
    change(
        "landlock",
        What::Boot("lsm=landlock,lockdown,yama,integrity,apparmor,bpf"),
        "replaces the list that the kernel was built with: keep what /sys/kernel/security/lsm shows, and put landlock first",
    ),
    change(
        "lockdown",
        What::Boot("lockdown=confidentiality"),
        "unsigned modules, kprobes, reading kernel memory and much of BPF stop working",
    ),
    change("hibernation", What::Boot("nohibernate"), "no hibernation"),
];

impl Change {
    /// The line in its file; `None` for what goes into no file.
    fn line(&self) -> Option<String> {
        match self.what {
            What::Sysctl { key, value } => Some(format!("{key} = {value}")),
            What::Command { line, .. } => Some(format!("ExecStart={line}")),
            What::Boot(_) => None,
        }
    }

    /// The file that its line goes into.
    pub fn file(&self) -> Option<&'static str> {
        match self.what {
            What::Sysctl { .. } => Some(SYSCTL),
            What::Command { .. } => Some(UNIT),
            What::Boot(_) => None,
        }
    }

    /// What would be done, in a line.
    pub fn describe(&self) -> String {
        match self.what {
            What::Sysctl { key, value } => format!("set {key} = {value}, in /{SYSCTL}"),
            What::Command { line, .. } => format!("run `{line}` at each start, by /{UNIT}"),
            What::Boot(parameter) => format!("add to the kernel's command line: {parameter}"),
        }
    }

    /// Whether this kernel has what is to be changed. Boot parameters are for the next one.
    fn is_possible(&self, exists: &dyn Fn(&Path) -> bool) -> bool {
        match self.what {
            What::Sysctl { key, .. } => exists(&Path::new("/proc/sys").join(key.replace('.', "/"))),
            What::Command { needs, .. } => exists(Path::new(needs)),
            What::Boot(_) => true,
        }
    }
}

/// What is offered about one finding.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What was found.
    pub finding: Finding,
    /// What can be done; `None` if only the finding's advice is left.
    pub change: Option<Change>,
}

/// What could be done about each finding that is not good. `exists` says whether the kernel has a file.
pub fn offers(findings: Vec<Finding>, exists: &dyn Fn(&Path) -> bool) -> Vec<Offer> {
    let bad = findings.into_iter().filter(|finding| matches!(finding.grade, Grade::Weak | Grade::Missing));
    let offer = |finding: Finding| {
        let known = CHANGES.iter().find(|change| change.finding == finding.name);
        Offer { change: known.filter(|change| change.is_possible(exists)).copied(), finding }
    };
    bad.map(offer).collect()
}

/// The text of each file with these changes in it. `read` returns what is in the file now: changes that are there already
/// stay, because what they changed is no finding any more. Fails with the name of a file that is somebody else's.
pub fn files(
    changes: &[Change],
    read: &dyn Fn(&'static str) -> Option<String>,
) -> Result<Vec<(&'static str, String)>, &'static str> {
    let mut texts = Vec::new();
    for file in [SYSCTL, UNIT] {
        if changes.iter().all(|change| change.file() != Some(file)) {
            continue;
        }
        let now = read(file);
        if now.as_ref().is_some_and(|text| !text.starts_with(HEADER)) {
            return Err(file);
        }
        let there = |line: &str| now.iter().flat_map(|text| text.lines()).any(|known| known == line);
        let mut lines = String::new();
        for change in CHANGES.iter().filter(|change| change.file() == Some(file)) {
            let Some(line) = change.line().filter(|line| changes.contains(change) || there(line)) else {
                continue;
            };
            lines.push_str(&format!("# {}: costs {}\n{line}\n", change.finding, change.costs));
        }
        texts.push((file, if file == UNIT { unit(&lines) } else { settings(&lines) }));
    }
    Ok(texts)
}

fn settings(lines: &str) -> String {
    format!("{HEADER} To undo it, remove this file and start the host anew.\n{lines}")
}

fn unit(lines: &str) -> String {
    format!(
        "{HEADER} To undo it, `systemctl disable casemate-host`, remove this file and start the host anew.
[Unit]
Description=What a host of sealed guests is better off with
# Whatever loads modules has loaded them by then.
After=multi-user.target

[Service]
Type=oneshot
RemainAfterExit=yes
{lines}
[Install]
WantedBy=multi-user.target
"
    )
}

#[cfg(test)]
#[path = "fix_tests.rs"]
mod tests;
