use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use proptest::prelude::*;

use super::*;
use crate::message::{Changes, Record};
use crate::test_support::{Folder, header, name, puts, record, root};

/// A keeper on a thread, and the guest's end of the connection.
struct Guest {
    stream: UnixStream,
    keeper: JoinHandle<Result<Ended, KeeperError>>,
}

impl Guest {
    fn connect(folder: &Folder) -> Self {
        let (stream, mut theirs) = UnixStream::pair().unwrap();
        let (file, anchors) = (folder.path("volume"), folder.path("anchors"));
        let keeper = std::thread::spawn(move || {
            let store = Store::open(&file)?;
            Keeper::new(&store, &anchors)?.serve(&mut theirs, &mut ())
        });
        Self { stream, keeper }
    }

    fn ask(&mut self, request: &Request) -> Response {
        self.stream.write_all(&frame::encode(request).unwrap()).unwrap();
        frame::decode(&receive(&mut self.stream).unwrap().expect("an answer")).unwrap()
    }

    fn commit(&mut self, expected: Option<u64>, counter: u64, changes: Changes) -> Response {
        let header = expected.is_none().then(|| ByteBuf::from(header()));
        let expected = expected.map(|counter| ByteBuf::from(root(counter)));
        self.ask(&Request::Commit { expected, root: ByteBuf::from(root(counter)), header, changes })
    }

    fn counter(&mut self) -> (Option<u64>, Option<u64>) {
        let Response::Volume { root, anchor, .. } = self.ask(&Request::Hello { format: FORMAT }) else {
            panic!("no volume");
        };
        let counter = root.map(|root| RootPrefix::split(&root).unwrap().prefix.counter);
        (counter, anchor.map(|anchor| anchor.counter))
    }

    fn records(&mut self) -> Vec<Record> {
        match self.ask(&Request::Page { after: None }) {
            Response::Records { records, more: false } => records,
            other => panic!("{other:?}"),
        }
    }

    fn close(self) -> Result<Ended, KeeperError> {
        drop(self.stream);
        self.keeper.join().unwrap()
    }
}

#[test]
fn commits_are_made_if_the_root_is_as_expected_and_last() {
    let folder = Folder::new();
    let mut guest = Guest::connect(&folder);
    assert_eq!(guest.counter(), (None, None));
    assert_eq!(guest.commit(Some(1), 2, puts([record(1, b"a")])), Response::Conflict);
    assert_eq!(guest.commit(None, 1, puts([record(1, b"a"), record(2, b"b")])), Response::Committed);
    assert_eq!(guest.commit(None, 1, puts([record(1, b"other")])), Response::Conflict);
    assert_eq!(guest.commit(Some(2), 3, puts([record(1, b"other")])), Response::Conflict);
    let changes = Changes { puts: vec![record(3, b"c")], deletes: vec![name(1)] };
    assert_eq!(guest.commit(Some(1), 2, changes), Response::Committed);
    assert_eq!(guest.counter(), (Some(2), Some(2)));
    assert_eq!(guest.close().unwrap(), Ended::Closed);

    let mut guest = Guest::connect(&folder);
    assert_eq!(guest.counter(), (Some(2), Some(2)));
    assert_eq!(guest.records(), [record(2, b"b"), record(3, b"c")]);
    assert_eq!(guest.ask(&Request::Attached { records: 2, counter: 2 }), Response::Noted);
    assert_eq!(guest.ask(&Request::Refused { reason: "no\nway".into() }), Response::Noted);
    assert_eq!(guest.close().unwrap(), Ended::Refused("no way".into()));

    let mut guest = Guest::connect(&folder);
    assert_eq!(guest.ask(&Request::Detached), Response::Noted);
    assert_eq!(guest.close().unwrap(), Ended::Detached);
}

#[test]
fn staged_changes_belong_to_the_next_commit_of_the_same_connection() {
    let folder = Folder::new();
    let mut guest = Guest::connect(&folder);
    assert_eq!(guest.ask(&Request::Stage(puts([record(1, b"a")]))), Response::Staged);
    assert_eq!(guest.ask(&Request::Stage(puts([record(2, b"b")]))), Response::Staged);
    assert_eq!(guest.records(), [], "not committed yet");
    assert_eq!(guest.commit(None, 1, puts([record(3, b"c")])), Response::Committed);
    assert_eq!(guest.records().len(), 3);
    // With the wrong root, what was staged goes too.
    assert_eq!(guest.ask(&Request::Stage(puts([record(4, b"d")]))), Response::Staged);
    assert_eq!(guest.commit(Some(7), 8, Changes::default()), Response::Conflict);
    assert_eq!(guest.commit(Some(1), 2, Changes::default()), Response::Committed);
    assert_eq!(guest.records().len(), 3);
    assert_eq!(guest.ask(&Request::Stage(puts([record(5, b"e")]))), Response::Staged);
    guest.close().unwrap();
    let mut guest = Guest::connect(&folder);
    assert_eq!(guest.commit(Some(2), 3, Changes::default()), Response::Committed);
    assert_eq!(guest.records().len(), 3);
    guest.close().unwrap();
}

