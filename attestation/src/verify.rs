//! From bytes to conclusions: what a document establishes under a root that the verifier trusts.
//!
//! [`verify`] checks, in this order, and stops at the first thing that does not hold: form, certificate chain,
//! signature, name, time, debug mode, nonce, registers, posture. An [`Established`] exists only when all of it
//! held. Nothing here reads a clock, a file or the network: the caller passes the time.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::chain::{self, ChainFault, Position};
use crate::document::{self, Claims, ParseError};
use crate::es384;
use crate::hex;
use crate::pcr::{self, Pcr};
use crate::policy::{CLOCK_SKEW_SECONDS, Policy};
use crate::posture::{Posture, PostureError, fact};

pub use crate::chain::{ChainFault as CertificateFault, Position as CertificatePosition};

/// What is put before the verifier.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The document.
    pub document: &'a [u8],
    /// The facts behind PCR15 ([`Posture::encode`]), which travel beside the document.
    pub posture: Option<&'a [u8]>,
}

/// What the verifier knows beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// Root certificates that it trusts, DER.
    pub roots: &'a [Vec<u8>],
    /// What it demands.
    pub policy: &'a Policy,
    /// The nonce that it sent, if it sent one.
    pub nonce: Option<&'a [u8]>,
    /// The time in milliseconds since 1970.
    pub now: u64,
}

/// Why evidence does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Not a document.
    #[error("not an attestation document: {0}")]
    Document(#[from] ParseError),
    /// A certificate is wrong, or in the wrong place.
    #[error("certificate chain: {position} {fault}")]
    Chain {
        /// Which.
        position: Position,
        /// What is wrong.
        fault: ChainFault,
    },
    /// The signature is wrong.
    #[error("the signature does not match: the document was changed, or its certificate belongs to another")]
    Signature,
    /// The certificate is for another guest.
    #[error("the document is from `{module_id}` but its certificate is for `{certificate}`")]
    OtherModule {
        /// In the document.
        module_id: String,
        /// In the certificate.
        certificate: String,
    },
    /// The policy wants another guest.
    #[error("the document is from `{found}`; the policy wants {wanted}")]
    Module {
        /// In the document.
        found: String,
        /// In the policy.
        wanted: String,
    },
    /// The document comes from the future.
    #[error("the document was made {seconds} s after the verifier's time: one of the clocks is wrong")]
    Future {
        /// How far ahead.
        seconds: u64,
    },
    /// The document is too old.
    #[error("the document is {age} s old; the policy allows {allowed} s: fetch a new one")]
    TooOld {
        /// Its age in seconds.
        age: u64,
        /// What the policy allows.
        allowed: u64,
    },
    /// The guest runs in debug mode.
    #[error(
        "the guest runs in debug mode (PCR0 is zero), which proves nothing about it; the policy forbids that"
    )]
    Debug,
    /// The policy wants a nonce and the verifier gave none.
    #[error("the policy requires a nonce: give the one that the document was asked for with")]
    NonceNotGiven,
    /// The document carries another nonce, or none.
    #[error(
        "the document has {found}, but nonce {wanted} was sent: it was made for somebody else or replayed"
    )]
    Nonce {
        /// In the document.
        found: String,
        /// What was sent, hexadecimal.
        wanted: String,
    },
    /// A register is not in the document.
    #[error("PCR{0} is not in the document: it is not locked, so it proves nothing")]
    PcrMissing(u16),
    /// A register has another value.
    #[error("PCR{index} is {found}; the policy wants {wanted}")]
    Pcr {
        /// Which.
        index: u16,
        /// In the document.
        found: Pcr,
        /// In the policy.
        wanted: String,
    },
    /// The policy wants a posture, and the facts are not there.
    #[error("the policy makes demands on `{0}`, but the posture's facts were not given with the document")]
    PostureNotGiven(String),
    /// The facts cannot be read.
    #[error("the posture's facts: {0}")]
    PostureMalformed(#[from] PostureError),
    /// The facts are not those that were measured.
    #[error(
        "the posture's facts give PCR15 {facts}, but the document has {found}: they belong to another guest or were changed"
    )]
    PostureMismatch {
        /// From the facts.
        facts: Pcr,
        /// In the document.
        found: Pcr,
    },
    /// The posture says something else than the certificate about who has the leaf's key.
    #[error(
        "the posture says that the document's key is in {posture}, its certificate says in {certificate}: one of them was made for another key"
    )]
    KeyPlace {
        /// By the posture.
        posture: String,
        /// By the certificate.
        certificate: String,
    },
    /// A fact is not what the policy wants.
    #[error("posture: `{name}` is {found}; the policy wants {wanted}")]
    Posture {
        /// Which.
        name: String,
        /// The fact.
        found: String,
        /// In the policy.
        wanted: String,
    },
}

