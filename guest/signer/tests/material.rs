//! The bytes of key material: what is written is read again as the same key, and nothing else is read.

use std::sync::OnceLock;

use casemate_signer::crypto::{
    AgreementKey, CryptoError, KeySpec, KeyUsage, Material, MessageType, SigningAlgorithm, digest_of,
};
use proptest::prelude::*;

/// Every spec and usage that is offered; of RSA only the smallest, for the sake of time.
const OFFERED: &[(KeySpec, KeyUsage)] = &[
    (KeySpec::Symmetric, KeyUsage::EncryptDecrypt),
    (KeySpec::Rsa2048, KeyUsage::EncryptDecrypt),
    (KeySpec::Rsa2048, KeyUsage::SignVerify),
    (KeySpec::P256, KeyUsage::SignVerify),
    (KeySpec::P256, KeyUsage::KeyAgreement),
    (KeySpec::P384, KeyUsage::SignVerify),
    (KeySpec::P384, KeyUsage::KeyAgreement),
    (KeySpec::P521, KeyUsage::SignVerify),
    (KeySpec::P521, KeyUsage::KeyAgreement),
    (KeySpec::Secp256k1, KeyUsage::SignVerify),
    (KeySpec::Ed25519, KeyUsage::SignVerify),
    (KeySpec::Hmac224, KeyUsage::GenerateVerifyMac),
    (KeySpec::Hmac256, KeyUsage::GenerateVerifyMac),
    (KeySpec::Hmac384, KeyUsage::GenerateVerifyMac),
    (KeySpec::Hmac512, KeyUsage::GenerateVerifyMac),
    (KeySpec::MlDsa44, KeyUsage::SignVerify),
    (KeySpec::MlDsa65, KeyUsage::SignVerify),
    (KeySpec::MlDsa87, KeyUsage::SignVerify),
    (KeySpec::MlKem512, KeyUsage::EncapsulateDecapsulate),
    (KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate),
    (KeySpec::MlKem1024, KeyUsage::EncapsulateDecapsulate),
];

/// What the first key makes, the second takes.
fn are_one_key(spec: KeySpec, first: &Material, second: &Material) {
    assert_eq!(first.public_key(), second.public_key(), "{spec}");
    match (first, second) {
        (Material::Symmetric(first), Material::Symmetric(second)) => {
            let mut text = b"text".to_vec();
            first.seal(&[1; 32], b"", &mut text).expect("seal");
            assert_eq!(second.open(&[1; 32], b"", &text).expect("open").as_slice(), b"text");
        }
        (Material::Oaep(first), Material::Oaep(second)) => {
            for algorithm in spec.encryption_algorithms() {
                let ciphertext = first.encrypt(*algorithm, b"text").expect("encrypt");
                assert_eq!(second.decrypt(*algorithm, &ciphertext).expect("decrypt").as_slice(), b"text");
            }
        }
        (Material::Signing(first), Material::Signing(second)) => {
            for algorithm in spec.signing_algorithms() {
                let message_type = match algorithm {
                    SigningAlgorithm::Ed25519ph => MessageType::Digest,
                    _ => MessageType::Raw,
                };
                let input = digest_of(*algorithm, message_type, &[7; 64]).expect("digest");
                let signature = second.0.sign(*algorithm, &input).expect("sign");
                first.1.verify(*algorithm, &input, &signature).expect("verify");
            }
        }
        (Material::Mac(first), Material::Mac(second)) => {
            first.verify(b"text", &second.sign(b"text")).expect("verify");
        }
        (Material::Agreement(first), Material::Agreement(second)) => {
            let Ok(Material::Agreement(peer)) = Material::generate(spec, KeyUsage::KeyAgreement) else {
                panic!("{spec}: no peer");
            };
            let secret = first.derive(peer.spki()).expect("derive");
            assert_eq!(second.derive(peer.spki()).expect("derive"), secret);
            assert_eq!(peer.derive(second.spki()).expect("derive"), secret);
        }
        (Material::Kem(first), Material::Kem(second)) => {
            let (ciphertext, secret) = first.encapsulate().expect("encapsulate");
            assert_eq!(second.decapsulate(&ciphertext).expect("decapsulate"), secret);
        }
        _ => panic!("{spec}: two kinds of key"),
    }
}

