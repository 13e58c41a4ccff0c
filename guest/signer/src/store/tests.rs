//! The store's own rules: expiry and paging.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::{KeyId, KeyRecord, Material, Store};
use crate::crypto::{KeySpec, KeyUsage, SymmetricKey};

fn record(id: KeyId) -> KeyRecord {
    let material = Material::Symmetric(SymmetricKey::generate().expect("entropy"));
    let created = SystemTime::UNIX_EPOCH;
    KeyRecord::new(
        id,
        String::new(),
        KeySpec::Symmetric,
        KeyUsage::EncryptDecrypt,
        String::new(),
        created,
        material,
    )
}

#[test]
fn a_key_is_erased_when_its_waiting_period_is_over_and_not_before() {
    let (mut store, id, other) = (Store::default(), KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let key = store.insert(id, record(id));
    store.insert(other, record(other));
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    store.schedule_deletion(&key, date);
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
    store.schedule_deletion(&key, SystemTime::UNIX_EPOCH);
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
        store.schedule_deletion(&key, at(seconds));
    }
    for (now, left) in [(99, 3), (100, 2), (150, 2), (250, 1), (299, 1), (300, 0)] {
        store.expire(at(now));
        assert_eq!(store.len(), left, "at {now} s");
    }
}
