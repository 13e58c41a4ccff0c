//! Random numbers: HMAC_DRBG, seeded from the CPU and from the NSM, reseeded from the CPU with every request.
//!
//! The host cannot be the only source (it would know every key), so a guest without a working RDRAND ends; and the
//! CPU need not be the only one, so 256 bytes of NSM GetRandom go in at the start. `getrandom(2)` ends here, and
//! with it `std`, aws-lc's own generator and everything above them.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdrand64_step, _rdseed64_step};
use std::sync::Mutex;

use casemate_attestation::nsm::api::{Request, Response};
use zeroize::Zeroizing;

use crate::drbg::HmacDrbg;

/// Words taken from RDSEED (or RDRAND) at the start: 1024 bits for a generator of 256 bits' strength.
const SEED_WORDS: usize = 16;
/// Words taken from RDRAND with every request.
const RESEED_WORDS: usize = 4;
/// Intel's "DRNG Software Implementation Guide", 5.2.1: an RDRAND that fails ten times in a row is broken.
const RDRAND_TRIES: usize = 10;
/// RDSEED runs dry under load; after so many pauses RDRAND takes its place.
const RDSEED_TRIES: usize = 128;

static GENERATOR: Mutex<Option<HmacDrbg>> = Mutex::new(None);

/// Why there are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntropyError {
    /// No RDRAND, or one that returns errors or the same word again and again.
    #[error("this CPU has no working RDRAND; a guest needs one")]
    Hardware,
    /// The NSM gave no random bytes.
    #[error("the NSM gave no random bytes: {0}")]
    Nsm(&'static str),
    /// Somebody asked before the start-up code had seeded the generator.
    #[error("the random generator is not seeded yet")]
    NotSeeded,
}

/// CPUID leaf 1, ECX bit 30 (Intel SDM, volume 2A, CPUID).
fn has_rdrand() -> bool {
    __cpuid(1).ecx & (1 << 30) != 0
}

/// CPUID leaf 7, subleaf 0, EBX bit 18.
fn has_rdseed() -> bool {
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & (1 << 18) != 0
}

#[target_feature(enable = "rdrand")]
fn rdrand() -> Option<u64> {
    let mut word = 0;
    (0..RDRAND_TRIES).any(|_| _rdrand64_step(&mut word) == 1).then_some(word)
}

#[target_feature(enable = "rdseed")]
fn rdseed() -> Option<u64> {
    let mut word = 0;
    for _ in 0..RDSEED_TRIES {
        if _rdseed64_step(&mut word) == 1 {
            return Some(word);
        }
        core::hint::spin_loop();
    }
    None
}

/// A word from RDRAND, or `None` if this CPU has none that works. Some CPUs have returned all ones for ever after
/// a suspend, with the carry flag set: two equal words in a row are a failure.
pub(crate) fn hardware_word() -> Option<u64> {
    if !has_rdrand() {
        return None;
    }
    // SAFETY: CPUID says that the instruction exists.
    let (first, second) = unsafe { (rdrand()?, rdrand()?) };
    (first != second).then_some(second)
}

/// Fills `words` from RDSEED where the CPU has it, else from RDRAND.
fn seed_words(words: &mut [u64]) -> Result<(), EntropyError> {
    let seeds = has_rdseed();
    for word in words {
        // SAFETY: `seeds` says that the instruction exists.
        let seed = if seeds { unsafe { rdseed() } } else { None };
        *word = seed.or_else(hardware_word).ok_or(EntropyError::Hardware)?;
    }
    Ok(())
}

fn as_bytes<const WORDS: usize>(words: &[u64; WORDS]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// Seeds the generator from the CPU and the NSM. Called once, before `main`.
pub(crate) fn init() -> Result<(), EntropyError> {
    let from_nsm = match crate::nsm::request(&Request::GetRandom) {
        Ok(Response::GetRandom { random }) => Zeroizing::new(random),
        Ok(_) => return Err(EntropyError::Nsm("it answered with something else")),
        Err(_) => return Err(EntropyError::Nsm("the request failed")),
    };
    seed_with(&from_nsm)
}

/// Seeds the generator from the CPU and from `other`, of which nothing is believed.
fn seed_with(other: &[u8]) -> Result<(), EntropyError> {
    let (mut seed, mut drawn) = (Zeroizing::new([0; SEED_WORDS]), Zeroizing::new([0; SEED_WORDS]));
    seed_words(&mut *seed)?;
    for word in drawn.iter_mut() {
        *word = hardware_word().ok_or(EntropyError::Hardware)?;
    }
    let time = crate::clock::ticks().to_le_bytes();
    let drbg = HmacDrbg::new(&[&as_bytes(&seed), &as_bytes(&drawn), &time, other]);
    *GENERATOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(drbg);
    Ok(())
}

/// Fills `output` with random bytes, fit for keys.
pub fn fill(output: &mut [u8]) -> Result<(), EntropyError> {
    let mut fresh = Zeroizing::new([0; RESEED_WORDS]);
    for word in fresh.iter_mut() {
        *word = hardware_word().ok_or(EntropyError::Hardware)?;
    }
    let mut generator = GENERATOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let drbg = generator.as_mut().ok_or(EntropyError::NotSeeded)?;
    drbg.reseed(&[&as_bytes(&fresh)]);
    drbg.fill(output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_after_seeding_and_differs_every_time() {
        seed_with(b"from elsewhere").unwrap();
        let [mut one, mut other] = [[0; 48]; 2];
        fill(&mut one).unwrap();
        fill(&mut other).unwrap();
        assert!(one != other && one != [0; 48]);
    }
}