/// What a document established. [`fmt::Display`] is for people; it serialises for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Established {
    /// The guest's name.
    pub module_id: String,
    /// When the document was made, in milliseconds since 1970.
    pub timestamp: u64,
    /// How long ago that was, in seconds.
    pub age_seconds: u64,
    /// Whether the guest runs in debug mode: then neither image nor posture is proved.
    pub debug: bool,
    /// PCR0 of the security module that has the key which signed, by the certificate; none if the guest's VMM has it.
    pub security_module: Option<Pcr>,
    /// Whether the document carries the nonce that was sent.
    pub nonce_matched: bool,
    /// The locked registers.
    pub pcrs: BTreeMap<u16, Pcr>,
    /// The registers that the policy demanded.
    pub pcrs_checked: Vec<u16>,
    /// The facts, if they were given and PCR15 proves them.
    pub posture: Option<Posture>,
    /// The facts that the policy demanded.
    pub posture_checked: Vec<String>,
    /// What the guest bound to the document.
    #[serde(serialize_with = "as_hex")]
    pub user_data: Option<Vec<u8>>,
    /// The key that the guest bound to the document.
    #[serde(serialize_with = "as_hex")]
    pub public_key: Option<Vec<u8>>,
    /// The nonce in the document.
    #[serde(serialize_with = "as_hex")]
    pub nonce: Option<Vec<u8>>,
    /// SHA-256 of the root certificate.
    pub root_sha256: String,
    /// When the leaf certificate expires, in seconds since 1970.
    pub leaf_not_after: u64,
}

/// Checks evidence against expectations.
pub fn verify(evidence: Evidence<'_>, expected: Expectations<'_>) -> Result<Established, VerifyError> {
    let signed = document::parse(evidence.document)?;
    let chain = chain::validate(&signed.cabundle, &signed.certificate, expected.roots, expected.now / 1000)
        .map_err(|(position, fault)| VerifyError::Chain { position, fault })?;
    if !es384::verify_fixed(&chain.leaf_public, &signed.to_be_signed, &signed.signature) {
        return Err(VerifyError::Signature);
    }
    let policy = expected.policy;
    let claims = signed.claims;
    check_name(&claims, &chain.leaf_name, policy)?;
    let age_seconds = check_age(&claims, expected.now, policy)?;
    let debug = claims.pcrs.get(&0).is_none_or(Pcr::is_zero);
    if debug && !policy.allow_debug {
        return Err(VerifyError::Debug);
    }
    let nonce_matched = check_nonce(&claims, expected.nonce, policy)?;
    check_registers(&claims, policy)?;
    let posture = check_posture(&claims, evidence.posture.filter(|_| !debug), policy)?;
    if let Some(posture) = &posture {
        check_key_place(posture, chain.leaf_module)?;
    }

    let root = signed.cabundle.first().map(Vec::as_slice).unwrap_or_default();
    let root_sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
    Ok(Established {
        module_id: claims.module_id,
        timestamp: claims.timestamp,
        age_seconds,
        debug,
        security_module: chain.leaf_module,
        nonce_matched,
        pcrs: claims.pcrs,
        pcrs_checked: policy.pcrs.keys().copied().collect(),
        posture,
        posture_checked: policy.posture.keys().cloned().collect(),
        user_data: claims.user_data,
        public_key: claims.public_key,
        nonce: claims.nonce,
        root_sha256: hex::encode(root_sha256.as_ref()),
        leaf_not_after: chain.leaf_not_after,
    })
}

fn check_name(claims: &Claims, certificate: &str, policy: &Policy) -> Result<(), VerifyError> {
    let module_id = &claims.module_id;
    // Nitro's certificates name the region after the module id, behind a full stop.
    let rest = certificate.strip_prefix(module_id.as_str());
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
        let certificate = certificate.to_owned();
        return Err(VerifyError::OtherModule { module_id: module_id.clone(), certificate });
    }
    match &policy.module_id {
        Some(wanted) if !wanted.accepts(module_id) => {
            Err(VerifyError::Module { found: module_id.clone(), wanted: wanted.to_string() })
        }
        _ => Ok(()),
    }
}

fn check_age(claims: &Claims, now: u64, policy: &Policy) -> Result<u64, VerifyError> {
    let seconds = claims.timestamp.saturating_sub(now) / 1000;
    if seconds > CLOCK_SKEW_SECONDS {
        return Err(VerifyError::Future { seconds });
    }
    let age = now.saturating_sub(claims.timestamp) / 1000;
    match policy.max_age_seconds {
        Some(allowed) if age > allowed => Err(VerifyError::TooOld { age, allowed }),
        _ => Ok(age),
    }
}

