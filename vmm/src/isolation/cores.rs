//! Which processors a guest runs on.
//!
//! A guest launched with `--cpus` has the cores of these processors to itself: no other guest of this registry is on them,
//! nor on their other threads (SMT siblings). Those that run already are moved away, later ones keep away, and what
//! cannot be had is refused.
//!
//! Other processes are kept off a core by the kernel alone, where it was booted with `isolcpus=`; the posture says
//! whether it was ([`Placement::describe`]).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A set of processors, written as the kernel writes it: `0,2-3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(BTreeSet<u32>);

/// Text that is no list of processors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no list of processors: write numbers below {max} and ranges, as in 0,2-3", max = CpuSet::MAX_CPU)]
pub struct BadList(String);

impl CpuList {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their numbers, rising.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Reads what the kernel writes; an empty text is an empty set.
    fn read(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|cpu| (*cpu as usize) < CpuSet::MAX_CPU);
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(Self(cpus))
    }

    fn minus(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    fn set(&self) -> CpuSet {
        let mut set = CpuSet::new();
        // `read` and `from_iter` let no larger number in.
        self.numbers().for_each(|cpu| set.set(cpu as usize));
        set
    }

    /// Puts the calling thread on these processors; an empty list leaves it where it is.
    pub fn pin(&self) -> io::Result<()> {
        if self.is_empty() { Ok(()) } else { Ok(sched_setaffinity(None, &self.set())?) }
    }
}

impl FromStr for CpuList {
    type Err = BadList;

    fn from_str(text: &str) -> Result<Self, BadList> {
        Self::read(text).filter(|cpus| !cpus.is_empty()).ok_or_else(|| BadList(text.to_owned()))
    }
}

impl FromIterator<u32> for CpuList {
    /// Numbers that no processor can have are left out.
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().filter(|cpu| (*cpu as usize) < CpuSet::MAX_CPU).collect())
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut rest = self.numbers().peekable();
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// What is known of the machine's processors.
pub trait Topology {
    /// Those that this process may use.
    fn usable(&self) -> io::Result<CpuList>;
    /// All threads of the core that this one is a thread of.
    fn core_of(&self, cpu: u32) -> io::Result<CpuList>;
    /// Those on which the kernel puts nothing by itself.
    fn isolated(&self) -> CpuList;
}

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Topology for Machine {
    fn usable(&self) -> io::Result<CpuList> {
        let set = sched_getaffinity(None)?;
        let all = 0..u32::try_from(CpuSet::MAX_CPU).unwrap_or(u32::MAX);
        Ok(all.filter(|cpu| set.is_set(*cpu as usize)).collect())
    }

    fn core_of(&self, cpu: u32) -> io::Result<CpuList> {
        let text =
            fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))?;
        let core = CpuList::read(&text).filter(|core| core.0.contains(&cpu));
        core.ok_or_else(|| io::Error::other("the kernel's list of its core's threads makes no sense"))
    }

    fn isolated(&self) -> CpuList {
        let text = fs::read_to_string("/sys/devices/system/cpu/isolated").ok();
        text.and_then(|text| CpuList::read(&text)).unwrap_or_default()
    }
}

/// Another guest.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// Its VMM.
    pub pid: u32,
    /// The processors that it asked for; none: it runs wherever nobody has a core of his own.
    pub cpus: CpuList,
}

/// Why a guest cannot have the processors that it is to have.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A processor that this process cannot use.
    #[error("there is no processor {cpu} for guests of this user: choose among {usable}")]
    NotUsable {
        /// The one that was asked for.
        cpu: u32,
        /// Those that there are.
        usable: CpuList,
    },
    /// A processor on a core of another guest's.
    #[error("processor {cpu} is on a core that the guest `{name}` has to itself: choose another")]
    Taken {
        /// The one that was asked for.
        cpu: u32,
        /// Who has the core.
        name: String,
    },
    /// Guests that run anywhere would have nowhere to run.
    #[error(
        "this guest would have every core that is left, and {names} would have none: end them first, or launch them with --cpus"
    )]
    NowhereElse {
        /// Their names.
        names: String,
    },
    /// Every core is somebody's own.
    #[error("every core belongs to a guest that was launched with --cpus ({names}): end one first")]
    NothingLeft {
        /// Whose.
        names: String,
    },
    /// It is not known which processors share a core.
    #[error("cannot find out which processors share a core with processor {cpu}: {source}")]
    Topology {
        /// Of this one.
        cpu: u32,
        /// What the system said.
        source: io::Error,
    },
    /// A guest did not let itself be moved.
    #[error("cannot move `{name}` to other cores: {source}")]
    Move {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The processors of this process are not known.
    #[error("cannot find out which processors there are: {0}")]
    Usable(io::Error),
}

