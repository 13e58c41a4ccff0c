//! The volume service: keeps a guest's records in a file, for as long as the guest lives.
//!
//! It is a process of its own, outside the jail of the VMM, which may open no file. It connects to the guest's socket like
//! any client and then answers what the guest asks ([`casemate_volume::keeper`]). When the connection breaks it connects
//! again, until the guest is gone. It sees encrypted bytes under names that mean nothing to it.

pub mod attachment;
mod counters;
mod jail;

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_volume::keeper::{self, Keeper, KeeperError, Watcher};
use casemate_volume::store::{Store, StoreError};

use crate::guest::VSOCK_SOCKET;
use crate::platform::ClientError;
use attachment::Notice;

/// Name of the directory of anchors, within that of the platform key.
pub const ANCHORS: &str = "anchors";
/// How long to wait before connecting again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long to wait for a file that is in use.
const HANDOVER: Duration = Duration::from_secs(5);

/// Why the service ended, though the guest may live.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The file, its anchor or the guest's requests cannot be dealt with.
    #[error("{}: {source}", path.display())]
    Keeper {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeeperError,
    },
    /// The service could not give up what it does not need.
    #[error("{0}; no volume was attached")]
    Jail(#[from] crate::jail::Error),
    /// The TPM, which counts for volumes, cannot be used.
    #[error(transparent)]
    Tpm(#[from] ClientError),
    /// The guest has no use for a volume.
    #[error("the guest keeps no state: it does not listen on vsock port {}", casemate_abi::port::VOLUME)]
    NotWanted,
    /// The guest will not use this volume.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The guest's words.
        reason: String,
    },
}

/// What happens, for whoever started the service.
pub trait Events {
    /// The guest's socket has taken the connection; the guest itself may not run yet.
    fn connected(&mut self) {}
    /// The guest uses the volume, which has so many records after so many commits.
    fn attached(&mut self, _records: u64, _counter: u64) {}
    /// The connection broke; it is made again.
    fn lost(&mut self, _why: &KeeperError) {}
}

/// A volume's file, open and locked.
pub struct Service {
    file: PathBuf,
    anchors: PathBuf,
    platform: PathBuf,
    store: Store,
}

struct Reporter<'a> {
    events: &'a mut dyn Events,
    attached: bool,
    notice: Notice,
    service: &'a Service,
}

impl Watcher for Reporter<'_> {
    fn attached(&mut self, records: u64, counter: u64) {
        self.attached = true;
        self.notice.put(&self.service.store, records, counter);
        self.events.attached(records, counter);
    }

    fn committed(&mut self, records: u64, counter: u64) {
        self.notice.update(records, counter);
    }
}

/// Opens the store. The service of a guest that was killed a moment ago may still write what it has received.
fn open_store(file: &Path) -> Result<Store, StoreError> {
    let start = Instant::now();
    loop {
        match Store::open(file) {
            Err(StoreError::InUse) if start.elapsed() < HANDOVER => std::thread::sleep(PAUSE.0),
            opened => return opened,
        }
    }
}

impl Service {
    /// Opens the file, which is made if it is not there. Its anchor is in the directory `anchors`; `platform` is that of the
    /// platform key.
    pub fn open(file: &Path, anchors: &Path, platform: &Path) -> Result<Self, Error> {
        let at = |source| Error::File { path: file.to_owned(), source };
        let store = open_store(file).map_err(at)?;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(anchors);
        made.map_err(|error| at(error.into()))?;
        Ok(Self { file: file.to_owned(), anchors: anchors.to_owned(), platform: platform.to_owned(), store })
    }

    /// Serves the guest in `folder` for as long as it is alive.
    pub fn run(&self, folder: &Path, alive: &dyn Fn() -> bool, events: &mut dyn Events) -> Result<(), Error> {
        let broken = |source| Error::Keeper { path: self.file.clone(), source };
        let counters = counters::of(&self.platform)?;
        let mut keeper = Keeper::with_counters(&self.store, &self.anchors, counters).map_err(broken)?;
        let notice = Notice::open(folder, &self.file)
            .map_err(|error| Error::File { path: folder.to_owned(), source: error.into() })?;
        jail::enter(folder, &self.anchors)?;
        let mut reporter = Reporter { events, attached: false, notice, service: self };
        let served = self.serve(&mut keeper, &mut reporter, folder, alive);
        let finished = keeper.finish().map_err(broken);
        served.and(finished)
    }

    fn serve(
        &self,
        keeper: &mut Keeper<'_>,
        reporter: &mut Reporter<'_>,
        folder: &Path,
        alive: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let broken = |source| Error::Keeper { path: self.file.clone(), source };
        let mut pause = PAUSE.0;
        loop {
            let conversation = match connect(folder, reporter.events) {
                Ok(Some(mut stream)) => keeper.serve(&mut stream, reporter),
                // A guest that has taken a volume before listens on the port.
                Ok(None) if !reporter.attached && alive() => return Err(Error::NotWanted),
                Ok(None) => Ok(keeper::Ended::Closed),
                Err(error) => Err(KeeperError::Connection(error)),
            };
            match conversation {
                Ok(keeper::Ended::Refused(reason)) => {
                    return Err(Error::Refused { path: self.file.clone(), reason });
                }
                // What the guest has let go of is not offered again.
                Ok(keeper::Ended::Detached) => {
                    reporter.notice.clear();
                    return Ok(());
                }
                _ if !alive() => return Ok(()),
                Ok(keeper::Ended::Closed) => {}
                Err(error @ KeeperError::Connection(_)) => reporter.events.lost(&error),
                Err(error) => return Err(broken(error)),
            }
            std::thread::sleep(pause);
            pause = if reporter.attached { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        }
    }
}

/// A connection to the guest's volume port; `None` if the guest does not want one.
fn connect(folder: &Path, events: &mut dyn Events) -> io::Result<Option<UnixStream>> {
    let mut stream = UnixStream::connect(folder.join(VSOCK_SOCKET))?;
    writeln!(stream, "CONNECT {}", casemate_abi::port::VOLUME)?;
    events.connected();
    // Byte by byte: what follows the line belongs to the connection. The guest may need a while until it runs.
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 32 && !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(stream).filter(|_| line.starts_with(b"OK ")))
}
