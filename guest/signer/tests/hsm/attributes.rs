//! What may be set, read and changed: each rule broken once.

use casemate_hsm::attribute::{CKA_CASEMATE_OWNER, CKA_CASEMATE_QUORUM};
use casemate_hsm::ck::*;
use casemate_hsm::{Attribute, Operation, Request, Template, limits};

use crate::client::run;
use crate::mechanisms::{CURVES, hex, known};
use crate::token::{Answer, Application, on_token, rv, token};

fn failed<T>(result: Result<T, casemate_hsm::Refusal>) -> Option<u64> {
    result.err().and_then(|refusal| refusal.rv)
}

fn aes(more: &[Attribute]) -> Template {
    [&[Attribute::number(CKA_VALUE_LEN, 32)], more].concat()
}

#[test]
fn a_template_that_breaks_a_rule_makes_nothing() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        for (more, expected) in [
            (vec![Attribute::number(CKA_CLASS, CKO_PRIVATE_KEY)], CKR_TEMPLATE_INCONSISTENT),
            (vec![Attribute::number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)], CKR_TEMPLATE_INCONSISTENT),
            (vec![Attribute::number(CKA_VALUE_LEN, 16)], CKR_TEMPLATE_INCONSISTENT),
            (vec![Attribute::number(CKA_MODULUS_BITS, 2048)], CKR_ATTRIBUTE_TYPE_INVALID),
            (vec![Attribute::number(0x1234_5678, 1)], CKR_ATTRIBUTE_TYPE_INVALID),
            (vec![Attribute::bytes(CKA_VALUE, &[1; 32])], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::flag(CKA_LOCAL, false)], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::flag(CKA_ALWAYS_SENSITIVE, true)], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::flag(CKA_NEVER_EXTRACTABLE, true)], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::number(CKA_KEY_GEN_MECHANISM, 1)], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::bytes(CKA_UNIQUE_ID, b"x")], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::bytes(CKA_CASEMATE_OWNER, b"bob")], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::bytes(CKA_CHECK_VALUE, b"xyz")], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::flag(CKA_TRUSTED, true)], CKR_ATTRIBUTE_READ_ONLY),
            (vec![Attribute::bytes(CKA_TOKEN, &[2])], CKR_ATTRIBUTE_VALUE_INVALID),
            (vec![Attribute::bytes(CKA_TOKEN, &[])], CKR_ATTRIBUTE_VALUE_INVALID),
            (vec![Attribute::bytes(CKA_START_DATE, b"20261301")], CKR_ATTRIBUTE_VALUE_INVALID),
            (vec![Attribute::bytes(CKA_ALLOWED_MECHANISMS, &[1; 7])], CKR_ATTRIBUTE_VALUE_INVALID),
            (vec![Attribute::number(CKA_CASEMATE_QUORUM, 9)], CKR_ATTRIBUTE_VALUE_INVALID),
            (vec![Attribute { kind: CKA_TOKEN, value: None }], CKR_ATTRIBUTE_VALUE_INVALID),
            (vec![Attribute::bytes(CKA_LABEL, &vec![1; limits::VALUE_MAX + 1])], CKR_ATTRIBUTE_VALUE_INVALID),
        ] {
            let made = alice.generate(CKM_AES_KEY_GEN, aes(&more)).await;
            assert_eq!(failed(made), Some(expected), "{:x}", more[0].kind);
        }
        for (template, expected) in [
            (vec![], CKR_TEMPLATE_INCOMPLETE),
            (vec![Attribute::number(CKA_VALUE_LEN, 17)], CKR_KEY_SIZE_RANGE),
        ] {
            assert_eq!(failed(alice.generate(CKM_AES_KEY_GEN, template).await), Some(expected));
        }
        let wrong = alice.generate(CKM_RSA_PKCS, aes(&[])).await;
        assert_eq!(failed(wrong), Some(CKR_MECHANISM_INVALID));
        for (public, private, expected) in [
            (vec![], vec![], CKR_TEMPLATE_INCOMPLETE),
            (vec![Attribute::bytes(CKA_EC_PARAMS, b"\x06\x01\x01")], vec![], CKR_CURVE_NOT_SUPPORTED),
            (vec![Attribute::bytes(CKA_EC_PARAMS, b"noise")], vec![], CKR_DOMAIN_PARAMS_INVALID),
            (
                vec![Attribute::bytes(CKA_EC_PARAMS, &hex(CURVES[0].0))],
                vec![Attribute::flag(CKA_ALWAYS_AUTHENTICATE, true)],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                vec![Attribute::bytes(CKA_EC_PARAMS, &hex(CURVES[0].0))],
                vec![Attribute::flag(CKA_ENCRYPT, true)],
                CKR_ATTRIBUTE_TYPE_INVALID,
            ),
        ] {
            assert_eq!(failed(alice.pair(CKM_EC_KEY_PAIR_GEN, public, private).await), Some(expected));
        }
        for (bits, exponent, expected) in [
            (1023, &[1, 0, 1][..], CKR_KEY_SIZE_RANGE),
            (8192, &[1, 0, 1], CKR_KEY_SIZE_RANGE),
            (2048, &[3], CKR_ATTRIBUTE_VALUE_INVALID),
        ] {
            let public = vec![
                Attribute::number(CKA_MODULUS_BITS, bits),
                Attribute::bytes(CKA_PUBLIC_EXPONENT, exponent),
            ];
            let made = alice.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, public, vec![]).await;
            assert_eq!(failed(made), Some(expected));
        }
        for template in [
            vec![],
            vec![Attribute::number(CKA_CLASS, CKO_HW_FEATURE)],
            vec![Attribute::number(CKA_CLASS, CKO_CERTIFICATE)],
            vec![Attribute::number(CKA_CLASS, CKO_SECRET_KEY)],
            vec![Attribute::number(CKA_CLASS, CKO_PRIVATE_KEY), Attribute::number(CKA_KEY_TYPE, CKK_RSA)],
            vec![
                Attribute::number(CKA_CLASS, CKO_PUBLIC_KEY),
                Attribute::number(CKA_KEY_TYPE, CKK_EC),
                Attribute::bytes(CKA_EC_PARAMS, &hex(CURVES[0].0)),
                Attribute::bytes(CKA_EC_POINT, &[4; 65]),
            ],
        ] {
            assert!(alice.create(template).await.is_err());
        }
        assert_eq!(alice.find(vec![]).await, [0; 0], "nothing was made on the way");
    });
}

