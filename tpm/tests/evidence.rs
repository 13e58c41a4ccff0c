//! Evidence as a hostile platform might send it. The sample was made by an emulator (swtpm): `platform evidence --nonce sample`.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use casemate_tpm::evidence::{Evidence, EvidenceError, Expectations};
use casemate_tpm::pcr::{self, Value, Values};
use casemate_tpm::template;
use proptest::prelude::*;

const EVIDENCE: &[u8] = include_bytes!("sample/platform.evidence");
const AUTHORITY: &[u8] = include_bytes!("sample/authority.der");
const ENROLMENT: &[u8] = include_bytes!("sample/enrolment.json");
/// In 2027.
const NOW: u64 = 1_800_000_000;

fn expectations() -> Expectations {
    Expectations {
        ek_roots: vec![AUTHORITY.to_vec()],
        enrolment: Some(serde_json::from_slice(ENROLMENT).unwrap()),
        nonce: Some(b"sample".to_vec()),
        now: NOW,
        ..Expectations::default()
    }
}

/// What was proved once stays proved: the form does not change under those who have evidence.
#[test]
fn the_sample_verifies() {
    let evidence = Evidence::parse(EVIDENCE).unwrap();
    assert_eq!(evidence.encode(), EVIDENCE);
    let established = evidence.verify(&expectations()).unwrap();
    assert_eq!(established.vmm_register, pcr::VMM);
    assert_eq!(established.registers.len(), pcr::BOOT.len() + 1);
    let other = Expectations { nonce: Some(b"another".to_vec()), ..expectations() };
    assert!(matches!(evidence.verify(&other), Err(EvidenceError::Nonce)));
}

/// The digest that TCG's specification gives for this policy is not published; tpm2-tools agree (tests/tpm.rs). Here: every
/// register and every value counts.
#[test]
fn every_register_and_value_counts_in_the_policy() {
    let values = |numbers: &[(u8, u8)]| -> Values {
        numbers.iter().map(|(register, value)| (*register, Value([*value; 32]))).collect()
    };
    let sets =
        [&[(0, 1)][..], &[(0, 2)], &[(1, 1)], &[(0, 1), (1, 1)], &[(0, 1), (1, 2)], &[(0, 1), (2, 1)], &[]];
    let mut policies: Vec<_> = sets.iter().map(|set| pcr::policy(&values(set))).collect();
    policies.sort_unstable();
    policies.dedup();
    assert_eq!(policies.len(), sets.len());
}

/// Changes to bytes: places and values.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

fn altered(bytes: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, value) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *value;
    }
    bytes
}

proptest! {
    #[test]
    fn whatever_is_altered_is_not_believed(noise in prop::collection::vec(any::<u8>(), 0..300), changes in changes()) {
        prop_assert!(Evidence::parse(&noise).is_err());
        let bytes = altered(EVIDENCE, &changes);
        if let (Ok(evidence), true) = (Evidence::parse(&bytes), bytes != EVIDENCE) {
            prop_assert!(evidence.verify(&expectations()).is_err());
        }
    }

    /// Structures inside it: whatever is read is what would be written.
    #[test]
    fn public_areas(noise in prop::collection::vec(any::<u8>(), 0..200), changes in changes()) {
        let sample = Evidence::parse(EVIDENCE).unwrap();
        for bytes in [noise, altered(&sample.key, &changes), altered(&sample.ek, &changes), altered(&sample.ak, &changes)] {
            if let Ok(public) = template::parse(&bytes) {
                prop_assert_eq!(casemate_tpm::command::bytes(&public).unwrap(), bytes);
            }
        }
    }

    /// Signed structures that were not signed so, of any length.
    #[test]
    fn statements(noise in prop::collection::vec(any::<u8>(), 0..300), changes in changes(), which in 0..4) {
        let sample = Evidence::parse(EVIDENCE).unwrap();
        for bytes in [noise, altered(&sample.quoted.attest, &changes), altered(&sample.certified.signature, &changes)] {
            let mut evidence = sample.clone();
            let place = match which {
                0 => &mut evidence.quoted.attest,
                1 => &mut evidence.quoted.signature,
                2 => &mut evidence.certified.attest,
                _ => &mut evidence.certified.signature,
            };
            let same = *place == bytes;
            *place = bytes;
            prop_assert!(evidence.verify(&expectations()).is_err() || same);
        }
    }
}
