//! Remembered measurements are those of the image, whatever happens to entry, image and key.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use casemate_attestation::eif::{Builder, Eif, EifError, HEADER_LEN, sign};
use casemate_attestation::platform::{self, KEY_FILE, PlatformKey};
use casemate_attestation::recall::{self, DIRECTORY};
use casemate_attestation::signing::SigningScalar;

const NOW: u64 = 1_795_478_400;

fn fresh(name: &str) -> (PathBuf, PlatformKey) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recall").join(name);
    let _ = fs::remove_dir_all(&folder);
    let platform = PlatformKey::load_or_create(&folder, NOW).unwrap();
    (folder, platform)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder.join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_is_remembered_is_what_was_measured() {
    let (folder, platform) = fresh("same");
    let unsigned = Builder::guest(&[7; 5000], "c").build().unwrap();
    let key = SigningScalar::from_pem(&fs::read(folder.join(KEY_FILE)).unwrap()).unwrap();
    let certificate = platform::encode_root(platform.root()).unwrap();
    let signed = sign(&Eif::parse(&unsigned).unwrap(), certificate.as_bytes(), &key).unwrap();
    for (count, image) in [(1, &unsigned), (2, &signed)] {
        let image = Eif::parse(image).unwrap();
        let measured = image.measure().unwrap();
        assert_eq!(recall::measure(&platform, &folder, &image).unwrap(), measured);
        let contents = || -> Vec<_> { entries(&folder).iter().map(|path| fs::read(path).unwrap()).collect() };
        let written = contents();
        assert_eq!(written.len(), count);
        assert_eq!(recall::measure(&platform, &folder, &image).unwrap(), measured);
        // A measurement made again would have left an entry with another nonce.
        assert_eq!(contents(), written);
    }
}

/// Headers are read before the CRC is checked, and what is remembered was checked when it was measured.
#[test]
fn a_damaged_image_is_neither_measured_nor_remembered() {
    let (folder, platform) = fresh("damaged");
    let mut image = Builder::guest(&[7; 5000], "c").build().unwrap();
    let whole = recall::measure(&platform, &folder, &Eif::structure(&image).unwrap()).unwrap();
    assert_eq!(Eif::parse(&image).unwrap().measure().unwrap(), whole);
    image[1000] ^= 1;
    let damaged = Eif::structure(&image).unwrap();
    for _ in 0..2 {
        let error = recall::measure(&platform, &folder, &damaged).unwrap_err();
        assert!(matches!(error, recall::Error::Eif(EifError::Crc { .. })), "{error}");
    }
    assert_eq!(entries(&folder).len(), 1);
}

/// An entry that opened would give the first image's measurements to the second: so it must not open.
#[test]
fn an_entry_holds_for_one_image_under_one_key() {
    let (folder, platform) = fresh("other");
    let first = Builder::guest(&[7; 5000], "c").build().unwrap();
    let first = Eif::parse(&first).unwrap();
    let remembered = recall::measure(&platform, &folder, &first).unwrap();
    let entry = fs::read(&entries(&folder)[0]).unwrap();

    let second = Builder::guest(&[8; 5000], "c").build().unwrap();
    let second = Eif::parse(&second).unwrap();
    let measured = second.measure().unwrap();
    assert_ne!(measured, remembered);
    let place =
        |file: &Eif<'_>| folder.join(DIRECTORY).join(format!("{:x}-{:08x}", file.file().len(), file.crc()));
    fs::write(place(&second), &entry).unwrap();
    assert_eq!(recall::measure(&platform, &folder, &second).unwrap(), measured);
    // It was replaced by one that is right.
    assert_ne!(fs::read(place(&second)).unwrap(), entry);

    // Made under another platform key, damaged, cut: measured again each time.
    let (_, other) = fresh("other key");
    fs::write(place(&second), &entry).unwrap();
    assert_eq!(recall::measure(&other, &folder, &first).unwrap(), remembered);
    for length in [0, 5, 12, 100, entry.len() - 1] {
        fs::write(place(&first), &entry[..length]).unwrap();
        assert_eq!(recall::measure(&platform, &folder, &first).unwrap(), remembered);
    }
    for index in (0..entry.len()).step_by(7) {
        let mut damaged = entry.clone();
        damaged[index] ^= 1;
        fs::write(place(&first), damaged).unwrap();
        assert_eq!(recall::measure(&platform, &folder, &first).unwrap(), remembered);
    }
    assert!(first.file().len() > HEADER_LEN);
}

#[test]
fn entries_do_not_pile_up() {
    let (folder, platform) = fresh("many");
    for index in 0..70_u8 {
        let image = Builder::guest(&[index; 10], "c").build().unwrap();
        recall::measure(&platform, &folder, &Eif::parse(&image).unwrap()).unwrap();
        assert!(entries(&folder).len() <= 64);
    }
    assert_eq!(entries(&folder).len(), 6);
}
