//! `console`: the log of a guest in debug mode.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::error::{Code, Failure};
use super::registry::{Registry, Selector};

/// Flags of `console`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest's identifier
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "enclave_name",
        conflicts_with = "enclave_name"
    )]
    enclave_id: Option<String>,
    /// The guest's name
    #[arg(long, visible_alias = "guest", value_name = "NAME")]
    enclave_name: Option<String>,
    /// Disconnect after so many seconds
    #[arg(long, value_name = "SECONDS")]
    disconnect_timeout: Option<u64>,
}

/// Copies the console to stdout until the guest ends.
pub fn run(args: &Args) -> Result<(), Failure> {
    let selector = match (&args.enclave_id, &args.enclave_name) {
        (Some(id), _) => Selector::Id(id.clone()),
        (None, Some(name)) => Selector::Name(name.clone()),
        (None, None) => Selector::Only,
    };
    let guest = Registry::open()?.find(&selector)?;
    if !guest.record.debug {
        return Err(Failure::new(
            Code::EnclaveConsoleConnectionFailure,
            format!(
                "{} was not launched with --debug-mode: a sealed guest has no console",
                guest.record.name
            ),
        ));
    }
    copy(&guest.console_path(), args.disconnect_timeout.map(Duration::from_secs))
}

/// Copies a console to stdout, until its end or for so long.
pub fn copy(path: &Path, limit: Option<Duration>) -> Result<(), Failure> {
    let lost = |error: io::Error| {
        Failure::new(Code::EnclaveConsoleReadError, format!("the console broke off: {error}"))
    };
    let mut stream = UnixStream::connect(path).map_err(|error| {
        Failure::new(
            Code::EnclaveConsoleConnectionFailure,
            format!("cannot open the console {}: {error}", path.display()),
        )
    })?;
    let deadline = limit.map(|limit| std::time::Instant::now() + limit);
    let mut buffer = [0u8; 4096];
    loop {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            stream.set_read_timeout(Some(left)).map_err(lost)?;
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let mut out = io::stdout().lock();
                out.write_all(buffer.get(..count).unwrap_or_default())
                    .and_then(|()| out.flush())
                    .map_err(lost)?;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(lost(error)),
        }
    }
}
