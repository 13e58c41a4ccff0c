//! A client of a claimed signer in the same process: it signs with SigV4 and speaks HTTP over a byte stream.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use casemate_signer::{Door, Signer, serve_connection};
use der::DateTime;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::LocalSet;

/// Runs a test on one thread, as the guest does.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    LocalSet::new().block_on(&runtime, test)
}

/// Sends bytes through a door and gives back status and body.
pub async fn send(signer: &Rc<Signer>, door: Door, request: &[u8]) -> (u16, String) {
    let (client, server) = duplex(64 * 1024);
    let signer = Rc::clone(signer);
    let served = tokio::task::spawn_local(async move { drop(serve_connection(server, signer, door).await) });
    let (mut reader, mut writer) = tokio::io::split(client);
    let send = async {
        let _ = writer.write_all(request).await;
        let _ = writer.shutdown().await;
    };
    let mut response = Vec::new();
    let both = async { tokio::join!(send, reader.read_to_end(&mut response)) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("the server hangs").1.expect("read");
    served.await.expect("the server panicked");
    let text = String::from_utf8_lossy(&response).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return (0, text) };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// `POST /claim` through a door.
pub async fn claim(signer: &Rc<Signer>, door: Door, request: &str) -> (u16, Value) {
    let length = request.len();
    let request = format!(
        "POST /claim HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{request}"
    );
    let (status, body) = send(signer, door, request.as_bytes()).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
}

/// Credentials, and where they are used.
#[derive(Clone)]
pub struct Client {
    /// The signer that gave them out.
    pub signer: Rc<Signer>,
    /// The access key's id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The session's token.
    pub token: Option<String>,
}

impl Client {
    /// The administrator of a signer that is claimed now.
    pub async fn admin(signer: &Rc<Signer>) -> Self {
        let (status, claimed) = claim(signer, Door::Tls, "{\"account\":\"111122223333\"}").await;
        assert_eq!(status, 200, "{claimed}");
        let text = |name: &str| claimed[name].as_str().expect("text").to_owned();
        let (id, secret) = (text("access_key_id"), text("secret_access_key"));
        Self { signer: Rc::clone(signer), id, secret, token: None }
    }

    /// Whoever has the credentials in an answer of STS.
    pub fn session(&self, answer: &str) -> Self {
        Self {
            signer: Rc::clone(&self.signer),
            id: element(answer, "AccessKeyId"),
            secret: element(answer, "SecretAccessKey"),
            token: Some(element(answer, "SessionToken")),
        }
    }

    /// A signed request to `service` as text, ready to be sent.
    pub fn request(&self, service: &str, more: &[(&str, &str)], body: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let date = DateTime::from_unix_duration(Duration::from_secs(now.as_secs())).expect("a date");
        let date = date.to_string().replace(['-', ':'], "");
        let mut headers = vec![("host", "localhost"), ("x-amz-date", &date)];
        headers.extend(self.token.as_deref().map(|token| ("x-amz-security-token", token)));
        headers.extend(more);
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(body));
        let scope = format!("{}/us-east-1/{service}/aws4_request", &date[..8]);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
        let key = [&date[..8], "us-east-1", service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &to_sign));
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!(
            "POST / HTTP/1.1\r\n{lines}authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, \
             Signature={signature}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.id,
            body.len()
        )
    }

    /// A request of the Query protocol.
    pub fn form(&self, service: &str, body: &str) -> String {
        self.request(service, &[("content-type", "application/x-www-form-urlencoded")], body)
    }

    /// An operation of IAM: parameters as they are written in a form, and what comes back.
    pub async fn iam(&self, action: &str, parameters: &str) -> (u16, String) {
        let body = format!("Action={action}&Version=2010-05-08&{parameters}");
        send(&self.signer, Door::Tls, self.form("iam", &body).as_bytes()).await
    }

    /// An operation of STS.
    pub async fn sts(&self, action: &str, parameters: &str) -> (u16, String) {
        let body = format!("Action={action}&Version=2011-06-15&{parameters}");
        send(&self.signer, Door::Tls, self.form("sts", &body).as_bytes()).await
    }

    /// The same credentials at another signer.
    pub fn at(&self, signer: &Rc<Signer>) -> Self {
        Self { signer: Rc::clone(signer), ..self.clone() }
    }

    /// An operation of our own.
    pub async fn casemate(&self, operation: &str, body: &str) -> (u16, String) {
        let target = format!("Casemate.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        send(&self.signer, Door::Tls, self.request("kms", &headers, body).as_bytes()).await
    }

    /// An operation of KMS.
    pub async fn kms(&self, operation: &str, body: &str) -> (u16, String) {
        let target = format!("TrentService.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        send(&self.signer, Door::Tls, self.request("kms", &headers, body).as_bytes()).await
    }
}

/// Percent-encoded, for a form.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The text of the first element of that name.
pub fn element(xml: &str, name: &str) -> String {
    let start = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}")).1;
    start.split_once("</").expect("an end").0.to_owned()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
