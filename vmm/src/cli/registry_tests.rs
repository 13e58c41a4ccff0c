//! Tests of the registry: liveness, names, refusal of shared directories.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("casemate-registry-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(reservation: &Reservation) -> GuestRecord {
    GuestRecord {
        name: reservation.name().to_owned(),
        id: reservation.id().to_owned(),
        module_id: reservation.id().to_owned(),
        pid: std::process::id(),
        cid: reservation.cid(),
        cpu_ids: vec![],
        memory_mib: 16,
        debug: false,
        backend: "kvm".to_owned(),
        measurements: BTreeMap::new(),
        posture: "sealed".to_owned(),
        image_name: None,
        image_version: None,
        metadata: None,
        started_ms: now_ms(),
        image: PathBuf::from("/image.eif"),
    }
}

#[test]
fn a_published_guest_is_listed_until_it_is_dropped() {
    let scratch = Scratch::new("listed");
    let registry = Registry::at(&scratch.0).unwrap();
    let reservation = registry.reserve(None, "app", None, &CpuList::default()).unwrap();
    assert!(registry.guests().unwrap().is_empty(), "a guest that does not run yet is not listed");
    reservation.publish(&record(&reservation)).unwrap();
    let guest = registry.find(&Selector::Only).unwrap();
    assert_eq!(guest.record.name, "app");
    assert_eq!(
        registry.find(&Selector::Id(reservation.id().to_owned())).unwrap().record.cid,
        guest.record.cid
    );
    let dir = reservation.dir().to_owned();
    drop(reservation);
    assert!(!dir.exists());
    assert!(matches!(registry.find(&Selector::Only), Err(RegistryError::NoneRuns)));
}

#[test]
fn names_and_cids_belong_to_one_guest_at_a_time() {
    let scratch = Scratch::new("names");
    let registry = Registry::at(&scratch.0).unwrap();
    let first = registry.reserve(None, "app", Some(40), &CpuList::default()).unwrap();
    let second = registry.reserve(None, "app", None, &CpuList::default()).unwrap();
    assert_eq!((first.name(), second.name()), ("app", "app_1"));
    assert_ne!(first.cid(), second.cid());
    assert!(matches!(
        registry.reserve(None, "app", Some(40), &CpuList::default()),
        Err(RegistryError::CidTaken { cid: 40, .. })
    ));
    assert!(matches!(
        registry.reserve(None, "app", Some(3), &CpuList::default()),
        Err(RegistryError::BadCid(3))
    ));
    for bad in ["", "../up", "a b", &"x".repeat(65)] {
        assert!(
            matches!(
                registry.reserve(Some(bad), "app", None, &CpuList::default()),
                Err(RegistryError::BadName(_))
            ),
            "{bad}"
        );
    }
    first.publish(&record(&first)).unwrap();
    second.publish(&record(&second)).unwrap();
    assert!(matches!(registry.find(&Selector::Only), Err(RegistryError::Ambiguous { count: 2, .. })));
    assert_eq!(registry.find(&Selector::Either("app_1".to_owned())).unwrap().record.id, second.id());
}

#[test]
fn a_folder_whose_lock_is_free_is_removed() {
    let scratch = Scratch::new("stale");
    let registry = Registry::at(&scratch.0).unwrap();
    let live = registry.reserve(None, "live", None, &CpuList::default()).unwrap();
    live.publish(&record(&live)).unwrap();
    let dead = scratch.0.join("i-00000000000000000-enc0000000000000000");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("lock"), b"").unwrap();
    fs::copy(live.dir().join("guest.json"), dead.join("guest.json")).unwrap();
    let stranger = scratch.0.join("notes");
    fs::create_dir(&stranger).unwrap();
    assert_eq!(registry.guests().unwrap().len(), 1);
    assert!(!dead.exists(), "a dead guest's folder is removed");
    assert!(live.dir().exists(), "a live guest's is not");
    assert!(stranger.exists(), "nor is anything that is not a guest's");
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    let scratch = Scratch::new("shared");
    fs::create_dir(&scratch.0).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(Registry::at(&scratch.0), Err(RegistryError::NotPrivate { .. })));
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Registry::at(&scratch.0).is_ok());
    let link = scratch.0.join("link");
    std::os::unix::fs::symlink(&scratch.0, &link).unwrap();
    assert!(
        matches!(Registry::at(&link), Err(RegistryError::NotPrivate { .. })),
        "a symbolic link is refused"
    );
}

#[test]
fn a_spoilt_record_is_named() {
    let scratch = Scratch::new("spoilt");
    let registry = Registry::at(&scratch.0).unwrap();
    let reservation = registry.reserve(None, "app", None, &CpuList::default()).unwrap();
    fs::write(reservation.dir().join("guest.json"), b"{\"name\":").unwrap();
    let error = registry.guests().unwrap_err();
    assert!(matches!(&error, RegistryError::Record { .. }));
    assert!(error.to_string().contains("guest.json"), "{error}");
}

#[test]
fn identifiers_have_nitros_form() {
    let id = new_enclave_id().unwrap();
    let (instance, enclave) = id.strip_prefix("i-").unwrap().split_once("-enc").unwrap();
    assert_eq!((instance.len(), enclave.len()), (17, 16));
    assert!(instance.chars().chain(enclave.chars()).all(|c| c.is_ascii_hexdigit()));
    assert_ne!(id, new_enclave_id().unwrap());
}
