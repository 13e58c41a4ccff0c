//! Measurements that were made before.
//!
//! SHA-384 of an image takes 1.7 ms per MiB, and an image rarely changes between two launches. What was measured is
//! therefore kept beside the platform key, bound to **every byte** of the image with AES-256-GCM: the image is the
//! associated data, the measurements are the content, and the key is derived from the platform key. To check that
//! runs at memory speed.
//!
//! Nothing new is trusted. To make an entry that opens with another image takes the platform key, and whoever has
//! that can sign any document anyway. An entry that is missing, damaged or for another image only costs the time to
//! measure. A signed image's signature was checked before its entry was made.

use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::eif::{Eif, EifError, SignatureError};
use crate::pcr::{self, ImageMeasurements, Pcr};
use crate::platform::{self, PlatformKey};
use crate::signing;

/// Name of the directory, within that of the platform key.
pub const DIRECTORY: &str = "measurements";
/// Most entries that are kept; at one more, all go.
const ENTRIES_MAX: usize = 64;
/// PCR0, PCR1, PCR2, PCR8, and whether there is a PCR8.
const CONTENT_LEN: usize = 4 * pcr::LEN + 1;

/// Why an image has no measurements.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its bytes are not those of which its header has the CRC.
    #[error("not a usable EIF image: {0}")]
    Eif(#[from] EifError),
    /// It carries a signature that does not hold.
    #[error("the image's signature does not hold: {0}")]
    Signature(#[from] SignatureError),
}

/// Checks the CRC, and measures.
pub fn measure_anew(image: &Eif<'_>) -> Result<ImageMeasurements, Error> {
    image.check_crc()?;
    Ok(image.measure()?)
}

/// The measurements of `image`, from before or made now. `directory` is that of the platform key. The image's CRC need not
/// have been checked: it is when the image is measured, and it was when what is remembered was.
///
/// An entry that cannot be written is no error: the next launch measures again.
pub fn measure(
    platform: &PlatformKey,
    directory: &Path,
    image: &Eif<'_>,
) -> Result<ImageMeasurements, Error> {
    let directory = directory.join(DIRECTORY);
    let name = format!("{:x}-{:08x}", image.file().len(), image.crc());
    let Ok(secret) = platform.derive(&[b"casemate measurements 1"]) else {
        return measure_anew(image);
    };
    let key = secret.get(..AES_256_GCM.key_len()).and_then(|key| UnboundKey::new(&AES_256_GCM, key).ok());
    let Some(key) = key.map(LessSafeKey::new) else {
        return measure_anew(image);
    };

    let entry = fs::read(directory.join(&name)).ok();
    if let Some(measurements) = entry.and_then(|entry| open(&key, &entry, image)) {
        return Ok(measurements);
    }
    let measurements = measure_anew(image)?;
    if let Some(entry) = seal(&key, &measurements, image) {
        make_room(&directory);
        let _ = platform::replace(&directory, &name, &entry, 0o600);
    }
    Ok(measurements)
}

fn open(key: &LessSafeKey, entry: &[u8], image: &Eif<'_>) -> Option<ImageMeasurements> {
    let (nonce, sealed) = entry.split_first_chunk::<NONCE_LEN>()?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let content = key.open_in_place(nonce, Aad::from(image.file()), &mut sealed).ok()?;
    let (registers, signed) = <&[u8; CONTENT_LEN]>::try_from(&*content).ok()?.split_first_chunk()?;
    let registers: &[u8; 4 * pcr::LEN] = registers;
    let mut registers = registers.as_chunks::<{ pcr::LEN }>().0.iter().copied().map(Pcr::new);
    Some(ImageMeasurements {
        pcr0: registers.next()?,
        pcr1: registers.next()?,
        pcr2: registers.next()?,
        pcr8: registers.next().filter(|_| signed == [1]),
    })
}

fn seal(key: &LessSafeKey, measured: &ImageMeasurements, image: &Eif<'_>) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    signing::system_random(&mut nonce).ok()?;
    let pcr8 = measured.pcr8.unwrap_or(Pcr::ZERO);
    let mut content: Vec<u8> =
        [measured.pcr0, measured.pcr1, measured.pcr2, pcr8].iter().flat_map(|pcr| *pcr.as_bytes()).collect();
    content.push(u8::from(measured.pcr8.is_some()));
    let unique = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(unique, Aad::from(image.file()), &mut content).ok()?;
    Some([&nonce[..], &content].concat())
}

/// Sees to it that the directory is there and does not grow without end.
fn make_room(directory: &Path) {
    let _ = fs::create_dir_all(directory);
    if fs::read_dir(directory).is_ok_and(|entries| entries.count() >= ENTRIES_MAX) {
        let _ = fs::remove_dir_all(directory);
        let _ = fs::create_dir_all(directory);
    }
}
