//! Every parser before noise and before almost-right input: no panic, nothing left over, one way to write a thing.
//!
//! `PROPTEST_CASES=50000 cargo test -p casemate-attestation --test parsers` is the long run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::LazyLock;

use casemate_attestation::document;
use casemate_attestation::pcr::Mode;
use casemate_attestation::platform::{self, PlatformKey};
use casemate_attestation::policy::Policy;
use casemate_attestation::posture::{Fact, Posture};
use casemate_attestation::signing::SigningScalar;
use casemate_attestation::verify::{Evidence, Expectations, verify};
use proptest::prelude::*;
use proptest::sample::Index;
use support::{Leaf, MODULE_ID, NOW, attest, nsm, posture};

static PLATFORM: LazyLock<PlatformKey> = LazyLock::new(|| PlatformKey::generate(NOW).unwrap());
static DOCUMENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| attest(&mut nsm(&PLATFORM, Mode::Production, NOW), b"nonce", b"data"));

/// Bytes with a few of them set, inserted or removed: what a parser is most likely to stumble over.
fn altered(original: &[u8], changes: &[(Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for (index, kind, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = index.index(bytes.len());
        match kind % 4 {
            0 => bytes[at] = *byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.insert(at, *byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    prop::collection::vec(any::<(Index, u8, u8)>(), 1..5)
}

fn facts() -> impl Strategy<Value = Posture> {
    let fact = prop_oneof![
        any::<bool>().prop_map(Fact::Flag),
        any::<u64>().prop_map(Fact::Number),
        ".{0,100}".prop_map(Fact::Text)
    ];
    prop::collection::btree_map("[a-z0-9_.-]{1,64}", fact, 0..30)
        .prop_map(|facts| Posture::try_from(facts).unwrap())
}

/// Signing and verifying makes these cases a hundred times as slow as the others.
fn fewer() -> ProptestConfig {
    let all = ProptestConfig::default();
    ProptestConfig { cases: all.cases.div_ceil(4), ..all }
}

proptest! {
    #![proptest_config(fewer())]

    /// Altered certificates, signed over again by an honest leaf key: the chain must hold by itself.
    #[test]
    fn certificates(leaf_changes in changes(), root_changes in changes(), which in 0..2_u8) {
        let mut leaf = Leaf::new(&PLATFORM, MODULE_ID, NOW);
        let honest = (leaf.certificate.clone(), leaf.cabundle.clone());
        match which {
            0 => leaf.certificate = altered(&leaf.certificate, &leaf_changes),
            _ => leaf.cabundle = vec![altered(PLATFORM.root(), &root_changes)],
        }
        if honest == (leaf.certificate.clone(), leaf.cabundle.clone()) {
            return Ok(());
        }
        let claims = document::Claims {
            module_id: MODULE_ID.into(), timestamp: NOW * 1000, pcrs: [(0, posture().pcr())].into(),
            public_key: None, user_data: None, nonce: None,
        };
        // The altered root is even trusted, so that it is looked at.
        let roots = [PLATFORM.root().to_vec(), leaf.cabundle[0].clone()];
        let altered_root = which == 1;
        let bytes = document::seal(claims, &mut leaf).unwrap();
        let policy = Policy::default();
        let expected = Expectations { roots: &roots, policy: &policy, nonce: None, now: NOW * 1000 };
        let outcome = verify(Evidence { document: &bytes, posture: None }, expected);
        // A trusted root is trusted whatever its own signature says; nothing altered under it is.
        prop_assert!(altered_root || outcome.is_err());
    }
}

proptest! {
    #[test]
    fn documents(noise in prop::collection::vec(any::<u8>(), 0..300), changes in changes()) {
        let _ = document::parse(&noise);
        let bytes = altered(&DOCUMENT, &changes);
        if bytes == *DOCUMENT {
            return Ok(());
        }
        let _ = document::parse(&bytes);
        // Whatever was altered, it is not believed.
        let roots = [PLATFORM.root().to_vec()];
        let policy = Policy { allow_debug: true, ..Policy::default() };
        let expected = Expectations { roots: &roots, policy: &policy, nonce: None, now: NOW * 1000 };
        let outcome = verify(Evidence { document: &bytes, posture: None }, expected);
        prop_assert!(outcome.is_err());
    }

    #[test]
    fn postures_survive_the_round_trip(posture in facts()) {
        let bytes = posture.encode();
        prop_assert_eq!(Posture::parse(&bytes), Ok(posture.clone()));
        let json = serde_json::to_vec(&posture).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Posture>(&json).unwrap(), posture);
        // Another library, which knows of facts nothing but the JSON, writes the same bytes.
        let facts: serde_cbor::Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(serde_cbor::to_vec(&facts).unwrap(), bytes);
    }

    /// Two encodings of one posture do not exist: whatever parses is what would be written.
    #[test]
    fn postures(noise in prop::collection::vec(any::<u8>(), 0..100), changes in changes()) {
        for bytes in [noise, altered(&posture().encode(), &changes)] {
            if let Ok(posture) = Posture::parse(&bytes) {
                prop_assert_eq!(posture.encode(), bytes);
            }
        }
    }

    #[test]
    fn policies(noise in ".{0,100}", changes in changes()) {
        let policy = br#"{"pcrs": {"0": ["00", "11"]}, "posture": {"swap": false, "landlock": {"at_least": 4}}}"#;
        let _ = Policy::parse(noise.as_bytes());
        let _ = Policy::parse(&altered(policy, &changes));
    }

    #[test]
    fn pem_files(noise in prop::collection::vec(any::<u8>(), 0..200), changes in changes()) {
        let pem = platform::encode_root(PLATFORM.root()).unwrap();
        let key = b"-----BEGIN EC PRIVATE KEY-----\nMAoCAQEEBQECAwQF\n-----END EC PRIVATE KEY-----\n";
        for bytes in [noise, altered(pem.as_bytes(), &changes), altered(key, &changes)] {
            let _ = platform::parse_root(&bytes);
            prop_assert!(SigningScalar::from_pem(&bytes).is_err());
        }
    }
}
