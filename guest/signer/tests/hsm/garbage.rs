//! Whatever comes: an answer or a refusal, no panic, and never a secret.

use casemate_hsm::ck::*;
use casemate_hsm::mechanism::{Oaep, Pss};
use casemate_hsm::message::{Service, UserType};
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Parameter, Request};
use casemate_signer::Door;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use zeroize::Zeroizing;

use crate::client::run;
use crate::mechanisms::known;
use crate::token::{Application, on_token, post, token};

/// What no answer holds.
const SECRET: &[u8] = b"thirty-two bytes that are secret";

/// Numbers that mean something, and others.
fn number() -> BoxedStrategy<u64> {
    prop_oneof![
        4 => 0_u64..12,
        2 => 0_u64..0x220,
        2 => prop::sample::select(vec![CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_GCM, CKM_AES_CTR, CKM_AES_KEY_WRAP,
            CKM_AES_KEY_WRAP_KWP, CKM_RSA_AES_KEY_WRAP, CKM_ECDSA_SHA256, CKM_ECDH1_DERIVE, CKM_AES_KEY_GEN,
            CKM_EC_KEY_PAIR_GEN, CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC, CKM_ML_DSA, CKM_EDDSA, CKM_SHA256,
            CKM_ML_DSA_KEY_PAIR_GEN, CKM_AES_CMAC_GENERAL, CKM_SHA256_RSA_PKCS_PSS, CKM_AES_ECB]),
        1 => any::<u64>(),
    ].boxed()
}

fn bytes() -> BoxedStrategy<Bytes> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        number().prop_map(|number| Bytes::copy(&number.to_le_bytes())),
        any::<bool>().prop_map(|flag| Bytes::copy(&[u8::from(flag)])),
        Just(Bytes::copy(SECRET)),
        Just(Bytes::copy(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")),
        Just(Bytes::from(vec![0; 300])),
    ]
    .boxed()
}

fn attribute() -> BoxedStrategy<Attribute> {
    let kind = prop_oneof![
        0_u64..0x180,
        Just(CKA_PARAMETER_SET),
        Just(CKA_EC_PARAMS),
        Just(CKA_ALLOWED_MECHANISMS),
        any::<u64>()
    ];
    (kind, prop::option::weighted(0.9, bytes())).prop_map(|(kind, value)| Attribute { kind, value }).boxed()
}

fn template() -> BoxedStrategy<Option<Vec<Attribute>>> {
    prop::option::of(prop::collection::vec(attribute(), 0..6)).boxed()
}

fn parameter() -> BoxedStrategy<Parameter> {
    prop_oneof![
        Just(Parameter::None),
        bytes().prop_map(Parameter::Iv),
        (number(), bytes()).prop_map(|(bits, block)| Parameter::Ctr { bits, block }),
        (bytes(), bytes(), number()).prop_map(|(iv, aad, tag_bits)| Parameter::Gcm { iv, aad, tag_bits }),
        (number(), number(), number()).prop_map(|(hash, mgf, salt_length)| Parameter::Pss(Pss {
            hash,
            mgf,
            salt_length
        })),
        (number(), 0_u64..4, bytes()).prop_map(|(hash, mgf, label)| Parameter::Oaep(Oaep {
            hash,
            mgf,
            label
        })),
        (0_u64..9, bytes(), bytes()).prop_map(|(kdf, shared, public)| Parameter::Ecdh {
            kdf,
            shared,
            public
        }),
        number().prop_map(Parameter::MacLength),
        (number(), bytes()).prop_map(|(hedge, context)| Parameter::SignContext { hedge, context }),
        (number(), number(), number(), bytes()).prop_map(|(aes_bits, hash, mgf, label)| Parameter::RsaAes {
            aes_bits,
            oaep: Oaep { hash, mgf, label }
        }),
    ]
    .boxed()
}

fn request() -> BoxedStrategy<Request> {
    let mechanism = prop::option::weighted(
        0.9,
        (number(), parameter()).prop_map(|(kind, parameter)| Mechanism { kind, parameter }),
    );
    let objects = (prop::option::weighted(0.9, 0_u64..12), prop::option::of(0_u64..12));
    let data = (prop::option::weighted(0.9, bytes()), prop::option::of(bytes()), prop::option::of(number()));
    let words = prop::option::of(prop::sample::select(vec!["bob", "officer", "nobody", "", "\n", "é"]));
    let people =
        (words, prop::option::of(any::<bool>()), prop::option::of(number()), prop::option::of(number()));
    (mechanism, template(), template(), objects, data, people)
        .prop_map(
            |(
                mechanism,
                template,
                public_template,
                (object, wrapping),
                (data, signature, length),
                people,
            )| {
                let (user, officer, marker, count) = people;
                let user_type = officer
                    .map(|officer| if officer { UserType::CryptoOfficer } else { UserType::CryptoUser });
                Request {
                    mechanism,
                    template,
                    public_template,
                    object,
                    wrapping_object: wrapping,
                    objects: object.map(|object| vec![object, 2]),
                    types: Some(vec![CKA_VALUE, CKA_LABEL, CKA_PRIVATE_EXPONENT, CKA_EC_POINT]),
                    public_key: data.clone(),
                    document: data.clone(),
                    data,
                    signature,
                    length,
                    marker,
                    max_results: marker,
                    count,
                    service: officer.map(|officer| if officer { Service::Export } else { Service::Backup }),
                    user: user.map(str::to_owned),
                    label: user.map(str::to_owned),
                    operation: Some("WrapKey".to_owned()),
                    user_type,
                    pin: user.map(|user| Zeroizing::new(user.repeat(3))),
                    ..Request::default()
                }
            },
        )
        .boxed()
}