#[test]
fn attributes_change_in_one_direction() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let open = [
            Attribute::flag(CKA_SENSITIVE, false),
            Attribute::flag(CKA_EXTRACTABLE, true),
            Attribute::number(CKA_CASEMATE_QUORUM, 1),
        ];
        let key = alice.generate(CKM_AES_KEY_GEN, aes(&open)).await.expect("a key");
        for (there, back) in [
            (Attribute::flag(CKA_SENSITIVE, true), Attribute::flag(CKA_SENSITIVE, false)),
            (Attribute::flag(CKA_EXTRACTABLE, false), Attribute::flag(CKA_EXTRACTABLE, true)),
            (Attribute::flag(CKA_WRAP_WITH_TRUSTED, true), Attribute::flag(CKA_WRAP_WITH_TRUSTED, false)),
            (Attribute::flag(CKA_COPYABLE, false), Attribute::flag(CKA_COPYABLE, true)),
            (Attribute::number(CKA_CASEMATE_QUORUM, 2), Attribute::number(CKA_CASEMATE_QUORUM, 1)),
        ] {
            alice.set(key, vec![there.clone()]).await.expect("this way");
            assert_eq!(rv(&alice.set(key, vec![back]).await), Some(CKR_ATTRIBUTE_READ_ONLY), "{there:?}");
            alice.set(key, vec![there]).await.expect("as it is");
        }
        // It was sensitive and unextractable, but not always.
        assert_eq!(alice.get(key, CKA_ALWAYS_SENSITIVE).await, Ok(vec![0]));
        assert_eq!(alice.get(key, CKA_NEVER_EXTRACTABLE).await, Ok(vec![0]));
        for fixed in [
            Attribute::flag(CKA_TOKEN, true),
            Attribute::flag(CKA_PRIVATE, true),
            Attribute::flag(CKA_MODIFIABLE, true),
            Attribute::number(CKA_CLASS, CKO_SECRET_KEY),
            Attribute::number(CKA_KEY_TYPE, CKK_AES),
            Attribute::number(CKA_VALUE_LEN, 32),
            Attribute::flag(CKA_TRUSTED, true),
        ] {
            assert_eq!(rv(&alice.set(key, vec![fixed]).await), Some(CKR_ATTRIBUTE_READ_ONLY));
        }
        let half = vec![Attribute::bytes(CKA_LABEL, b"x"), Attribute::flag(CKA_SENSITIVE, false)];
        assert!(alice.set(key, half).await.is_err());
        assert_eq!(alice.get(key, CKA_LABEL).await, Ok(vec![]), "all of a template or nothing");
        let copied = alice.ask(
            Operation::CopyObject,
            Request { object: Some(key), template: Some(vec![]), ..Request::default() },
        );
        assert_eq!(rv(&copied.await), Some(CKR_ACTION_PROHIBITED));
        let fixed = [Attribute::flag(CKA_MODIFIABLE, false), Attribute::flag(CKA_DESTROYABLE, false)];
        let key = alice.generate(CKM_AES_KEY_GEN, aes(&fixed)).await.expect("a key");
        let label = vec![Attribute::bytes(CKA_LABEL, b"x")];
        assert_eq!(rv(&alice.set(key, label).await), Some(CKR_ACTION_PROHIBITED));
        assert_eq!(rv(&alice.destroy(key).await), Some(CKR_ACTION_PROHIBITED));
    });
}

