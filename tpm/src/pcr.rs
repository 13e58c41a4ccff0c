//! Registers of the TPM, and the policy over them (part 3, 23.7: TPM2_PolicyPCR).
//!
//! All in the SHA-256 bank, which every TPM 2.0 has. Not to be confused with the PCRs of a guest, which are the NSM's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection};

/// Registers that a platform TPM has (PC Client Platform TPM Profile, 4.6).
pub const COUNT: u8 = 24;
/// The first register that software may set back without a restart: 16 and above.
pub const FIRST_RESETTABLE: u8 = 16;
/// Registers that firmware and boot loader fill: SRTM, option ROMs, boot loader, partition table, state of Secure Boot.
pub const BOOT: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// The register for the VMM's measurement: system extensions of a measured initrd are the one other known use of it.
pub const VMM: u8 = 13;
/// Bytes in a register.
pub const LEN: usize = 32;
/// How the VMM's register starts after a restart.
const ZERO: Value = Value([0; LEN]);

/// The value of a register.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(#[serde(with = "hex::serde")] pub [u8; LEN]);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Value {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut value = [0; LEN];
        hex::decode_to_slice(text, &mut value)?;
        Ok(Self(value))
    }
}

impl Value {
    /// The value after `event` was measured (TPM2_PCR_Event: the hash of it is extended).
    #[must_use]
    pub fn after(self, event: &[u8]) -> Self {
        Self(sha256(&[&self.0, &sha256(&[event])]))
    }

    /// Whether nothing was measured.
    pub fn is_zero(self) -> bool {
        self == ZERO
    }
}

/// The value of the VMM's register once the program with this digest has been measured, and nothing else.
pub fn of_vmm(vmm_sha384: &[u8]) -> Value {
    ZERO.after(vmm_sha384)
}

/// Registers and their values.
pub type Values = BTreeMap<u8, Value>;

/// The selection of these registers, as the TPM wants it.
pub fn selection(registers: impl IntoIterator<Item = u8>) -> TpmlPcrSelection {
    let mut bits = [0_u8; 3];
    for register in registers {
        if let Some(byte) = bits.get_mut(usize::from(register / 8)) {
            *byte |= 1 << (register % 8);
        }
    }
    let mut list = TpmlPcrSelection::new();
    // Three bytes fit, and one entry too.
    if let Ok(pcr_select) = TpmsPcrSelect::try_from(&bits[..]) {
        let _ = list.try_push(TpmsPcrSelection { hash: TpmAlgId::Sha256, pcr_select });
    }
    list
}

/// The digest over these values, in the order of the registers' numbers (part 1, 17.5).
pub fn composite(values: &Values) -> [u8; LEN] {
    let parts: Vec<&[u8]> = values.values().map(|value| &value.0[..]).collect();
    sha256(&parts)
}

/// The policy that holds while the registers have these values, and no other: SHA-256, as the TPM computes it.
pub fn policy(values: &Values) -> [u8; LEN] {
    let mut command = [0; 4];
    let code = TpmCc::PolicyPcr as u32;
    command.copy_from_slice(&code.to_be_bytes());
    let selection = crate::command::bytes(&selection(values.keys().copied())).unwrap_or_default();
    sha256(&[&[0; LEN], &command, &selection, &composite(values)])
}

/// The first register whose value is another than it should be, in words.
pub fn difference(found: &Values, wanted: &Values) -> Option<String> {
    wanted.iter().find_map(|(register, wanted)| match found.get(register) {
        Some(found) if found == wanted => None,
        Some(found) => Some(format!("PCR {register} of the TPM is {found}, not {wanted}")),
        None => Some(format!("PCR {register} of the TPM cannot be read")),
    })
}

/// SHA-256 of the parts as one string.
pub fn sha256(parts: &[&[u8]]) -> [u8; LEN] {
    let whole = parts.concat();
    let mut out = [0; LEN];
    out.copy_from_slice(digest(&SHA256, &whole).as_ref());
    out
}
