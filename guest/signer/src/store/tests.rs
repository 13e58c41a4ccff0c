//! The store's own rules: expiry and paging.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::{
    Generations, KeyId, KeyMeta, KeyRecord, KeyState, Material, MaterialId, Note, Origin, Rotated,
    RotationType, Settled, Store,
};
use crate::crypto::{KeySpec, KeyUsage, SymmetricKey};
use crate::types::Timestamp;

fn record(id: KeyId) -> KeyRecord {
    let secret = Rc::new(SymmetricKey::generate().expect("entropy"));
    let note = Note::new(MaterialId::random().expect("entropy"));
    let settled = Settled {
        spec: KeySpec::Symmetric,
        usage: KeyUsage::EncryptDecrypt,
        created: Timestamp(SystemTime::UNIX_EPOCH),
        origin: Origin::Kms,
        multi_region: false,
        policy_locked: false,
    };
    let generations = Generations::first(note, Material::Symmetric(secret));
    KeyRecord::new(id, String::new(), settled, KeyMeta::default(), Some(generations))
}

#[test]
fn a_key_is_erased_when_its_waiting_period_is_over_and_not_before() {
    let (mut store, id, other) = (Store::default(), KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let key = store.insert(id, record(id));
    store.insert(other, record(other));
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    store.schedule_deletion(&key, date, 7);
    store.expire(date - Duration::from_secs(1));
    assert!(store.find(&id).is_some(), "erased too early");
    store.expire(date);
    assert!(store.find(&id).is_none(), "not erased");
    assert!(store.find(&other).is_some(), "the wrong key was erased");
    assert_eq!(Rc::strong_count(&key), 1, "the store still holds the key");
}

#[test]
fn a_key_whose_deletion_was_called_off_stays() {
    let (mut store, id) = (Store::default(), KeyId::from_bytes([1; 16]));
    let key = store.insert(id, record(id));
    store.schedule_deletion(&key, SystemTime::UNIX_EPOCH, 7);
    key.cancel_deletion();
    store.expire(SystemTime::now());
    assert!(store.find(&id).is_some());
}

#[test]
fn a_page_starts_after_its_marker_even_if_that_key_is_gone() {
    let mut store = Store::default();
    for n in [1, 3, 5] {
        let id = KeyId::from_bytes([n; 16]);
        store.insert(id, record(id));
    }
    let page = store.page(Some(KeyId::from_bytes([2; 16])), 1);
    assert_eq!(page.ids, [KeyId::from_bytes([3; 16])]);
    assert!(page.more);
    let page = store.page(Some(KeyId::from_bytes([3; 16])), 1);
    assert!(!page.more && page.ids == [KeyId::from_bytes([5; 16])]);
}

#[test]
fn ids_are_read_only_as_they_are_written() {
    let id = KeyId::random().expect("entropy");
    let text = id.to_string();
    assert_eq!(KeyId::parse(&text), Some(id));
    for wrong in [
        text.to_uppercase(),
        text.replace('-', ""),
        format!("{text}0"),
        format!(" {text}"),
        text[1..].to_owned(),
    ] {
        // A text without letters is its own upper case.
        assert!(wrong == text || KeyId::parse(&wrong).is_none(), "{wrong}");
    }
}

#[test]
fn every_key_is_erased_at_its_own_time_in_whatever_order_they_were_scheduled() {
    let mut store = Store::default();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let ids: Vec<KeyId> = (1..=3).map(|n| KeyId::from_bytes([n; 16])).collect();
    for (id, seconds) in ids.iter().zip([300, 100, 200]) {
        let key = store.insert(*id, record(*id));
        store.schedule_deletion(&key, at(seconds), 7);
    }
    for (now, left) in [(99, 3), (100, 2), (150, 2), (250, 1), (299, 1), (300, 0)] {
        store.expire(at(now));
        assert_eq!(store.len(), left, "at {now} s");
    }
}

#[test]
fn a_key_is_usable_while_every_secret_that_it_used_is_there() {
    let key = record(KeyId::from_bytes([1; 16]));
    let (first, _) = key.current().expect("a secret");
    let new =
        || (MaterialId::random().expect("entropy"), Rc::new(SymmetricKey::generate().expect("entropy")));
    let now = Rotated { date: Timestamp(SystemTime::now()), kind: RotationType::OnDemand };
    let (second, secret) = new();
    let (third, waiting) = new();
    if let Some(generations) = key.generations_mut().as_mut() {
        generations.rotate(Note { rotated: Some(now), ..Note::new(second) }, secret);
        generations.await_rotation(Note::new(third), waiting);
    }
    assert_eq!(key.current().map(|(id, _)| id), Some(second));
    assert!(key.used_material(&first).is_some(), "the secret before is gone");
    assert!(key.used_material(&third).is_none(), "a secret that waits for its turn is in use");
    let erase = |id: &MaterialId| {
        if let Some(found) = key.generations_mut().as_mut().and_then(|all| all.find_mut(id)) {
            found.material = None;
        }
    };
    erase(&third);
    assert_eq!(key.state(), KeyState::Enabled, "a secret that waits is not needed yet");
    assert!(!key.generations_mut().as_mut().is_some_and(|all| all.promote(now)), "put nothing in use");
    erase(&first);
    assert_eq!(key.state(), KeyState::PendingImport, "ciphertexts of a missing secret cannot be decrypted");
    key.set_enabled(false);
    assert_eq!(key.state(), KeyState::PendingImport);
}

#[test]
fn names_of_imported_secrets_depend_on_secret_and_key_alone() {
    let (one, two) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let id = MaterialId::of_imported(&one, b"secret");
    assert_eq!(MaterialId::of_imported(&one, b"secret"), id);
    assert_ne!(MaterialId::of_imported(&two, b"secret"), id);
    assert_ne!(MaterialId::of_imported(&one, b"Secret"), id);
    assert_eq!(MaterialId::parse(&id.to_string()), Some(id));
    for wrong in [format!("{id}0"), id.to_string()[1..].to_owned(), "g".repeat(64)] {
        assert!(MaterialId::parse(&wrong).is_none(), "{wrong}");
    }
}
