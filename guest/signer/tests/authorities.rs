//! Certificate authorities: what survives a restart, what everybody may have, and what the audit log says.

#[path = "common/client.rs"]
mod client;
mod common;
#[path = "common/volume.rs"]
mod volume;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_signer::{Door, Signer};
use client::{Client, claim, send};
use common::{authority_request, b64, ok, refused, text};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use volume::{GUEST, Place, keep, run};

const ROOT: &str = "arn:aws:acm-pca:::template/RootCACertificate/V1";

/// An operation of Private CA that changes something.
async fn change(signer: &Signer, operation: &str, request: Value) -> Value {
    let answer = keep(signer, &format!("ACMPrivateCA.{operation}"), request).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

fn read(signer: &Signer, operation: &str, request: &Value) -> Value {
    ok(signer, &format!("ACMPrivateCA.{operation}"), request.clone())
}

/// A root that is active, with CRL and OCSP; its ARN and its certificate.
async fn root(signer: &Signer) -> (String, String) {
    let mut request = authority_request();
    request["RevocationConfiguration"] = json!({
        "CrlConfiguration": {"Enabled": true, "ExpirationInDays": 7, "CustomCname": "crl.example"},
        "OcspConfiguration": {"Enabled": true, "OcspCustomCname": "ocsp.example"},
    });
    let arn = text(&change(signer, "CreateCertificateAuthority", request).await["CertificateAuthorityArn"]);
    let csr =
        text(&read(signer, "GetCertificateAuthorityCsr", &json!({"CertificateAuthorityArn": arn}))["Csr"]);
    let years = json!({"TemplateArn": ROOT, "Validity": {"Type": "YEARS", "Value": 10}});
    let issued = issue(signer, &arn, &csr, years).await;
    let named = json!({"CertificateAuthorityArn": arn, "CertificateArn": issued});
    let certificate = text(&read(signer, "GetCertificate", &named)["Certificate"]);
    let import = json!({"CertificateAuthorityArn": arn, "Certificate": b64(&certificate)});
    change(signer, "ImportCertificateAuthorityCertificate", import).await;
    (arn, certificate)
}

/// Issues; the certificate's ARN. `more` goes into the request.
async fn issue(signer: &Signer, arn: &str, csr: &str, more: Value) -> String {
    let mut request = json!({"CertificateAuthorityArn": arn, "Csr": b64(csr), "SigningAlgorithm": "SHA256WITHECDSA",
        "Validity": {"Type": "DAYS", "Value": 30}});
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    text(&change(signer, "IssueCertificate", request).await["CertificateArn"])
}

/// Somebody's request: another authority's own, which is a request like any other.
async fn somebody(signer: &Signer) -> String {
    let mut request = authority_request();
    request["CertificateAuthorityType"] = json!("SUBORDINATE");
    let arn = text(&change(signer, "CreateCertificateAuthority", request).await["CertificateAuthorityArn"]);
    text(&read(signer, "GetCertificateAuthorityCsr", &json!({"CertificateAuthorityArn": arn}))["Csr"])
}

async fn get(signer: &std::rc::Rc<Signer>, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    send(signer, Door::Public, request.as_bytes()).await
}

#[test]
fn authorities_and_what_they_issued_survive() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attached = place.attach(&first).await;
        let (arn, certificate) = root(&first).await;
        let csr = somebody(&first).await;
        let token = json!({"IdempotencyToken": "token"});
        let (kept, revoked) =
            (issue(&first, &arn, &csr, token.clone()).await, issue(&first, &arn, &csr, json!({})).await);
        let serial = |arn: &str| arn.rsplit('/').next().expect("a part").to_owned();
        let authority = json!({"CertificateAuthorityArn": arn});
        let mut revoke = json!({"CertificateSerial": serial(&revoked), "RevocationReason": "SUPERSEDED"});
        revoke["CertificateAuthorityArn"] = json!(arn);
        change(&first, "RevokeCertificate", revoke.clone()).await;
        let tags = json!({"CertificateAuthorityArn": arn, "Tags": [{"Key": "team", "Value": "red"}]});
        change(&first, "TagCertificateAuthority", tags).await;
        let permit = json!({"CertificateAuthorityArn": arn, "Principal": "acm.amazonaws.com",
            "Actions": ["IssueCertificate"]});
        change(&first, "CreatePermission", permit).await;
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "acm-pca:GetCertificate",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Resource": arn}]});
        change(&first, "PutPolicy", json!({"ResourceArn": arn, "Policy": policy.to_string()})).await;
        let report = json!({"CertificateAuthorityArn": arn, "S3BucketName": "bucket", "AuditReportResponseFormat": "JSON"});
        let report = change(&first, "CreateCertificateAuthorityAuditReport", report).await;
        let report = json!({"CertificateAuthorityArn": arn, "AuditReportId": report["AuditReportId"]});
        let gone = ok(&first, "ACMPrivateCA.ListCertificateAuthorities", json!({}));
        let all = gone["CertificateAuthorities"].as_array().expect("a list");
        let other = all.iter().find(|other| other["Arn"] != json!(arn)).expect("another")["Arn"].clone();
        change(&first, "DeleteCertificateAuthority", json!({"CertificateAuthorityArn": other})).await;
        let named =
            |certificate: &str| json!({"CertificateAuthorityArn": arn, "CertificateArn": certificate});
        let questions = [
            ("DescribeCertificateAuthority", authority.clone()),
            ("GetCertificateAuthorityCertificate", authority.clone()),
            ("ListTags", authority.clone()),
            ("ListPermissions", authority.clone()),
            ("GetPolicy", json!({"ResourceArn": arn})),
            ("GetCertificate", named(&kept)),
            ("GetCertificate", named(&revoked)),
            ("DescribeCertificateAuthorityAuditReport", report.clone()),
            ("ListCertificateAuthorities", json!({})),
        ];
        let before: Vec<Value> = questions.iter().map(|(name, asked)| read(&first, name, asked)).collect();
        // The machine dies: nothing is said to the guest or by it.
        attached.kill().await;

        let second = GUEST.launch();
        let _attached = place.attach(&second).await;
        for ((name, asked), before) in questions.iter().zip(before) {
            assert_eq!(read(&second, name, asked), before, "{name}");
        }
        assert_eq!(issue(&second, &arn, &csr, token).await, kept, "the same request");
        let (kind, _) = refused(&second, "ACMPrivateCA.RevokeCertificate", revoke);
        assert_eq!(kind, "RequestAlreadyProcessedException");
        let report = ok(&second, "Casemate.GetCertificateAuthorityAuditReport", report);
        let report: Value = serde_json::from_str(&text(&report["Report"])).expect("JSON");
        let lines = report.as_array().expect("a list");
        assert_eq!(lines.len(), 3, "{report}");
        let line = lines.iter().find(|line| line["certificateArn"] == json!(revoked)).expect("it");
        assert_eq!(
            (&line["revocationReason"], &line["subject"]),
            (&json!("SUPERSEDED"), &json!("CN=A root"))
        );
        let (status, list) = get(&second, &format!("/crl/{}.crl", serial(&arn))).await;
        assert!(status == 200 && !list.is_empty(), "{status}");
        // It still signs, with the same key: a certificate of the same request is accepted.
        let csr = text(&read(&second, "GetCertificateAuthorityCsr", &authority)["Csr"]);
        let issued = issue(&second, &arn, &csr, json!({"TemplateArn": ROOT})).await;
        let renewed = text(&read(&second, "GetCertificate", &named(&issued))["Certificate"]);
        assert_ne!(renewed, certificate);
        let import = json!({"CertificateAuthorityArn": arn, "Certificate": b64(&renewed)});
        change(&second, "ImportCertificateAuthorityCertificate", import).await;
    });
}

