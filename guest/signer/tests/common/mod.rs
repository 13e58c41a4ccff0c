//! A signer in the test's own process, and short ways to ask it.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_signer::{AttestError, KmsError, Platform, Signer};
use serde_json::{Value, json};

/// A platform whose "document" is a transcript of what it was asked to attest.
pub struct Transcript;

impl Platform for Transcript {
    fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError> {
        if nonce == Some(b"refuse") {
            return Err(AttestError::Refused("InputTooLarge".to_owned()));
        }
        Ok(format!("{user_data:?} {nonce:?} {public_key:?}").into_bytes())
    }
}

pub fn signer() -> Rc<Signer> {
    Signer::new(Box::new(Transcript))
}

pub fn call(signer: &Signer, operation: &str, request: Value) -> Result<Value, KmsError> {
    let response = signer.call(operation, request.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&response).expect("a response is JSON"))
}

pub fn ok(signer: &Signer, operation: &str, request: Value) -> Value {
    call(signer, operation, request.clone()).unwrap_or_else(|error| panic!("{operation} {request}: {error}"))
}

/// The error's type and message.
pub fn refused(signer: &Signer, operation: &str, request: Value) -> (String, String) {
    match call(signer, operation, request.clone()) {
        Ok(response) => panic!("{operation} {request} was answered: {response}"),
        Err(error) => (error.kind.name().to_owned(), error.message),
    }
}

/// Creates a key and gives its id.
pub fn key(signer: &Signer, spec: &str, usage: &str) -> String {
    let created = ok(signer, "CreateKey", json!({"KeySpec": spec, "KeyUsage": usage}));
    text(&created["KeyMetadata"]["KeyId"])
}

/// The request for an authority with a P-256 key.
pub fn authority_request() -> Value {
    json!({
        "CertificateAuthorityConfiguration": {
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "A root"},
        },
        "CertificateAuthorityType": "ROOT",
    })
}

/// Creates a root authority and gives its ARN.
pub fn authority(signer: &Signer) -> String {
    text(
        &ok(signer, "ACMPrivateCA.CreateCertificateAuthority", authority_request())["CertificateAuthorityArn"],
    )
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text")).to_owned()
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub fn unb64(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).expect("base64")
}
