//! Many signers at once: how long until all have answered, what they occupy, and what they do when nobody asks.
//!
//! Memory is what a control group for them is charged: the private memory that guests touched, the VMMs, and the
//! kernel's part (page tables, virtual CPUs, sockets), files in memory counted once. Where no control group can be made,
//! it is what the system had available before, less what it has now.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::guest::{self, Guest, Starting, command};
use crate::http::{Client, request};
use crate::report::{Row, Target, Unit};
use crate::workshop::Workshop;

const GROUP: &str = "fleet";
/// How long the idle guests are watched.
const WATCH: Duration = Duration::from_secs(5);

/// All at once.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let count = if quick { 50 } else { 200 };
    let cgroup = Cgroup::new();
    let available = available();
    let start = Instant::now();
    let starting = (0..count).map(|_| {
        let command = within(cgroup.as_ref(), &command(workshop, &workshop.signer));
        Starting::spawn(workshop, command)
    });
    let starting: Vec<_> = starting.collect::<Result<_>>()?;
    let mut guests = Vec::new();
    for starting in starting {
        let guest = starting.announced()?;
        Client::open(&guest.socket(), casemate_abi::port::SIGNER)?
            .exchange(&request("GET", "/health", None, ""))?;
        guests.push(guest);
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        progress(guests.len() as f64 / f64::from(count) * 0.5);
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let launched = start.elapsed().as_nanos() as f64;
    std::thread::sleep(Duration::from_secs(2));
    progress(0.7);
    let (memory, how) = match &cgroup {
        Some(cgroup) => (cgroup.charged()?, "charged to their control group, kernel memory included"),
        None => (available - self::available(), "by what the system had available before and after"),
    };
    let before = cpu_time(&guests);
    std::thread::sleep(WATCH);
    let used = cpu_time(&guests) - before;
    progress(1.0);
    let percent = used / WATCH.as_secs_f64() / 1e9 * 100.0;
    Ok(vec![
        Row::new(GROUP, format!("{count} signers launched and answering"), launched, Unit::Ns),
        Row::new(GROUP, "  each", launched / f64::from(count), Unit::Ns),
        Row::new(GROUP, format!("processor time of {count} idle"), percent, Unit::PercentCpu)
            .target(Target::AtMost(0.1))
            .note(format!(
                "of one processor, over {} s, all threads (schedstat); 0.1 % counts as none",
                WATCH.as_secs()
            )),
        Row::new(GROUP, "memory of one among them", memory / f64::from(count), Unit::Bytes)
            .target(Target::AtMost(12.0 * 1048576.0))
            .note(how),
    ])
}

/// The same command, begun inside the control group: a shell enters it and becomes the program, so that nothing is
/// charged elsewhere.
fn within(cgroup: Option<&Cgroup>, command: &Command) -> Command {
    let mut new = match cgroup {
        Some(cgroup) => {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
            shell.arg(cgroup.0.join("cgroup.procs"));
            shell.arg(command.get_program());
            shell
        }
        None => Command::new(command.get_program()),
    };
    new.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            new.env(name, value);
        }
    }
    new
}

/// Nanoseconds that the guests' threads have run.
fn cpu_time(guests: &[Guest]) -> f64 {
    let threads = guests.iter().flat_map(|guest| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", guest.pid()));
        tasks.into_iter().flatten().flatten()
    });
    // A thread that is gone meanwhile used no more.
    threads.filter_map(|task| guest::cpu_time(&task.path().join("schedstat")).ok()).sum()
}

/// Bytes that new programs could have (proc(5), MemAvailable).
fn available() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<f64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0.0) * 1024.0
}

/// A control group of our own, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where we may not make one.
    fn new() -> Option<Self> {
        let name = format!("casemate-bench-{}", std::process::id());
        ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
            .into_iter()
            .map(|parent| PathBuf::from(parent).join(&name))
            .find(|path| {
                let made = std::fs::create_dir(path).is_ok();
                let counts = usage_files().iter().any(|file| path.join(file).exists());
                if made && !counts {
                    let _ = std::fs::remove_dir(path);
                }
                made && counts
            })
            .map(Self)
    }

    fn charged(&self) -> Result<f64> {
        let text = usage_files().iter().find_map(|file| std::fs::read_to_string(self.0.join(file)).ok());
        text.and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| Error::answer("the control group's memory", self.0.display().to_string()))
    }
}

fn usage_files() -> [&'static str; 2] {
    ["memory.usage_in_bytes", "memory.current"]
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes have ended a moment ago, or this leaves an empty group behind.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
