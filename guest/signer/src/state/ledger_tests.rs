use super::*;

fn new() -> Ledger {
    Ledger::new(VolumeKeys::generate().unwrap(), b"header".to_vec())
}

/// A commit of these records (`None`: removed); the root after it, and what the host would keep.
fn commit(ledger: &mut Ledger, changes: &[(&str, Option<&[u8]>)]) -> (Vec<u8>, Vec<Record>) {
    let mut draft = ledger.draft();
    let mut puts = Vec::new();
    for (name, content) in changes {
        match content {
            Some(content) => puts.push(ledger.put(&mut draft, name, content).unwrap()),
            None => drop(ledger.delete(&mut draft, name)),
        }
    }
    (ledger.close(draft).unwrap().0, puts)
}

/// The ledger of somebody who reads these records.
fn read(ledger: &Ledger, root: &[u8], records: &[Record]) -> Result<Ledger, Refusal> {
    let keys = VolumeKeys::new(ledger.keys.volume, ledger.keys.key.clone()).unwrap();
    let root = Root::open(&keys, root, b"header")?;
    let mut read = Ledger::opened(keys, b"header".to_vec(), root);
    records.iter().for_each(|record| read.read(record.name, &record.value));
    read.check().map(|()| read)
}

#[test]
fn whoever_reads_the_records_comes_to_the_root() {
    let mut ledger = new();
    let (root, first) = commit(&mut ledger, &[("a", Some(b"1")), ("b", Some(b"2")), ("c", None)]);
    ledger.confirmed();
    assert_eq!((ledger.records(), ledger.counter()), (2, 1));
    read(&ledger, &root, &first).unwrap();
    let (root, second) = commit(&mut ledger, &[("a", Some(b"3")), ("b", None), ("d", Some(b"4"))]);
    ledger.confirmed();
    read(&ledger, &root, &second).unwrap();
    assert_eq!((ledger.records(), ledger.counter()), (2, 2));
    // What was removed, or replaced, is not taken back.
    let [a, d] = second.as_slice() else { panic!() };
    let wrong = [
        vec![first[0].clone(), d.clone()],
        vec![a.clone()],
        [second.clone(), vec![first[1].clone()]].concat(),
    ];
    for records in wrong {
        assert!(read(&ledger, &root, &records).is_err());
    }
    let (empty, _) = commit(&mut ledger, &[("a", None), ("d", None), ("e", None)]);
    ledger.confirmed();
    read(&ledger, &empty, &[]).unwrap();
    assert_eq!(ledger.root.unwrap().summary, Summary::default());
}

#[test]
fn a_commit_of_which_nobody_knows_is_recognised_if_it_was_made() {
    for made in [false, true] {
        let mut ledger = new();
        let (first, _) = commit(&mut ledger, &[("a", Some(b"1"))]);
        ledger.confirmed();
        let (second, records) = commit(&mut ledger, &[("a", Some(b"2")), ("b", Some(b"3"))]);
        assert!(ledger.uncertain());
        let (other, _) = commit(&mut new(), &[]);
        assert!(!ledger.recognise(None) && !ledger.recognise(Some(&other)));
        assert!(ledger.recognise(Some(if made { &second } else { &first })));
        assert!(!ledger.uncertain());
        assert_eq!(ledger.counter(), if made { 2 } else { 1 });
        assert!(!ledger.recognise(Some(if made { &first } else { &second })), "one of them only");
        if made {
            read(&ledger, &second, &records).unwrap();
        }
    }
    let mut ledger = new();
    let (root, _) = commit(&mut ledger, &[]);
    assert!(ledger.recognise(None), "the first commit of a volume, which was not made");
    assert!(!ledger.recognise(Some(&root)));
}

#[test]
fn the_header_goes_with_the_commit_that_needs_it() {
    let mut ledger = new();
    let header = |ledger: &mut Ledger| {
        let draft = ledger.draft();
        let header = ledger.close(draft).unwrap().1;
        ledger.confirmed();
        header
    };
    assert_eq!(header(&mut ledger), Some(b"header".to_vec()));
    assert_eq!(header(&mut ledger), None);
    ledger.header = b"another".to_vec();
    assert_eq!(header(&mut ledger), Some(b"another".to_vec()));
    assert_eq!(header(&mut ledger), None);
}
