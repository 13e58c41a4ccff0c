//! Signers that are launched one after the other in one place, and the keeper of their volume on a thread.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use casemate_signer::{AttestError, KmsError, Platform, Signer, serve_volume};
use casemate_volume::keeper::{Ended, Keeper, KeeperError, Watcher};
use casemate_volume::store::Store;
use casemate_volume::{Anchor, Name, Record, Request, Response, frame};
use serde_bytes::ByteBuf;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{JoinHandle, LocalSet};
use zeroize::Zeroizing;

/// A guest's platform, as far as volumes need one.
#[derive(Clone, Copy)]
pub struct Guest {
    pub sealing_key: Option<[u8; 32]>,
    pub measurement: [u8; 48],
    pub awaits_volume: bool,
}

/// A guest in production.
pub const GUEST: Guest = Guest { sealing_key: Some([7; 32]), measurement: [1; 48], awaits_volume: false };

impl Platform for Guest {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }

    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        self.sealing_key.map(Zeroizing::new)
    }

    fn measurement(&self) -> [u8; 48] {
        self.measurement
    }

    fn awaits_volume(&self) -> bool {
        self.awaits_volume
    }
}

impl Guest {
    pub fn launch(self) -> Rc<Signer> {
        Signer::new(Box::new(self))
    }
}

/// A folder with a volume and its anchors. It goes when this is dropped.
pub struct Place {
    folder: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("casemate-state-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The volume's file.
    pub fn volume(&self) -> PathBuf {
        self.path("volume")
    }

    pub fn store(&self) -> Store {
        Store::open(&self.volume()).expect("a store")
    }

    /// Offers the volume to a signer.
    pub fn offer(&self, signer: &Rc<Signer>) -> Attachment {
        self.offer_file(signer, &self.volume())
    }

    pub fn offer_file(&self, signer: &Rc<Signer>, file: &Path) -> Attachment {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket");
        let host = theirs.try_clone().expect("a descriptor");
        let (file, anchors) = (file.to_owned(), self.path("anchors"));
        let (report, events) = channel();
        std::thread::spawn(move || {
            let mut serve = || {
                let store = Store::open(&file)?;
                Keeper::new(&store, &anchors)?.serve(&mut theirs, &mut Reporter(report.clone()))
            };
            let ended = serve();
            let _ = report.send(Event::Ended(ended));
        });
        ours.set_nonblocking(true).expect("a socket");
        let ours = tokio::net::UnixStream::from_std(ours).expect("a socket");
        let guest = tokio::task::spawn_local(serve_volume(ours, Rc::clone(signer)));
        Attachment { host, events, guest }
    }

    /// Attaches the volume to a signer, which must take it.
    pub async fn attach(&self, signer: &Rc<Signer>) -> Attachment {
        let attachment = self.offer(signer);
        match attachment.event().await {
            Event::Attached => attachment,
            Event::Ended(ended) => panic!("{ended:?}"),
        }
    }

    /// Offers the volume to a signer, which must refuse it; why it does.
    pub async fn refused(&self, signer: &Rc<Signer>) -> String {
        self.offer(signer).refused().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[derive(Debug)]
pub enum Event {
    Attached,
    Ended(Result<Ended, KeeperError>),
}

struct Reporter(Sender<Event>);

impl Watcher for Reporter {
    fn attached(&mut self, _: u64, _: u64) {
        let _ = self.0.send(Event::Attached);
    }
}

/// A volume that was offered.
pub struct Attachment {
    host: UnixStream,
    events: Receiver<Event>,
    guest: JoinHandle<()>,
}

impl Attachment {
    pub async fn event(&self) -> Event {
        for _ in 0..10_000 {
            match self.events.try_recv() {
                Ok(event) => return event,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        panic!("nothing happens");
    }

    pub async fn refused(self) -> String {
        match self.event().await {
            Event::Ended(Ok(Ended::Refused(reason))) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// The signer lets the volume go, and the keeper ends.
    pub async fn detached(self) {
        loop {
            match self.event().await {
                Event::Attached => {}
                Event::Ended(Ok(Ended::Detached)) => break,
                other => panic!("{other:?}"),
            }
        }
        self.guest.await.expect("no panic");
    }

    /// The keeper dies.
    pub async fn kill(self) {
        self.host.shutdown(Shutdown::Both).expect("shutdown");
        while !matches!(self.event().await, Event::Ended(_)) {}
        self.guest.await.expect("no panic");
    }
}

/// A volume in memory, as a host has it that may say anything.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub header: Option<Vec<u8>>,
    pub root: Option<Vec<u8>>,
    pub records: BTreeMap<Name, Vec<u8>>,
    pub anchor: Option<Anchor>,
}

impl Memory {
    /// What a file holds.
    pub fn of(store: &Store) -> Self {
        let head = store.head().expect("a head");
        let (records, more) = store.page(None).expect("records");
        assert!(!more);
        let records = records.into_iter().map(|record| (record.name, record.value.into_vec())).collect();
        Self { header: head.header, root: head.root, records, anchor: None }
    }

    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Hello { .. } => Response::Volume {
                header: self.header.clone().map(ByteBuf::from),
                root: self.root.clone().map(ByteBuf::from),
                anchor: self.anchor,
            },
            Request::Page { after } => {
                let rest = self.records.iter().filter(|(name, _)| after.is_none_or(|after| **name > after));
                let record = |(name, value): (&Name, &Vec<u8>)| Record {
                    name: *name,
                    value: ByteBuf::from(value.clone()),
                };
                Response::Records { records: rest.map(record).collect(), more: false }
            }
            _ => Response::Noted,
        }
    }

    /// Offers it to a signer: whether it was taken, or why not.
    pub async fn offer(&mut self, signer: &Rc<Signer>) -> Result<(), String> {
        let mut refused = None;
        let taken = converse(signer, |request| {
            if let Request::Refused { reason } = &request {
                refused = Some(reason.clone());
            }
            let done = matches!(request, Request::Attached { .. } | Request::Refused { .. });
            let answer = frame::encode(&self.answer(request)).expect("a frame");
            if done { Say::Last(Vec::new()) } else { Say::Then(answer) }
        });
        taken.await;
        refused.map_or(Ok(()), Err)
    }
}

/// What a host says to a request.
pub enum Say {
    /// This, and waits for the next.
    Then(Vec<u8>),
    /// This, and hangs up.
    Last(Vec<u8>),
}

/// Speaks to a signer that is offered a volume.
pub async fn converse(signer: &Rc<Signer>, mut answer: impl FnMut(Request) -> Say) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let guest = tokio::task::spawn_local(serve_volume(ours, Rc::clone(signer)));
    let mut prefix = [0; frame::PREFIX];
    while theirs.read_exact(&mut prefix).await.is_ok() {
        let mut body = vec![0; frame::body_len(prefix).expect("a frame")];
        theirs.read_exact(&mut body).await.expect("a whole frame");
        match answer(frame::decode(&body).expect("a request")) {
            Say::Then(bytes) if theirs.write_all(&bytes).await.is_ok() => {}
            Say::Then(_) => break,
            Say::Last(bytes) => {
                let _ = theirs.write_all(&bytes).await;
                break;
            }
        }
    }
    drop(theirs);
    guest.await.expect("no panic");
}

/// Runs a test with signers in it.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

/// An operation whose effects last.
pub async fn keep(signer: &Signer, operation: &str, request: Value) -> Result<Value, KmsError> {
    let response = signer.call_durably(operation, request.to_string().as_bytes()).await?;
    Ok(serde_json::from_slice(&response).expect("a response is JSON"))
}
