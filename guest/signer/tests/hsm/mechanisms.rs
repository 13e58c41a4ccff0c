//! What the token computes is what others compute: openssl, and aws-lc where openssl 3.0 has no such thing.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::signature::{ML_DSA_44, ML_DSA_65, ML_DSA_87, UnparsedPublicKey};
use casemate_hsm::ck::*;
use casemate_hsm::mechanism::{Oaep, Pss};
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Parameter, Request};

use crate::client::run;
use crate::scratch::Scratch;
use crate::token::{Application, rv, token};

const MESSAGE: &[u8] = b"signed in a token";

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Curves by the DER of their object identifiers.
pub const CURVES: [(&str, usize); 4] =
    [("06082a8648ce3d030107", 32), ("06052b81040022", 48), ("06052b81040023", 66), ("06052b8104000a", 32)];

const HASHES: [(&str, u64, u64, usize); 5] = [
    ("sha1", CKM_SHA_1, CKG_MGF1_SHA1, 20),
    ("sha224", CKM_SHA224, CKG_MGF1_SHA224, 28),
    ("sha256", CKM_SHA256, CKG_MGF1_SHA256, 32),
    ("sha384", CKM_SHA384, CKG_MGF1_SHA384, 48),
    ("sha512", CKM_SHA512, CKG_MGF1_SHA512, 64),
];

/// Leaves a public key where openssl finds it, and the message.
async fn publish(scratch: &Scratch, application: &Application, public: u64) {
    scratch.write("key.der", &application.get(public, CKA_PUBLIC_KEY_INFO).await.expect("a key"));
    scratch.write("message", MESSAGE);
    scratch.write("other", b"something else");
    scratch.succeeds("pkey -pubin -inform DER -in key.der -out key.pem");
}

pub async fn rsa(application: &Application, bits: u64, usage: u64, private_usage: u64) -> (u64, u64) {
    let public = vec![Attribute::number(CKA_MODULUS_BITS, bits), Attribute::flag(usage, true)];
    let private = vec![Attribute::flag(private_usage, true)];
    application.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, public, private).await.expect("a pair")
}

/// A signature that the token itself takes, and takes for nothing else.
async fn signed(application: &Application, mechanism: &Mechanism, pair: (u64, u64), data: &[u8]) -> Vec<u8> {
    let (public, private) = pair;
    let signature = application.sign(mechanism, private, data).await;
    let mut signature = signature.unwrap_or_else(|refusal| panic!("{mechanism:?}: {refusal:?}"));
    application.verify(mechanism, public, data, &signature).await.expect("genuine");
    let mut other = data.to_vec();
    other[0] ^= 1;
    assert!(application.verify(mechanism, public, &other, &signature).await.is_err());
    signature[5] ^= 1;
    let changed = application.verify(mechanism, public, data, &signature).await;
    assert_eq!(rv(&changed), Some(CKR_SIGNATURE_INVALID), "{mechanism:?}");
    let longer = application.verify(mechanism, public, data, &[&signature[..], &[0]].concat()).await;
    assert_eq!(rv(&longer), Some(CKR_SIGNATURE_LEN_RANGE), "{mechanism:?}");
    signature[5] ^= 1;
    signature
}

