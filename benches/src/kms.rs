//! The signer's operations as requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::http::{Client, request};
use crate::pca;

/// Text as the protocol wants bytes.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes from what the protocol sent.
pub fn unbase64(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| Error::answer("base64", error.to_string()))
}

/// Whoever answers the API's operations: a signer, or a peer of it.
pub trait Kms {
    /// Calls an operation.
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value>;
}

impl Kms for Client {
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value> {
        let answer = self.exchange(&request("POST", "/", Some(operation), &body.to_string()))?;
        parse(answer)
    }
}

/// The JSON of an answer.
pub fn parse(answer: &[u8]) -> Result<Value> {
    serde_json::from_slice(answer).map_err(|error| Error::answer("the signer's JSON", error.to_string()))
}

/// What is asked for, over and over.
#[derive(Clone, Debug)]
pub enum Request {
    /// That the server is there, and no more.
    Health,
    /// An operation of the API.
    Operation {
        /// Its name; one of KMS, if no other service stands before it.
        name: &'static str,
        /// Its JSON.
        body: String,
    },
    /// A certificate: a request that issues it, and one that fetches it.
    Certificate {
        /// Who issues it.
        authority: String,
        /// With which algorithm.
        signing: &'static str,
    },
}

impl Request {
    /// As it goes over the wire to a signer that asks for no signature.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Health => request("GET", "/health", None, ""),
            Self::Operation { name, body } => request("POST", "/", Some(name), body),
            Self::Certificate { .. } => self.first().bytes(),
        }
    }

    /// What is sent first.
    pub fn first(&self) -> Self {
        match self {
            Self::Certificate { authority, signing } => {
                let (name, body) = pca::issue(authority, signing);
                Self::Operation { name, body: body.to_string() }
            }
            one => one.clone(),
        }
    }

    /// What is sent once that is answered, if that is not all.
    pub fn then(&self, answer: &[u8]) -> Result<Option<Self>> {
        let Self::Certificate { authority, .. } = self else { return Ok(None) };
        let (name, body) = pca::fetch(authority, answer)?;
        Ok(Some(Self::Operation { name, body: body.to_string() }))
    }
}

pub(crate) fn text(value: &Value, path: &str) -> Result<String> {
    let text = value.pointer(path).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| Error::answer("the signer's answer", value.to_string()))
}

/// Makes a key and returns its identifier.
pub fn create_key(client: &mut dyn Kms, spec: &str, usage: &str) -> Result<String> {
    let answer = client.call("CreateKey", &json!({ "KeySpec": spec, "KeyUsage": usage }))?;
    text(&answer, "/KeyMetadata/KeyId")
}

/// An operation to be repeated.
pub struct Work {
    /// What people call it.
    pub name: &'static str,
    /// Makes what it needs, and its request.
    pub prepare: fn(&mut dyn Kms) -> Result<Request>,
}

fn sign(client: &mut dyn Kms, spec: &str, algorithm: &str) -> Result<Request> {
    let key = create_key(client, spec, "SIGN_VERIFY")?;
    Ok(post("Sign", &sign_body(&key, algorithm)))
}

fn sign_body(key: &str, algorithm: &str) -> Value {
    json!({ "KeyId": key, "Message": base64(&[0x5a; 32]), "SigningAlgorithm": algorithm })
}

fn post(name: &'static str, body: &Value) -> Request {
    Request::Operation { name, body: body.to_string() }
}

fn decrypt(client: &mut dyn Kms, spec: &str, algorithm: &str, length: usize) -> Result<Request> {
    let key = create_key(client, spec, "ENCRYPT_DECRYPT")?;
    let plaintext = base64(&vec![7; length]);
    let body = json!({ "KeyId": key, "Plaintext": plaintext, "EncryptionAlgorithm": algorithm });
    let blob = text(&client.call("Encrypt", &body)?, "/CiphertextBlob")?;
    let body = json!({ "KeyId": key, "CiphertextBlob": blob, "EncryptionAlgorithm": algorithm });
    Ok(post("Decrypt", &body))
}

