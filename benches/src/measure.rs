//! Samples, medians, and two sides taking turns.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Measured values, in nanoseconds unless said otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Samples(Vec<f64>);

impl From<Vec<f64>> for Samples {
    fn from(values: Vec<f64>) -> Self {
        Self(values)
    }
}

impl Samples {
    /// Adds a value.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds all of `other`'s.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that this part of the values does not exceed; 0 without values.
    pub fn quantile(&self, part: f64) -> f64 {
        let [value] = self.quantiles([part]);
        value
    }

    /// Several quantiles at once.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N]) -> [f64; N] {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        parts.map(|part| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a rank among thousands"
            )]
            let rank = (last as f64 * part).round() as usize;
            sorted.get(rank.min(last)).copied().unwrap_or(0.0)
        })
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Nineteen in twenty are at most this.
    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }
}

/// Nanoseconds that `work` takes.
pub fn time<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    std::hint::black_box(work()?);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(start.elapsed().as_nanos() as f64)
}

/// Processor time of this thread in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn thread_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable and of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Two sides that took turns.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    /// What is measured.
    pub subject: Samples,
    /// What it is compared with.
    pub reference: Samples,
    /// Subject's median divided by the reference's, for each pair of blocks.
    ratios: Samples,
}

impl Pair {
    /// `blocks` times: a block of one side, a block of the other; each side begins every other time.
    pub fn measure(
        blocks: usize,
        mut subject: impl FnMut() -> Result<Samples>,
        mut reference: impl FnMut() -> Result<Samples>,
    ) -> Result<Self> {
        let mut pair = Self::default();
        for block in 0..blocks {
            let (a, b) = if block.is_multiple_of(2) {
                let a = subject()?;
                (a, reference()?)
            } else {
                let b = reference()?;
                (subject()?, b)
            };
            pair.add(&a, &b);
        }
        Ok(pair)
    }

    /// Adds a block of each side.
    pub fn add(&mut self, subject: &Samples, reference: &Samples) {
        self.ratios.push(subject.median() / reference.median());
        self.subject.extend(subject);
        self.reference.extend(reference);
    }

    /// Adds all of `other`'s blocks.
    pub fn merge(&mut self, other: &Self) {
        self.subject.extend(&other.subject);
        self.reference.extend(&other.reference);
        self.ratios.extend(&other.ratios);
    }

    /// How many times as long the subject takes: the median over pairs of blocks.
    pub fn ratio(&self) -> f64 {
        self.ratios.median()
    }
}

/// `count` timed runs of `work`.
pub fn block(count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..count {
        samples.push(time(&mut work)?);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let samples = Samples(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(samples.median(), 3.0);
        assert_eq!(samples.p95(), 5.0);
        assert_eq!(samples.quantile(0.0), 1.0);
        assert_eq!(Samples::default().median(), 0.0);
    }

    #[test]
    fn a_slow_moment_that_touches_both_sides_leaves_the_ratio_alone() {
        let mut pair = Pair::default();
        for slow in [1.0, 1.0, 7.0, 1.0, 9.0] {
            pair.add(&Samples(vec![3.0 * slow; 4]), &Samples(vec![2.0 * slow; 4]));
        }
        assert_eq!(pair.ratio(), 1.5);
    }
}