#[test]
fn openssl_verifies_rsa() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-rsa"));
        let alice = Application::of(&signer, "alice").await;
        let pair = rsa(&alice, 2048, CKA_VERIFY, CKA_SIGN).await;
        publish(&scratch, &alice, pair.0).await;
        let pkcs1 = [
            CKM_SHA1_RSA_PKCS,
            CKM_SHA224_RSA_PKCS,
            CKM_SHA256_RSA_PKCS,
            CKM_SHA384_RSA_PKCS,
            CKM_SHA512_RSA_PKCS,
        ];
        let pss = [
            CKM_SHA1_RSA_PKCS_PSS,
            CKM_SHA224_RSA_PKCS_PSS,
            CKM_SHA256_RSA_PKCS_PSS,
            CKM_SHA384_RSA_PKCS_PSS,
            CKM_SHA512_RSA_PKCS_PSS,
        ];
        for (index, (name, hash, mgf, length)) in HASHES.into_iter().enumerate() {
            scratch.write("sig", &signed(&alice, &Mechanism::plain(pkcs1[index]), pair, MESSAGE).await);
            scratch.succeeds(&format!("dgst -{name} -verify key.pem -signature sig message"));
            scratch.fails(&format!("dgst -{name} -verify key.pem -signature sig other"));
            // A salt that is not as long as the digest.
            let parameter = Parameter::Pss(Pss { hash, mgf, salt_length: 17 });
            let options =
                format!("-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:17 -sigopt rsa_mgf1_md:{name}");
            let mechanism = Mechanism { kind: pss[index], parameter: parameter.clone() };
            scratch.write("sig", &signed(&alice, &mechanism, pair, MESSAGE).await);
            scratch.succeeds(&format!("dgst -{name} {options} -verify key.pem -signature sig message"));
            // Over a digest, and padded without one.
            scratch.succeeds(&format!("dgst -{name} -binary -out digest message"));
            let digest = scratch.read("digest");
            assert_eq!(digest.len(), length);
            let raw = Mechanism { kind: CKM_RSA_PKCS_PSS, parameter };
            scratch.write("sig", &signed(&alice, &raw, pair, &digest).await);
            scratch.succeeds(&format!("dgst -{name} {options} -verify key.pem -signature sig message"));
            let wrong = alice.sign(&raw, pair.1, &digest[1..]).await;
            assert_eq!(wrong.err().and_then(|refusal| refusal.rv), Some(CKR_DATA_LEN_RANGE));
        }
        scratch.write("sig", &signed(&alice, &Mechanism::plain(CKM_RSA_PKCS), pair, MESSAGE).await);
        scratch.succeeds("pkeyutl -verify -pubin -inkey key.pem -in message -sigfile sig");
        let raw = [&[0; 1][..], &[0x5a; 255]].concat();
        scratch.write("sig", &signed(&alice, &Mechanism::plain(CKM_RSA_X_509), pair, &raw).await);
        scratch.succeeds(
            "pkeyutl -encrypt -pkeyopt rsa_padding_mode:none -pubin -inkey key.pem -in sig -out raw",
        );
        assert_eq!(scratch.read("raw"), raw);
        for (kind, length) in [(CKM_RSA_PKCS, 246), (CKM_RSA_X_509, 257)] {
            let long = alice.sign(&Mechanism::plain(kind), pair.1, &vec![1; length]).await;
            assert_eq!(long.err().and_then(|refusal| refusal.rv), Some(CKR_DATA_LEN_RANGE));
        }
    });
}

/// r ‖ s as DER.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = if digits.first().is_none_or(|byte| *byte >= 0x80) { vec![0] } else { vec![] };
        [vec![2, (sign.len() + digits.len()) as u8], sign, digits].concat()
    };
    let (r, s) = raw.split_at(raw.len() / 2);
    let body = [integer(r), integer(s)].concat();
    let length = if body.len() < 128 { vec![body.len() as u8] } else { vec![0x81, body.len() as u8] };
    [vec![0x30], length, body].concat()
}

#[test]
fn openssl_verifies_ecdsa() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-ecdsa"));
        let alice = Application::of(&signer, "alice").await;
        for (curve, length) in CURVES {
            let public = vec![Attribute::bytes(CKA_EC_PARAMS, &hex(curve))];
            let pair = alice.pair(CKM_EC_KEY_PAIR_GEN, public, vec![]).await.expect("a pair");
            publish(&scratch, &alice, pair.0).await;
            for (index, kind) in
                [CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512]
                    .into_iter()
                    .enumerate()
            {
                let name = HASHES[index].0;
                let signature = signed(&alice, &Mechanism::plain(kind), pair, MESSAGE).await;
                assert_eq!(signature.len(), 2 * length);
                scratch.write("sig", &der(&signature));
                scratch.succeeds(&format!("dgst -{name} -verify key.pem -signature sig message"));
            }
            scratch.succeeds("dgst -sha256 -binary -out digest message");
            let digest = scratch.read("digest");
            let signature = signed(&alice, &Mechanism::plain(CKM_ECDSA), pair, &digest).await;
            scratch.write("sig", &der(&signature));
            scratch.succeeds("dgst -sha256 -verify key.pem -signature sig message");
        }
    });
}

