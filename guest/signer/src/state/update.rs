//! Updates: which later images the owner lets have the volume, and what a guest says of its own version.
//!
//! | | |
//! | --- | --- |
//! | an image's version | `casemate.version=1.2.3` in its command line, which is measured; else the signer's own |
//! | who says so | the guest, in the document to which a volume is granted |
//! | why that is believed | because of PCR8: whoever signed the image answers for what it says |
//! | an owner's policy | the PCR8 that images must have, and the least version |

use std::fmt;
use std::str::FromStr;

use casemate_attestation::pcr::Pcr;
use serde::{Deserialize, Serialize};

/// What names the version in the command line.
const VERSION: &str = "casemate.version=";
/// How the statement of a guest begins to which volumes can be granted; its version follows.
const STATEMENT: &str = "casemate:volume:2:";
/// The record of the owner's policy.
pub(crate) const RECORD: &str = "update-policy";

/// A version: three numbers (semver.org, 2.0.0, without what may follow them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u32; 3]);

impl Version {
    /// That of an image with this command line. One that is not readable, or not the only one, is the least there is.
    pub(crate) fn of_image(command_line: &str) -> Self {
        let mut named = command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(VERSION));
        match (named.next(), named.next()) {
            (None, _) => env!("CARGO_PKG_VERSION").parse().unwrap_or_default(),
            (Some(version), None) => version.parse().unwrap_or_default(),
            (Some(_), Some(_)) => Self::default(),
        }
    }

    /// What a guest of this version states.
    pub(crate) fn statement(self) -> String {
        format!("{STATEMENT}{self}")
    }

    /// The version of the guest that stated this; `None` if it is another statement.
    pub(crate) fn stated(user_data: &[u8]) -> Option<Self> {
        std::str::from_utf8(user_data).ok()?.strip_prefix(STATEMENT)?.parse().ok()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split('.').map(|number| match number.as_bytes() {
            [b'0'..=b'9'] | [b'1'..=b'9', ..] => number.parse().ok(),
            _ => None,
        });
        let mut next = || numbers.next().flatten().ok_or(());
        let version = Self([next()?, next()?, next()?]);
        if numbers.next().is_some() { Err(()) } else { Ok(version) }
    }
}

/// Which images an owner lets have the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpdatePolicy {
    /// PCR8 of the images: who signed them.
    pub(crate) signing_certificate: Pcr,
    /// The least version.
    pub(crate) minimum_version: Version,
}

/// The policy's record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    signing_certificate: String,
    minimum_version: String,
}

impl UpdatePolicy {
    /// Whether the policy lets a guest with this PCR8 and version have the volume of one of version `present`; what is in the
    /// way.
    pub(crate) fn admits(
        &self,
        pcr8: Option<&Pcr>,
        version: Version,
        present: Version,
    ) -> Result<(), String> {
        if pcr8 != Some(&self.signing_certificate) {
            return Err(
                "its image is not signed by the certificate that the update policy names (PCR8)".to_owned()
            );
        }
        let least = self.minimum_version.max(present);
        if version < least {
            return Err(format!("its image has version {version}, and an update needs {least} or later"));
        }
        Ok(())
    }

    /// The content of its record.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&Stored {
            signing_certificate: self.signing_certificate.to_string(),
            minimum_version: self.minimum_version.to_string(),
        })
        .ok()
    }

    /// Takes a record that [`Self::encode`] wrote.
    pub(super) fn restore(content: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(content).ok()?;
        Self::new(&stored.signing_certificate, &stored.minimum_version)
    }

    /// A policy of 96 hexadecimal digits and a version.
    pub(crate) fn new(pcr8: &str, minimum_version: &str) -> Option<Self> {
        let signing_certificate: Pcr = pcr8.parse().ok()?;
        let minimum_version = minimum_version.parse().ok()?;
        (!signing_certificate.is_zero()).then_some(Self { signing_certificate, minimum_version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers_and_compare_as_numbers() {
        for (text, numbers) in
            [("0.1.0", [0, 1, 0]), ("1.2.3", [1, 2, 3]), ("10.0.4294967295", [10, 0, u32::MAX])]
        {
            let version: Version = text.parse().expect(text);
            assert_eq!((version.0, version.to_string()), (numbers, text.to_owned()));
        }
        for wrong in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "01.2.3",
            "1.2.3-rc1",
            "+1.2.3",
            "1.2.4294967296",
            " 1.2.3",
            "1..3",
        ] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong:?}");
        }
        assert!("1.10.0".parse::<Version>() > "1.9.9".parse());
    }

    #[test]
    fn an_unreadable_version_is_the_least() {
        let own = Version::of_image("");
        assert_eq!(own.to_string(), env!("CARGO_PKG_VERSION"));
        assert_eq!(Version::of_image("casemate.owner=ab casemate.version=3.2.1").to_string(), "3.2.1");
        for odd in
            ["casemate.version=new", "casemate.version=9.9.9 casemate.version=9.9.9", "casemate.version="]
        {
            assert_eq!(Version::of_image(odd), Version::default(), "{odd}");
        }
    }

    #[test]
    fn a_statement_says_its_version_and_others_say_none() {
        let version: Version = "1.2.3".parse().expect("a version");
        assert_eq!(Version::stated(version.statement().as_bytes()), Some(version));
        for other in [
            &b"casemate:volume:1"[..],
            b"casemate:volume:2:",
            b"casemate:volume:2:1.2",
            b"casemate:tls:00",
            b"\xff",
        ] {
            assert_eq!(Version::stated(other), None);
        }
    }

    #[test]
    fn a_policy_admits_what_is_signed_and_not_older() {
        let signer = Pcr::measure(b"certificate");
        let policy = UpdatePolicy::new(&signer.to_string(), "1.5.0").expect("a policy");
        assert_eq!(policy.encode().as_deref().and_then(UpdatePolicy::restore), Some(policy.clone()));
        let version = |text: &str| text.parse::<Version>().expect("a version");
        let admits = |pcr8, new, present| policy.admits(pcr8, version(new), version(present));
        assert_eq!(admits(Some(&signer), "1.5.0", "1.0.0"), Ok(()));
        assert_eq!(admits(Some(&signer), "2.0.0", "2.0.0"), Ok(()));
        for (pcr8, new, present) in [
            (None, "9.0.0", "1.0.0"),
            (Some(&Pcr::ZERO), "9.0.0", "1.0.0"),
            (Some(&Pcr::measure(b"other")), "9.0.0", "1.0.0"),
            (Some(&signer), "1.4.9", "1.0.0"),
            (Some(&signer), "1.9.9", "2.0.0"),
        ] {
            assert!(admits(pcr8, new, present).is_err(), "{new} after {present}");
        }
        assert_eq!(UpdatePolicy::new(&Pcr::ZERO.to_string(), "1.0.0"), None);
    }
}
