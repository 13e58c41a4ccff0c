//! A signer and a guest on one platform, and requests for a secret that is to be for the guest alone.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_attestation::pcr::Mode;
use casemate_attestation::platform::PlatformKey;
use casemate_signer::Signer;
use serde_json::{Value, json};

use crate::sealed::{Guest, sealed_signer};

/// Who brings the document.
#[derive(Clone, Copy, Debug)]
pub enum Bearer {
    /// Somebody who changes nothing: the bytes are the document's public key.
    Honest,
    /// Somebody who changes a byte of a document with a good public key.
    Spoils {
        /// Where, from the beginning again if it is behind the end.
        at: usize,
        /// To this, by exclusive or.
        with: u8,
    },
    /// Somebody who writes it: the bytes are the document.
    Invents,
}

struct Scene {
    signer: Rc<Signer>,
    platform: PlatformKey,
    /// Its clock stands still, so there is another one after a while.
    guest: RefCell<(Instant, Guest)>,
    key: String,
    spki: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let (platform, signer) = sealed_signer();
        let made = signer.call("CreateKey", b"{}").expect("a key");
        let made: Value = serde_json::from_slice(&made).expect("JSON");
        let key = made["KeyMetadata"]["KeyId"].as_str().expect("a name").to_owned();
        let guest = RefCell::new((Instant::now(), Guest::new(&platform, Mode::Production, 0)));
        Self { signer, platform, guest, key, spki: spki() }
    }

    /// A document of now.
    fn document(&self, public_key: &[u8]) -> Vec<u8> {
        let mut guest = self.guest.borrow_mut();
        if guest.0.elapsed() > Duration::from_secs(60) {
            *guest = (Instant::now(), Guest::new(&self.platform, Mode::Production, 0));
        }
        guest.1.document(None, Some(public_key).filter(|key| !key.is_empty()))
    }
}

/// An RSA public key that can be encrypted to.
pub fn spki() -> Vec<u8> {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
    key.public_key().as_der().expect("DER").as_ref().to_vec()
}

thread_local! {
    static SCENE: Scene = Scene::new();
}

/// Panics unless the secret comes in an envelope, or not at all and for a good reason.
pub fn check(bearer: Bearer, bytes: &[u8]) {
    SCENE.with(|scene| {
        let document = match bearer {
            // The longest that a document can hold.
            Bearer::Honest => scene.document(&bytes[..bytes.len().min(1024)]),
            Bearer::Spoils { at, with } => {
                let mut document = scene.document(&scene.spki);
                let at = at % document.len();
                document[at] ^= with;
                document
            }
            Bearer::Invents => bytes.to_vec(),
        };
        let recipient = json!({
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": STANDARD.encode(&document),
        });
        let request = json!({"KeyId": scene.key, "KeySpec": "AES_256", "Recipient": recipient}).to_string();
        let answer = scene.signer.call("GenerateDataKey", request.as_bytes());
        match (bearer, answer) {
            (_, Ok(answer)) => {
                let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                assert!(answer.get("Plaintext").is_none(), "{answer}");
                assert!(answer["CiphertextForRecipient"].is_string(), "{answer}");
                assert!(
                    !matches!(bearer, Bearer::Spoils { with: 1.., .. } | Bearer::Invents),
                    "it was taken"
                );
            }
            (Bearer::Spoils { with: 0, .. }, Err(error)) => panic!("nothing was spoilt: {error}"),
            (_, Err(error)) => assert!(error.kind.name() != "KMSInternalException", "{error}"),
        }
    });
}
