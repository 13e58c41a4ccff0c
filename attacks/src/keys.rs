//! Looking for keys in memory that root can read: known bytes, or a P-384 private key whose public key is known.

use std::collections::HashSet;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt as _;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use casemate_attestation::nsm::channel::ModuleEnd;

use crate::process::{contains, maps};

/// Bytes of a P-384 scalar.
const LEN: usize = 48;
/// Different byte values that 48 random bytes have, all but surely (mean 43.8, deviation 1.9).
const DISTINCT: usize = 33;

/// How many places were tried, and in how many of them the private key of `public` (uncompressed point) lies: any 48
/// bytes at a multiple of 4 in writable memory, in either byte order.
pub fn find(pid: i32, public: &[u8]) -> Result<(usize, usize)> {
    search::<LEN>(pid, DISTINCT, |window| {
        let mut reversed = *window;
        reversed.reverse();
        is_key(window, public) || is_key(&reversed, public)
    })
}

/// How many places were tried, and in how many of them the key lies with which `frame` was made, the first request on a
/// channel to the security module.
pub fn find_channel(pid: i32, frame: &[u8]) -> Result<(usize, usize)> {
    // 32 random bytes have 30.1 different values, with a deviation of 1.3.
    search::<32>(pid, 23, |window| ModuleEnd::new(*window).answer(frame, <[u8]>::to_vec).is_some())
}

/// How many places with `distinct` different byte values were tried, and how many of them are what is looked for.
fn search<const LEN: usize>(
    pid: i32,
    distinct: usize,
    is_key: impl Fn(&[u8; LEN]) -> bool,
) -> Result<(usize, usize)> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut tried, mut found) = (HashSet::new(), 0);
    for map in maps(pid)?.iter().filter(|map| map.permissions.starts_with("rw")) {
        let mut bytes = vec![0; usize::try_from(map.end - map.start).unwrap_or(0)];
        let got = memory.read_at(&mut bytes, map.start).unwrap_or(0);
        bytes.truncate(got);
        for window in bytes.windows(LEN).step_by(4) {
            let Ok(window) = <&[u8; LEN]>::try_from(window) else { continue };
            if is_random(window, distinct) && tried.insert(*window) {
                found += usize::from(is_key(window));
            }
        }
    }
    Ok((tried.len(), found))
}

/// How many bytes could be read, and in which maps a half of `key` lies.
pub fn places(pid: i32, key: &[u8; 32]) -> Result<(u64, Vec<String>)> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut read, mut found) = (0, Vec::new());
    for map in maps(pid)?.iter().filter(|map| map.start < 1 << 63) {
        let mut bytes = vec![0; usize::try_from(map.end - map.start).unwrap_or(0)];
        let got = memory.read_at(&mut bytes, map.start).unwrap_or(0);
        read += got as u64;
        if key.chunks(16).any(|half| contains(&bytes[..got], half)) {
            found.push(format!("{map:?}"));
        }
    }
    Ok((read, found))
}

fn is_random(window: &[u8], distinct: usize) -> bool {
    let mut seen = [false; 256];
    window.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count() >= distinct
}

/// aws-lc refuses a pair whose halves do not belong together.
fn is_key(scalar: &[u8], public: &[u8]) -> bool {
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P384_SHA384_ASN1_SIGNING, scalar, public).is_ok()
}
