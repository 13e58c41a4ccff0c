//! What it costs a guest to leave for the host and come back, by the guest's own stopwatch.

use bench_probe::{EXIT_KERNEL, EXIT_NSM, EXIT_VMM, NOTHING, PORT};

use crate::error::Result;
use crate::groups::primitives::Probe;
use crate::guest::Guest;
use crate::measure::Samples;
use crate::report::Row;
use crate::workshop::Workshop;

const GROUP: &str = "exits";
const KINDS: [(u8, &str); 3] = [
    (EXIT_KERNEL, "to the kernel (notify a queue)"),
    (EXIT_VMM, "to the VMM (empty log line)"),
    (EXIT_NSM, "NSM GetRandom, CBOR included"),
];
const REPETITIONS: u32 = 100;

/// Each kind in turns.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let rounds = if quick { 10 } else { 50 };
    let guest = Guest::launch(workshop, &workshop.probe)?;
    let mut probe = Probe::new(guest.connect(PORT)?);
    let mut samples: [Samples; 3] = Default::default();
    for round in 0..rounds {
        let stopwatch = probe.time(NOTHING, REPETITIONS)?;
        for (samples, (kind, _)) in samples.iter_mut().zip(KINDS) {
            let time = probe.time(kind, REPETITIONS)? - stopwatch;
            samples.push(time / f64::from(REPETITIONS));
        }
        progress(f64::from(round + 1) / f64::from(rounds));
    }
    let rows = KINDS.iter().zip(&samples).map(|((_, name), samples)| Row::times(GROUP, *name, samples));
    Ok(rows.collect())
}