#[test]
fn the_public_door_has_nothing_else() {
    run(async {
        let signer = common::signer();
        let (arn, _) = root(&signer).await;
        let id = arn.rsplit('/').next().expect("an id");
        assert_eq!(get(&signer, &format!("/crl/{id}.crl")).await.0, 200);
        assert_eq!(get(&signer, &format!("/ca/{id}.cer")).await.0, 200);
        for path in
            ["/health", "/", "/attestation/tls", "/?Action=GetCallerIdentity&Version=2011-06-15", "/crl/.crl"]
        {
            assert_eq!(get(&signer, path).await.0, 404, "{path}");
        }
        let body = "{}";
        for (route, target) in [
            ("/", "TrentService.ListKeys"),
            ("/", "ACMPrivateCA.ListCertificateAuthorities"),
            ("/claim", ""),
            ("/names", ""),
            ("/attestation/posture", ""),
        ] {
            let request = format!(
                "POST {route} HTTP/1.1\r\nHost: x\r\nX-Amz-Target: {target}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{body}"
            );
            assert_eq!(send(&signer, Door::Public, request.as_bytes()).await.0, 404, "{route} {target}");
        }
    });
}

#[test]
fn requests_are_signed_for_the_service_and_logged() {
    run(async {
        let signer = common::signer();
        let (_, claimed) = claim(&signer, Door::Tls, "").await;
        let admin = Client {
            signer: std::rc::Rc::clone(&signer),
            id: text(&claimed["access_key_id"]),
            secret: text(&claimed["secret_access_key"]),
            token: None,
        };
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "ACMPrivateCA.CreateCertificateAuthority"),
        ];
        let body = authority_request().to_string();
        let (status, answer) =
            send(&signer, Door::Tls, admin.request("kms", &headers, &body).as_bytes()).await;
        assert!(status == 400 && answer.contains("InvalidSignatureException"), "{answer}");
        let (status, answer) =
            send(&signer, Door::Tls, admin.request("acm-pca", &headers, &body).as_bytes()).await;
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Casemate.ReadAudit")];
        let (_, log) = send(&signer, Door::Tls, admin.request("kms", &headers, "{}").as_bytes()).await;
        let log: Value = serde_json::from_str(&log).expect("JSON");
        let line = log["Lines"]
            .as_array()
            .expect("lines")
            .iter()
            .map(text)
            .find(|line| line.contains("CreateCertificateAuthority") && !line.contains("errorCode"));
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let record = line.get("record").unwrap_or(&line);
        assert_eq!(record["eventSource"], "acm-pca.amazonaws.com", "{line}");
        assert_eq!(record["resources"][0]["ARN"], answer["CertificateAuthorityArn"], "{line}");
        assert_eq!(record["resources"][0]["type"], "AWS::ACMPCA::CertificateAuthority");
        assert_eq!(record["requestParameters"]["certificateAuthorityType"], "ROOT");
    });
}

