//! Known answers and Wycheproof vectors, run through the very code that serves requests.
//!
//! Built in with the feature `selftest`, so that it can run inside a sealed guest: aws-lc is built there in a
//! configuration that its authors do not test (facts: `OPENSSL_NANOLIBC` with `OPENSSL_LINUX`), on whatever CPU
//! features the guest sees. It takes a few seconds and nothing else runs meanwhile.

mod answers;
mod vectors;

use std::collections::BTreeMap;

use serde::Serialize;

/// How many failures a report describes.
const DESCRIBED: usize = 20;

/// What came of the self-test.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Cases that gave the answer they should.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// The first failures, one line each.
    pub failures: Vec<String>,
    /// Cases by suite.
    pub suites: BTreeMap<String, usize>,
}

impl Report {
    fn record(&mut self, suite: &str, case: impl std::fmt::Display, ok: bool) {
        match self.suites.get_mut(suite) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(self.suites.insert(suite.to_owned(), 1)),
        }
        if ok {
            self.passed = self.passed.saturating_add(1);
            return;
        }
        self.failed = self.failed.saturating_add(1);
        if self.failures.len() < DESCRIBED {
            self.failures.push(format!("{suite}: {case}"));
        }
    }
}

/// Runs everything.
pub fn run() -> Report {
    let mut report = Report::default();
    vectors::run(&mut report);
    answers::run(&mut report);
    report
}
