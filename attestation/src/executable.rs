//! The digest of this process's own program, for the posture.
//!
//! SHA-384 of a VMM of 12 MB takes 20 ms, more than a whole launch. So the digest is computed once for each file and
//! kept beside the platform key, with what tells one state of a file from another: device, inode, length, and the times of
//! its last change, in nanoseconds, all under a MAC whose key is derived from the platform key. A launch then costs two
//! small reads.
//!
//! What that is worth. The kernel sets the time of change (ctime) whenever a file's bytes, length or name change, and no
//! call sets it otherwise: a program that was replaced, updated or damaged through the file system is hashed again. Root can
//! make an entry fit another file all the same: with the host's clock set back, or by writing to the disk below the file
//! system. **Neither would gain root anything**: the program that states the digest is the one that was changed, and may state
//! what it likes; and who is root can read a platform key that is a file. A digest that holds against root has to be taken
//! by something else than the program: firmware, kernel and TPM (measured boot, IMA), which is what a root of trust other
//! than `file` is for. What this fact does show is which of the VMMs that an honest host may run is running.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA384};

use crate::platform::{self, PlatformKey};
use crate::recall;

/// Bytes of the digest.
pub const LEN: usize = 48;
/// Name of the entry, among those of images.
const ENTRY: &str = "vmm";
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// SHA-384 of the program in `file` (a process's own is `/proc/self/exe`), from before or computed now. `directory` is that of
/// the platform key.
///
/// An entry that cannot be written is no error: the next launch hashes again.
pub fn sha384(platform: &PlatformKey, directory: &Path, file: &Path) -> io::Result<[u8; LEN]> {
    let directory = directory.join(recall::DIRECTORY);
    let state = state(&fs::metadata(file)?);
    let entry = fs::read(directory.join(ENTRY)).ok();
    if let Some(digest) = entry.and_then(|entry| recalled(platform, &state, &entry)) {
        return Ok(digest);
    }
    let mut file = File::open(file)?;
    let digest = hash(&mut file)?;
    // A program cannot be written while it runs, but other files can.
    if self::state(&file.metadata()?) == state
        && let Some(mac) = mac(platform, &state, &digest)
    {
        let _ = fs::create_dir_all(&directory);
        let _ = platform::replace(&directory, ENTRY, &[digest, mac].concat(), 0o600);
    }
    Ok(digest)
}

/// What tells this state of a file from others.
fn state(file: &Metadata) -> [u8; 56] {
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()].map(i64::cast_unsigned);
    let [modified, modified_ns, changed, changed_ns] = times;
    let numbers = [file.dev(), file.ino(), file.len(), modified, modified_ns, changed, changed_ns];
    let mut bytes = [0; 56];
    for (place, number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    bytes
}

fn mac(platform: &PlatformKey, state: &[u8; 56], digest: &[u8; LEN]) -> Option<[u8; 48]> {
    platform.derive(&[b"casemate executable 1", state, digest]).ok().map(|mac| *mac)
}

fn recalled(platform: &PlatformKey, state: &[u8; 56], entry: &[u8]) -> Option<[u8; LEN]> {
    let (digest, tag) = entry.split_first_chunk::<LEN>()?;
    verify_slices_are_equal(tag, &mac(platform, state, digest)?).ok()?;
    Some(*digest)
}

fn hash(file: &mut File) -> io::Result<[u8; LEN]> {
    let mut context = Context::new(&SHA384);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        match piece.get(..read) {
            Some(bytes) if !bytes.is_empty() => context.update(bytes),
            _ => break,
        }
    }
    <[u8; LEN]>::try_from(context.finish().as_ref()).map_err(io::Error::other)
}