async fn copy(application: &Application, object: u64, template: Template) -> Answer {
    let request = Request { object: Some(object), template: Some(template), ..Request::default() };
    application.ask(Operation::CopyObject, request).await
}

#[test]
fn a_copy_is_no_way_round_a_rule() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let key = alice.generate(CKM_AES_KEY_GEN, aes(&on_token("k"))).await.expect("a key");
        for template in [
            vec![Attribute::flag(CKA_SENSITIVE, false)],
            vec![Attribute::flag(CKA_EXTRACTABLE, true)],
            vec![Attribute::flag(CKA_PRIVATE, false)],
            vec![Attribute::flag(CKA_TRUSTED, true)],
            vec![Attribute::number(CKA_VALUE_LEN, 16)],
        ] {
            assert_eq!(rv(&copy(&alice, key, template).await), Some(CKR_ATTRIBUTE_READ_ONLY));
        }
        let label = vec![Attribute::bytes(CKA_LABEL, b"copy"), Attribute::flag(CKA_TOKEN, false)];
        let made = copy(&alice, key, label).await.expect("a copy").object.expect("a handle");
        assert_eq!(alice.get(made, CKA_LABEL).await, Ok(b"copy".to_vec()));
        assert_eq!(alice.get(made, CKA_CHECK_VALUE).await, alice.get(key, CKA_CHECK_VALUE).await);
        assert_eq!(alice.get(made, CKA_VALUE).await, Err(CKR_ATTRIBUTE_SENSITIVE));
    });
}

#[test]
fn what_is_secret_is_not_told() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let value = [0x5a; 32];
        for (sensitive, extractable) in [(true, true), (true, false), (false, false), (false, true)] {
            let flags =
                [Attribute::flag(CKA_SENSITIVE, sensitive), Attribute::flag(CKA_EXTRACTABLE, extractable)];
            let key = known(&alice, CKK_GENERIC_SECRET, &value, &flags).await;
            let open = !sensitive && extractable;
            let expected = if open { Ok(value.to_vec()) } else { Err(CKR_ATTRIBUTE_SENSITIVE) };
            assert_eq!(alice.get(key, CKA_VALUE).await, expected);
            // Nor can it be guessed by searching for it.
            let found = alice.find(vec![Attribute::bytes(CKA_VALUE, &value)]).await;
            assert_eq!(found.contains(&key), open);
            // One secret among others hides no others.
            let request = Request {
                objects: Some(vec![key]),
                types: Some(vec![CKA_LABEL, CKA_VALUE, CKA_VALUE_LEN, CKA_MODULUS]),
                ..Request::default()
            };
            let told = alice.ask(Operation::GetAttributes, request).await.expect("an answer");
            let told = told.attributes.expect("one").remove(0);
            let there: Vec<bool> = told.template.iter().map(|attribute| attribute.value.is_some()).collect();
            assert_eq!(there, [true, open, true, false]);
            let rv = if open { CKR_ATTRIBUTE_TYPE_INVALID } else { CKR_ATTRIBUTE_SENSITIVE };
            assert_eq!(told.rv, rv);
        }
        let components =
            [CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT];
        let public = vec![Attribute::number(CKA_MODULUS_BITS, 1024)];
        let (public, private) = alice.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, public, vec![]).await.expect("a pair");
        for kind in components {
            assert_eq!(alice.get(private, kind).await, Err(CKR_ATTRIBUTE_SENSITIVE));
            assert_eq!(alice.get(public, kind).await, Err(CKR_ATTRIBUTE_TYPE_INVALID));
        }
        for (kind, expected) in
            [(CKA_LOCAL, 1), (CKA_ALWAYS_SENSITIVE, 1), (CKA_NEVER_EXTRACTABLE, 1), (CKA_PRIVATE, 1)]
        {
            assert_eq!(alice.get(private, kind).await, Ok(vec![expected]));
        }
        assert_eq!(alice.get(private, CKA_MODULUS).await, alice.get(public, CKA_MODULUS).await);
        assert_eq!(alice.get(private, CKA_CASEMATE_OWNER).await, Ok(b"alice".to_vec()));
    });
}