#[test]
fn ed25519_and_ml_dsa_are_verified_outside() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-eddsa"));
        let alice = Application::of(&signer, "alice").await;
        for name in [hex("06032b6570"), b"\x13\x0cedwards25519".to_vec()] {
            let public = vec![Attribute::bytes(CKA_EC_PARAMS, &name)];
            let pair = alice.pair(CKM_EC_EDWARDS_KEY_PAIR_GEN, public, vec![]).await.expect("a pair");
            assert_eq!(alice.get(pair.0, CKA_EC_PARAMS).await, Ok(name));
            publish(&scratch, &alice, pair.0).await;
            scratch.write("sig", &signed(&alice, &Mechanism::plain(CKM_EDDSA), pair, MESSAGE).await);
            scratch.succeeds("pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile sig");
        }
        for (set, algorithm) in
            [(CKP_ML_DSA_44, &ML_DSA_44), (CKP_ML_DSA_65, &ML_DSA_65), (CKP_ML_DSA_87, &ML_DSA_87)]
        {
            let public = vec![Attribute::number(CKA_PARAMETER_SET, set)];
            let pair = alice.pair(CKM_ML_DSA_KEY_PAIR_GEN, public, vec![]).await.expect("a pair");
            let plain = Mechanism::plain(CKM_ML_DSA);
            let signature = signed(&alice, &plain, pair, MESSAGE).await;
            let public = alice.get(pair.0, CKA_VALUE).await.expect("a public key");
            UnparsedPublicKey::new(algorithm, &public).verify(MESSAGE, &signature).expect("genuine");
            let context = |context: &[u8]| Mechanism {
                kind: CKM_ML_DSA,
                parameter: Parameter::SignContext {
                    hedge: CKH_HEDGE_PREFERRED,
                    context: Bytes::copy(context),
                },
            };
            let signature = signed(&alice, &context(b"a"), pair, MESSAGE).await;
            for other in [plain, context(b"b")] {
                assert!(alice.verify(&other, pair.0, MESSAGE, &signature).await.is_err());
            }
        }
    });
}

