//! Every request that is answered leaves a line in the audit log, or is counted in one, whoever sent it and whatever it is.

#[path = "common/client.rs"]
mod client;
mod common;

use std::rc::Rc;

use casemate_audit::{Head, Verifier};
use casemate_signer::{Door, Signer};
use client::{Client, claim, run, send};
use common::signer;
use serde_json::{Value, json};

/// The whole log as its records, of which the chain is checked.
async fn log(admin: &Client) -> Vec<Value> {
    let (mut verifier, mut records) = (Verifier::default(), Vec::new());
    loop {
        let body = json!({"After": verifier.head().sequence}).to_string();
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Casemate.ReadAudit")];
        let request = admin.request("kms", &headers, &body);
        let (status, answer) = send(&admin.signer, Door::Tls, request.as_bytes()).await;
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let lines = answer["Lines"].as_array().expect("lines");
        for line in lines {
            let record = verifier.line(line.as_str().expect("text")).expect("follows");
            records.push(serde_json::from_str(record).expect("JSON"));
        }
        if Head::parse(answer["Head"].as_str().expect("text")) == Some(verifier.head()) {
            return records;
        }
    }
}

/// What the summaries in a log count, by what became of the requests.
fn counted(log: &[Value]) -> serde_json::Map<String, Value> {
    let mut all = serde_json::Map::new();
    for summary in log.iter().filter(|line| line["eventType"] == "AwsServiceEvent") {
        for (what, requests) in summary["serviceEventDetails"]["requests"].as_object().expect("counts") {
            let sum = all.get(what).and_then(Value::as_u64).unwrap_or_default()
                + requests.as_u64().expect("a number");
            all.insert(what.clone(), json!(sum));
        }
    }
    all
}

fn unsigned(route: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{route} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

async fn refused(signer: &Rc<Signer>, request: &str) {
    let (status, answer) = send(signer, Door::Tls, request.as_bytes()).await;
    assert!(status >= 400, "{status} {answer}");
}

#[test]
fn whoever_is_refused_at_the_door_leaves_a_line() {
    run(async {
        let admin = Client::admin(&signer()).await;
        let signer = &admin.signer;
        let wrong_key = Client { id: "AKIDOESNOTEXIST00000".to_owned(), ..admin.clone() };
        let wrong_secret = Client { secret: "not the secret".to_owned(), ..admin.clone() };
        let foreign_token = Client { token: Some("bm8gdG9rZW4=".to_owned()), ..admin.clone() };
        let list =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "TrentService.ListKeys")];
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let target = |name: &str| format!("X-Amz-Target: {name}\r\n");
        let old = {
            let request = admin.request("kms", &list, "{}");
            let today =
                request.split_once("x-amz-date: ").expect("a date").1.get(..8).expect("a day").to_owned();
            request.replace(&today, "20200101")
        };
        let presigned =
            "POST /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDPRESIGNED0000000%2F20200101";
        let id = Some(admin.id.as_str());
        let cases: Vec<(String, &str, &str, &str, Option<&str>)> = vec![
            (wrong_key.request("kms", &list, "{}"), "kms", "ListKeys", "UnrecognizedClient", Some("AKIDOESNOTEXIST00000")),
            (wrong_secret.request("kms", &list, "{}"), "kms", "ListKeys", "InvalidSignature", id),
            (foreign_token.request("kms", &list, "{}"), "kms", "ListKeys", "UnrecognizedClient", id),
            (old, "kms", "ListKeys", "InvalidSignature", id),
            (unsigned("POST /", &target("TrentService.Sign"), "{}"), "kms", "Sign", "MissingAuthenticationToken", None),
            (unsigned("POST /", &target("Casemate.ReadAudit"), "{}"), "casemate", "ReadAudit", "MissingAuthenticationToken", None),
            (unsigned(presigned, &target("TrentService.Sign"), "{}"), "kms", "Sign", "IncompleteSignature", Some("AKIDPRESIGNED0000000")),
            (unsigned("POST /", &target("Dynamo.ListTables"), "{}"), "casemate", "Dynamo.ListTables", "UnknownOperation", None),
            (unsigned("POST /", "", "{}"), "casemate", "POST /", "UnknownOperation", None),
            (unsigned("DELETE /x", "", ""), "casemate", "DELETE /x", "UnknownOperation", None),
            (unsigned("POST /claim", "", "{}"), "casemate", "Claim", "AlreadyClaimed", None),
            (unsigned("POST /names", "", "{}"), "casemate", "SetNames", "UnsupportedOperation", None),
            (wrong_secret.form("iam", "Action=CreateUser&Version=2010-05-08&UserName=eve"), "iam", "CreateUser", "SignatureDoesNotMatch", id),
            (unsigned("POST /", form, "Action=AssumeRole&Version=2011-06-15"), "sts", "AssumeRole", "MissingAuthenticationToken", None),
            (unsigned("POST /", form, "Action=Nothing&Version=2011-06-15"), "casemate", "Nothing", "InvalidAction", None),
            (unsigned("POST /", form, "Action=%ff"), "casemate", "Query", "MalformedQueryString", None),
            ("POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.Sign\r\nContent-Length: 99999999\r\n\r\n".to_owned(), "kms", "Sign", "Validation", None),
        ];
        for (request, ..) in &cases {
            refused(signer, request).await;
        }
        let log = log(&admin).await;
        let refusals: Vec<&Value> = log.iter().filter(|line| !line["errorCode"].is_null()).collect();
        assert_eq!(refusals.len(), cases.len(), "{refusals:#?}");
        for ((_, service, operation, code, key), line) in cases.iter().zip(refusals) {
            assert_eq!(line["eventSource"], json!(format!("{service}.amazonaws.com")), "{line}");
            assert_eq!((&line["eventName"], &line["errorCode"]), (&json!(operation), &json!(code)), "{line}");
            assert!(line["errorMessage"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
            let who = match key {
                Some(key) => json!({"type": "Unknown", "accessKeyId": key}),
                None => json!({"type": "Unknown"}),
            };
            assert_eq!((&line["userIdentity"], &line["requestParameters"]), (&who, &Value::Null), "{line}");
            assert_eq!(line["requestID"].as_str().map(str::len), Some(36), "{line}");
        }
        assert!(counted(&log).is_empty(), "all have lines of their own");
    });
}

#[test]
fn what_fails_after_the_signature_has_its_senders_name() {
    run(async {
        let admin = Client::admin(&signer()).await;
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "TrentService.ListKeys"),
            ("x-casemate-attestation", "AAAA"),
        ];
        refused(&admin.signer, &admin.request("kms", &headers, "{}")).await;
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "TrentService.Nothing")];
        refused(&admin.signer, &admin.request("kms", &headers, "{}")).await;
        let log = log(&admin).await;
        let named = |name: &str| {
            log.iter().find(|line| line["eventName"] == name).unwrap_or_else(|| panic!("{name}"))
        };
        for name in ["ListKeys", "Nothing"] {
            assert!(!named(name)["errorCode"].is_null(), "{log:?}");
            assert_eq!(named(name)["userIdentity"]["arn"], "arn:aws:iam::111122223333:user/admin");
        }
    });
}

