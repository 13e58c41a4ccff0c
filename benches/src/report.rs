//! What came out: rows for people, for programs and for the picture.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::{Pair, Samples};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// So many in a second.
    PerSecond,
    /// A quotient.
    Ratio,
    /// Just a number.
    Count,
    /// Parts of one processor's time, in a hundred.
    PercentCpu,
}

/// What a row should reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The judged number may be this at most.
    AtMost(f64),
    /// It must be this at least.
    AtLeast(f64),
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Subject.
    pub group: &'static str,
    /// What was measured.
    pub name: String,
    /// The median, or the only value.
    pub value: f64,
    /// What the value counts.
    pub unit: Unit,
    /// Nineteen in twenty were at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// How many values the median is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// What it was compared with, and that one's median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<(String, f64)>,
    /// The comparison: see the group's description for which way round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What should be reached: by the ratio if there is one, else by the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<bool>,
    /// What a reader should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Row {
    /// A row with one value.
    pub fn new(group: &'static str, name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self {
            group,
            name: name.into(),
            value,
            unit,
            p95: None,
            samples: None,
            reference: None,
            ratio: None,
            target: None,
            reached: None,
            note: None,
        }
    }

    /// A row with times.
    pub fn times(group: &'static str, name: impl Into<String>, samples: &Samples) -> Self {
        Self {
            p95: Some(samples.p95()),
            samples: Some(samples.len()),
            ..Self::new(group, name, samples.median(), Unit::Ns)
        }
    }

    /// A row with times beside a reference's; the ratio is time by time, so less is better.
    pub fn pair(group: &'static str, name: impl Into<String>, pair: &Pair, reference: &str) -> Self {
        Self {
            reference: Some((reference.to_owned(), pair.reference.median())),
            ratio: Some(pair.ratio()),
            ..Self::times(group, name, &pair.subject)
        }
    }

    /// Sets what should be reached.
    pub fn target(mut self, target: Target) -> Self {
        let judged = self.ratio.unwrap_or(self.value);
        self.reached = Some(match target {
            Target::AtMost(limit) => judged <= limit,
            Target::AtLeast(limit) => judged >= limit,
        });
        self.target = Some(target);
        self
    }

    /// Adds what a reader should know.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// Whether few samples were taken.
    pub quick: bool,
    /// The lines.
    pub rows: Vec<Row>,
}

/// What it was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Whether the machine is itself virtual.
    pub virtual_machine: bool,
    /// What `openssl version` says.
    pub openssl: String,
    /// Others' load while measuring, from 1-minute averages before the start.
    pub load_before: f64,
    /// When, in seconds since 1970.
    pub time: u64,
}

impl Machine {
    /// Looks around.
    pub fn describe() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map_or("unknown".into(), |(_, value)| value.trim().to_owned())
        };
        let openssl = crate::workshop::output(std::process::Command::new("openssl").arg("version"));
        Self {
            cpu: field("model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            openssl: openssl.map_or("none".into(), |text| text.trim().to_owned()),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            time: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |now| now.as_secs()),
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} processors{}, Linux {}",
            self.cpu,
            self.cpus,
            if self.virtual_machine { " (itself a virtual machine)" } else { "" },
            self.kernel
        )
    }
}

/// A value for people.
pub fn show(value: f64, unit: Unit) -> String {
    let scaled = |units: &[(&str, f64)]| {
        let (name, size) = units
            .iter()
            .rev()
            .find(|(_, size)| value.abs() >= *size)
            .or(units.first())
            .copied()
            .unwrap_or(("", 1.0));
        let value = value / size;
        let digits = if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
        format!("{value:.digits$} {name}")
    };
    match unit {
        Unit::Ns => scaled(&[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)]),
        Unit::Bytes => scaled(&[("B", 1.0), ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0)]),
        Unit::BytesPerSecond => scaled(&[("B/s", 1.0), ("KB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9)]),
        Unit::PerSecond => format!("{value:.0} /s"),
        Unit::Ratio => format!("{value:.2} ×"),
        Unit::Count => format!("{value:.0}"),
        Unit::PercentCpu => format!("{value:.2} %"),
    }
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut text =
            format!("{}\n{}, load {}\n", self.machine.line(), self.machine.openssl, self.machine.load_before);
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                let _ = writeln!(text, "\n{}", crate::groups::title(group));
                let _ = writeln!(
                    text,
                    "  {:<40} {:>10} {:>10} {:>24} {:>8}  target",
                    "", "median", "p95", "compared with", "ratio"
                );
            }
            let p95 = row.p95.map_or_else(String::new, |p95| show(p95, row.unit));
            let reference = row
                .reference
                .as_ref()
                .map_or_else(String::new, |(name, value)| format!("{name} {}", show(*value, row.unit)));
            let ratio = row.ratio.map_or_else(String::new, |ratio| show(ratio, Unit::Ratio));
            let _ = writeln!(
                text,
                "  {:<40} {:>10} {:>10} {:>24} {:>8}  {}",
                row.name,
                show(row.value, row.unit),
                p95,
                reference,
                ratio,
                verdict(row)
            );
        }
        let notes: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| Some(format!("  {}: {}", row.name, row.note.as_ref()?)))
            .collect();
        let judged = self.rows.iter().filter(|row| row.reached.is_some()).count();
        let reached = self.rows.iter().filter(|row| row.reached == Some(true)).count();
        let _ = write!(text, "\n{}\n\n{reached} of {judged} targets reached\n", notes.join("\n"));
        text
    }
}

/// Target, and whether it was reached.
pub fn verdict(row: &Row) -> String {
    let unit = if row.ratio.is_some() { Unit::Ratio } else { row.unit };
    let limit = match row.target {
        Some(Target::AtMost(limit)) => format!("≤ {}", show(limit, unit)),
        Some(Target::AtLeast(limit)) => format!("≥ {}", show(limit, unit)),
        None => return String::new(),
    };
    let mark = if row.reached == Some(true) { "reached" } else { "MISSED" };
    format!("{limit} {mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_by_the_ratio_if_there_is_one() {
        let row = Row::new("launch", "x", 9.0, Unit::Ns).target(Target::AtMost(5.0));
        assert_eq!(row.reached, Some(false));
        let mut row = Row::new("launch", "x", 9.0, Unit::Ns);
        row.ratio = Some(1.0);
        assert_eq!(row.clone().target(Target::AtMost(1.05)).reached, Some(true));
        assert_eq!(row.target(Target::AtLeast(1.05)).reached, Some(false));
    }

    #[test]
    fn values_are_shown_in_their_own_size() {
        assert_eq!(show(1_530.0, Unit::Ns), "1.53 µs");
        assert_eq!(show(12.0, Unit::Ns), "12.0 ns");
        assert_eq!(show(3.0 * 1048576.0, Unit::Bytes), "3.00 MiB");
        assert_eq!(show(0.5, Unit::Ns), "0.50 ns");
    }
}