/// Every kind of operation.
pub const WORK: &[Work] = &[
    Work { name: "no operation (GET /health)", prepare: |_| Ok(Request::Health) },
    Work { name: "Sign RSA-2048", prepare: |c| sign(c, "RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256") },
    Work { name: "Sign RSA-2048 PSS", prepare: |c| sign(c, "RSA_2048", "RSASSA_PSS_SHA_256") },
    Work { name: "Sign RSA-3072", prepare: |c| sign(c, "RSA_3072", "RSASSA_PKCS1_V1_5_SHA_256") },
    Work { name: "Sign RSA-4096", prepare: |c| sign(c, "RSA_4096", "RSASSA_PKCS1_V1_5_SHA_256") },
    Work { name: "Sign P-256", prepare: |c| sign(c, "ECC_NIST_P256", "ECDSA_SHA_256") },
    Work { name: "Sign P-384", prepare: |c| sign(c, "ECC_NIST_P384", "ECDSA_SHA_384") },
    Work { name: "Sign P-521", prepare: |c| sign(c, "ECC_NIST_P521", "ECDSA_SHA_512") },
    Work { name: "Sign secp256k1", prepare: |c| sign(c, "ECC_SECG_P256K1", "ECDSA_SHA_256") },
    Work { name: "Sign Ed25519", prepare: |c| sign(c, "ECC_NIST_EDWARDS25519", "ED25519_SHA_512") },
    Work { name: "Sign ML-DSA-44", prepare: |c| sign(c, "ML_DSA_44", "ML_DSA_SHAKE_256") },
    Work { name: "Sign ML-DSA-65", prepare: |c| sign(c, "ML_DSA_65", "ML_DSA_SHAKE_256") },
    Work { name: "Sign ML-DSA-87", prepare: |c| sign(c, "ML_DSA_87", "ML_DSA_SHAKE_256") },
    Work { name: "Verify RSA-2048", prepare: |c| verify(c, "RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256") },
    Work { name: "Verify RSA-4096", prepare: |c| verify(c, "RSA_4096", "RSASSA_PKCS1_V1_5_SHA_256") },
    Work { name: "Verify P-256", prepare: |c| verify(c, "ECC_NIST_P256", "ECDSA_SHA_256") },
    Work { name: "GenerateMac HMAC-256", prepare: mac },
    Work { name: "Encrypt AES-256-GCM, 4 KiB", prepare: encrypt },
    Work {
        name: "Decrypt AES-256-GCM, 4 KiB",
        prepare: |c| decrypt(c, "SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT", 4096),
    },
    Work { name: "Decrypt RSA-2048 OAEP", prepare: |c| decrypt(c, "RSA_2048", "RSAES_OAEP_SHA_256", 32) },
    Work { name: "GenerateDataKey AES-256", prepare: data_key },
    Work {
        name: "GenerateRandom, 1 KiB",
        prepare: |_| Ok(post("GenerateRandom", &json!({ "NumberOfBytes": 1024 }))),
    },
];

/// The operation of this name.
pub fn find(name: &str) -> Option<&'static Work> {
    WORK.iter().chain(pca::WORK).find(|work| work.name == name)
}

fn verify(client: &mut dyn Kms, spec: &str, algorithm: &str) -> Result<Request> {
    let key = create_key(client, spec, "SIGN_VERIFY")?;
    let mut body = sign_body(&key, algorithm);
    let signature = text(&client.call("Sign", &body)?, "/Signature")?;
    if let Some(body) = body.as_object_mut() {
        body.insert("Signature".into(), signature.into());
    }
    Ok(post("Verify", &body))
}

fn mac(client: &mut dyn Kms) -> Result<Request> {
    let key = create_key(client, "HMAC_256", "GENERATE_VERIFY_MAC")?;
    let body = json!({ "KeyId": key, "Message": base64(&[0x5a; 32]), "MacAlgorithm": "HMAC_SHA_256" });
    Ok(post("GenerateMac", &body))
}

fn encrypt(client: &mut dyn Kms) -> Result<Request> {
    let key = create_key(client, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")?;
    Ok(post("Encrypt", &json!({ "KeyId": key, "Plaintext": base64(&[7; 4096]) })))
}

fn data_key(client: &mut dyn Kms) -> Result<Request> {
    let key = create_key(client, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")?;
    Ok(post("GenerateDataKey", &json!({ "KeyId": key, "KeySpec": "AES_256" })))
}
