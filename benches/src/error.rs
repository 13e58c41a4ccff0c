//! Why something could not be measured.

use std::io;
use std::path::Path;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// The step, as in "cannot ...".
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed{}", if .said.is_empty() { String::new() } else { format!(": {said}") })]
    Program {
        /// Which.
        program: String,
        /// Its last words.
        said: String,
    },
    /// An answer was not what it should be.
    #[error("{what} is not as expected: {got}")]
    Answer {
        /// Whose answer.
        what: &'static str,
        /// What came.
        got: String,
    },
    /// A guest's attestation document does not hold.
    #[error("the attestation document does not hold: {0}")]
    Attestation(#[from] casemate_attestation::verify::VerifyError),
}

impl Error {
    /// For `map_err` on an I/O result.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    /// The same, about a file.
    pub fn file(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }

    /// An answer that is not what it should be.
    pub fn answer(what: &'static str, got: impl Into<String>) -> Self {
        Self::Answer { what, got: got.into() }
    }
}

/// What measuring gives.
pub type Result<T> = std::result::Result<T, Error>;