#[test]
fn any_request_has_an_answer_and_no_answer_has_a_secret() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        // Handles 1 and on: keys of several kinds that are to stay where they are.
        let keep = [Attribute::flag(CKA_DESTROYABLE, false), Attribute::flag(CKA_DERIVE, true)];
        known(&alice, CKK_GENERIC_SECRET, SECRET, &keep).await;
        known(&alice, CKK_AES, SECRET, &keep).await;
        let wraps =
            [&keep[..], &[Attribute::flag(CKA_WRAP, true), Attribute::flag(CKA_UNWRAP, true)]].concat();
        known(&alice, CKK_AES, &[1; 32], &wraps).await;
        let p256 = vec![Attribute::bytes(CKA_EC_PARAMS, b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")];
        alice.pair(CKM_EC_KEY_PAIR_GEN, p256, keep.to_vec()).await.expect("a pair");
        let rsa = vec![Attribute::number(CKA_MODULUS_BITS, 1024), Attribute::flag(CKA_WRAP, true)];
        alice.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, rsa, keep.to_vec()).await.expect("a pair");
        alice
            .generate(CKM_AES_KEY_GEN, [on_token("k"), vec![Attribute::number(CKA_VALUE_LEN, 16)]].concat())
            .await
            .expect("a key");
        let officer = Application::officer(&signer).await;
        let stranger = Application::open(&signer).await;
        let encoded = serde_json::to_string(&Bytes::copy(SECRET)).expect("JSON");
        let who = prop::sample::select(vec![0_usize, 0, 0, 1, 2]);
        let operation = prop::sample::select(Operation::ALL.to_vec());
        let strategy = (who, operation, request());
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let mut refused = 0;
        const CASES: usize = 800;
        for _ in 0..CASES {
            let (who, operation, request) = strategy.new_tree(&mut runner).expect("a request").current();
            let ends =
                matches!(operation, Operation::CloseSession | Operation::Logout | Operation::ResetToken);
            if ends || operation == Operation::Login {
                continue;
            }
            let application = [&alice, &officer, &stranger][who];
            let mut request = Request { session_token: application.session.clone(), ..request };
            if operation == Operation::CreateObject || operation == Operation::SetAttributes {
                // What was brought is not what is kept.
                request.template.iter_mut().flatten().for_each(|attribute| {
                    attribute.value.take_if(|value| value.as_slice() == SECRET);
                });
            }
            let body = serde_json::to_string(&request).expect("JSON");
            let (status, answer) = post(&signer, Door::Tls, operation.name(), &body).await;
            assert!(status == 200 || status == 400, "{operation:?} {body}: {answer}");
            refused += usize::from(status == 400);
            let echoed = matches!(operation, Operation::Encrypt | Operation::Decrypt);
            assert!(echoed || !answer.contains(encoded.trim_matches('"')), "{operation:?} {body}: {answer}");
        }
        assert!(refused < CASES, "nothing got through");
        assert_eq!(alice.get(1, CKA_VALUE).await, Err(CKR_ATTRIBUTE_SENSITIVE));
    });
}

#[test]
fn what_is_no_request_is_refused() {
    run(async {
        let signer = token().await;
        for body in [
            "[]",
            "1",
            "\"",
            "{\"Pin\":5}",
            "{\"Pin\":\"hunter2\"",
            "{\"Data\":\"hunter2!\"}",
            "{\"Else\":1}",
        ] {
            for operation in Operation::ALL {
                let (status, answer) = post(&signer, Door::Tls, operation.name(), body).await;
                assert_eq!(status, 400, "{operation:?} {body}: {answer}");
                assert!(!answer.contains("hunter2"), "a refusal repeats what was sent");
            }
        }
        let (status, answer) = post(&signer, Door::Tls, "NoSuchThing", "{}").await;
        assert!(status == 400 && answer.contains("UnknownOperation"));
    });
}
