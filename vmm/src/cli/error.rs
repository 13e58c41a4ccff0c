//! How a command fails: one line that says what, on what, and what to do next; with nitro-cli's code where it has one.

use std::fmt;
use std::path::Path;

/// nitro-cli's error codes, as far as a command here can end with them. `casemate explain --error-code` tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// E03
    InvalidArgument,
    /// E05
    ProcessSpawnFailure,
    /// E07
    ReadFromDiskFailure,
    /// E11
    SocketError,
    /// E17
    SerdeError,
    /// E19
    FileOperationFailure,
    /// E26
    InsufficientMemoryRequested,
    /// E35
    EifParsingError,
    /// E36
    EnclaveBootFailure,
    /// E38
    EnclaveProcessCommandNotExecuted,
    /// E39
    EnclaveProcessConnectionFailure,
    /// E44
    EnclaveConsoleConnectionFailure,
    /// E45
    EnclaveConsoleReadError,
    /// E48
    EifBuildingError,
    /// E58
    EnclaveNamingError,
    /// E60
    EifSigningError,
}

/// Code, name in nitro-cli, and what it means here.
pub const CODES: [(Code, &str, &str, &str); 16] = [
    (
        Code::InvalidArgument,
        "E03",
        "InvalidArgument",
        "An argument's value cannot be used: the message says which and why.",
    ),
    (
        Code::ProcessSpawnFailure,
        "E05",
        "ProcessSpawnFailure",
        "The VMM process of the guest could not be started: check limits on processes and that the casemate binary can be executed.",
    ),
    (
        Code::ReadFromDiskFailure,
        "E07",
        "ReadFromDiskFailure",
        "The folder of running guests (CASEMATE_RUNTIME_DIR, else XDG_RUNTIME_DIR/casemate or /run/casemate) cannot be used: it must belong to you and have mode 0700.",
    ),
    (
        Code::SocketError,
        "E11",
        "SocketError",
        "The guest's vsock socket did not answer as expected: the guest may have ended, or does not listen on that port.",
    ),
    (
        Code::SerdeError,
        "E17",
        "SerdeError",
        "A JSON file does not have the expected form: the message says where.",
    ),
    (
        Code::FileOperationFailure,
        "E19",
        "FileOperationFailure",
        "A file could not be read or written: the message names it.",
    ),
    (
        Code::InsufficientMemoryRequested,
        "E26",
        "InsufficientMemoryRequested",
        "The guest's data, stack and heap do not fit in --memory: ask for more.",
    ),
    (
        Code::EifParsingError,
        "E35",
        "EifParsingError",
        "The image is not a well-formed EIF (version 4), or what it holds is not a sealed guest. Build images with `casemate build`.",
    ),
    (
        Code::EnclaveBootFailure,
        "E36",
        "EnclaveBootFailure",
        "The guest could not be launched or ended before it was ready. `casemate doctor` shows what the host lacks; --debug-mode shows the guest's log.",
    ),
    (
        Code::EnclaveProcessCommandNotExecuted,
        "E38",
        "EnclaveProcessCommandNotExecuted",
        "The guest's VMM did not do what was asked, or the guest answered with an error.",
    ),
    (
        Code::EnclaveProcessConnectionFailure,
        "E39",
        "EnclaveProcessConnectionFailure",
        "No such guest is running for this user: `casemate describe` lists those that run.",
    ),
    (
        Code::EnclaveConsoleConnectionFailure,
        "E44",
        "EnclaveConsoleConnectionFailure",
        "There is no console: only a guest launched with --debug-mode has one, and then its PCRs are zero.",
    ),
    (Code::EnclaveConsoleReadError, "E45", "EnclaveConsoleReadError", "The console broke off."),
    (
        Code::EifBuildingError,
        "E48",
        "EifBuildingError",
        "The guest did not compile, did not link, or is not fit to be sealed: the message says what to change.",
    ),
    (
        Code::EnclaveNamingError,
        "E58",
        "EnclaveNamingError",
        "A guest's name is 1 to 64 letters, digits, `-`, `_` and `.`.",
    ),
    (
        Code::EifSigningError,
        "E60",
        "EIFSigningError",
        "The image could not be signed: the certificate and key must be PEM files, ECDSA P-256, P-384 or P-521, that belong together.",
    ),
];

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CODES.iter().find(|(code, ..)| code == self).map_or("E00", |(_, text, ..)| text))
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// nitro-cli's code.
    code: Option<Code>,
    /// What to tell the user; may have further lines (a compiler's output).
    message: String,
    /// The exit code of the process.
    pub exit: u8,
}

impl Failure {
    /// A failure that nitro-cli has a code for.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code: Some(code), message: message.to_string(), exit: 1 }
    }

    /// A failure of a command that nitro-cli does not have.
    pub fn plain(message: impl fmt::Display) -> Self {
        Self { code: None, message: message.to_string(), exit: 1 }
    }

    /// A file could not be read or written.
    pub fn file(action: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::new(Code::FileOperationFailure, format!("cannot {action} {}: {error}", path.display()))
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "[ {code} ] {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<super::registry::RegistryError> for Failure {
    fn from(error: super::registry::RegistryError) -> Self {
        use super::registry::RegistryError as R;
        let code = match &error {
            R::Io { .. } | R::NotPrivate { .. } => Code::ReadFromDiskFailure,
            R::Record { .. } => Code::SerdeError,
            R::BadName(_) => Code::EnclaveNamingError,
            R::BadCid(_) | R::CidTaken { .. } | R::Cores(_) => Code::InvalidArgument,
            R::NotFound { .. } | R::NoneRuns | R::Ambiguous { .. } => Code::EnclaveProcessConnectionFailure,
        };
        Self::new(code, error)
    }
}

impl From<casemate_client::ClientError> for Failure {
    fn from(error: casemate_client::ClientError) -> Self {
        use casemate_client::ClientError as C;
        let code = match &error {
            C::Service { .. } => Code::EnclaveProcessCommandNotExecuted,
            _ => Code::SocketError,
        };
        Self::new(code, error)
    }
}

impl From<casemate_client::endpoint::EndpointError> for Failure {
    fn from(error: casemate_client::endpoint::EndpointError) -> Self {
        Self::new(Code::InvalidArgument, error)
    }
}
