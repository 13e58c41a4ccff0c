//! Encryption and decryption.
//!
//! The token works on what it gets at once. Block by block modes go on from one request to the next, so that their data
//! may be of any length and come in parts, with results on the way. Everything else is gathered and sent whole, at most
//! [`DATA_MAX`] bytes: for GCM that also means that no plaintext is handed out before its tag was right.

use std::sync::Arc;

use casemate_hsm::limits::DATA_MAX;
use casemate_hsm::{Bytes, Mechanism, Operation, Parameter, Request, ck};

use crate::key::{Facts, Use};
use crate::rv::{Result, ensure};
use crate::session::Mode;
use crate::token::Token;

/// Bytes of AES's block.
const BLOCK: usize = 16;

/// A C_Encrypt… or C_Decrypt… that has begun.
#[derive(Clone)]
pub struct Cipher {
    usage: Use,
    mechanism: Mechanism,
    key: u64,
    facts: Arc<Facts>,
    /// What has come and was not sent yet.
    pending: Bytes,
    /// How the data comes.
    pub mode: Mode,
    /// A result for which the caller had too little room, and what it was made of if that came with the call.
    made: Option<(Option<Bytes>, Bytes)>,
}

impl Cipher {
    /// Begins, if the key can be used so.
    pub fn begin(token: &Token, usage: Use, mechanism: Mechanism, key: u64) -> Result<Self> {
        let facts = token.facts(key)?;
        facts.check(token, mechanism.kind, usage)?;
        Ok(Self { usage, mechanism, key, facts, pending: Bytes::default(), mode: Mode::Open, made: None })
    }

    /// Whether results come on the way.
    const fn flows(&self) -> bool {
        matches!(
            self.mechanism.kind,
            ck::CKM_AES_ECB
                | ck::CKM_AES_CBC
                | ck::CKM_AES_CBC_PAD
                | ck::CKM_AES_CTR
                | ck::CKM_DES3_ECB
                | ck::CKM_DES3_CBC
                | ck::CKM_DES3_CBC_PAD
        )
    }

    /// Whether the end is padded.
    const fn pads(&self) -> bool {
        matches!(self.mechanism.kind, ck::CKM_AES_CBC_PAD | ck::CKM_DES3_CBC_PAD)
    }

    /// Bytes of the mechanism's block.
    const fn block(&self) -> usize {
        match self.mechanism.kind {
            ck::CKM_DES3_ECB | ck::CKM_DES3_CBC | ck::CKM_DES3_CBC_PAD => 8,
            _ => BLOCK,
        }
    }

    /// How much comes out if this much more comes in.
    pub fn ready(&self, more: usize) -> usize {
        if !self.flows() {
            return 0;
        }
        let total = self.pending.len().saturating_add(more);
        // What is padding and what is not shows only at the end.
        let held = usize::from(self.pads() && self.usage == Use::Decrypt);
        total.saturating_sub(held) / self.block() * self.block()
    }

    /// The next part; what is ready.
    pub fn update(&mut self, token: &Token, part: &[u8]) -> Result<Bytes> {
        self.made = None;
        let ready = self.ready(part.len());
        if !self.flows() {
            let total = self.pending.len().saturating_add(part.len());
            ensure(total <= DATA_MAX, self.too_long())?;
        }
        self.pending.extend_from_slice(part);
        let mut result = Bytes::default();
        while result.len() < ready {
            let length = (ready - result.len()).min(DATA_MAX / BLOCK * BLOCK);
            let chunk = Bytes::copy(self.pending.get(..length).unwrap_or_default());
            self.pending.drain(..length);
            result.extend_from_slice(&self.blocks(token, chunk)?);
        }
        Ok(result)
    }

    /// At most how much [`Self::finish`] gives for this much more.
    pub fn length(&self, more: usize) -> usize {
        let total = self.pending.len().saturating_add(more);
        let blocks = (total / self.block()).saturating_add(1).saturating_mul(self.block());
        match (self.mechanism.kind, self.usage) {
            (ck::CKM_RSA_PKCS | ck::CKM_RSA_PKCS_OAEP | ck::CKM_RSA_X_509, _) => self.facts.modulus(),
            (ck::CKM_AES_CBC_PAD | ck::CKM_DES3_CBC_PAD, Use::Encrypt) => blocks,
            (ck::CKM_AES_GCM, usage) => {
                let tag = match &self.mechanism.parameter {
                    Parameter::Gcm { tag_bits, .. } => usize::try_from(tag_bits.div_ceil(8)).unwrap_or(BLOCK),
                    _ => BLOCK,
                };
                if usage == Use::Encrypt { total.saturating_add(tag) } else { total.saturating_sub(tag) }
            }
            (ck::CKM_AES_KEY_WRAP | ck::CKM_AES_KEY_WRAP_PAD | ck::CKM_AES_KEY_WRAP_KWP, Use::Encrypt) => {
                total.div_ceil(8).saturating_add(1).saturating_mul(8)
            }
            _ => total,
        }
    }

