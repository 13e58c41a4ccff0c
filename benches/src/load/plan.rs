//! What is asked of whom, in which order: rounds of short blocks, every side in turn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bench_probe::{Operation, PORT};
use casemate_abi::port::SIGNER;

use super::door::Door;
use super::http::Server;
use super::moto::Moto;
use super::owned::Owned;
use super::pkcs11::Library;
use super::report::{Absent, LoadReport, LoadRow, Target};
use super::{CLIENTS, Side, Tally};
use crate::error::{Error, Result};
use crate::groups::primitives::Probe;
use crate::guest::{Guest, cpu_time};
use crate::kms::{self, Work};
use crate::measure::Samples;
use crate::process::Process;
use crate::report::Machine;
use crate::workshop::Workshop;

/// The sealed signer as its owner has it: claimed, behind TLS, requests are signed.
pub const OWNED: &str = "TLS";
/// The sealed signer before that: in the clear, through its Unix socket.
pub const SEALED: &str = "sealed";
/// The same code as an ordinary process.
pub const PROCESS: &str = "process";
/// moto's server.
pub const MOTO: &str = "moto";
/// The sealed signer's token through our PKCS#11 module.
pub const MODULE: &str = "PKCS#11";
/// SoftHSM2 through PKCS#11.
pub const SOFTHSM: &str = "SoftHSM2";
/// Everybody who can be asked.
pub const SIDES: [&str; 6] = [OWNED, SEALED, PROCESS, MOTO, MODULE, SOFTHSM];

/// What is asked for, and the bare operation in it, if that is nearly all of the work.
const WORKS: [(&str, Option<Operation>); 12] = [
    ("Sign P-256", Some(Operation::P256Sign)),
    ("Sign P-384", Some(Operation::P384Sign)),
    ("Sign P-521", Some(Operation::P521Sign)),
    ("Sign RSA-2048", Some(Operation::Rsa2048Sign)),
    ("Sign RSA-4096", Some(Operation::Rsa4096Sign)),
    ("Sign Ed25519", Some(Operation::Ed25519Sign)),
    ("Encrypt AES-256-GCM, 4 KiB", None),
    ("Decrypt AES-256-GCM, 4 KiB", None),
    ("GenerateDataKey AES-256", None),
    ("Certificate RSA-2048", None),
    ("Certificate P-256", None),
    ("Certificate P-384", None),
];
/// How long the bare operation is repeated, in nanoseconds.
const BARE: f64 = 80e6;

/// What to leave out, and how long to take.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Shorter blocks, fewer rounds.
    pub quick: bool,
    /// Only operations whose name contains one of these.
    pub operations: Vec<String>,
    /// Only these sides.
    pub sides: Vec<String>,
    /// Only so many clients.
    pub clients: Vec<usize>,
}

impl Choice {
    fn works(&self) -> impl Iterator<Item = (&'static Work, Option<Operation>)> {
        let wanted =
            |name: &str| self.operations.is_empty() || self.operations.iter().any(|part| name.contains(part));
        WORKS
            .iter()
            .filter(move |(name, _)| wanted(name))
            .filter_map(|(name, bare)| Some((kms::find(name)?, *bare)))
    }

    fn has_side(&self, name: &str) -> bool {
        self.sides.is_empty() || self.sides.iter().any(|side| side.eq_ignore_ascii_case(name))
    }

    fn clients(&self) -> Vec<usize> {
        if self.clients.is_empty() { CLIENTS.to_vec() } else { self.clients.clone() }
    }
}

/// Who is asked, and what runs meanwhile: sides refer to it by address only.
struct Lineup {
    sides: Vec<Box<dyn Side>>,
    absent: Vec<Absent>,
    probe: Guest,
    owned: Option<Owned>,
    sealed: Guest,
    process: Option<Process>,
    moto: Option<Moto>,
}

/// What was measured of one side at one operation, for one number of clients.
#[derive(Default)]
struct Cell {
    rates: Vec<f64>,
    latencies: Samples,
    cpu: Samples,
}

type Cells = BTreeMap<(usize, usize, usize), Cell>;

/// The bare operation in a sealed guest: in each round, how often a second of processor time is enough for.
///
/// By processor time, not by the clock: what the operation allows does not depend on what else the machine does.
#[derive(Default)]
struct Bare(Vec<f64>);