/// A key whose value is known.
pub async fn known(application: &Application, key_type: u64, value: &[u8], more: &[Attribute]) -> u64 {
    let template = [
        Attribute::number(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::number(CKA_KEY_TYPE, key_type),
        Attribute::bytes(CKA_VALUE, value),
    ];
    application.create([&template, more].concat()).await.expect("a key")
}

#[test]
fn macs_are_openssls() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-mac"));
        let alice = Application::of(&signer, "alice").await;
        scratch.write("message", MESSAGE);
        let key = [7; 32];
        let both = [Attribute::flag(CKA_SIGN, true), Attribute::flag(CKA_VERIFY, true)];
        let own = [CKK_SHA_1_HMAC, CKK_SHA224_HMAC, CKK_SHA256_HMAC, CKK_SHA384_HMAC, CKK_SHA512_HMAC];
        for (index, (whole, general)) in [
            (CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL),
            (CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL),
            (CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL),
            (CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL),
            (CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL),
        ]
        .into_iter()
        .enumerate()
        {
            let name = HASHES[index].0;
            scratch.succeeds(&format!(
                "dgst -{name} -mac HMAC -macopt hexkey:{} -binary -out mac message",
                text(&key)
            ));
            let expected = scratch.read("mac");
            for key_type in [CKK_GENERIC_SECRET, own[index]] {
                let key = known(&alice, key_type, &key, &both).await;
                assert_eq!(signed(&alice, &Mechanism::plain(whole), (key, key), MESSAGE).await, expected);
                let general = Mechanism { kind: general, parameter: Parameter::MacLength(9) };
                assert_eq!(signed(&alice, &general, (key, key), MESSAGE).await, expected[..9]);
            }
            let other = known(&alice, own[(index + 1) % 5], &key, &both).await;
            let wrong = alice.sign(&Mechanism::plain(whole), other, MESSAGE).await;
            assert_eq!(wrong.err().and_then(|refusal| refusal.rv), Some(CKR_KEY_TYPE_INCONSISTENT));
        }
        for length in [16, 24, 32] {
            let value = vec![9; length];
            let cipher = format!("AES-{}-CBC", length * 8);
            scratch.succeeds(&format!(
                "mac -cipher {cipher} -macopt hexkey:{} -in message -binary -out mac CMAC",
                text(&value)
            ));
            let key = known(&alice, CKK_AES, &value, &both).await;
            let mac = signed(&alice, &Mechanism::plain(CKM_AES_CMAC), (key, key), MESSAGE).await;
            assert_eq!(mac, scratch.read("mac"));
        }
    });
}

#[test]
fn aes_is_openssls() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-aes"));
        let alice = Application::of(&signer, "alice").await;
        let iv = [3; 16];
        let blocks = [1; 64];
        for length in [16, 24, 32] {
            let value = vec![5; length];
            let key = known(&alice, CKK_AES, &value, &[]).await;
            let (bits, value) = (length * 8, text(&value));
            let ctr = Parameter::Ctr { bits: 128, block: Bytes::copy(&iv) };
            for (kind, parameter, name, data) in [
                (CKM_AES_ECB, Parameter::None, "ecb -nopad", &blocks[..]),
                (CKM_AES_CBC, Parameter::Iv(Bytes::copy(&iv)), "cbc -nopad", &blocks),
                (CKM_AES_CBC_PAD, Parameter::Iv(Bytes::copy(&iv)), "cbc", MESSAGE),
                (CKM_AES_CTR, ctr, "ctr", MESSAGE),
            ] {
                scratch.write("data", data);
                scratch.succeeds(&format!(
                    "enc -aes-{bits}-{name} -K {value} -iv {} -in data -out enc",
                    text(&iv)
                ));
                let mechanism = Mechanism { kind, parameter };
                let encrypted = alice.compute(Operation::Encrypt, &mechanism, key, data).await;
                let encrypted = encrypted.expect("a ciphertext").data.expect("data");
                assert_eq!(*encrypted, scratch.read("enc"), "{name}");
                let decrypted = alice.compute(Operation::Decrypt, &mechanism, key, &encrypted).await;
                assert_eq!(**decrypted.expect("a plaintext").data.expect("data"), *data);
                if kind != CKM_AES_CTR {
                    let cut = alice.compute(Operation::Decrypt, &mechanism, key, &encrypted[1..]).await;
                    assert_eq!(rv(&cut), Some(CKR_ENCRYPTED_DATA_LEN_RANGE));
                }
            }
        }
        // A counter that would begin anew.
        let key = known(&alice, CKK_AES, &[5; 16], &[]).await;
        let ctr = |bits| Mechanism {
            kind: CKM_AES_CTR,
            parameter: Parameter::Ctr { bits, block: Bytes::from(vec![0xff; 16]) },
        };
        let one = alice.compute(Operation::Encrypt, &ctr(32), key, &[0; 16]).await;
        assert!(one.is_ok());
        for (bits, length) in [(32, 17), (0, 1), (129, 1)] {
            let wrapped = alice.compute(Operation::Encrypt, &ctr(bits), key, &vec![0; length]).await;
            assert_eq!(rv(&wrapped), Some(CKR_MECHANISM_PARAM_INVALID), "{bits} {length}");
        }
    });
}