    /// The end: what is left of the result, or the result for this input.
    pub fn finish(&mut self, token: &Token, input: Option<&Bytes>) -> Result<Bytes> {
        if let Some((of, made)) = &self.made
            && of.as_ref() == input
        {
            return Ok(made.clone());
        }
        // The caller may come again with a larger buffer, or with other input.
        let mut work = self.clone();
        let mut result = Bytes::default();
        if let Some(input) = input {
            if self.flows() && input.len() > DATA_MAX {
                result = work.update(token, input)?;
            } else {
                ensure(input.len() <= DATA_MAX, self.too_long())?;
                work.pending = input.clone();
            }
        }
        let rest = std::mem::take(&mut work.pending);
        // Nothing is left of modes without padding; their mechanisms refuse to work on nothing.
        let whole = !rest.is_empty() || (result.is_empty() && work.mode != Mode::Parts);
        if whole || work.pads() || !work.flows() {
            let kind = work.mechanism.kind;
            result.extend_from_slice(&work.send(token, kind, rest)?);
        }
        self.made = Some((input.cloned(), result.clone()));
        Ok(result)
    }

    const fn too_long(&self) -> u64 {
        match self.usage {
            Use::Decrypt => ck::CKR_ENCRYPTED_DATA_LEN_RANGE,
            _ => ck::CKR_DATA_LEN_RANGE,
        }
    }

    /// Whole blocks from the middle; the next go on from there.
    fn blocks(&mut self, token: &Token, input: Bytes) -> Result<Bytes> {
        let kind = match self.mechanism.kind {
            ck::CKM_AES_CBC_PAD => ck::CKM_AES_CBC,
            ck::CKM_DES3_CBC_PAD => ck::CKM_DES3_CBC,
            kind => kind,
        };
        let block = self.block();
        let last = |bytes: &Bytes| Bytes::copy(bytes.get(bytes.len() - block..).unwrap_or_default());
        let (length, ciphertext) = (input.len(), (self.usage == Use::Decrypt).then(|| last(&input)));
        let output = self.send(token, kind, input)?;
        ensure(output.len() == length && length >= block, ck::CKR_DEVICE_ERROR)?;
        match &mut self.mechanism.parameter {
            Parameter::Iv(iv) => *iv = ciphertext.unwrap_or_else(|| last(&output)),
            Parameter::Ctr { bits, block: counter } => advance(counter, *bits, length / BLOCK),
            _ => {}
        }
        Ok(output)
    }

    fn send(&self, token: &Token, kind: u64, input: Bytes) -> Result<Bytes> {
        let operation = if self.usage == Use::Decrypt { Operation::Decrypt } else { Operation::Encrypt };
        let request = Request {
            mechanism: Some(Mechanism { kind, parameter: self.mechanism.parameter.clone() }),
            object: Some(self.key),
            data: Some(input),
            ..Request::default()
        };
        Ok(token.call(operation, request)?.data.unwrap_or_default())
    }
}

/// Adds to the counter in the low `bits` of a counter block.
fn advance(block: &mut Bytes, bits: u64, blocks: usize) {
    let Ok(bytes) = <[u8; BLOCK]>::try_from(block.as_slice()) else { return };
    let value = u128::from_be_bytes(bytes);
    let mask =
        u32::try_from(bits).ok().and_then(|bits| u128::MAX.checked_shl(bits)).map_or(u128::MAX, |high| !high);
    let counter = value.wrapping_add(u128::try_from(blocks).unwrap_or_default()) & mask;
    *block = Bytes::copy(&((value & !mask) | counter).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_stays_within_its_bits() {
        for (bits, before, blocks, after) in [
            (128, [0xff; 16], 1, [0; 16]),
            (8, [0xff; 16], 2, {
                let mut block = [0xff; 16];
                block[15] = 1;
                block
            }),
            (32, [0; 16], 256, {
                let mut block = [0; 16];
                block[14] = 1;
                block
            }),
        ] {
            let mut block = Bytes::copy(&before);
            advance(&mut block, bits, blocks);
            assert_eq!(block.as_slice(), after, "{bits} bits");
        }
    }
}
