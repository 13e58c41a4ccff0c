//! The two sides of a volume's connection, each with bytes in the place of the other.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use casemate_signer::{Signer, serve_volume};
use casemate_volume::keeper::{Keeper, KeeperError};
use casemate_volume::layout::RootPrefix;
use casemate_volume::message::Changes;
use casemate_volume::store::Store;
use casemate_volume::{Name, Record, Request, Response, VolumeId, frame};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::LocalSet;

const VOLUME: VolumeId = VolumeId::new([1; 16]);

fn record() -> Record {
    Record { name: Name::new([2; 32]), value: ByteBuf::from([1; 100]) }
}

/// What a guest may say.
pub fn requests() -> Vec<u8> {
    let mut root = RootPrefix { volume: VOLUME, counter: 1 }.to_bytes().to_vec();
    root.extend([3; 28]);
    let changes = Changes { puts: vec![record()], deletes: vec![Name::new([4; 32])] };
    let requests = [
        Request::Hello { format: 1 },
        Request::Page { after: Some(Name::new([1; 32])) },
        Request::Stage(changes.clone()),
        Request::Commit { expected: None, root: ByteBuf::from(root), header: None, changes },
        Request::Attached { records: 1, counter: 1 },
        Request::Detached,
        Request::Refused { reason: "no".to_owned() },
    ];
    requests.iter().flat_map(|request| frame::encode(request).expect("a frame")).collect()
}

/// What a host may say.
pub fn responses() -> Vec<u8> {
    let responses = [
        Response::Volume { header: None, root: None, anchor: None },
        Response::Committed,
        Response::Noted,
        Response::Records { records: vec![record()], more: false },
    ];
    responses.iter().flat_map(|response| frame::encode(response).expect("a frame")).collect()
}

struct Bytes<'a>(&'a [u8]);

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut self.0, buffer)
    }
}

impl Write for Bytes<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A volume's file, in a folder that stays: libFuzzer ends the process as it likes.
pub struct Host {
    store: Store,
    anchors: PathBuf,
}

impl Host {
    /// A new, empty volume.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("casemate-fuzz-volume-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self {
            store: Store::open(&folder.join("volume")).expect("a volume"),
            anchors: folder.join("anchors"),
        }
    }

    /// Serves a guest that says this.
    pub fn serve(&self, guest: &[u8]) -> Result<(), KeeperError> {
        Keeper::new(&self.store, &self.anchors)?.serve(&mut Bytes(guest), &mut ()).map(drop)
    }

    /// Whether the volume can be read.
    pub fn check(&self) {
        self.store.head().expect("a head");
        self.store.page(None).expect("records");
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// Offers a signer the volume of a host that says this and hangs up.
pub fn offer(signer: &Rc<Signer>, host: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    let (ours, theirs) = duplex(64 * 1024);
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let mut said = Vec::new();
    let talk = async {
        let speak = async {
            let _ = writer.write_all(host).await;
            let _ = writer.shutdown().await;
        };
        tokio::join!(speak, serve_volume(ours, Rc::clone(signer)), async {
            let _ = reader.read_to_end(&mut said).await;
        });
    };
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(10), talk).await.expect("the signer hangs");
    });
}
