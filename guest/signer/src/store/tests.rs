//! The store's own rules: expiry and paging.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::{
    Alias, Aliases, Constraints, Generations, Grant, KeyId, KeyMeta, KeyRecord, KeyState, Material,
    MaterialId, Note, Origin, Party, Rotated, RotationType, Schedule, Settled, Store, Who,
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
fn a_listing_goes_on_after_its_marker_even_if_that_key_is_gone() {
    let mut store = Store::default();
    let ids: Vec<KeyId> = [1, 3, 5].into_iter().map(|n| KeyId::from_bytes([n; 16])).collect();
    for id in &ids {
        store.insert(*id, record(*id));
    }
    let after = |n: u8| -> Vec<KeyId> {
        store.keys_after(Some(KeyId::from_bytes([n; 16]))).map(|key| key.id).collect()
    };
    assert_eq!(after(2), ids[1..]);
    assert_eq!(after(3), ids[2..]);
    assert_eq!(after(5), []);
}

#[test]
fn ids_of_multi_region_keys_are_told_from_others() {
    let id = KeyId::random_multi_region().expect("entropy");
    let text = id.to_string();
    assert!(text.starts_with("mrk-") && text.len() == 36 && !text[4..].contains('-'), "{text}");
    assert_eq!(KeyId::parse(&text), Some(id));
    let plain = KeyId::random().expect("entropy").to_string();
    for wrong in [text.replace("mrk-", ""), format!("mrk-{}", plain.replace('-', "")), format!("mrk-{plain}")]
    {
        assert!(KeyId::parse(&wrong).is_none(), "{wrong}");
    }
}

#[test]
fn rotation_comes_with_its_date_and_imported_material_goes_with_its_own() {
    let (mut store, id) = (Store::default(), KeyId::from_bytes([1; 16]));
    let key = store.insert(id, record(id));
    let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let (first, _) = key.current().expect("a secret");
    key.meta_mut().rotation = Some(Schedule { days: 90, next: Timestamp(at(90)) });
    store.dates_changed();
    assert!(store.expire(at(89)).is_empty(), "rotated too early");
    assert_eq!(store.expire(at(90)), [format!("key/{id}")]);
    let (second, _) = key.current().expect("a secret");
    assert_ne!(first, second);
    assert!(key.used_material(&first).is_some());
    assert!(store.expire(at(179)).is_empty(), "rotated twice");
    // One rotation makes good for all that were missed, and the rhythm stays.
    assert_eq!(store.expire(at(500)).len(), 1);
    assert_eq!(key.rotation_date(), Some(at(540)));
    assert_eq!(key.generations().as_ref().map(|all| all.used().count()), Some(3));
    key.set_enabled(false);
    store.dates_changed();
    assert!(store.expire(at(540)).is_empty(), "a key that is switched off was rotated");

    if let Some(generation) = key.generations_mut().as_mut().and_then(|all| all.find_mut(&second)) {
        generation.note.valid_to = Some(Timestamp(at(600)));
    }
    store.dates_changed();
    assert!(store.expire(at(599)).is_empty());
    assert_eq!(store.expire(at(600)).len(), 1);
    assert!(key.used_material(&second).is_none(), "expired material is still there");
    assert_eq!(key.state(), KeyState::PendingImport);
}

#[test]
fn names_and_grants_go_with_their_key() {
    let (mut store, id, other) = (Store::default(), KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let now = Timestamp(SystemTime::UNIX_EPOCH);
    let mut tokens = Vec::new();
    for id in [id, other] {
        store.insert(id, record(id));
        store.aliases.set(&format!("alias/{id}"), Alias { target: id, created: now, updated: now });
        let ann = Party::new(Who::Principal("arn:aws:iam::111122223333:user/ann".to_owned()));
        tokens.push(store.grants.insert(Grant::new(id, now, ann).expect("entropy")).token());
    }
    let key = store.find(&id).expect("a key");
    store.schedule_deletion(&key, SystemTime::UNIX_EPOCH, 7);
    let touched = store.expire(SystemTime::UNIX_EPOCH);
    assert_eq!(touched.len(), 3, "{touched:?}");
    assert!(store.aliases.find(&format!("alias/{id}")).is_none() && store.aliases.of(id).next().is_none());
    assert_eq!(store.aliases.of(other).count(), 1);
    assert!(store.grants.of_token(&tokens[0]).is_none());
    assert!(store.grants.of_token(&tokens[1]).is_some());
    let mut forged = tokens[1].clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    assert!(store.grants.of_token(&forged).is_none(), "a grant token can be made up");
}

#[test]
fn an_alias_has_one_key_and_a_key_any_number_of_aliases() {
    let (one, two) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let now = Timestamp(SystemTime::UNIX_EPOCH);
    let mut aliases = Aliases::default();
    for (name, target) in [("alias/b", one), ("alias/a", one), ("alias/c", two), ("alias/b", two)] {
        aliases.set(name, Alias { target, created: now, updated: now });
    }
    assert_eq!(aliases.of(one).collect::<Vec<_>>(), ["alias/a"]);
    assert_eq!(aliases.of(two).collect::<Vec<_>>(), ["alias/b", "alias/c"]);
    let names: Vec<&str> = aliases.after(Some("alias/a")).map(|(name, _)| name).collect();
    assert_eq!(names, ["alias/b", "alias/c"]);
    aliases.remove("alias/b");
    assert_eq!(aliases.of(two).collect::<Vec<_>>(), ["alias/c"]);
    assert_eq!(aliases.len(), 2);
}

#[test]
fn constraints_are_compared_by_what_they_admit() {
    let context = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    let subset = |pairs| Constraints { subset: context(pairs), ..Constraints::default() };
    let equals = |pairs| Constraints { equals: context(pairs), ..Constraints::default() };
    let (a, ab) = (&[("a", "1")][..], &[("a", "1"), ("b", "2")][..]);
    assert!(subset(a).admit(&context(ab).unwrap_or_default()));
    assert!(!equals(a).admit(&context(ab).unwrap_or_default()));
    assert!(!subset(ab).admit(&context(a).unwrap_or_default()));
    assert!(!subset(&[("a", "2")]).admit(&context(a).unwrap_or_default()));
    let none = Constraints::default();
    for (strict, loose, expected) in [
        (&subset(a), &none, true),
        (&none, &subset(a), false),
        (&subset(ab), &subset(a), true),
        (&equals(ab), &subset(a), true),
        (&subset(a), &subset(ab), false),
        (&equals(a), &equals(a), true),
        (&equals(ab), &equals(a), false),
        (&subset(a), &equals(a), false),
    ] {
        assert_eq!(strict.are_as_strict_as(loose), expected, "{strict:?} {loose:?}");
    }
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