fn check_nonce(claims: &Claims, sent: Option<&[u8]>, policy: &Policy) -> Result<bool, VerifyError> {
    match sent {
        Some(sent) if claims.nonce.as_deref() == Some(sent) => Ok(true),
        Some(sent) => Err(VerifyError::Nonce {
            found: claims
                .nonce
                .as_ref()
                .map_or("no nonce".into(), |nonce| format!("nonce {}", hex::encode(nonce))),
            wanted: hex::encode(sent),
        }),
        None if policy.nonce_required => Err(VerifyError::NonceNotGiven),
        None => Ok(false),
    }
}

fn check_registers(claims: &Claims, policy: &Policy) -> Result<(), VerifyError> {
    for (index, wanted) in &policy.pcrs {
        let found = claims.pcrs.get(index).ok_or(VerifyError::PcrMissing(*index))?;
        if !wanted.accepts(found) {
            return Err(VerifyError::Pcr { index: *index, found: *found, wanted: wanted.to_string() });
        }
    }
    Ok(())
}

fn check_posture(
    claims: &Claims,
    facts: Option<&[u8]>,
    policy: &Policy,
) -> Result<Option<Posture>, VerifyError> {
    let Some(facts) = facts else {
        return match policy.posture.keys().next() {
            Some(name) => Err(VerifyError::PostureNotGiven(name.clone())),
            None => Ok(None),
        };
    };
    let posture = Posture::parse(facts)?;
    let found = *claims.pcrs.get(&pcr::POSTURE).ok_or(VerifyError::PcrMissing(pcr::POSTURE))?;
    if posture.pcr() != found {
        return Err(VerifyError::PostureMismatch { facts: posture.pcr(), found });
    }
    for (name, requirement) in &policy.posture {
        let fact = posture.get(name);
        if !requirement.is_met_by(fact) {
            return Err(VerifyError::Posture {
                name: name.clone(),
                found: fact.map_or("not known".into(), ToString::to_string),
                wanted: requirement.to_string(),
            });
        }
    }
    Ok(Some(posture))
}

/// The posture is the VMM's word, sealed into documents by whoever has the key; the certificate is the platform's, from before.
fn check_key_place(posture: &Posture, certified: Option<Pcr>) -> Result<(), VerifyError> {
    let said = |name| posture.get(name).map(ToString::to_string).unwrap_or_default();
    let said = (said(fact::LEAF_KEY) == "module").then(|| said(fact::MODULE_PCR0));
    let certified = certified.map(|pcr0| pcr0.to_string());
    if said == certified {
        return Ok(());
    }
    let place = |module: Option<String>| {
        module.map_or("the guest's VMM".into(), |pcr0| format!("the security module {pcr0}"))
    };
    Err(VerifyError::KeyPlace { posture: place(said), certificate: place(certified) })
}

fn as_hex<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(hex::encode).serialize(serializer)
}

impl fmt::Display for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped, because the guest chose it and it goes to a terminal.
        writeln!(f, "module id    {}", self.module_id.escape_debug())?;
        writeln!(f, "root         SHA-256 {}", self.root_sha256)?;
        writeln!(f, "age          {} s", self.age_seconds)?;
        writeln!(f, "nonce        {}", if self.nonce_matched { "matches" } else { "not checked" })?;
        writeln!(
            f,
            "mode         {}",
            if self.debug { "DEBUG: proves nothing about image or host" } else { "production" }
        )?;
        match &self.security_module {
            Some(pcr0) => writeln!(f, "key in       security module {pcr0}")?,
            None => writeln!(f, "key in       the guest's VMM")?,
        }
        for (index, value) in &self.pcrs {
            let checked = self.pcrs_checked.contains(index);
            if checked || !value.is_zero() {
                writeln!(f, "PCR{index:<9} {value}{}", if checked { "  as demanded" } else { "" })?;
            }
        }
        for (name, value) in [("user data", &self.user_data), ("public key", &self.public_key)] {
            if let Some(value) = value {
                writeln!(f, "{name:<12} {}", hex::encode(value))?;
            }
        }
        match &self.posture {
            None => writeln!(f, "posture      not established"),
            Some(posture) => {
                writeln!(f, "posture      proved by PCR15")?;
                posture.facts().try_for_each(|(name, fact)| {
                    let checked = self.posture_checked.iter().any(|checked| checked == name);
                    writeln!(f, "  {name} = {fact}{}", if checked { "  as demanded" } else { "" })
                })
            }
        }
    }
}
