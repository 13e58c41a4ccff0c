//! The NSM's answers: nsm-api's documentation, and QEMU's `hw/virtio/virtio-nsm.c` where that is silent.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use casemate_attestation::document::{self, DocumentSigner, SignerError};
use casemate_attestation::nsm::api::{self, ByteBuf, Digest, ErrorCode, Request, Response};
use casemate_attestation::nsm::{Nsm, RANDOM_LEN, REQUEST_MAX, RESPONSE_MAX, Services, ServicesError};
use casemate_attestation::pcr::{Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use proptest::prelude::*;
use support::{FixedClock, Leaf, MODULE_ID, NOW, ask, launch, nsm};

fn new(mode: Mode) -> Nsm<Leaf, FixedClock> {
    nsm(&PlatformKey::generate(NOW).unwrap(), mode, NOW)
}

fn describe(nsm: &mut Nsm<Leaf, FixedClock>, index: u16) -> (Pcr, bool) {
    match ask(nsm, &Request::DescribePCR { index }) {
        Response::DescribePCR { lock, data } => (Pcr::new(data.try_into().unwrap()), lock),
        other => panic!("{other:?}"),
    }
}

#[test]
fn launch_registers_are_measured_and_locked_from_the_start() {
    let mut nsm = new(Mode::Production);
    let measured = launch(Mode::Production);
    let expected = [
        (0, measured.image.pcr0),
        (1, measured.image.pcr1),
        (2, measured.image.pcr2),
        (3, measured.role),
        (4, measured.instance),
        (8, measured.image.pcr8.unwrap()),
        (15, measured.posture),
    ];
    for index in 0..16 {
        let value = expected.iter().find(|(at, _)| *at == index).map_or(Pcr::ZERO, |(_, value)| *value);
        assert_eq!(describe(&mut nsm, index), (value, true), "PCR{index}");
        for request in [Request::ExtendPCR { index, data: vec![1] }, Request::LockPCR { index }] {
            assert!(
                matches!(ask(&mut nsm, &request), Response::Error(ErrorCode::ReadOnlyIndex)),
                "{request:?}"
            );
        }
        assert_eq!(describe(&mut nsm, index).0, value);
    }
}

#[test]
fn guest_registers_can_be_extended_until_they_are_locked() {
    let mut nsm = new(Mode::Production);
    for index in 16..32 {
        assert_eq!(describe(&mut nsm, index), (Pcr::ZERO, false));
        let mut expected = Pcr::ZERO;
        for data in [&b"first"[..], b"", b"third"] {
            expected = expected.extended(data);
            match ask(&mut nsm, &Request::ExtendPCR { index, data: data.into() }) {
                Response::ExtendPCR { data } => assert_eq!(data, expected.as_bytes()),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(ask(&mut nsm, &Request::LockPCR { index }), Response::LockPCR));
        assert_eq!(describe(&mut nsm, index), (expected, true));
        for request in [Request::ExtendPCR { index, data: vec![1] }, Request::LockPCR { index }] {
            assert!(matches!(ask(&mut nsm, &request), Response::Error(ErrorCode::ReadOnlyIndex)));
        }
    }
}

#[test]
fn an_extension_is_sha384_of_old_value_and_data() {
    // head -c48 /dev/zero | cat - <(printf abc) | sha384sum
    let expected = "b1c16eb7634112b7";
    let value = Pcr::ZERO.extended(b"abc").to_string();
    assert_eq!(value.len(), 96);
    assert!(value.starts_with(expected), "{value}");
}

#[test]
fn indices_beyond_the_last_do_not_exist() {
    let mut nsm = new(Mode::Production);
    for index in [32, 33, 255, 256, u16::MAX] {
        for request in [
            Request::DescribePCR { index },
            Request::ExtendPCR { index, data: vec![] },
            Request::LockPCR { index },
            Request::LockPCRs { range: index.max(33) },
        ] {
            assert!(
                matches!(ask(&mut nsm, &request), Response::Error(ErrorCode::InvalidIndex)),
                "{request:?}"
            );
        }
    }
}

#[test]
fn a_range_locks_everything_below_it() {
    for range in 0..=32 {
        let mut nsm = new(Mode::Production);
        assert!(matches!(ask(&mut nsm, &Request::LockPCRs { range }), Response::LockPCRs));
        for index in 0..32 {
            assert_eq!(describe(&mut nsm, index).1, index < range.max(16), "{range}: PCR{index}");
        }
    }
}

#[test]
fn the_description_names_module_and_locks() {
    let mut nsm = new(Mode::Production);
    ask(&mut nsm, &Request::LockPCR { index: 20 });
    match ask(&mut nsm, &Request::DescribeNSM) {
        Response::DescribeNSM { version_major, module_id, max_pcrs, locked_pcrs, digest, .. } => {
            assert_eq!((version_major, module_id.as_str(), max_pcrs), (1, MODULE_ID, 32));
            assert_eq!(locked_pcrs, (0..16).chain([20]).collect());
            assert_eq!(digest, Digest::SHA384);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn randomness_comes_256_bytes_at_a_time_and_never_twice() {
    let mut nsm = new(Mode::Production);
    let mut next = || match ask(&mut nsm, &Request::GetRandom) {
        Response::GetRandom { random } => random,
        other => panic!("{other:?}"),
    };
    let (first, second) = (next(), next());
    assert_eq!((first.len(), second.len()), (RANDOM_LEN, RANDOM_LEN));
    assert_ne!(first, second);
}

#[test]
fn debug_mode_shows_zeros_everywhere() {
    let mut nsm = new(Mode::Debug);
    for index in 0..16 {
        assert_eq!(describe(&mut nsm, index), (Pcr::ZERO, true));
    }
    let signed = document::parse(&support::attest(&mut nsm, b"n", b"")).unwrap();
    assert_eq!(signed.claims.pcrs.len(), 16);
    assert!(signed.claims.pcrs.values().all(Pcr::is_zero));
}

#[test]
fn only_locked_registers_are_in_documents() {
    let mut nsm = new(Mode::Production);
    ask(&mut nsm, &Request::ExtendPCR { index: 17, data: b"open".into() });
    ask(&mut nsm, &Request::ExtendPCR { index: 18, data: b"locked".into() });
    ask(&mut nsm, &Request::LockPCR { index: 18 });
    let signed = document::parse(&support::attest(&mut nsm, b"n", b"")).unwrap();
    assert_eq!(
        signed.claims.pcrs.keys().copied().collect::<Vec<_>>(),
        (0..16).chain([18]).collect::<Vec<_>>()
    );
    assert_eq!(signed.claims.pcrs[&18], Pcr::ZERO.extended(b"locked"));
}

#[test]
fn documents_keep_the_published_form() {
    let mut nsm = new(Mode::Production);
    let document = support::attest(&mut nsm, b"nonce", b"data");
    // Untagged array of four; protected {1: -35}; unprotected {}; byte string with a 16-bit length.
    assert_eq!(document[..8], [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x59]);
    // A map of nine, the names in Nitro's order.
    assert_eq!(document[10], 0xa9);
    let names = [
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    ];
    let text = |name: &str| [&[0x60 + name.len() as u8], name.as_bytes()].concat();
    let places: Vec<_> = names
        .iter()
        .map(|name| document.windows(name.len() + 1).position(|bytes| bytes == text(name)).unwrap())
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    let signed = document::parse(&document).unwrap();
    assert_eq!(signed.claims.timestamp, NOW * 1000);
    assert_eq!(
        (signed.claims.nonce.unwrap(), signed.claims.user_data.unwrap()),
        (b"nonce".into(), b"data".into())
    );
}

#[test]
fn each_attestation_field_has_its_limit() {
    let mut nsm = new(Mode::Production);
    ask(&mut nsm, &Request::LockPCRs { range: 32 });
    let bytes = |length: usize| Some(ByteBuf::from(vec![0xff; length]));
    let request = |user_data, nonce, public_key| Request::Attestation {
        user_data: bytes(user_data),
        nonce: bytes(nonce),
        public_key: bytes(public_key),
    };
    let largest = request(512, 512, 1024);
    match ask(&mut nsm, &largest) {
        Response::Attestation { document } => assert!(document::parse(&document).is_ok()),
        other => panic!("{other:?}"),
    }
    for over in [request(513, 0, 0), request(0, 513, 0), request(0, 0, 1025)] {
        assert!(matches!(ask(&mut nsm, &over), Response::Error(ErrorCode::InputTooLarge)));
    }
}

/// Nitro's own programs encode with `serde_cbor`.
#[test]
fn messages_are_the_bytes_that_nsm_api_makes() {
    let bytes = |length: usize| Some(ByteBuf::from(vec![0x5a; length]));
    let requests = [
        Request::DescribeNSM,
        Request::GetRandom,
        Request::DescribePCR { index: 31 },
        Request::ExtendPCR { index: 16, data: (0..=255).collect() },
        Request::LockPCR { index: 300 },
        Request::LockPCRs { range: 24 },
        Request::Attestation { user_data: None, nonce: bytes(0), public_key: None },
        Request::Attestation { user_data: bytes(23), nonce: bytes(24), public_key: bytes(1024) },
    ];
    for request in requests {
        let encoded = api::encode_request(&request);
        assert_eq!(encoded, serde_cbor::to_vec(&request).unwrap(), "{request:?}");
        let decoded = api::decode_request(&encoded).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        assert!(api::decode_request(&[&encoded[..], &[0xf6]].concat()).is_err(), "something follows");
        assert!(api::decode_request(&encoded[..encoded.len() - 1]).is_err(), "something is missing");
    }
    let responses = [
        Response::LockPCR,
        Response::Error(ErrorCode::InputTooLarge),
        Response::DescribePCR { lock: true, data: vec![0xff; 48] },
        Response::Attestation { document: vec![7; 5000] },
        Response::GetRandom { random: (0..=255).collect() },
        Response::DescribeNSM {
            version_major: 1,
            version_minor: 0,
            version_patch: 0x100,
            module_id: "i-0-enc0".to_owned(),
            max_pcrs: 32,
            locked_pcrs: [0, 1, 31].into(),
            digest: Digest::SHA384,
        },
    ];
    for response in responses {
        let encoded = api::encode_response(&response);
        assert_eq!(encoded, serde_cbor::to_vec(&response).unwrap(), "{response:?}");
        let decoded = api::decode_response(&encoded).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{response:?}"));
    }
}

#[test]
fn what_is_no_request_is_an_invalid_operation() {
    let mut nsm = new(Mode::Production);
    let mut answer = |bytes: &[u8]| api::decode_response(&nsm.handle(bytes)).unwrap();
    for bytes in [
        &b""[..],
        b"\x00",
        b"\x69GetRandon",
        b"\x69GetRandom\x00",
        b"\xa1\x6bDescribePCR\xa0",
        b"\xa1\x6bDescribePCR\xa1\x65index\x1a\x00\x01\x00\x00",
        b"\xa1\x6bDescribePCR\xa1\x65index\x20",
        b"\xa2\x67LockPCR\xa1\x65index\x10\x67LockPCR\xa1\x65index\x11",
        b"\x9f",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(matches!(answer(bytes), Response::Error(ErrorCode::InvalidOperation)), "{bytes:02x?}");
    }
    assert!(matches!(answer(&[0; REQUEST_MAX]), Response::Error(ErrorCode::InvalidOperation)));
    assert!(matches!(answer(&[0; REQUEST_MAX + 1]), Response::Error(ErrorCode::InputTooLarge)));
    // As other CBOR libraries write it: the index in a longer form, text instead of bytes.
    assert!(matches!(
        answer(b"\xa1\x69ExtendPCR\xa2\x65index\x19\x00\x10\x64data\x63abc"),
        Response::ExtendPCR { .. }
    ));
    assert!(matches!(answer(b"\xa1\x6bAttestation\xa0"), Response::Attestation { .. }));
}

struct Broken;

impl Services for Broken {
    fn unix_millis(&mut self) -> Result<u64, ServicesError> {
        Err(ServicesError)
    }

    fn fill_random(&mut self, _: &mut [u8]) -> Result<(), ServicesError> {
        Err(ServicesError)
    }
}

struct Signer {
    cabundle: Vec<Vec<u8>>,
    fails: bool,
}

impl DocumentSigner for Signer {
    fn certificate(&self) -> &[u8] {
        &[1]
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    fn sign(&mut self, _: &[u8]) -> Result<[u8; 96], SignerError> {
        if self.fails { Err(SignerError) } else { Ok([0; 96]) }
    }
}

#[test]
fn failures_of_the_host_are_internal_errors_and_long_answers_do_not_fit() {
    let attestation =
        api::encode_request(&Request::Attestation { user_data: None, nonce: None, public_key: None });
    let random = api::encode_request(&Request::GetRandom);
    let launch = launch(Mode::Production);
    let signer = |fails, count| Signer { cabundle: vec![vec![0; 1024]; count], fails };
    let answer = |bytes: Vec<u8>| api::decode_response(&bytes).unwrap();

    let mut broken = Nsm::new(MODULE_ID.into(), &launch, signer(false, 1), Broken);
    for request in [&attestation, &random] {
        assert!(matches!(answer(broken.handle(request)), Response::Error(ErrorCode::InternalError)));
    }
    let mut mute = Nsm::new(MODULE_ID.into(), &launch, signer(true, 1), FixedClock(NOW));
    assert!(matches!(answer(mute.handle(&attestation)), Response::Error(ErrorCode::InternalError)));
    let mut long = Nsm::new(MODULE_ID.into(), &launch, signer(false, 12), FixedClock(NOW));
    assert!(matches!(answer(long.handle(&attestation)), Response::Error(ErrorCode::BufferTooSmall)));
}

/// A request's outline, so that properties can speak about it.
#[derive(Clone, Debug)]
enum Step {
    Extend(u16, Vec<u8>),
    Lock(u16),
    LockFirst(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40_u16, prop::collection::vec(any::<u8>(), 0..8))
            .prop_map(|(index, data)| Step::Extend(index, data)),
        (0..40_u16).prop_map(Step::Lock),
        (0..40_u16).prop_map(Step::LockFirst),
    ]
}

proptest! {
    /// Whatever is asked in whatever order: PCR0–15 never change, and a locked register never changes.
    #[test]
    fn locks_hold(steps in prop::collection::vec(step(), 0..60)) {
        let mut bank = casemate_attestation::pcr::Bank::launch(&launch(Mode::Production));
        for step in steps {
            let before: Vec<_> = (0..32).map(|index| bank.describe(index).unwrap()).collect();
            let changed = match &step {
                Step::Extend(index, data) => bank.extend(*index, data).is_ok().then_some(*index),
                Step::Lock(index) => { let _ = bank.lock(*index); None }
                Step::LockFirst(range) => { let _ = bank.lock_first(*range); None }
            };
            for (index, (value, locked)) in (0..).zip(before) {
                let (now, locked_now) = bank.describe(index).unwrap();
                prop_assert!(!locked || locked_now, "PCR{index} was unlocked by {step:?}");
                prop_assert!(index >= 16 || locked);
                if now != value {
                    prop_assert!(!locked && changed == Some(index), "PCR{index} was changed by {step:?}");
                }
            }
        }
    }

    /// Every request that is CBOR or nearly so gets a response that the client's types can read.
    #[test]
    fn every_request_gets_a_response(noise in prop::collection::vec(any::<u8>(), 0..64), at in 0..80_usize, byte: u8) {
        let mut nsm = Nsm::new(
            MODULE_ID.into(), &launch(Mode::Production), Signer { cabundle: vec![vec![1]], fails: false }, FixedClock(NOW),
        );
        let mut request = api::encode_request(&Request::Attestation {
            user_data: Some(ByteBuf::from(noise.clone())), nonce: None, public_key: Some(ByteBuf::from(b"key")),
        });
        if let Some(place) = request.get_mut(at) {
            *place = byte;
        }
        for request in [noise, request] {
            let response = nsm.handle(&request);
            prop_assert!(response.len() <= RESPONSE_MAX);
            prop_assert!(api::decode_response(&response).is_ok());
        }
    }
}
