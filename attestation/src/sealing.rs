//! The sealing key: a secret that the same image finds again when it is launched again on the same platform.
//!
//! It is derived from the platform key, the mode and everything that is measured of the image, so another image,
//! another platform and a launch in debug mode each get another one. From a sealing key neither the platform key nor
//! any other sealing key follows. Whoever has the platform key can compute them all; the posture says what protects it
//! (`root_of_trust`).

use zeroize::Zeroizing;

use crate::pcr::{ImageMeasurements, Pcr};
use crate::platform::{PlatformError, PlatformKey};

/// Bytes in a sealing key.
pub const LEN: usize = 32;

/// How a guest runs: what one kind of guest has sealed, another cannot open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Sealed on KVM: nobody looks in.
    Production,
    /// In debug mode: somebody may look in.
    Debug,
    /// On the process backend: nothing is sealed.
    Process,
    /// Sealed on KVM as this host's security module: what the platform and its module prove themselves to each other with
    /// ([`crate::nsm::session`]).
    Module,
}

impl Sealing {
    const fn label(self) -> &'static str {
        match self {
            Self::Production => "casemate sealing 1 production",
            Self::Debug => "casemate sealing 1 debug",
            Self::Process => "casemate sealing 1 process",
            Self::Module => "casemate sealing 1 module",
        }
    }
}

/// The sealing key of the guest with these measurements: the first 32 bytes of HMAC-SHA-384, under the platform key, over
/// the label, a zero byte, PCR0, PCR1, PCR2, whether the image is signed (one byte), and PCR8.
///
/// Computed on the stack alone: whoever wants the key in special memory calls this on a stack in that memory.
pub fn key(
    platform: &PlatformKey,
    sealing: Sealing,
    image: &ImageMeasurements,
) -> Result<Zeroizing<[u8; LEN]>, PlatformError> {
    let pcr8 = image.pcr8.unwrap_or(Pcr::ZERO);
    let derived = platform.derive(&[
        sealing.label().as_bytes(),
        &[0],
        image.pcr0.as_bytes(),
        image.pcr1.as_bytes(),
        image.pcr2.as_bytes(),
        &[u8::from(image.pcr8.is_some())],
        pcr8.as_bytes(),
    ])?;
    let mut key = Zeroizing::new([0; LEN]);
    for (to, from) in key.iter_mut().zip(derived.iter()) {
        *to = *from;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(numbers: [u8; 3], pcr8: Option<u8>) -> ImageMeasurements {
        let [pcr0, pcr1, pcr2] = numbers.map(|number| Pcr::new([number; 48]));
        ImageMeasurements { pcr0, pcr1, pcr2, pcr8: pcr8.map(|number| Pcr::new([number; 48])) }
    }

    #[test]
    fn everything_that_is_measured_counts_and_nothing_else() {
        let (platform, other) =
            (PlatformKey::generate(0).expect("a key"), PlatformKey::generate(0).expect("a key"));
        let mut keys = vec![*key(&other, Sealing::Production, &image([1, 2, 3], None)).expect("a key")];
        for sealing in [Sealing::Production, Sealing::Debug, Sealing::Process, Sealing::Module] {
            for numbers in [[1, 2, 3], [9, 2, 3], [1, 9, 3], [1, 2, 9]] {
                for pcr8 in [None, Some(0), Some(1)] {
                    let image = image(numbers, pcr8);
                    let derived = key(&platform, sealing, &image).expect("a key");
                    assert_eq!(derived, key(&platform, sealing, &image).expect("a key"), "the same again");
                    keys.push(*derived);
                }
            }
        }
        let made = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), made), (49, 49), "two guests share a key");
    }
}