/// A PEM file with some of its DER changed, or cut off.
fn damaged(pem: &str, changes: &[(prop::sample::Index, u8)], end: Option<prop::sample::Index>) -> String {
    let lines: Vec<&str> = pem.trim().lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let mut der = STANDARD.decode(lines[1..lines.len() - 1].concat()).expect("base64");
    for (at, with) in changes {
        let at = at.index(der.len());
        der[at] ^= with;
    }
    der.truncate(end.map_or(der.len(), |end| end.index(der.len())));
    let body: Vec<String> = der.chunks(48).map(|line| STANDARD.encode(line)).collect();
    format!("{first}\n{}\n{last}\n", body.join("\n"))
}

#[test]
fn no_damaged_request_or_certificate_is_taken_or_fails_inside() {
    run(async {
        let signer = common::signer();
        let (arn, certificate) = root(&signer).await;
        let csr = somebody(&signer).await;
        let changes = prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4);
        let strategy = (any::<bool>(), changes, prop::option::weighted(0.1, any::<prop::sample::Index>()));
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        for _ in 0..runner.config().cases {
            let (issue, changes, end) = strategy.new_tree(&mut runner).expect("damage").current();
            let good = if issue { &csr } else { &certificate };
            let bad = damaged(good, &changes, end);
            // A byte may have been changed there and back.
            if bad == damaged(good, &[], None) {
                continue;
            }
            let (operation, request) = if issue {
                let days = json!({"Type": "DAYS", "Value": 30});
                let request = json!({"CertificateAuthorityArn": arn, "Csr": b64(&bad), "Validity": days,
                    "SigningAlgorithm": "SHA256WITHECDSA"});
                ("IssueCertificate", request)
            } else {
                let request = json!({"CertificateAuthorityArn": arn, "Certificate": b64(&bad)});
                ("ImportCertificateAuthorityCertificate", request)
            };
            let answer = keep(&signer, &format!("ACMPrivateCA.{operation}"), request).await;
            let Err(error) = answer else { panic!("{operation} took {bad}") };
            assert!(error.kind.name() != "KMSInternalException", "{operation} {bad}: {error}");
        }
    });
}