/// Where a guest runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Where its virtual CPU runs and no other guest does; empty: wherever this process may.
    pub own: CpuList,
    /// All threads of the cores that `own` is on.
    cores: CpuList,
    /// Where everything runs that has no core of its own; `None` if it does not matter.
    rest: Option<CpuList>,
}

impl Placement {
    /// Finds a place for a guest that asks for the processors `wanted` (none: it does not mind).
    pub fn find(wanted: &CpuList, neighbours: &[Neighbour], topology: &impl Topology) -> Result<Self, Error> {
        if wanted.is_empty() && neighbours.iter().all(|neighbour| neighbour.cpus.is_empty()) {
            return Ok(Self::default());
        }
        let usable = topology.usable().map_err(Error::Usable)?;
        let mut taken = CpuList::default();
        for neighbour in neighbours {
            for cpu in neighbour.cpus.numbers() {
                // One that is offline has no core any more, and might come back.
                let core = topology.core_of(cpu).unwrap_or_else(|_| [cpu].into_iter().collect());
                if let Some(cpu) = wanted.0.intersection(&core.0).next() {
                    return Err(Error::Taken { cpu: *cpu, name: neighbour.name.clone() });
                }
                taken.0.extend(core.0);
            }
        }
        let mut cores = CpuList::default();
        for cpu in wanted.numbers() {
            if !usable.0.contains(&cpu) {
                return Err(Error::NotUsable { cpu, usable });
            }
            cores.0.extend(topology.core_of(cpu).map_err(|source| Error::Topology { cpu, source })?.0);
        }
        let rest = usable.minus(&taken).minus(&cores);
        let names = |with: bool| {
            let names = neighbours.iter().filter(|neighbour| neighbour.cpus.is_empty() != with);
            let mut names: Vec<&str> = names.map(|neighbour| neighbour.name.as_str()).collect();
            names.sort_unstable();
            names.join(", ")
        };
        match (wanted.is_empty(), rest.is_empty()) {
            (true, true) => Err(Error::NothingLeft { names: names(true) }),
            (false, true) if neighbours.iter().any(|neighbour| neighbour.cpus.is_empty()) => {
                Err(Error::NowhereElse { names: names(false) })
            }
            // The rest of this VMM then shares its guest's core; it shares its fate anyway.
            (false, true) => Ok(Self { own: wanted.clone(), rest: Some(cores.clone()), cores }),
            (_, false) => Ok(Self { own: wanted.clone(), cores, rest: Some(rest) }),
        }
    }

    /// Keeps this process, but for the virtual CPU, off the cores that guests have to themselves.
    pub fn keep_off(&self) -> Result<(), Error> {
        let moved = |rest| move_process(std::process::id(), rest);
        let moved = self.rest.as_ref().map_or(Ok(()), moved);
        moved.map_err(|source| Error::Move { name: "this process".to_owned(), source })
    }

    /// Moves those away that run anywhere, if this guest has cores of its own.
    pub fn move_away<'a>(&self, neighbours: impl IntoIterator<Item = &'a Neighbour>) -> Result<(), Error> {
        let Some(rest) = self.rest.as_ref().filter(|_| !self.own.is_empty()) else {
            return Ok(());
        };
        for neighbour in neighbours.into_iter().filter(|neighbour| neighbour.cpus.is_empty()) {
            let moved = move_process(neighbour.pid, rest);
            moved.map_err(|source| Error::Move { name: neighbour.name.clone(), source })?;
        }
        Ok(())
    }

    /// The word in postures.
    pub fn describe(&self, topology: &impl Topology) -> &'static str {
        match self.own.is_empty() {
            true => "shared",
            false if self.cores.minus(&topology.isolated()).is_empty() => "isolated",
            false => "own",
        }
    }
}

/// Puts all threads of a process on these processors, new ones included: a thread begins where its maker may run.
fn move_process(pid: u32, cpus: &CpuList) -> io::Result<()> {
    let set = cpus.set();
    // Twice: one that was made meanwhile by a thread not yet moved is moved the second time.
    for _ in 0..2 {
        let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(threads) => threads,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for thread in threads {
            let Some(thread) = thread?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match sched_setaffinity(Pid::from_raw(thread), &set) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "cores_tests.rs"]
mod tests;