#[test]
fn every_kind_of_key_is_read_as_it_was_written() {
    for (spec, usage) in OFFERED {
        let first = Material::generate(*spec, *usage).expect("generate");
        let bytes = first.to_bytes().expect("write");
        let second = Material::from_bytes(*spec, *usage, &bytes).expect("read");
        assert_eq!(second.to_bytes().expect("write again"), bytes, "{spec} {usage}");
        are_one_key(*spec, &first, &second);
    }
}

#[test]
fn every_offered_spec_and_usage_is_tested() {
    use KeySpec as S;
    let specs = [
        S::Rsa2048,
        S::P256,
        S::P384,
        S::P521,
        S::Secp256k1,
        S::Symmetric,
        S::Hmac224,
        S::Hmac256,
        S::Hmac384,
        S::Hmac512,
        S::MlDsa44,
        S::MlDsa65,
        S::MlDsa87,
        S::Ed25519,
        S::MlKem512,
        S::MlKem768,
        S::MlKem1024,
    ];
    for spec in specs {
        for usage in spec.usages() {
            assert!(OFFERED.contains(&(spec, *usage)), "{spec} {usage}");
        }
    }
    assert!(S::Sm2.usages().is_empty());
}

#[test]
fn the_bytes_of_one_spec_are_no_key_of_another() {
    let mut all = Vec::new();
    for (spec, usage) in OFFERED {
        let bytes = Material::generate(*spec, *usage).expect("generate").to_bytes().expect("write");
        all.push((*spec, *usage, bytes));
    }
    // Bytes without structure are a key of any spec with their length: only key pairs can tell.
    for (spec, usage, _) in all.iter().filter(|(spec, _, _)| spec.is_key_pair()) {
        for (other, _, bytes) in all.iter().filter(|(other, _, _)| other != spec) {
            assert!(Material::from_bytes(*spec, *usage, bytes).is_err(), "{other} was read as {spec}");
        }
    }
}

#[test]
fn what_is_cut_short_or_continued_is_no_key() {
    for (spec, usage) in OFFERED {
        let bytes = Material::generate(*spec, *usage).expect("generate").to_bytes().expect("write");
        let longer = [&bytes[..], &[0]].concat();
        for wrong in [&bytes[..bytes.len() - 1], &longer, &[]] {
            let length = wrong.len();
            assert!(Material::from_bytes(*spec, *usage, wrong).is_err(), "{spec} of {length} bytes");
        }
    }
}

#[test]
fn a_usage_that_the_spec_does_not_have_is_refused() {
    let refused = Material::generate(KeySpec::Ed25519, KeyUsage::KeyAgreement).err();
    assert_eq!(refused, Some(CryptoError::Mismatch("KEY_AGREEMENT", "ECC_NIST_EDWARDS25519")));
    let key = Material::generate(KeySpec::P256, KeyUsage::SignVerify).expect("generate");
    let bytes = key.to_bytes().expect("write");
    assert!(Material::from_bytes(KeySpec::P256, KeyUsage::EncryptDecrypt, &bytes).is_err());
    assert!(Material::from_bytes(KeySpec::Sm2, KeyUsage::SignVerify, &bytes).is_err());
}

#[test]
fn an_ml_kem_key_with_seed_and_expanded_key_is_read_if_they_belong_together() {
    use casemate_signer::crypto::KemKey;
    let usage = KeyUsage::EncapsulateDecapsulate;
    for (spec, head) in [
        (KeySpec::MlKem512, [0x06, 0xa6, 0x06, 0x60]),
        (KeySpec::MlKem768, [0x09, 0xa6, 0x09, 0x60]),
        (KeySpec::MlKem1024, [0x0c, 0xa6, 0x0c, 0x60]),
    ] {
        let key = KemKey::generate(spec).expect("generate");
        let seed_form = Material::Kem(key.into()).to_bytes().expect("write");
        let (start, seed) = seed_form.split_at(seed_form.len() - 64);
        let expanded = aws_lc_expanded(&seed_form);
        let both = |seed: &[u8], expanded: &[u8]| {
            let [high, low, expanded_high, expanded_low] = head;
            let inner = [
                &[0x30, 0x82, high, low, 0x04, 0x40][..],
                seed,
                &[0x04, 0x82, expanded_high, expanded_low],
                expanded,
            ]
            .concat();
            let octets = [&[0x04, 0x82][..], &(inner.len() as u16).to_be_bytes(), &inner].concat();
            let body = [&start[2..18], &octets].concat();
            [&[0x30, 0x82][..], &(body.len() as u16).to_be_bytes(), &body].concat()
        };
        let read = Material::from_bytes(spec, usage, &both(seed, &expanded)).expect("read");
        assert_eq!(read.to_bytes().expect("write"), seed_form, "the seed form is what is kept");
        let mut other = expanded.clone();
        other[5] ^= 1;
        assert!(Material::from_bytes(spec, usage, &both(seed, &other)).is_err(), "{spec}: two keys in one");
        assert!(Material::from_bytes(spec, usage, &both(&[0; 64], &expanded)).is_err());
    }
}

