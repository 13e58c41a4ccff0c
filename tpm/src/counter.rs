//! Counters in the TPM that go one way only (part 1, 37.2.4: NV counter).
//!
//! Each volume has one, in an NV index that its identity names. Nobody turns a counter back: not root, not by defining its index
//! again, for a TPM starts a new counter above every one that it ever had.
//!
//! Writes wear NV memory out: makers promise 10⁵ to 10⁶ for an index. Whoever counts here does so once for many changes.

use tpm2_protocol::data::{TpmRcBase, TpmaNv};

use crate::chip::{self, Chip};
use crate::command::{Error, Handle, Tpm};
use crate::pcr::sha256;

/// Bytes of a volume's identity.
pub const ID_LEN: usize = 16;
/// Where counters are: owner-defined indices (TCG Registry of Reserved Handles, 2.2.2) that nobody else is known to use.
const FIRST: Handle = 0x0180_0000;
const COUNT: Handle = 0x0040_0000;
/// How many indices are looked at when the first is another volume's.
const NEIGHBOURS: Handle = 4;

/// What a counter may do.
const ATTRIBUTES: TpmaNv = TpmaNv::from_bits_truncate(
    TpmaNv::COUNTER.bits()
        | TpmaNv::AUTHWRITE.bits()
        | TpmaNv::AUTHREAD.bits()
        | TpmaNv::OWNERREAD.bits()
        | TpmaNv::NO_DA.bits(),
);

impl Chip {
    /// What the volume's counter says; `None` if it has none.
    pub fn count(&self, volume: &[u8; ID_LEN]) -> Result<Option<u64>, chip::Error> {
        let mut tpm = self.tpm()?;
        match find(&mut tpm, volume)? {
            Place::Of(index) => Ok(Some(read(&mut tpm, index)?)),
            Place::Free(_) => Ok(None),
        }
    }

    /// Moves the volume's counter on by one, and makes it first if there is none. Returns what it says then.
    pub fn increment(&self, volume: &[u8; ID_LEN]) -> Result<u64, chip::Error> {
        let mut tpm = self.tpm()?;
        let index = match find(&mut tpm, volume)? {
            Place::Of(index) => index,
            Place::Free(index) => {
                let defined = tpm.nv_define(index, ATTRIBUTES, &mark(volume), 8);
                defined.map_err(|error| match error.is(TpmRcBase::NvSpace) {
                    true => chip::Error::Registers("the TPM has no room for another volume's counter".into()),
                    false => error.into(),
                })?;
                index
            }
        };
        tpm.nv_increment(index)?;
        Ok(read(&mut tpm, index)?)
    }
}

enum Place {
    Of(Handle),
    Free(Handle),
}

/// Whose counter it is, in the place of a policy, which it needs none of.
fn mark(volume: &[u8; ID_LEN]) -> [u8; 32] {
    sha256(&[b"casemate volume counter 1", volume])
}

/// The volume's index, or the one that it would get.
fn find(tpm: &mut Tpm, volume: &[u8; ID_LEN]) -> Result<Place, Error> {
    let mark = mark(volume);
    let number = mark.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
    for neighbour in 0..NEIGHBOURS {
        let index = FIRST | (number.wrapping_add(neighbour) & (COUNT - 1));
        match tpm.nv_public(index)? {
            None => return Ok(Place::Free(index)),
            Some(public) if public.auth_policy[..] == mark => return Ok(Place::Of(index)),
            Some(_) => {}
        }
    }
    Err(Error::Malformed("all places for this volume's counter are taken by others".into()))
}

/// What the counter says. One that was never moved has no value yet.
fn read(tpm: &mut Tpm, index: Handle) -> Result<u64, Error> {
    let value = match tpm.nv_read(index) {
        Err(error) if error.is(TpmRcBase::NvUninitialized) => return Ok(0),
        value => value?,
    };
    let value = value.and_then(|value| <[u8; 8]>::try_from(value).ok());
    Ok(u64::from_be_bytes(value.ok_or_else(|| Error::Malformed("a counter has 8 bytes".into()))?))
}
