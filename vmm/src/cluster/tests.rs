#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;

use super::record::DAY_MS;
use super::*;

/// A store of its own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> (Self, Store) {
        let dir = std::env::temp_dir().join(format!("casemate-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let store = Store::at(&dir).unwrap();
        (Self(dir), store)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A backup of this cluster's, made at this time, with nothing in it.
fn backup(store: &Store, cluster: &str, created: u64) -> String {
    let sealed = Sealed { volume: "00".repeat(16), image: "00".repeat(48), commits: created };
    let id = new_id("backup").unwrap();
    let backup = Backup {
        id: id.clone(),
        cluster: cluster.to_owned(),
        name: cluster.to_owned(),
        created,
        hsm_type: "hsm2m.medium".to_owned(),
        address: "127.0.0.1:8443".parse().unwrap(),
        state: ClusterState::Active,
        retention: DEFAULT_RETENTION,
        never_expires: false,
        delete_at: None,
        copied: None,
        source: None,
        tags: Default::default(),
        sealed,
    };
    fs::create_dir(store.backup_dir(&id)).unwrap();
    fs::write(store.backup_dir(&id).join(VOLUME), b"ciphertext").unwrap();
    store.put_backup(&backup).unwrap();
    id
}

#[test]
fn a_backup_expires_after_its_days_unless_it_is_kept_or_the_last() {
    let (_place, store) = Place::new("expiry");
    let lock = store.lock().unwrap();
    let old = backup(&store, "cluster-a", 0);
    let kept = backup(&store, "cluster-a", 1);
    let last = backup(&store, "cluster-a", 2);
    let alone = backup(&store, "cluster-b", 0);
    store.keep_backup(&lock, &kept, true).unwrap();
    let days = |days: u64| days * DAY_MS;
    let nothing = (Vec::<String>::new(), Vec::<String>::new());
    assert_eq!(store.prune(&lock, days(90) - 1).unwrap(), nothing, "it has 90 days");
    assert_eq!(store.prune(&lock, days(90)).unwrap(), (vec![old.clone()], vec![]));
    assert_eq!(store.backup(&old).unwrap().status(), BackupState::PendingDeletion);
    // Years later: the kept one and each cluster's last are there.
    assert_eq!(store.prune(&lock, days(97) - 1).unwrap(), nothing, "and seven more to regret it");
    assert_eq!(store.prune(&lock, days(97)).unwrap(), (vec![], vec![old]));
    assert_eq!(store.prune(&lock, days(4000)).unwrap(), nothing);
    for id in [&kept, &last, &alone] {
        assert_eq!(store.backup(id).unwrap().status(), BackupState::Ready);
    }
    // The last but for one that is to be deleted.
    store.keep_backup(&lock, &kept, false).unwrap();
    store.delete_backup(&lock, &last, days(4000)).unwrap();
    assert_eq!(store.prune(&lock, days(4001)).unwrap(), nothing);
    store.undelete_backup(&lock, &last).unwrap();
    assert_eq!(store.prune(&lock, days(4001)).unwrap(), (vec![kept], vec![]));
}

#[test]
fn an_hsm_begins_with_the_newest_of_its_own_backups() {
    let (_place, store) = Place::new("newest");
    let lock = store.lock().unwrap();
    let other = backup(&store, "cluster-other", 9);
    let cluster = Cluster { source_backup: Some(other.clone()), ..Cluster::new(1) };
    let cluster = store.create_cluster(&lock, cluster).unwrap();
    let newest = || store.newest(&cluster).unwrap().map(|backup| backup.id);
    assert_eq!(newest(), Some(other));
    let first = backup(&store, &cluster.id, 2);
    assert_eq!(newest(), Some(first.clone()));
    let second = backup(&store, &cluster.id, 3);
    assert_eq!(newest(), Some(second.clone()));
    store.delete_backup(&lock, &second, 4).unwrap();
    assert_eq!(newest(), Some(first), "one that is to be deleted does not count");
}

#[test]
fn clusters_have_names_and_addresses_of_their_own() {
    let (_place, store) = Place::new("names");
    let lock = store.lock().unwrap();
    let one = store.create_cluster(&lock, Cluster { name: "one".to_owned(), ..Cluster::new(1) }).unwrap();
    let two = store.create_cluster(&lock, Cluster::new(2)).unwrap();
    assert_eq!(two.name, two.id);
    assert_ne!(one.address, two.address);
    assert!(one.address.ip().is_loopback() && one.address.port() == PORT);
    let again = store.create_cluster(&lock, Cluster { name: "one".to_owned(), ..Cluster::new(3) });
    assert!(matches!(again, Err(Error::State(_))));
    assert_eq!(store.meant("one").unwrap(), one);
    assert_eq!(store.clusters().unwrap(), [one.clone(), two]);
    store.delete_cluster(&lock, &one.id).unwrap();
    assert!(matches!(store.cluster(&one.id), Err(Error::NotFound { .. })));
}

#[test]
fn a_folder_from_elsewhere_is_taken_in_only_under_an_identifier() {
    let (_place, store) = Place::new("mine");
    let (theirs, other) = Place::new("theirs");
    let id = backup(&other, "cluster-abcdefghijk", 5);
    let folder = other.backup_dir(&id);
    assert_eq!(store.take_in(&folder).unwrap().id, id);
    assert_eq!(store.take_in(&folder).unwrap().id, id, "once more is no harm");
    let good = other.backup(&id).unwrap();
    for bad in ["backup-../../../etc", "backup-", "x"] {
        let backup = Backup { id: bad.to_owned(), ..good.clone() };
        write_json(&folder.join("backup.json"), &backup).unwrap();
        assert!(matches!(store.take_in(&folder), Err(Error::Volume { .. })), "{bad}");
    }
    fs::write(folder.join("backup.json"), b"{}").unwrap();
    assert!(matches!(store.take_in(&folder), Err(Error::Record { .. })));
    assert!(store.take_in(Path::new("/nonexistent/")).is_err());
    drop(theirs);
}

#[test]
fn identifiers_are_of_cloudhsms_form() {
    for _ in 0..50 {
        let id = new_id("cluster").unwrap();
        let letters = id.strip_prefix("cluster-").unwrap();
        assert_eq!(letters.len(), 11);
        assert!(
            letters.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte)),
            "{id}"
        );
    }
}
