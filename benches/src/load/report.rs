//! What came out of the load: rows for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::{Machine, Unit, show};

/// Sign should be so many times as fast as moto.
pub const TIMES_MOTO: f64 = 20.0;
/// Sign should reach this part of what the bare operation allows, when many clients ask.
pub const PART_OF_BARE: f64 = 0.9;

/// One side, at one operation, for so many clients.
#[derive(Clone, Debug, Serialize)]
pub struct LoadRow {
    /// The operation.
    pub operation: &'static str,
    /// How many clients asked at once.
    pub clients: usize,
    /// Who answered.
    pub side: &'static str,
    /// Requests in a second: the median over rounds.
    pub rate: f64,
    /// Half of the requests took at most so many nanoseconds.
    pub p50: f64,
    /// Nine in ten.
    pub p90: f64,
    /// Ninety-nine in a hundred.
    pub p99: f64,
    /// Nanoseconds of processor time for each on the side that answers, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// How many requests that is of.
    pub requests: usize,
}

/// A side that was left out, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Absent {
    /// Which.
    pub side: &'static str,
    /// Why.
    pub why: String,
}

/// What should be reached at one operation, and whether it was.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// The operation.
    pub operation: &'static str,
    /// Which of the signer's sides.
    pub side: &'static str,
    /// How many clients asked at once.
    pub clients: usize,
    /// How often in a second of processor time the guest does the bare operation, with nobody to answer.
    pub bare: f64,
    /// The sealed signer's rate as a part of the bare operation's.
    pub of_bare: f64,
    /// Whether that is [`PART_OF_BARE`] or more.
    pub of_bare_reached: bool,
    /// How many times moto's rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_moto: Option<f64>,
    /// How many times moto's rate the bare operation allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_times_moto: Option<f64>,
    /// Whether it is [`TIMES_MOTO`] or more. Absent where the operation alone takes longer than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_moto_reached: Option<bool>,
    /// Nanoseconds of processor time in the guest for a request.
    pub cpu: f64,
}

impl Target {
    /// Judges what was measured.
    ///
    /// `bare` is the bare operation's rate, and what part of it was reached; `moto` the same of moto's, and how much the bare
    /// operation would allow.
    pub fn new(
        (operation, side, clients): (&'static str, &'static str, usize),
        (bare, of_bare): (f64, f64),
        moto: Option<(f64, f64)>,
        cpu: f64,
    ) -> Self {
        let possible = moto.filter(|(_, most)| *most >= TIMES_MOTO);
        Self {
            operation,
            side,
            clients,
            bare,
            of_bare,
            of_bare_reached: of_bare >= PART_OF_BARE,
            times_moto: moto.map(|(times, _)| times),
            most_times_moto: moto.map(|(_, most)| most),
            times_moto_reached: possible.map(|(times, _)| times >= TIMES_MOTO),
            cpu,
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// What it was measured on.
    pub machine: Machine,
    /// Whether few samples were taken.
    pub quick: bool,
    /// Who was left out.
    pub absent: Vec<Absent>,
    /// The lines.
    pub rows: Vec<LoadRow>,
    /// What should be reached.
    pub targets: Vec<Target>,
}

/// A rate for people.
pub fn rate(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is small and positive"
    )]
    let digits = (value.round() as u64).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn mark(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

impl LoadReport {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("{}, load {}\n", self.machine.line(), self.machine.load_before);
        let mut operation = "";
        for row in &self.rows {
            if row.operation != operation {
                operation = row.operation;
                let _ = writeln!(
                    text,
                    "\n{operation:<28} {:>7} {:>11} {:>10} {:>10} {:>10} {:>10}",
                    "clients", "requests/s", "p50", "p90", "p99", "processor"
                );
            }
            let _ = writeln!(
                text,
                "  {:<26} {:>7} {:>11} {:>10} {:>10} {:>10} {:>10}",
                row.side,
                row.clients,
                rate(row.rate),
                show(row.p50, Unit::Ns),
                show(row.p90, Unit::Ns),
                show(row.p99, Unit::Ns),
                row.cpu.map_or_else(String::new, |cpu| show(cpu, Unit::Ns)),
            );
        }
        self.judge(&mut text);
        for Absent { side, why } in &self.absent {
            let _ = writeln!(text, "\nNOT MEASURED: {side}: {why}");
        }
        text
    }

    fn judge(&self, text: &mut String) {
        let Some(first) = self.targets.first() else { return };
        let _ = writeln!(
            text,
            "\nThe sealed signer, {} clients: rate / bare operation in a guest (≥ {PART_OF_BARE}); a request's processor \
             time, the operation and the rest; rate / moto (≥ {TIMES_MOTO})",
            first.clients
        );
        for target in &self.targets {
            let moto = match (target.times_moto, target.most_times_moto, target.times_moto_reached) {
                (Some(times), _, Some(reached)) => format!("{times:.1} × moto {}", mark(reached)),
                (Some(times), Some(most), None) => {
                    format!("{times:.1} × moto; the operation alone would be {most:.1} ×")
                }
                _ => "no moto".to_owned(),
            };
            let (request, bare) = (target.cpu, 1e9 / target.bare);
            let _ = writeln!(
                text,
                "  {:<14} {:<7} {:.2} of bare {:<8} {:>9} = {:>9} + {:<9} {moto}",
                target.operation,
                target.side,
                target.of_bare,
                mark(target.of_bare_reached),
                show(request, Unit::Ns),
                show(bare, Unit::Ns),
                show(request - bare, Unit::Ns),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_commas() {
        assert_eq!(rate(4.25), "4.2");
        assert_eq!(rate(999.4), "999");
        assert_eq!(rate(12_345.0), "12,345");
        assert_eq!(rate(1_234_567.0), "1,234,567");
    }

    #[test]
    fn moto_is_no_target_where_the_operation_alone_takes_too_long() {
        let target = |moto| Target::new(("x", "y", 64), (1e3, 0.95), moto, 2.0);
        assert_eq!(target(Some((25.0, 26.0))).times_moto_reached, Some(true));
        assert_eq!(target(Some((15.0, 26.0))).times_moto_reached, Some(false));
        assert_eq!(target(Some((15.0, 16.0))).times_moto_reached, None);
        assert_eq!(target(None).times_moto, None);
        assert!(target(None).of_bare_reached);
    }
}