/// What is done, in rounds.
struct Plan {
    works: Vec<(&'static Work, Option<Operation>)>,
    clients: Vec<usize>,
    rounds: usize,
    warm: Duration,
    span: Duration,
}

/// Measures everything.
pub fn measure(
    workshop: &Workshop,
    choice: &Choice,
    step: &dyn Fn(&str),
    progress: &dyn Fn(f64),
) -> Result<LoadReport> {
    let machine = Machine::describe();
    let plan = Plan::new(choice);
    let mut lineup = Lineup::start(workshop, choice, step)?;
    let (cells, bare) = plan.carry_out(&mut lineup, step, progress)?;
    let names: Vec<_> = lineup.sides.iter().map(|side| side.name()).collect();
    let rows = cells
        .iter()
        .filter_map(|((work, clients, side), cell)| {
            let (work, side) = (plan.works.get(*work)?.0.name, *names.get(*side)?);
            Some(cell.row(work, *clients, side))
        })
        .collect();
    let targets = targets(&plan, &names, &cells, &bare);
    Ok(LoadReport { machine, quick: choice.quick, absent: lineup.absent, rows, targets })
}

impl Plan {
    fn new(choice: &Choice) -> Self {
        let (rounds, warm, span) = if choice.quick { (2, 80, 250) } else { (5, 150, 700) };
        Self {
            works: choice.works().collect(),
            clients: choice.clients(),
            rounds,
            warm: Duration::from_millis(warm),
            span: Duration::from_millis(span),
        }
    }

    fn carry_out(
        &self,
        Lineup { sides, probe: guest, .. }: &mut Lineup,
        step: &dyn Fn(&str),
        progress: &dyn Fn(f64),
    ) -> Result<(Cells, Vec<Bare>)> {
        step("making keys");
        let mut offered = Vec::new();
        for side in &mut *sides {
            let offers: Result<Vec<bool>> = self.works.iter().map(|(work, _)| side.prepare(work)).collect();
            offered.push(offers?);
        }
        let mut probe = Probe::new(guest.connect(PORT)?);
        let thread = guest.cpu_time_file()?;
        let mut cells = Cells::new();
        let mut bare: Vec<Bare> = self.works.iter().map(|_| Bare::default()).collect();
        for round in 0..self.rounds {
            for (index, ((work, operation), bare)) in self.works.iter().zip(&mut bare).enumerate() {
                step(work.name);
                if let Some(operation) = operation {
                    bare.measure(&mut probe, &thread, *operation)?;
                }
                for clients in &self.clients {
                    for turn in 0..sides.len() {
                        let number = (turn + round) % sides.len();
                        if offered.get(number).and_then(|offers| offers.get(index)) != Some(&true) {
                            continue;
                        }
                        let Some(side) = sides.get_mut(number) else { continue };
                        let tally = self.block(side.as_mut(), work, *clients)?;
                        cells.entry((index, *clients, number)).or_default().add(&tally);
                    }
                }
                #[expect(clippy::cast_precision_loss, reason = "a handful")]
                progress(
                    (round * self.works.len() + index + 1) as f64 / (self.rounds * self.works.len()) as f64,
                );
            }
        }
        Ok((cells, bare))
    }

    fn block(&self, side: &mut dyn Side, work: &'static Work, clients: usize) -> Result<Tally> {
        side.block(work, clients, self.warm, self.span).map_err(|error| {
            Error::answer("an answer", format!("{}, {}, {clients} clients: {error}", side.name(), work.name))
        })
    }
}

impl Lineup {
    /// Launches and starts what is wanted. What cannot be had is told and left out; the signer is always there.
    fn start(workshop: &Workshop, choice: &Choice, step: &dyn Fn(&str)) -> Result<Self> {
        step("launching the signer");
        let mut lineup = Self {
            sides: Vec::new(),
            absent: Vec::new(),
            probe: Guest::launch(workshop, &workshop.probe)?,
            owned: None,
            sealed: Guest::launch(workshop, &workshop.signer)?,
            process: None,
            moto: None,
        };
        if choice.has_side(OWNED) || choice.has_side(MODULE) {
            let owned = Owned::launch(workshop, step)?;
            if choice.has_side(OWNED) {
                lineup.sides.push(Box::new(owned.side(OWNED)?));
            }
            if choice.has_side(MODULE) {
                lineup.sides.push(Box::new(Library::casemate(MODULE, workshop, &owned, step)?));
            }
            lineup.owned = Some(owned);
        }
        if choice.has_side(SEALED) {
            let door = Door::Vsock { socket: lineup.sealed.socket(), port: SIGNER };
            let side = Server::new(SEALED, door)?.on_thread(lineup.sealed.cpu_time_file()?);
            lineup.sides.push(Box::new(side));
        }
        if choice.has_side(PROCESS) {
            let process = Process::start(&workshop.signer_process, &[], workshop.file("signer.sock"))?;
            let door = Door::Vsock { socket: process.socket().to_owned(), port: SIGNER };
            lineup.sides.push(Box::new(Server::new(PROCESS, door)?.on_thread(process.cpu_time_file())));
            lineup.process = Some(process);
        }
        if choice.has_side(MOTO) {
            let moto = Moto::start(&tools(workshop), step);
            if let Some(moto) = lineup.if_there(MOTO, moto) {
                lineup.sides.push(Box::new(moto.side()?));
                lineup.moto = Some(moto);
            }
        }
        if choice.has_side(SOFTHSM) {
            let token = Library::softhsm(SOFTHSM, workshop, step);
            if let Some(token) = lineup.if_there(SOFTHSM, token) {
                lineup.sides.push(Box::new(token));
            }
        }
        Ok(lineup)
    }