/// The key of NIST SP 800-67's example, its three parts distinct and of odd parity.
const DES3: [u8; 24] = [
    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x45,
    0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23,
];

#[test]
fn triple_des_is_openssls_and_nists() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-des3"));
        let alice = Application::of(&signer, "alice").await;
        let key = known(&alice, CKK_DES3, &DES3, &[]).await;
        // SP 800-67, revision 1, appendix B.1, misprint and all.
        let example = alice
            .compute(Operation::Encrypt, &Mechanism::plain(CKM_DES3_ECB), key, b"The qufck brown fox jump")
            .await;
        assert_eq!(
            text(&example.expect("a ciphertext").data.expect("data")),
            "a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900"
        );
        let (iv, blocks) = ([3; 8], [1; 64]);
        let with_iv = || Parameter::Iv(Bytes::copy(&iv));
        for (kind, parameter, name, data) in [
            (CKM_DES3_ECB, Parameter::None, "ede3 -nopad", &blocks[..]),
            (CKM_DES3_CBC, with_iv(), "ede3-cbc -nopad", &blocks),
            (CKM_DES3_CBC_PAD, with_iv(), "ede3-cbc", &blocks),
            (CKM_DES3_CBC_PAD, with_iv(), "ede3-cbc", MESSAGE),
        ] {
            scratch.write("data", data);
            let (key_text, iv_text) = (text(&DES3), text(&iv));
            scratch.succeeds(&format!("enc -des-{name} -K {key_text} -iv {iv_text} -in data -out enc"));
            let mechanism = Mechanism { kind, parameter };
            let encrypted = alice.compute(Operation::Encrypt, &mechanism, key, data).await;
            let encrypted = encrypted.expect("a ciphertext").data.expect("data");
            assert_eq!(*encrypted, scratch.read("enc"), "{name}");
            let decrypted = alice.compute(Operation::Decrypt, &mechanism, key, &encrypted).await;
            assert_eq!(**decrypted.expect("a plaintext").data.expect("data"), *data);
            let cut = alice.compute(Operation::Decrypt, &mechanism, key, &encrypted[1..]).await;
            assert_eq!(rv(&cut), Some(CKR_ENCRYPTED_DATA_LEN_RANGE));
            if kind != CKM_DES3_CBC_PAD {
                let part = alice.compute(Operation::Encrypt, &mechanism, key, &data[1..]).await;
                assert_eq!(rv(&part), Some(CKR_DATA_LEN_RANGE));
            }
        }
        let long = Mechanism { kind: CKM_DES3_CBC, parameter: Parameter::Iv(Bytes::from(vec![3; 16])) };
        let long = alice.compute(Operation::Encrypt, &long, key, &blocks).await;
        assert_eq!(rv(&long), Some(CKR_MECHANISM_PARAM_INVALID));
        // Neither cipher takes the other's keys, of 24 bytes though both are.
        let aes = known(&alice, CKK_AES, &DES3, &[]).await;
        for (kind, key) in [(CKM_AES_ECB, key), (CKM_DES3_ECB, aes)] {
            let other = alice.compute(Operation::Encrypt, &Mechanism::plain(kind), key, &blocks).await;
            assert_eq!(rv(&other), Some(CKR_KEY_TYPE_INCONSISTENT));
        }
    });
}

