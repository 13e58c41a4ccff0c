//! What the VMM found out about itself and its host, bound to documents through PCR15.
//!
//! A posture is a set of facts: a name ([`fact`] lists those we use) and a text, a number or a flag. What is unknown
//! is left out; nothing is guessed. Facts travel beside the document, because a register holds only their digest:
//!
//! ```text
//! encoding = CBOR map, text → text | unsigned | bool, in core deterministic encoding (RFC 8949, 4.2.1):
//!            definite lengths, shortest integers, keys in the bytewise order of their encodings
//! PCR15    = SHA384(0^48 ‖ SHA384(encoding))
//! ```
//!
//! so that any CBOR library reproduces it. Parsing refuses every other encoding of the same facts.

use std::collections::BTreeMap;
use std::fmt;

use coset::cbor::Value;
use serde::{Deserialize, Serialize};

use crate::pcr::Pcr;

/// Longest encoding in bytes.
pub const ENCODING_MAX: usize = 16 * 1024;
/// Most facts in a posture.
pub const FACTS_MAX: usize = 128;
/// Longest name in bytes.
pub const NAME_MAX: usize = 64;
/// Longest text in bytes.
pub const TEXT_MAX: usize = 512;

/// The names of facts, and the values they take.
pub mod fact {
    /// Version of the VMM: text.
    pub const VMM_VERSION: &str = "vmm_version";
    /// SHA-384 of the VMM's program file, by its own word (module `executable`): text, hexadecimal.
    pub const VMM_SHA384: &str = "vmm_sha384";
    /// What runs the guest: `kvm` or `process`.
    pub const BACKEND: &str = "backend";
    /// What the guest's secrets lie in: `guest_memfd`, `anonymous` or `none`.
    pub const SEALED_MEMORY: &str = "sealed_memory";
    /// What keeps the sealed memory alive: `io_uring` (nobody gets it back), `descriptor`, or `none`.
    pub const FILE_REFERENCE: &str = "file_reference";
    /// What keeps code and page tables from being written: `write_sealed` or `none`.
    pub const IMAGE_SEALED: &str = "image_sealed";
    /// What the attestation key lies in: `module` (the security module, a sealed guest of its own), or the VMM's
    /// `memfd_secret` or `anonymous` memory; `none` for the security module itself.
    pub const LEAF_KEY: &str = "leaf_key";
    /// PCR0 of the security module that has the attestation key: text, hexadecimal. Absent if the key is elsewhere.
    pub const MODULE_PCR0: &str = "module_pcr0";
    /// SHA-384 of the seccomp filter that holds while the guest runs: text, hexadecimal.
    pub const SECCOMP_SHA384: &str = "seccomp_sha384";
    /// Landlock ABI that is enforced: number, 0 for none.
    pub const LANDLOCK: &str = "landlock";
    /// Kernel lockdown: `none`, `integrity` or `confidentiality`.
    pub const LOCKDOWN: &str = "lockdown";
    /// Yama's `ptrace_scope`: number; absent without Yama.
    pub const YAMA_PTRACE_SCOPE: &str = "yama_ptrace_scope";
    /// `kernel.kexec_load_disabled`: flag.
    pub const KEXEC_LOAD_DISABLED: &str = "kexec_load_disabled";
    /// `kernel.modules_disabled`: flag.
    pub const MODULES_DISABLED: &str = "modules_disabled";
    /// Whether the host has swap in use: flag.
    pub const SWAP: &str = "swap";
    /// Whether kernel same-page merging runs: flag.
    pub const KSM: &str = "ksm";
    /// Whether simultaneous multithreading is active: flag.
    pub const SMT: &str = "smt";
    /// Whether the virtual CPU has cores that no other guest runs on: `shared`, `own`, or `isolated` where the kernel keeps
    /// all other processes off as well.
    pub const CORES: &str = "cores";
    /// Whether only the VMM's own threads run on a core while it or its guest does (a core-scheduling cookie): `on`,
    /// `not_needed` with one thread per core, `unsupported`.
    pub const CORE_SCHEDULING: &str = "core_scheduling";
    /// Whether loads may not overtake stores speculatively: `on`, `not_needed`, `unsupported`.
    pub const MITIGATION_STORE_BYPASS: &str = "mitigation.store_bypass";
    /// Whether others cannot train the predictions of indirect branches: `on`, `not_needed`, `unsupported`.
    pub const MITIGATION_INDIRECT_BRANCH: &str = "mitigation.indirect_branch";
    /// Whether the first-level data cache is emptied before another process runs: `on`, `not_needed`, `unsupported`.
    pub const MITIGATION_L1D_FLUSH: &str = "mitigation.l1d_flush";
    /// Whether the VMM's pages can be merged with others': `off`, or `unsupported` by this kernel.
    pub const MEMORY_MERGE: &str = "memory_merge";
    /// Whether what holds secrets (private memory, the attestation key) can never be swapped: flag.
    pub const MEMORY_LOCKED: &str = "memory_locked";
    /// Whether the VMM zeroes private memory when its guest ends: flag.
    pub const SCRUB_ON_EXIT: &str = "scrub_on_exit";
    /// Whether the host can hibernate (and write its memory to disk): flag.
    pub const HIBERNATION: &str = "hibernation";
    /// Prefix of one fact per entry of `/sys/devices/system/cpu/vulnerabilities`: text, as the kernel reports it.
    pub const VULNERABILITY: &str = "vulnerability.";
    /// What holds the platform key: `file` or `tpm`.
    pub const ROOT_OF_TRUST: &str = "root_of_trust";