#[test]
fn an_old_copy_of_the_file_comes_with_the_newer_anchor() {
    let folder = Folder::new();
    let mut guest = Guest::connect(&folder);
    guest.commit(None, 1, puts([record(1, b"a")]));
    guest.close().unwrap();
    std::fs::copy(folder.path("volume"), folder.path("copy")).unwrap();
    let mut guest = Guest::connect(&folder);
    guest.commit(Some(1), 2, puts([record(1, b"b")]));
    guest.close().unwrap();
    std::fs::rename(folder.path("copy"), folder.path("volume")).unwrap();
    let mut guest = Guest::connect(&folder);
    assert_eq!(guest.counter(), (Some(1), Some(2)));
    guest.close().unwrap();
}

#[test]
fn limits_are_kept() {
    let folder = Folder::new();
    let long = vec![1; crate::VALUE_MAX + 1];
    let many: Vec<_> = (0..=crate::BATCH_RECORDS as u32).map(|number| record(number, b"")).collect();
    let broken = [
        Request::Stage(puts([record(1, &long)])),
        Request::Stage(puts(many)),
        Request::Stage(puts([record(1, &[1; crate::BATCH_BYTES + 1]), record(2, b"")])),
        Request::Refused { reason: "x".repeat(1025) },
        Request::Commit {
            expected: None,
            root: ByteBuf::from(vec![1; ROOT_MAX + 1]),
            header: None,
            changes: Changes::default(),
        },
    ];
    for request in broken {
        let mut guest = Guest::connect(&folder);
        guest.stream.write_all(&frame::encode(&request).unwrap()).unwrap();
        assert!(receive(&mut guest.stream).unwrap().is_none(), "the connection is closed");
        let error = guest.close().unwrap_err();
        assert!(matches!(error, KeeperError::Protocol(_)), "{error}");
    }
    let mut guest = Guest::connect(&folder);
    assert!(matches!(guest.ask(&Request::Hello { format: 9 }), Response::Failed { .. }));
    guest.stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
    assert!(matches!(guest.close(), Err(KeeperError::Protocol(_))));
}

/// A stream that gives some bytes and takes any.
struct Bytes<'a>(&'a [u8]);

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
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

proptest! {
    /// Whatever a guest sends, the keeper answers or ends the connection, and what was committed before stays.
    #[test]
    fn noise_and_damaged_requests_are_answered_or_refused(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        framed: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 0..4),
    ) {
        thread_local! {
            static PLACE: (Folder, Store) = {
                let folder = Folder::new();
                let store = Store::open(&folder.path("volume")).unwrap();
                (folder, store)
            };
        }
        PLACE.with(|(folder, store)| {
            let mut bytes = Vec::new();
            for request in [
                Request::Hello { format: FORMAT },
                Request::Page { after: Some(name(3)) },
                Request::Stage(puts([record(1, b"a")])),
                Request::Attached { records: 1, counter: 1 },
            ] {
                bytes.extend(frame::encode(&request).unwrap());
            }
            for (index, bit) in &flips {
                let at = index.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            if framed {
                bytes.extend(u32::try_from(noise.len()).unwrap().to_be_bytes());
            }
            bytes.extend(&noise);
            let mut keeper = Keeper::new(store, &folder.path("anchors")).unwrap();
            let _ = keeper.serve(&mut Bytes(&bytes), &mut ());
            assert_eq!(store.head().unwrap(), crate::store::Head::default());
            assert!(store.page(None).unwrap().0.is_empty());
        });
    }

    #[test]
    fn messages_survive_the_round_trip(
        records in prop::collection::vec((any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        deletes in prop::collection::vec(any::<[u8; 32]>(), 0..20),
        root in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        use crate::layout::Name;
        let puts: Vec<Record> = records
            .into_iter()
            .map(|(name, value)| Record { name: Name::new(name), value: ByteBuf::from(value) })
            .collect();
        let deletes = deletes.into_iter().map(Name::new).collect();
        let changes = Changes { puts: puts.clone(), deletes };
        let request = Request::Commit { expected: None, root: ByteBuf::from(root), header: None, changes };
        let encoded = frame::encode(&request).unwrap();
        let (prefix, body) = encoded.split_first_chunk().unwrap();
        prop_assert_eq!(frame::body_len(*prefix).unwrap(), body.len());
        prop_assert_eq!(frame::decode::<Request>(body).unwrap(), request);
        let response = Response::Records { records: puts, more: true };
        let encoded = frame::encode(&response).unwrap();
        prop_assert_eq!(frame::decode::<Response>(&encoded[4..]).unwrap(), response);
    }
}