#[test]
fn triple_des_keys_have_24_bytes_and_odd_parity_and_wrap_nothing() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let open = [Attribute::flag(CKA_SENSITIVE, false), Attribute::flag(CKA_EXTRACTABLE, true)];
        let made = alice.generate(CKM_DES3_KEY_GEN, open.to_vec()).await.expect("a key");
        let value = alice.get(made, CKA_VALUE).await.expect("a value");
        assert_eq!(value.len(), 24);
        assert!(value.iter().all(|byte| byte.count_ones() % 2 == 1), "{value:02x?}");
        let zeroes = Mechanism::plain(CKM_DES3_ECB);
        let zeroes = alice.compute(Operation::Encrypt, &zeroes, made, &[0; 8]).await.expect("a block").data;
        let check = alice.get(made, CKA_CHECK_VALUE).await.expect("a check value");
        assert_eq!(check, zeroes.expect("data")[..3]);
        let long = vec![Attribute::number(CKA_VALUE_LEN, 16)];
        assert_eq!(rv(&alice.generate(CKM_DES3_KEY_GEN, long).await), Some(CKR_KEY_SIZE_RANGE));

        let given = |value: &[u8]| {
            vec![
                Attribute::number(CKA_CLASS, CKO_SECRET_KEY),
                Attribute::number(CKA_KEY_TYPE, CKK_DES3),
                Attribute::bytes(CKA_VALUE, value),
                Attribute::flag(CKA_WRAP, true),
            ]
        };
        for length in [8, 16, 23] {
            let short = alice.create(given(&DES3[..length])).await;
            assert_eq!(rv(&short), Some(CKR_KEY_SIZE_RANGE), "{length}");
        }
        let mut even = DES3;
        even[7] ^= 1;
        assert_eq!(rv(&alice.create(given(&even)).await), Some(CKR_ATTRIBUTE_VALUE_INVALID));

        let carries = [Attribute::flag(CKA_WRAP, true), Attribute::flag(CKA_UNWRAP, true)];
        let carrier = known(&alice, CKK_AES, &[5; 16], &carries).await;
        let kwp = Some(Mechanism::plain(CKM_AES_KEY_WRAP_KWP));
        for (value, expected) in [(DES3, None), (even, Some(CKR_WRAPPED_KEY_INVALID))] {
            let extractable = [Attribute::flag(CKA_EXTRACTABLE, true)];
            let object = Some(known(&alice, CKK_GENERIC_SECRET, &value, &extractable).await);
            let (mechanism, wrapping_object) = (kwp.clone(), Some(carrier));
            let wrap = Request { mechanism, object, wrapping_object, ..Request::default() };
            let data = alice.ask(Operation::WrapKey, wrap).await.expect("a wrapped key").data;
            let template =
                vec![Attribute::number(CKA_CLASS, CKO_SECRET_KEY), Attribute::number(CKA_KEY_TYPE, CKK_DES3)];
            let (mechanism, template) = (kwp.clone(), Some(template));
            let unwrap = Request { mechanism, wrapping_object, data, template, ..Request::default() };
            assert_eq!(rv(&alice.ask(Operation::UnwrapKey, unwrap).await), expected);
        }

        let wraps = alice.create(given(&DES3)).await.expect("a key");
        for (kind, parameter) in [
            (CKM_DES3_ECB, Parameter::None),
            (CKM_DES3_CBC, Parameter::Iv(Bytes::from(vec![3; 8]))),
            (CKM_DES3_CBC_PAD, Parameter::Iv(Bytes::from(vec![3; 8]))),
        ] {
            let request = Request {
                mechanism: Some(Mechanism { kind, parameter }),
                object: Some(made),
                wrapping_object: Some(wraps),
                ..Request::default()
            };
            let wrapped = alice.ask(Operation::WrapKey, request).await;
            assert_eq!(rv(&wrapped), Some(CKR_MECHANISM_INVALID));
        }
    });
}

