//! A signer, and a client that says its piece and listens until the connection ends.

use std::rc::Rc;
use std::time::Duration;

use casemate_signer::{AttestError, Door, Platform, Signer, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use zeroize::Zeroizing;

/// Every operation of KMS.
pub fn operations() -> Vec<&'static str> {
    casemate_signer::operations().collect()
}

struct Unsealed;

impl Platform for Unsealed {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }

    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        Some(Zeroizing::new([7; 32]))
    }
}

/// A signer without keys.
pub fn new() -> Rc<Signer> {
    Signer::new(Box::new(Unsealed))
}

/// A signer with one key, of the `kind`-th sort, and the key's name.
pub fn with_key(kind: usize) -> (Rc<Signer>, String) {
    let request = [
        r#"{"KeySpec": "SYMMETRIC_DEFAULT"}"#,
        r#"{"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}"#,
        r#"{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}"#,
        r#"{"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY"}"#,
        r#"{"KeySpec": "ML_DSA_44", "KeyUsage": "SIGN_VERIFY"}"#,
    ];
    let signer = new();
    let response = signer.call("CreateKey", request[kind % request.len()].as_bytes()).expect("a key");
    let response: serde_json::Value = serde_json::from_slice(&response).expect("JSON");
    let id = response["KeyMetadata"]["KeyId"].as_str().expect("a name").to_owned();
    (signer, id)
}

/// Sends `request`, closes the sending half, and returns all that comes back; ten seconds are a hang.
pub fn exchange(signer: &Rc<Signer>, request: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    let (client, server) = duplex(64 * 1024);
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut response = Vec::new();
    let talk = async {
        let send = async {
            let _ = writer.write_all(request).await;
            let _ = writer.shutdown().await;
        };
        let serve = serve_connection(server, Rc::clone(signer), Door::Plain);
        let _ = tokio::join!(send, serve, reader.read_to_end(&mut response));
    };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(10), talk).await })
        .expect("the server hangs");
    response
}