#[test]
fn a_flood_of_strangers_is_counted_and_pushes_nobody_out_of_the_log() {
    const FLOOD: usize = 20_000;
    run(async {
        let admin = Client::admin(&signer()).await;
        let (status, answer) = admin.kms("CreateKey", "{}").await;
        assert_eq!(status, 200, "{answer}");
        let head = "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.Sign\r\nContent-Length: 2\r\n";
        let mut flood = format!("{head}\r\n{{}}").repeat(FLOOD - 1);
        flood.push_str(&format!("{head}Connection: close\r\n\r\n{{}}"));
        send(&admin.signer, Door::Tls, flood.as_bytes()).await;
        for _ in 0..100 {
            assert_eq!(claim(&admin.signer, Door::Tls, "{}").await.0, 400);
            send(&admin.signer, Door::Tls, unsigned("GET /health", "", "").as_bytes()).await;
            send(&admin.signer, Door::Tls, b"no HTTP at all\r\n\r\n").await;
        }
        let log = log(&admin).await;
        assert!(log.len() < 64, "{} lines", log.len());
        let named = |name: &str| log.iter().filter(|line| line["eventName"] == name).count();
        assert_eq!((named("Claim"), named("CreateKey"), named("SummariseRequests")), (1, 1, 1), "{log:?}");
        let counted = counted(&log);
        assert_eq!(
            counted["MissingAuthenticationTokenException"],
            json!(FLOOD - named("Sign")),
            "{counted:?}"
        );
        assert_eq!(counted["AlreadyClaimedException"], json!(100), "{counted:?}");
        assert_eq!(
            (&counted["GetHealth"], &counted["MalformedHttp"]),
            (&json!(100), &json!(100)),
            "{counted:?}"
        );
    });
}