#[test]
fn gcm_is_aws_lcs() {
    run(async {
        let signer = token().await;
        let alice = Application::of(&signer, "alice").await;
        let key = known(&alice, CKK_AES, &[5; 16], &[]).await;
        let gcm = |iv: &[u8], tag_bits| Mechanism {
            kind: CKM_AES_GCM,
            parameter: Parameter::Gcm { iv: Bytes::copy(iv), aad: Bytes::copy(b"aad"), tag_bits },
        };
        let sealed = alice.compute(Operation::Encrypt, &gcm(&[1; 12], 128), key, MESSAGE).await;
        let sealed = sealed.expect("sealed").data.expect("data");
        let library = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[5; 16]).expect("a key"));
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        assert_eq!(library.open_in_place(nonce, Aad::from(b"aad"), &mut text).expect("genuine"), MESSAGE);
        for (iv, tag_bits) in [(&[1; 12][..], 128), (&[2; 16], 96), (&[3; 1], 104)] {
            let mechanism = gcm(iv, tag_bits);
            let sealed = alice.compute(Operation::Encrypt, &mechanism, key, MESSAGE).await;
            let mut sealed = sealed.expect("sealed").data.expect("data").to_vec();
            assert_eq!(sealed.len(), MESSAGE.len() + (tag_bits / 8) as usize);
            let opened = alice.compute(Operation::Decrypt, &mechanism, key, &sealed).await;
            assert_eq!(**opened.expect("opened").data.expect("data"), *MESSAGE);
            sealed[3] ^= 1;
            let changed = alice.compute(Operation::Decrypt, &mechanism, key, &sealed).await;
            assert_eq!(rv(&changed), Some(CKR_ENCRYPTED_DATA_INVALID));
        }
        for wrong in [gcm(&[], 128), gcm(&[1; 12], 8), gcm(&[1; 12], 136)] {
            let refused = alice.compute(Operation::Encrypt, &wrong, key, MESSAGE).await;
            assert_eq!(rv(&refused), Some(CKR_MECHANISM_PARAM_INVALID));
        }
    });
}

#[test]
fn the_token_decrypts_what_openssl_encrypts() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-rsa-enc"));
        let alice = Application::of(&signer, "alice").await;
        let (public, private) = rsa(&alice, 2048, CKA_ENCRYPT, CKA_DECRYPT).await;
        publish(&scratch, &alice, public).await;
        let oaep = |hash, mgf, label: &[u8]| Mechanism {
            kind: CKM_RSA_PKCS_OAEP,
            parameter: Parameter::Oaep(Oaep { hash, mgf, label: Bytes::copy(label) }),
        };
        for (mechanism, options) in [
            (Mechanism::plain(CKM_RSA_PKCS), "-pkeyopt rsa_padding_mode:pkcs1"),
            (oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""), "-pkeyopt rsa_padding_mode:oaep"),
            (
                oaep(CKM_SHA256, CKG_MGF1_SHA1, b"\x01\x02"),
                "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha1 \
                 -pkeyopt rsa_oaep_label:0102",
            ),
            (
                oaep(CKM_SHA512, CKG_MGF1_SHA512, b""),
                "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha512 -pkeyopt rsa_mgf1_md:sha512",
            ),
        ] {
            scratch
                .succeeds(&format!("pkeyutl -encrypt {options} -pubin -inkey key.pem -in message -out enc"));
            let decrypted =
                alice.compute(Operation::Decrypt, &mechanism, private, &scratch.read("enc")).await;
            assert_eq!(**decrypted.expect("a plaintext").data.expect("data"), *MESSAGE, "{options}");
            let encrypted = alice.compute(Operation::Encrypt, &mechanism, public, MESSAGE).await;
            let encrypted = encrypted.expect("a ciphertext").data.expect("data");
            let decrypted = alice.compute(Operation::Decrypt, &mechanism, private, &encrypted).await;
            assert_eq!(**decrypted.expect("a plaintext").data.expect("data"), *MESSAGE);
            let long = alice.compute(Operation::Encrypt, &mechanism, public, &[1; 250]).await;
            assert_eq!(rv(&long), Some(CKR_DATA_LEN_RANGE));
            let cut = alice.compute(Operation::Decrypt, &mechanism, private, &encrypted[1..]).await;
            assert_eq!(rv(&cut), Some(CKR_ENCRYPTED_DATA_LEN_RANGE));
        }
        let encrypted =
            alice.compute(Operation::Encrypt, &Mechanism::plain(CKM_RSA_X_509), public, MESSAGE).await;
        let encrypted = encrypted.expect("a ciphertext").data.expect("data");
        let padded =
            alice.compute(Operation::Decrypt, &Mechanism::plain(CKM_RSA_X_509), private, &encrypted).await;
        assert!(padded.expect("a plaintext").data.expect("data").ends_with(MESSAGE));
    });
}