#[test]
fn a_key_is_its_components_again() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let open = vec![Attribute::flag(CKA_SENSITIVE, false), Attribute::flag(CKA_EXTRACTABLE, true)];
        for (mechanism, key_type, sign, public, components) in [
            (
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                CKK_RSA,
                CKM_SHA256_RSA_PKCS,
                vec![Attribute::number(CKA_MODULUS_BITS, 2048)],
                vec![
                    CKA_MODULUS,
                    CKA_PUBLIC_EXPONENT,
                    CKA_PRIVATE_EXPONENT,
                    CKA_PRIME_1,
                    CKA_PRIME_2,
                    CKA_EXPONENT_1,
                    CKA_EXPONENT_2,
                    CKA_COEFFICIENT,
                ],
            ),
            (
                CKM_EC_KEY_PAIR_GEN,
                CKK_EC,
                CKM_ECDSA_SHA256,
                vec![Attribute::bytes(CKA_EC_PARAMS, &hex(CURVES[1].0))],
                vec![CKA_EC_PARAMS, CKA_VALUE],
            ),
            (
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                CKK_EC_EDWARDS,
                CKM_EDDSA,
                vec![Attribute::bytes(CKA_EC_PARAMS, &hex("06032b6570"))],
                vec![CKA_EC_PARAMS, CKA_VALUE],
            ),
            (
                CKM_ML_DSA_KEY_PAIR_GEN,
                CKK_ML_DSA,
                CKM_ML_DSA,
                vec![Attribute::number(CKA_PARAMETER_SET, CKP_ML_DSA_65)],
                vec![CKA_PARAMETER_SET, CKA_SEED],
            ),
        ] {
            let (public, private) = alice.pair(mechanism, public, open.clone()).await.expect("a pair");
            let mut template = vec![
                Attribute::number(CKA_CLASS, CKO_PRIVATE_KEY),
                Attribute::number(CKA_KEY_TYPE, key_type),
            ];
            for kind in components {
                template.push(Attribute::bytes(kind, &alice.get(private, kind).await.expect("told")));
            }
            let again = alice.create(template.clone()).await.expect("a key");
            let sign = casemate_hsm::Mechanism::plain(sign);
            let signature = alice.sign(&sign, again, b"m").await.expect("signed");
            alice.verify(&sign, public, b"m", &signature).await.expect("the same key");
            for (kind, expected) in [(CKA_LOCAL, 0), (CKA_ALWAYS_SENSITIVE, 0), (CKA_NEVER_EXTRACTABLE, 0)] {
                assert_eq!(alice.get(again, kind).await, Ok(vec![expected]), "it was outside");
            }
            assert!(alice.get(again, CKA_VALUE).await.is_err());
            // And the public key from its own.
            let mut outside =
                vec![Attribute::number(CKA_CLASS, CKO_PUBLIC_KEY), Attribute::number(CKA_KEY_TYPE, key_type)];
            for kind in
                [CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS, CKA_EC_POINT, CKA_PARAMETER_SET, CKA_VALUE]
            {
                if let Ok(value) = alice.get(public, kind).await {
                    outside.push(Attribute::bytes(kind, &value));
                }
            }
            let outside = alice.create(outside).await.expect("a key");
            alice.verify(&sign, outside, b"m", &signature).await.expect("the same key");
            // Half of one key and half of another is none.
            if key_type == CKK_RSA {
                template[3] = Attribute::bytes(CKA_PUBLIC_EXPONENT, &[3]);
                assert_eq!(failed(alice.create(template).await), Some(CKR_ATTRIBUTE_VALUE_INVALID));
            }
        }
    });
}