/// The expanded key of a PKCS #8 structure with a seed, from aws-lc itself.
fn aws_lc_expanded(pkcs8: &[u8]) -> Vec<u8> {
    use aws_lc_sys as sys;
    // SAFETY: the CBS describes `pkcs8`; the key is checked before use and freed once; the buffer is as long as
    // aws-lc says that it must be.
    unsafe {
        let mut cbs = sys::CBS { data: pkcs8.as_ptr(), len: pkcs8.len() };
        let key = sys::EVP_parse_private_key(&raw mut cbs);
        assert!(!key.is_null());
        let mut length = 0;
        assert_eq!(sys::EVP_PKEY_get_raw_private_key(key, std::ptr::null_mut(), &raw mut length), 1);
        let mut expanded = vec![0; length];
        assert_eq!(sys::EVP_PKEY_get_raw_private_key(key, expanded.as_mut_ptr(), &raw mut length), 1);
        sys::EVP_PKEY_free(key);
        expanded
    }
}

/// The bytes of one key of every kind.
fn bytes_of_all() -> &'static [(KeySpec, KeyUsage, Vec<u8>)] {
    static BYTES: OnceLock<Vec<(KeySpec, KeyUsage, Vec<u8>)>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let bytes = |spec, usage| Material::generate(spec, usage).and_then(|key| key.to_bytes());
        OFFERED
            .iter()
            .map(|(spec, usage)| (*spec, *usage, bytes(*spec, *usage).expect("a key").to_vec()))
            .collect()
    })
}

proptest! {
    #[test]
    fn damaged_bytes_are_refused_or_are_another_key(
        which in 0..OFFERED.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let (spec, usage, bytes) = &bytes_of_all()[which];
        let mut damaged = bytes.clone();
        for (at, to) in changes {
            let at = at.index(damaged.len());
            damaged[at] = to;
        }
        if cuts {
            damaged.truncate(cut.index(damaged.len()));
        }
        if let Ok(read) = Material::from_bytes(*spec, *usage, &damaged) {
            // What was read is a whole key: it is written and read again.
            let again = read.to_bytes().expect("write");
            let second = Material::from_bytes(*spec, *usage, &again).expect("read again");
            prop_assert_eq!(second.public_key(), read.public_key());
        }
    }

    #[test]
    fn damaged_public_keys_give_no_other_secret(
        change in (any::<prop::sample::Index>(), any::<u8>()),
        end in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        static KEYS: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
        let (own, peer) = KEYS.get_or_init(|| {
            let key = || Material::generate(KeySpec::P256, KeyUsage::KeyAgreement).expect("a key");
            (key().to_bytes().expect("write").to_vec(), key().public_key().expect("a public key").to_vec())
        });
        let Ok(Material::Agreement(own)) = Material::from_bytes(KeySpec::P256, KeyUsage::KeyAgreement, own) else {
            panic!("a key");
        };
        let own: &AgreementKey = &own;
        let mut damaged = peer.clone();
        let at = change.0.index(damaged.len());
        damaged[at] = change.1;
        if cuts {
            damaged.truncate(end.index(damaged.len()));
        }
        // A changed coordinate leaves the curve; what is still accepted is the same point, written in another way.
        let secret = own.derive(peer).expect("a secret");
        prop_assert!(own.derive(&damaged).is_ok_and(|other| other == secret) == own.derive(&damaged).is_ok());
    }
}