    /// What was started; if it was not, that is said where nobody can miss it.
    fn if_there<T>(&mut self, side: &'static str, started: Result<T>) -> Option<T> {
        started
            .inspect_err(|error| {
                eprintln!("\ncasemate bench: NOT MEASURED: {side}: {error}");
                self.absent.push(Absent { side, why: error.to_string() });
            })
            .ok()
    }
}

/// Where programs from elsewhere are kept: beside what cargo builds.
fn tools(workshop: &Workshop) -> PathBuf {
    let target = workshop.bench.ancestors().nth(2);
    target.map_or_else(|| workshop.file("tools"), |target| target.join("tools"))
}

impl Bare {
    fn measure(&mut self, probe: &mut Probe, thread: &std::path::Path, operation: Operation) -> Result<()> {
        let number = operation as u8;
        let once = probe.time(number, 3)? / 3.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let count = (BARE / once).clamp(3.0, 100_000.0) as u32;
        let before = cpu_time(thread)?;
        probe.time(number, count)?;
        self.0.push(f64::from(count) / (cpu_time(thread)? - before) * 1e9);
        Ok(())
    }
}

impl Cell {
    fn add(&mut self, tally: &Tally) {
        self.rates.push(tally.rate);
        self.latencies.extend(&tally.latencies);
        if let Some(cpu) = tally.cpu {
            self.cpu.push(cpu);
        }
    }

    fn row(&self, operation: &'static str, clients: usize, side: &'static str) -> LoadRow {
        let [p50, p90, p99] = self.latencies.quantiles([0.5, 0.9, 0.99]);
        let cpu = (!self.cpu.is_empty()).then(|| self.cpu.median());
        let rate = Samples::from(self.rates.clone()).median();
        LoadRow { operation, clients, side, rate, p50, p90, p99, cpu, requests: self.latencies.len() }
    }
}

/// The sealed signer at its busiest, beside moto and beside the bare operation.
fn targets(plan: &Plan, sides: &[&str], cells: &Cells, bare: &[Bare]) -> Vec<Target> {
    let Some(most) = plan.clients.iter().max().copied() else { return Vec::new() };
    let cell = |work: usize, name: &str| {
        let side = sides.iter().position(|side| *side == name)?;
        cells.get(&(work, most, side))
    };
    let mut targets = Vec::new();
    for (index, ((work, operation), Bare(bare))) in plan.works.iter().zip(bare).enumerate() {
        for side in [OWNED, SEALED] {
            let (Some(_), Some(sealed)) = (operation, cell(index, side)) else { continue };
            let moto =
                cell(index, MOTO).map(|moto| (ratio(&sealed.rates, &moto.rates), ratio(bare, &moto.rates)));
            targets.push(Target::new(
                (work.name, side, most),
                (Samples::from(bare.clone()).median(), ratio(&sealed.rates, bare)),
                moto,
                sealed.cpu.median(),
            ));
        }
    }
    targets
}

/// The median over rounds of one rate divided by another.
fn ratio(subject: &[f64], reference: &[f64]) -> f64 {
    let ratios: Vec<f64> =
        subject.iter().zip(reference).map(|(subject, reference)| subject / reference).collect();
    Samples::from(ratios).median()
}