#[test]
fn certificates_and_data_are_kept_as_they_are() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let certificate = [
            on_token("c"),
            vec![
                Attribute::number(CKA_CLASS, CKO_CERTIFICATE),
                Attribute::number(CKA_CERTIFICATE_TYPE, CKC_X_509),
                Attribute::bytes(CKA_SUBJECT, b"0\0"),
                Attribute::bytes(CKA_VALUE, b"opaque"),
            ],
        ];
        let certificate = alice.create(certificate.concat()).await.expect("kept");
        let data = vec![
            Attribute::number(CKA_CLASS, CKO_DATA),
            Attribute::bytes(CKA_APPLICATION, b"app"),
            Attribute::bytes(CKA_VALUE, &[7; 60_000]),
            Attribute::flag(CKA_PRIVATE, true),
        ];
        let data = alice.create(data).await.expect("kept");
        assert_eq!(alice.get(certificate, CKA_VALUE).await, Ok(b"opaque".to_vec()));
        assert_eq!(alice.get(data, CKA_VALUE).await, Ok(vec![7; 60_000]));
        alice.set(data, vec![Attribute::bytes(CKA_VALUE, b"new")]).await.expect("data changes");
        let fixed = alice.set(certificate, vec![Attribute::bytes(CKA_VALUE, b"new")]).await;
        assert_eq!(rv(&fixed), Some(CKR_ATTRIBUTE_READ_ONLY));
        // Anybody sees a certificate, and nobody a private piece of data.
        let stranger = Application::open(&signer).await;
        assert_eq!(stranger.find(vec![]).await, [certificate]);
        assert_eq!(alice.find(vec![Attribute::bytes(CKA_APPLICATION, b"app")]).await, [data]);
        let trusted = vec![Attribute::flag(CKA_TRUSTED, true)];
        let officer = Application::officer(&signer).await;
        officer.set(certificate, trusted).await.expect("an officer trusts");
        assert_eq!(alice.get(certificate, CKA_TRUSTED).await, Ok(vec![1]));
        let label = vec![Attribute::bytes(CKA_LABEL, b"x"), Attribute::flag(CKA_TRUSTED, true)];
        assert!(officer.set(certificate, label).await.is_err(), "and does nothing else");
    });
}

#[test]
fn a_key_does_what_its_attributes_say() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let curve = || vec![Attribute::bytes(CKA_EC_PARAMS, &hex(CURVES[0].0))];
        let allowed = [CKM_ECDSA, CKM_ECDSA_SHA384].map(u64::to_le_bytes).concat();
        let private = vec![Attribute::bytes(CKA_ALLOWED_MECHANISMS, &allowed)];
        let (public, private) = alice.pair(CKM_EC_KEY_PAIR_GEN, curve(), private).await.expect("a pair");
        let sign = |kind| casemate_hsm::Mechanism::plain(kind);
        alice.sign(&sign(CKM_ECDSA_SHA384), private, b"m").await.expect("allowed");
        assert_eq!(
            failed(alice.sign(&sign(CKM_ECDSA_SHA256), private, b"m").await),
            Some(CKR_MECHANISM_INVALID)
        );
        assert_eq!(
            failed(alice.sign(&sign(CKM_ECDSA), public, b"m").await),
            Some(CKR_KEY_FUNCTION_NOT_PERMITTED)
        );
        let never = vec![Attribute::flag(CKA_SIGN, false)];
        let (_, private) = alice.pair(CKM_EC_KEY_PAIR_GEN, curve(), never).await.expect("a pair");
        assert_eq!(
            failed(alice.sign(&sign(CKM_ECDSA), private, b"m").await),
            Some(CKR_KEY_FUNCTION_NOT_PERMITTED)
        );
        alice.set(private, vec![Attribute::flag(CKA_SIGN, true)]).await.expect("its owner's to say");
        alice.sign(&sign(CKM_ECDSA), private, b"m").await.expect("now");
        assert_eq!(
            failed(alice.sign(&sign(CKM_SHA256_RSA_PKCS), private, b"m").await),
            Some(CKR_KEY_TYPE_INCONSISTENT)
        );
        assert_eq!(failed(alice.sign(&sign(CKM_AES_CBC), private, b"m").await), Some(CKR_MECHANISM_INVALID));
        // A stranger verifies with a public key, and with nothing else.
        let stranger = Application::open(&signer).await;
        let on_token = [on_token("p"), curve()].concat();
        let (public, private) = alice.pair(CKM_EC_KEY_PAIR_GEN, on_token, vec![]).await.expect("a pair");
        let signature = alice.sign(&sign(CKM_ECDSA), private, &[1; 32]).await.expect("signed");
        stranger.verify(&sign(CKM_ECDSA), public, &[1; 32], &signature).await.expect("genuine");
    });
}
