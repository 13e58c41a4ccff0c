//! The root: one small record that stands for the whole volume.
//!
//! It holds the number of records and the sum of one 256-bit number for each of them: HMAC-SHA-256 of its value under a
//! key of the volume's, added up modulo 2^256 (the multiset hash MSet-Add-Hash of Clarke et al., "Incremental Multiset
//! Hash Functions", 2003). Adding or removing a record costs one addition, so a commit costs what it changes. The host sees
//! neither the numbers nor their sum: to find other records with the same sum it could only guess.

use casemate_volume::layout::{RootPrefix, digest};

use crate::crypto::CryptoError;

use super::keys::VolumeKeys;
use super::refusal::Refusal;

/// Bytes of number, sum, and digest of the header.
const BODY_LEN: usize = 8 + 32 + 32;

/// What a root says about all records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many there are.
    pub(super) count: u64,
    /// Their sum, the least significant word first.
    sum: [u64; 4],
}

fn words(element: &[u8; 32]) -> impl Iterator<Item = u64> {
    element.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

impl Summary {
    /// With one more record.
    pub(super) fn add(&mut self, element: &[u8; 32]) {
        let mut carry = false;
        for (to, word) in self.sum.iter_mut().zip(words(element)) {
            let (sum, first) = to.overflowing_add(word);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*to, carry) = (sum, first || second);
        }
        self.count = self.count.wrapping_add(1);
    }

    /// With one record less.
    pub(super) fn remove(&mut self, element: &[u8; 32]) {
        let mut borrow = false;
        for (to, word) in self.sum.iter_mut().zip(words(element)) {
            let (difference, first) = to.overflowing_sub(word);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            (*to, borrow) = (difference, first || second);
        }
        self.count = self.count.wrapping_sub(1);
    }
}

/// The root of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// How many commits there have been.
    pub(super) counter: u64,
    /// What it says about the records.
    pub(super) summary: Summary,
    /// SHA-256 of the header.
    pub(super) header: [u8; 32],
    /// As the host has it.
    pub(super) bytes: Vec<u8>,
}

impl Root {
    /// A root over these records and this header.
    pub(super) fn new(
        keys: &VolumeKeys,
        counter: u64,
        summary: Summary,
        header: [u8; 32],
    ) -> Result<Self, CryptoError> {
        let prefix = RootPrefix { volume: keys.volume, counter }.to_bytes();
        let mut body = Vec::with_capacity(BODY_LEN);
        body.extend(summary.count.to_be_bytes());
        summary.sum.iter().for_each(|word| body.extend(word.to_le_bytes()));
        body.extend(header);
        let bytes = keys.seal_root(&prefix, &body)?;
        Ok(Self { counter, summary, header, bytes })
    }

    /// The root in these bytes, which must go with `header`.
    pub(super) fn open(keys: &VolumeKeys, bytes: &[u8], header: &[u8]) -> Result<Self, Refusal> {
        let parts = RootPrefix::split(bytes).map_err(|_| Refusal::Root)?;
        let RootPrefix { volume, counter } = parts.prefix;
        if volume != keys.volume {
            return Err(Refusal::Root);
        }
        let body = keys.open_root(&parts).ok_or(Refusal::Root)?;
        let body: &[u8; BODY_LEN] = body.as_slice().try_into().map_err(|_| Refusal::Root)?;
        let (count, rest) = body.split_first_chunk().ok_or(Refusal::Root)?;
        let (sum, header_digest) = rest.split_first_chunk::<32>().ok_or(Refusal::Root)?;
        if header_digest != digest(header).as_slice() {
            return Err(Refusal::Header);
        }
        let mut summary = Summary { count: u64::from_be_bytes(*count), sum: [0; 4] };
        summary.sum.iter_mut().zip(words(sum)).for_each(|(to, word)| *to = word);
        Ok(Self { counter, summary, header: *digest(header), bytes: bytes.to_vec() })
    }
}