    /// All of them, but for the vulnerabilities, which the kernel names.
    pub const ALL: [&str; 27] = [
        VMM_VERSION,
        VMM_SHA384,
        BACKEND,
        SEALED_MEMORY,
        FILE_REFERENCE,
        IMAGE_SEALED,
        LEAF_KEY,
        MODULE_PCR0,
        SECCOMP_SHA384,
        LANDLOCK,
        LOCKDOWN,
        YAMA_PTRACE_SCOPE,
        KEXEC_LOAD_DISABLED,
        MODULES_DISABLED,
        SWAP,
        KSM,
        SMT,
        CORES,
        CORE_SCHEDULING,
        MITIGATION_STORE_BYPASS,
        MITIGATION_INDIRECT_BRANCH,
        MITIGATION_L1D_FLUSH,
        MEMORY_MERGE,
        MEMORY_LOCKED,
        SCRUB_ON_EXIT,
        HIBERNATION,
        ROOT_OF_TRUST,
    ];
}

/// The value of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A word or a sentence.
    Text(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Self::Number(number) => write!(f, "{number}"),
            // Escaped: the text comes from a host that may be hostile, and goes to a terminal.
            Self::Text(text) => write!(f, "{}", text.escape_debug()),
        }
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Why a posture is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostureError {
    /// A name that is no name.
    #[error("`{0}` is no fact's name: use 1 to {NAME_MAX} of a-z, 0-9, `_`, `.` and `-`")]
    Name(String),
    /// A text that is too long.
    #[error("the text of fact `{name}` has {length} bytes; {TEXT_MAX} are allowed")]
    Text {
        /// The fact.
        name: String,
        /// Its length.
        length: usize,
    },
    /// More facts than [`FACTS_MAX`], or a longer encoding than [`ENCODING_MAX`].
    #[error("the posture is too large: at most {FACTS_MAX} facts in {ENCODING_MAX} bytes")]
    TooLarge,
    /// Not a posture.
    #[error("not a CBOR map from names to text, numbers and flags")]
    Malformed,
    /// A posture in another than the deterministic encoding, or with a name twice.
    #[error("not in core deterministic CBOR encoding (RFC 8949, 4.2.1)")]
    NotDeterministic,
}

/// A set of facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Fact>")]
pub struct Posture(BTreeMap<String, Fact>);

impl Posture {
    /// A posture without facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// States a fact, in place of what was stated under that name before.
    pub fn set(&mut self, name: &str, fact: impl Into<Fact>) -> Result<(), PostureError> {
        let fact = fact.into();
        check(name, &fact)?;
        if self.0.len() >= FACTS_MAX && !self.0.contains_key(name) {
            return Err(PostureError::TooLarge);
        }
        self.0.insert(name.into(), fact);
        Ok(())
    }

    /// The fact of this name.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.get(name)
    }

    /// All facts, by name.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.0.iter().map(|(name, fact)| (name.as_str(), fact))
    }

    /// The one encoding of these facts.
    pub fn encode(&self) -> Vec<u8> {
        let mut facts: Vec<_> = self.0.iter().collect();
        // Encoded text sorts by length first: the length comes before the text, and shorter ones are smaller.
        facts.sort_by_key(|(name, _)| (name.len(), name.as_str()));
        let value = Value::Map(
            facts
                .into_iter()
                .map(|(name, fact)| {
                    let fact = match fact {
                        Fact::Flag(flag) => Value::from(*flag),
                        Fact::Number(number) => Value::from(*number),
                        Fact::Text(text) => Value::from(text.as_str()),
                    };
                    (Value::from(name.as_str()), fact)
                })
                .collect(),
        );
        let mut bytes = Vec::new();
        // Writing text, integers and flags into a vector cannot fail; should it ever, the empty encoding is
        // refused by `parse`.
        if coset::cbor::into_writer(&value, &mut bytes).is_err() {
            bytes.clear();
        }
        bytes
    }

    /// Reads an encoding, all of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, PostureError> {
        if bytes.len() > ENCODING_MAX {
            return Err(PostureError::TooLarge);
        }
        let value: Value = coset::cbor::from_reader(bytes).map_err(|_| PostureError::Malformed)?;
        let mut posture = Self::new();
        for (name, fact) in value.into_map().map_err(|_| PostureError::Malformed)? {
            let name = name.into_text().map_err(|_| PostureError::Malformed)?;
            let fact = match fact {
                Value::Bool(flag) => Fact::Flag(flag),
                Value::Text(text) => Fact::Text(text),
                Value::Integer(number) => {
                    Fact::Number(number.try_into().map_err(|_| PostureError::Malformed)?)
                }
                _ => return Err(PostureError::Malformed),
            };
            posture.set(&name, fact)?;
        }
        if posture.encode() != bytes {
            return Err(PostureError::NotDeterministic);
        }
        Ok(posture)
    }

    /// The value of PCR15 for these facts.
    pub fn pcr(&self) -> Pcr {
        Pcr::measure(&self.encode())
    }
}

impl TryFrom<BTreeMap<String, Fact>> for Posture {
    type Error = PostureError;

    fn try_from(facts: BTreeMap<String, Fact>) -> Result<Self, PostureError> {
        let mut posture = Self::new();
        for (name, fact) in facts {
            posture.set(&name, fact)?;
        }
        Ok(posture)
    }
}

fn check(name: &str, fact: &Fact) -> Result<(), PostureError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    if !(1..=NAME_MAX).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(PostureError::Name(name.chars().take(NAME_MAX).collect()));
    }
    match fact {
        Fact::Text(text) if text.len() > TEXT_MAX => {
            Err(PostureError::Text { name: name.into(), length: text.len() })
        }
        _ => Ok(()),
    }
}
