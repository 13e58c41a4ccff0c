//! Digests: computed here, since nothing about them is secret to the program that asks.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA224, SHA256, SHA384, SHA512};
use casemate_hsm::ck;
use casemate_hsm::message::MechanismInfo;

pub use aws_lc_rs::digest::{Context, digest};

/// The digests, by their mechanisms.
const ALGORITHMS: [(u64, &Algorithm); 5] = [
    (ck::CKM_SHA_1, &SHA1_FOR_LEGACY_USE_ONLY),
    (ck::CKM_SHA224, &SHA224),
    (ck::CKM_SHA256, &SHA256),
    (ck::CKM_SHA384, &SHA384),
    (ck::CKM_SHA512, &SHA512),
];

/// The digest of this mechanism.
pub fn algorithm(mechanism: u64) -> Option<&'static Algorithm> {
    ALGORITHMS.iter().find(|(kind, _)| *kind == mechanism).map(|(_, algorithm)| *algorithm)
}

/// What a token's list of mechanisms says about them.
pub fn mechanisms() -> impl Iterator<Item = MechanismInfo> {
    ALGORITHMS.iter().map(|(kind, _)| MechanismInfo { kind: *kind, min: 0, max: 0, flags: ck::CKF_DIGEST })
}
