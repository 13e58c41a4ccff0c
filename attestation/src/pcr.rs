//! Platform configuration registers: 32 SHA-384 digests that can only be extended, until they are locked.
//!
//! | PCR | holds | set by |
//! | --- | --- | --- |
//! | 0 | kernel, command line, all ramdisks | launch |
//! | 1 | kernel, command line, first ramdisk | launch |
//! | 2 | the other ramdisks | launch |
//! | 3 | the role the guest runs under | launch |
//! | 4 | the instance the guest runs on | launch |
//! | 8 | the image's signing certificate | launch |
//! | 15 | the [posture](crate::posture) of VMM and host | launch |
//! | 5–7, 9–14 | zero | launch |
//! | 16–31 | whatever the guest extends | guest |
//!
//! The right to set PCR0–15 is a type: a [`Bank`] has one constructor, it takes the [`Launch`] measurements, and
//! no method writes a register below [`FIRST_GUEST`]. In debug mode those registers read as zero everywhere, as
//! on Nitro, so that a debug guest can never pass for a production one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA384, digest};

use crate::hex;

/// Bytes in a register.
pub const LEN: usize = 48;
/// Number of registers.
pub const COUNT: u16 = 32;
/// The first register that a guest may extend and lock.
pub const FIRST_GUEST: u16 = 16;
/// The register that holds the posture.
pub const POSTURE: u16 = 15;

/// The value of one register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pcr([u8; LEN]);

impl Pcr {
    /// The reset value.
    pub const ZERO: Self = Self([0; LEN]);

    /// A register with this value.
    pub const fn new(value: [u8; LEN]) -> Self {
        Self(value)
    }

    /// How images, certificates and the posture are measured: SHA384(0^48 ‖ SHA384(`data`)).
    pub fn measure(data: &[u8]) -> Self {
        Self::ZERO.extended(digest(&SHA384, data).as_ref())
    }

    /// How Nitro measures a role (PCR3) and an instance (PCR4): SHA384(0^48 ‖ `name`).
    pub fn of_name(name: &str) -> Self {
        Self::ZERO.extended(name.as_bytes())
    }

    /// The value after an extension: SHA384(self ‖ `data`).
    #[must_use]
    pub fn extended(&self, data: &[u8]) -> Self {
        let mut context = Context::new(&SHA384);
        context.update(&self.0);
        context.update(data);
        let mut value = [0; LEN];
        value.copy_from_slice(context.finish().as_ref());
        Self(value)
    }

    /// The bytes of the register.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// Whether the register has its reset value.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A register value was not 96 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a PCR value: write 96 hexadecimal digits (SHA-384)")]
pub struct NotAPcr(pub String);

impl FromStr for Pcr {
    type Err = NotAPcr;

    fn from_str(text: &str) -> Result<Self, NotAPcr> {
        hex::decode(text)
            .and_then(|bytes| <[u8; LEN]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| NotAPcr(text.chars().take(2 * LEN + 1).collect()))
    }
}

impl serde::Serialize for Pcr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Pcr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a guest's console, log and memory may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mode {
    /// Nobody looks in; the registers tell the truth.
    Production,
    /// Somebody may look in, so PCR0–15 read as zero.
    Debug,
}

/// What the launcher measured. Holding a [`Bank`] made from it is the only way to a register below
/// [`FIRST_GUEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// PCR0, PCR1, PCR2 and PCR8.
    pub image: ImageMeasurements,
    /// PCR3: [`Pcr::of_name`] of the role, zero without one.
    pub role: Pcr,
    /// PCR4: [`Pcr::of_name`] of the instance, zero without one.
    pub instance: Pcr,
    /// PCR15: [`Posture::pcr`](crate::posture::Posture::pcr).
    pub posture: Pcr,
    /// Whether PCR0–15 are shown.
    pub mode: Mode,
}

/// The registers that an image file determines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageMeasurements {
    /// Kernel, command line and all ramdisks.
    #[serde(rename = "PCR0")]
    pub pcr0: Pcr,
    /// Kernel, command line and the first ramdisk.
    #[serde(rename = "PCR1")]
    pub pcr1: Pcr,
    /// All ramdisks but the first.
    #[serde(rename = "PCR2")]
    pub pcr2: Pcr,
    /// The certificate that signed the image, if it is signed.
    #[serde(rename = "PCR8", default, skip_serializing_if = "Option::is_none")]
    pub pcr8: Option<Pcr>,
}

/// Why a register could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BankError {
    /// There is no such register.
    #[error("PCR{0} does not exist: the highest is PCR31")]
    NoSuchRegister(u16),
    /// The register is locked.
    #[error("PCR{0} is locked and can no longer change")]
    Locked(u16),
}

/// The registers of one guest.
#[derive(Clone, Debug)]
pub struct Bank {
    values: [Pcr; COUNT as usize],
    /// Bit i: register i is locked. The low 16 bits are set from the start and no code clears one.
    locked: u32,
}

impl Bank {
    /// The registers at launch: PCR0–15 measured and locked, PCR16–31 zero and open.
    pub fn launch(launch: &Launch) -> Self {
        let mut values = [Pcr::ZERO; COUNT as usize];
        if launch.mode == Mode::Production {
            values[0] = launch.image.pcr0;
            values[1] = launch.image.pcr1;
            values[2] = launch.image.pcr2;
            values[3] = launch.role;
            values[4] = launch.instance;
            values[8] = launch.image.pcr8.unwrap_or(Pcr::ZERO);
            values[POSTURE as usize] = launch.posture;
        }
        Self { values, locked: 0xffff }
    }

    /// Value of a register, and whether it is locked.
    pub fn describe(&self, index: u16) -> Result<(Pcr, bool), BankError> {
        let value = self.values.get(usize::from(index)).ok_or(BankError::NoSuchRegister(index))?;
        Ok((*value, self.is_locked(index)))
    }

    /// Extends an open register and returns its new value.
    pub fn extend(&mut self, index: u16, data: &[u8]) -> Result<Pcr, BankError> {
        let locked = self.is_locked(index);
        let value = self.values.get_mut(usize::from(index)).ok_or(BankError::NoSuchRegister(index))?;
        if locked {
            return Err(BankError::Locked(index));
        }
        *value = value.extended(data);
        Ok(*value)
    }

    /// Locks an open register.
    pub fn lock(&mut self, index: u16) -> Result<(), BankError> {
        if index >= COUNT {
            return Err(BankError::NoSuchRegister(index));
        }
        if self.is_locked(index) {
            return Err(BankError::Locked(index));
        }
        self.locked |= 1 << index;
        Ok(())
    }

    /// Locks registers 0 to `range` - 1, whether they are open or not.
    pub fn lock_first(&mut self, range: u16) -> Result<(), BankError> {
        if range > COUNT {
            return Err(BankError::NoSuchRegister(range));
        }
        // In 64 bits, because `range` may be 32.
        let mask = (1_u64 << range) - 1;
        self.locked |= u32::try_from(mask).unwrap_or(u32::MAX);
        Ok(())
    }

    /// The locked registers, in order.
    pub fn locked(&self) -> impl Iterator<Item = (u16, Pcr)> {
        (0..COUNT).zip(self.values).filter(|(index, _)| self.is_locked(*index))
    }

    fn is_locked(&self, index: u16) -> bool {
        self.locked.checked_shr(u32::from(index)).is_some_and(|bits| bits & 1 == 1)
    }
}