#[test]
fn openssl_derives_the_same_secret() {
    run(async {
        let (signer, scratch) = (token().await, Scratch::new("hsm-ecdh"));
        let alice = Application::of(&signer, "alice").await;
        for ((curve, length), name) in
            CURVES.into_iter().zip(["prime256v1", "secp384r1", "secp521r1", "secp256k1"])
        {
            let public = vec![Attribute::bytes(CKA_EC_PARAMS, &hex(curve))];
            let private = vec![Attribute::flag(CKA_DERIVE, true)];
            let (public, private) = alice.pair(CKM_EC_KEY_PAIR_GEN, public, private).await.expect("a pair");
            publish(&scratch, &alice, public).await;
            scratch
                .succeeds(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{name} -out own.pem"));
            scratch.succeeds("pkey -in own.pem -pubout -outform DER -out own.der");
            scratch.succeeds("pkeyutl -derive -inkey own.pem -peerkey key.pem -out secret");
            let spki = scratch.read("own.der");
            let point = spki[spki.len() - (2 * length + 1)..].to_vec();
            let expected = scratch.read("secret");
            let derive = |kdf, shared: &[u8], length: u64| {
                let parameter =
                    Parameter::Ecdh { kdf, shared: Bytes::copy(shared), public: Bytes::copy(&point) };
                let request = Request {
                    mechanism: Some(Mechanism { kind: CKM_ECDH1_DERIVE, parameter }),
                    object: Some(private),
                    template: Some(vec![
                        Attribute::number(CKA_VALUE_LEN, length),
                        Attribute::flag(CKA_SENSITIVE, false),
                        Attribute::flag(CKA_EXTRACTABLE, true),
                    ]),
                    ..Request::default()
                };
                let alice = alice.clone();
                async move { alice.ask(Operation::DeriveKey, request).await }
            };
            let whole = derive(CKD_NULL, b"", length as u64).await.expect("a key").object.expect("a handle");
            assert_eq!(alice.get(whole, CKA_VALUE).await, Ok(expected.clone()));
            let part = derive(CKD_NULL, b"", 16).await.expect("a key").object.expect("a handle");
            assert_eq!(alice.get(part, CKA_VALUE).await, Ok(expected[length - 16..].to_vec()));
            scratch.succeeds(&format!(
                "kdf -keylen 80 -kdfopt digest:SHA256 -kdfopt hexkey:{} -kdfopt hexinfo:aa -binary -out kdf X963KDF",
                text(&expected)
            ));
            let kdf = derive(CKD_SHA256_KDF, b"\xaa", 80).await.expect("a key").object.expect("a handle");
            assert_eq!(alice.get(kdf, CKA_VALUE).await, Ok(scratch.read("kdf")));
            assert_eq!(rv(&derive(CKD_NULL, b"", 100).await), Some(CKR_TEMPLATE_INCONSISTENT));
            assert_eq!(rv(&derive(CKD_NULL, b"x", 16).await), Some(CKR_MECHANISM_PARAM_INVALID));
        }
    });
}

#[test]
fn every_mechanism_is_in_the_list_once() {
    run(async {
        let signer = token().await;
        let stranger = Application::open(&signer).await;
        let listed = stranger.ask(Operation::Mechanisms, Request::default()).await.expect("a list");
        let mut kinds: Vec<u64> = listed.mechanisms.expect("a list").iter().map(|info| info.kind).collect();
        let count = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(kinds.len() == count && count > 50);
    });
}
