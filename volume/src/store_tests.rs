use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use super::*;
use crate::test_support::{Folder, header, name, puts, record, root};

fn commit(store: &Store, counter: u64, changes: &Changes) {
    let batch = store.begin().unwrap();
    batch.apply(changes).unwrap();
    batch.set_head(&root(counter), Some(&header())).unwrap();
    batch.commit().unwrap();
}

fn all(store: &Store) -> Vec<Record> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let (page, more) = store.page(after).unwrap();
        assert!(page.len() <= BATCH_RECORDS);
        records.extend(page);
        after = records.last().map(|record| record.name);
        if !more {
            return records;
        }
    }
}

#[test]
fn what_was_committed_is_there_again_and_what_was_not_is_not() {
    let folder = Folder::new();
    let path = folder.path("volume");
    let store = Store::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(store.head().unwrap(), Head::default());
    assert_eq!(store.statistics().unwrap(), Statistics { records: 0, bytes: 0 });
    commit(&store, 1, &puts((0..3000).map(|number| record(number, &number.to_be_bytes()))));
    let batch = store.begin().unwrap();
    batch.apply(&puts([record(1, b"never")])).unwrap();
    drop(batch);
    commit(&store, 2, &Changes { puts: vec![record(7, b"seven")], deletes: vec![name(8), name(99_999)] });
    drop(store);

    let store = Store::open(&path).unwrap();
    let records = all(&store);
    assert_eq!(records.len(), 2999);
    assert!(records.is_sorted_by_key(|record| record.name));
    let value = |number| records.iter().find(|record| record.name == name(number)).map(|r| r.value.to_vec());
    assert_eq!(value(1), Some(vec![0, 0, 0, 1]));
    assert_eq!(value(7), Some(b"seven".to_vec()));
    assert_eq!(value(8), None);
    assert_eq!(store.head().unwrap(), Head { header: Some(header()), root: Some(root(2)) });
    assert_eq!(store.statistics().unwrap(), Statistics { records: 2999, bytes: 2998 * 4 + 5 });
    let left: Vec<_> =
        std::fs::read_dir(folder.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["volume"]);
}

#[test]
fn pages_are_as_long_as_a_message_may_be() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("volume")).unwrap();
    let sizes = [1, BATCH_BYTES, 10, crate::VALUE_MAX, BATCH_BYTES / 2, BATCH_BYTES / 2, 3, 3];
    commit(&store, 1, &puts((0..).zip(sizes).map(|(number, size)| record(number, &vec![1; size]))));
    let mut after = None;
    let mut lengths = Vec::new();
    loop {
        let (records, more) = store.page(after).unwrap();
        let page = crate::Response::Records { records: records.clone(), more };
        page.check().unwrap();
        crate::frame::encode(&page).unwrap();
        lengths.push(records.len());
        after = records.last().map(|record| record.name);
        if !more {
            break;
        }
    }
    assert_eq!(lengths.iter().sum::<usize>(), sizes.len());
    assert!(lengths.iter().all(|length| *length > 0), "{lengths:?}");
}

#[test]
fn one_process_at_a_time_uses_a_file() {
    let folder = Folder::new();
    let path = folder.path("volume");
    let store = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::InUse)));
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn processes_that_make_a_file_at_once_do_not_destroy_it() {
    let folder = Folder::new();
    let path = folder.path("volume");
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(&path).map(drop))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(opened.iter().any(Result::is_ok), "{opened:?}");
    Store::open(&path).unwrap();
}

#[test]
fn other_files_are_refused() {
    let folder = Folder::new();
    let other = folder.path("other");
    for contents in [&b""[..], b"hello", &[0; 10_000], &[0xff; 1 << 20]] {
        std::fs::write(&other, contents).unwrap();
        let error = Store::open(&other).err().unwrap();
        assert!(matches!(error, StoreError::NotAVolume | StoreError::Damaged(_)), "{error}");
    }
    let database = Database::create(folder.path("redb")).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("x")).unwrap();
    write.commit().unwrap();
    drop(database);
    assert!(matches!(Store::open(&folder.path("redb")), Err(StoreError::NotAVolume)));
    assert!(matches!(Store::open_existing(&folder.path("none")), Err(StoreError::Io(_))));
    assert!(matches!(Store::open(&folder.path("no/folder")), Err(StoreError::Io(_))));
}

#[test]
fn a_file_of_a_later_format_says_so() {
    let folder = Folder::new();
    let path = folder.path("volume");
    let store = Store::open(&path).unwrap();
    let batch = store.begin().unwrap();
    batch.transaction.open_table(META).unwrap().insert(KEY_FORMAT, [9].as_slice()).unwrap();
    batch.commit().unwrap();
    drop(store);
    let error = Store::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Format(9)), "{error}");
}

/// Every page is under a checksum: a change is refused, or was where nothing is.
#[test]
fn damage_to_the_file_is_an_error_or_changes_nothing() {
    let folder = Folder::new();
    let path = folder.path("volume");
    let store = Store::open(&path).unwrap();
    commit(&store, 1, &puts((0..40).map(|number| record(number, &[number as u8; 700]))));
    let whole = all(&store);
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let damaged = folder.path("damaged");
    let mut refused = 0;
    let mut try_with = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        match Store::open(&damaged) {
            Ok(store) => assert_eq!(all(&store), whole),
            Err(_) => refused += 1,
        }
    };
    for at in (0..good.len()).step_by(good.len() / 120) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        try_with(&bytes);
    }
    for length in [1, 100, 4096, good.len() / 2, good.len() - 4096, good.len() - 1] {
        try_with(&good[..length]);
    }
    assert!(refused > 4, "{refused}");
    // In place, where records are.
    let at = good.windows(700).position(|window| window == [9; 700]).unwrap();
    std::fs::write(&damaged, &good).unwrap();
    File::options().write(true).open(&damaged).unwrap().write_all_at(&[1], at as u64 + 300).unwrap();
    assert!(matches!(Store::open(&damaged), Err(StoreError::Damaged(_))));
}
