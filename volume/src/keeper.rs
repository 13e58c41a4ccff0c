//! The host's side of one connection: answers what the guest asks, from a [`Store`] and its anchor.
//!
//! The keeper sees names that mean nothing to it and bytes that are encrypted. It believes nothing: whatever the guest
//! sends is measured before it is used, and a guest that breaks the protocol loses the connection.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_bytes::ByteBuf;

use crate::anchor::{AnchorError, AnchorFile};
use crate::frame::{self, FrameError};
use crate::layout::{Header, LayoutError, RootPrefix, VolumeId};
use crate::message::{Excess, Request, Response};
use crate::ratchet::{Counters, Ratchet, RatchetError};
use crate::store::{Batch, Store, StoreError};
use crate::{FORMAT, ROOT_MAX};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The guest is gone.
    #[error("the connection to the guest broke: {0}")]
    Connection(#[from] io::Error),
    /// The guest does not speak the protocol.
    #[error("the guest broke the volume protocol: {0}")]
    Protocol(String),
    /// The file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file's header makes no sense.
    #[error("{0}")]
    Header(#[from] LayoutError),
    /// The anchor cannot be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// Volume and anchor do not fit what was counted.
    #[error(transparent)]
    Ratchet(#[from] RatchetError),
}

impl From<FrameError> for KeeperError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<Excess> for KeeperError {
    fn from(error: Excess) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// How a connection ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest closed it.
    Closed,
    /// The guest has let go of the volume.
    Detached,
    /// The guest will not use this volume.
    Refused(String),
}

/// What happens on a connection, for whoever watches.
pub trait Watcher {
    /// The guest uses the volume.
    fn attached(&mut self, _records: u64, _counter: u64) {}
    /// After so many commits there are so many records.
    fn committed(&mut self, _records: u64, _counter: u64) {}
}

impl Watcher for () {}

/// A volume's file with its anchor.
pub struct Keeper<'a> {
    store: &'a Store,
    anchors: PathBuf,
    anchor: Option<(VolumeId, AnchorFile)>,
    /// Until there is an anchor that they can be used for.
    counters: Option<Box<dyn Counters>>,
    ratchet: Option<Ratchet>,
    staged: Option<Batch>,
}

impl<'a> Keeper<'a> {
    /// The keeper of `store`, whose anchor is in the directory `anchors`.
    pub fn new(store: &'a Store, anchors: &Path) -> Result<Self, KeeperError> {
        Self::with_counters(store, anchors, None)
    }

    /// The same on a host whose counters nobody can turn back.
    pub fn with_counters(
        store: &'a Store,
        anchors: &Path,
        counters: Option<Box<dyn Counters>>,
    ) -> Result<Self, KeeperError> {
        let anchors = anchors.to_owned();
        let mut keeper = Self { store, anchors, anchor: None, counters, ratchet: None, staged: None };
        if let Some(header) = store.head()?.header {
            keeper.find_anchor(&header)?;
        }
        Ok(keeper)
    }

    fn find_anchor(&mut self, header: &[u8]) -> Result<(), KeeperError> {
        let volume = Header::parse(header)?.volume;
        let anchor = AnchorFile::open(&self.anchors, volume)?;
        if let Some(counters) = self.counters.take() {
            self.ratchet = Some(Ratchet::open(&self.anchors, volume, anchor.last(), counters)?);
        }
        self.anchor = Some((volume, anchor));
        Ok(())
    }

    /// To be called when the guest has gone: no copy that was made before is accepted again.
    pub fn finish(&mut self) -> Result<(), KeeperError> {
        let last = self.anchor.as_ref().and_then(|(_, anchor)| anchor.last());
        Ok(self.ratchet.as_mut().map_or(Ok(()), |ratchet| ratchet.finish(last))?)
    }

    /// Answers requests until the guest closes the connection.
    pub fn serve(
        &mut self,
        stream: &mut (impl Read + Write),
        watcher: &mut impl Watcher,
    ) -> Result<Ended, KeeperError> {
        let ended = self.converse(stream, watcher);
        // What was staged and not committed is void.
        self.staged = None;
        ended
    }

    fn converse(
        &mut self,
        stream: &mut (impl Read + Write),
        watcher: &mut impl Watcher,
    ) -> Result<Ended, KeeperError> {
        while let Some(body) = receive(stream)? {
            let request: Request = frame::decode(&body)?;
            request.check()?;
            match &request {
                Request::Detached => {
                    send(stream, &Response::Noted)?;
                    return Ok(Ended::Detached);
                }
                Request::Attached { records, counter } => watcher.attached(*records, *counter),
                Request::Refused { reason } => {
                    send(stream, &Response::Noted)?;
                    return Ok(Ended::Refused(printable(reason)));
                }
                _ => {}
            }
            let response = self.answer(request, watcher)?;
            send(stream, &response)?;
        }
        Ok(Ended::Closed)
    }

    /// The answer to one request. An error ends the connection; [`Response::Failed`] does not.
    fn answer(&mut self, request: Request, watcher: &mut impl Watcher) -> Result<Response, KeeperError> {
        Ok(match request {
            Request::Hello { format: FORMAT } => {
                let head = self.store.head()?;
                let anchor = self.anchor.as_ref().and_then(|(_, anchor)| anchor.last());
                Response::Volume {
                    header: head.header.map(ByteBuf::from),
                    root: head.root.map(ByteBuf::from),
                    anchor,
                }
            }
            Request::Hello { format } => Response::Failed {
                reason: format!("this host knows format {FORMAT} of volumes, and the guest format {format}"),
            },
            Request::Page { after } => {
                let (records, more) = self.store.page(after)?;
                Response::Records { records, more }
            }
            Request::Stage(changes) => match self.stage(|batch| batch.apply(&changes)) {
                Ok(()) => Response::Staged,
                Err(error) => self.failed(&error),
            },
            Request::Commit { expected, root, header, changes } => {
                let prefix = RootPrefix::split(&root).map_err(KeeperError::Header)?.prefix;
                let expected = expected.as_deref().map(Vec::as_slice);
                let header = header.as_deref().map(Vec::as_slice);
                let applied = self.stage(|batch| {
                    let is_expected = batch.root_is(expected)?;
                    if is_expected {
                        batch.apply(&changes)?;
                        batch.set_head(&root, header)?;
                    }
                    Ok(is_expected)
                });
                let response = self.commit(applied, prefix, &root, header)?;
                if response == Response::Committed {
                    watcher.committed(self.store.count()?, prefix.counter);
                }
                response
            }
            Request::Attached { .. } | Request::Detached | Request::Refused { .. } => Response::Noted,
        })
    }

    fn stage<T>(&mut self, work: impl FnOnce(&Batch) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let batch = match self.staged.take() {
            Some(batch) => batch,
            None => self.store.begin()?,
        };
        work(self.staged.insert(batch))
    }

    fn failed(&mut self, error: &StoreError) -> Response {
        self.staged = None;
        Response::Failed { reason: error.to_string().chars().take(256).collect() }
    }

    fn commit(
        &mut self,
        applied: Result<bool, StoreError>,
        prefix: RootPrefix,
        root: &[u8],
        header: Option<&[u8]>,
    ) -> Result<Response, KeeperError> {
        let batch = self.staged.take();
        let done = match (applied, batch) {
            (Ok(true), Some(batch)) => batch.commit(),
            (Ok(_), _) => return Ok(Response::Conflict),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = done {
            // After an error of the disk nobody knows what a retry would meet: the guest must attach again.
            return match error {
                StoreError::Full => Ok(self.failed(&error)),
                error => Err(error.into()),
            };
        }
        if let Some(header) = header.filter(|_| self.anchor.is_none()) {
            self.find_anchor(header)?;
        }
        if let Some((volume, anchor)) = &mut self.anchor {
            anchor.advance(*volume, prefix.counter, root)?;
            if let (Some(ratchet), Some(last)) = (&mut self.ratchet, anchor.last()) {
                ratchet.committed(last)?;
            }
        }
        Ok(Response::Committed)
    }
}

const _: () = assert!(crate::layout::ROOT_PREFIX < ROOT_MAX);

/// What a guest says, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// The next message's body; `None` if the connection has ended between two messages.
fn receive(stream: &mut impl Read) -> Result<Option<Vec<u8>>, KeeperError> {
    let mut prefix = [0; frame::PREFIX];
    let mut have = 0;
    while let Some(rest) = prefix.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut body = vec![0; frame::body_len(prefix)?];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

fn send(stream: &mut impl Write, response: &Response) -> Result<(), KeeperError> {
    stream.write_all(&frame::encode(response)?)?;
    Ok(stream.flush()?)
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
