//! A volume comes to a running signer and leaves it again, because its owner says so: what goes with it, and what does not.

#[path = "common/client.rs"]
mod client;
mod common;
#[path = "common/volume.rs"]
mod volume;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use casemate_audit::Verifier;
use casemate_signer::{Door, Signer, serve_connection};
use casemate_volume::layout::Header;
use casemate_volume::{Request, Response, frame};
use client::{Client, send};
use common::{ok, text};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use volume::{GUEST, Guest, Place, Say, converse, keep, run};

async fn create(signer: &Signer) -> String {
    let request = json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"});
    text(&keep(signer, "CreateKey", request).await.expect("created")["KeyMetadata"]["KeyId"])
}

/// However many there are.
fn keys(signer: &Signer) -> Vec<String> {
    let (mut all, mut request) = (Vec::new(), json!({"Limit": 1000}));
    loop {
        let listed = ok(signer, "ListKeys", request);
        all.extend(listed["Keys"].as_array().expect("keys").iter().map(|key| text(&key["KeyId"])));
        match &listed["NextMarker"] {
            Value::String(marker) => request = json!({"Limit": 1000, "Marker": marker}),
            _ => return all,
        }
    }
}

fn volume_of(place: &Place) -> String {
    let header = place.store().head().expect("a head").header.expect("a header");
    Header::parse(&header).expect("a header").volume.to_string()
}

async fn health(signer: &Rc<Signer>) -> Value {
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    serde_json::from_str(&send(signer, Door::Plain, request).await.1).expect("JSON")
}

async fn unsigned(signer: &Rc<Signer>, door: Door, operation: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Casemate.{operation}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    send(signer, door, request.as_bytes()).await
}

#[track_caller]
fn says((status, body): (u16, String), expected: u16, part: &str) {
    assert!(status == expected && body.contains(part), "{status} {body}, not {expected} {part}");
}

#[test]
fn a_claimed_signer_takes_only_what_its_owner_lets_in() {
    run(async {
        let (place, other) = (Place::new(), Place::new());
        let stranger = GUEST.launch();
        let attached = other.attach(&stranger).await;
        create(&stranger).await;
        attached.kill().await;

        let signer = GUEST.launch();
        let admin = Client::admin(&signer).await;
        let nobody = "has not let a volume in";
        assert!(place.refused(&signer).await.contains(nobody));
        for door in [Door::Plain, Door::Tls] {
            says(unsigned(&signer, door, "AttachVolume", "{}").await, 400, "MissingAuthenticationToken");
        }
        admin.iam("CreateUser", "UserName=ann").await;
        let (_, key) = admin.iam("CreateAccessKey", "UserName=ann").await;
        let ann = Client {
            id: client::element(&key, "AccessKeyId"),
            secret: client::element(&key, "SecretAccessKey"),
            ..admin.clone()
        };
        says(ann.casemate("AttachVolume", "{}").await, 400, "casemate:AttachVolume");
        let forged = Client { secret: "x".repeat(40), ..admin.clone() };
        says(forged.casemate("AttachVolume", "{}").await, 400, "InvalidSignature");
        says(admin.casemate("AttachVolume", r#"{"VolumeId":"0"}"#).await, 400, "ValidationException");
        let named = json!({"VolumeId": volume_of(&other)}).to_string();
        says(admin.casemate("AttachVolume", &named).await, 400, "only an empty volume");
        assert!(place.refused(&signer).await.contains(nobody), "nobody was allowed to");

        says(admin.casemate("AttachVolume", "{}").await, 200, "ValidForSeconds");
        assert!(other.refused(&signer).await.contains("let an empty volume in"));
        assert!(place.refused(&signer).await.contains(nobody), "a permit is good once");
        says(admin.casemate("AttachVolume", "{}").await, 200, "ValidForSeconds");
        let attached = place.attach(&signer).await;
        says(admin.casemate("AttachVolume", "{}").await, 400, "has a volume");
        says(ann.casemate("DetachVolume", "{}").await, 400, "casemate:DetachVolume");
        says(unsigned(&signer, Door::Plain, "DetachVolume", "{}").await, 400, "MissingAuthenticationToken");
        says(admin.casemate("DetachVolume", &named).await, 400, "NotFoundException");

        // The one that it has comes back without being asked for, and no other does.
        attached.kill().await;
        says(admin.casemate("DetachVolume", "{}").await, 500, "volume is not connected");
        assert!(other.refused(&signer).await.contains("not the volume that the signer used"));
        place.attach(&signer).await.kill().await;
    });
}

#[test]
fn a_signer_that_nobody_owns_takes_what_is_named_or_anything() {
    run(async {
        let (place, other) = (Place::new(), Place::new());
        for place in [&place, &other] {
            place.attach(&GUEST.launch()).await.kill().await;
        }
        let signer = GUEST.launch();
        says(unsigned(&signer, Door::Tls, "AttachVolume", "{}").await, 400, "MissingAuthenticationToken");
        ok(&signer, "Casemate.AttachVolume", json!({"VolumeId": volume_of(&place)}));
        let said = other.refused(&signer).await;
        assert!(said.contains(&format!("let volume {} in", volume_of(&place))), "{said}");
        ok(&signer, "Casemate.AttachVolume", json!({"VolumeId": volume_of(&place)}));
        assert!(Place::new().refused(&signer).await.contains("let volume"));
        other.attach(&signer).await.kill().await;

        let keyless = Guest { sealing_key: None, ..GUEST }.launch();
        let refused = common::refused(&keyless, "Casemate.AttachVolume", json!({}));
        assert!(refused.1.contains("no sealing key"), "{refused:?}");
        let refused = common::refused(&keyless, "Casemate.DetachVolume", json!({}));
        assert!(refused.1.contains("has no volume"), "{refused:?}");
    });
}

/// The log of a signer, of which the chain is checked from its first line.
async fn log(admin: &Client) -> Vec<Value> {
    let (status, answer) = admin.casemate("ReadAudit", "{}").await;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut verifier = Verifier::default();
    let lines = answer["Lines"].as_array().expect("lines").iter();
    let record = |line: &Value| verifier.line(line.as_str().expect("text")).map(str::to_owned);
    let records = lines.map(record).collect::<Result<Vec<_>, _>>().expect("a chain");
    assert_eq!(verifier.head().to_string(), text(&answer["Head"]));
    records.iter().map(|record| serde_json::from_str(record).expect("JSON")).collect()
}

#[test]
fn a_volume_takes_everything_with_it_and_another_guest_has_it_then() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let admin = Client::admin(&first).await;
        let kept = create(&first).await;
        keep(&first, "CreateAlias", json!({"AliasName": "alias/kept", "TargetKeyId": kept}))
            .await
            .expect("alias");
        says(admin.casemate("AttachVolume", "{}").await, 200, "");
        let attached = place.attach(&first).await;
        let certificate = first.tls_certificate().expect("a certificate");
        let (status, answer) = admin.casemate("DetachVolume", "{}").await;
        assert_eq!(status, 200, "{answer}");
        attached.detached().await;
        let id = volume_of(&place);
        assert_eq!(serde_json::from_str::<Value>(&answer).expect("JSON"), json!({"VolumeId": id}));

        let state = health(&first).await;
        assert_eq!(
            (&state["keys"], &state["claimed"], &state["volume"]),
            (&json!(0), &json!(false), &json!("none"))
        );
        assert_ne!(first.tls_certificate().expect("a certificate"), certificate, "the key went too");
        says(admin.kms("ListKeys", "{}").await, 400, "MissingAuthenticationToken");
        assert!(
            common::refused(&first, "DescribeKey", json!({"KeyId": "alias/kept"})).0.contains("NotFound")
        );
        let fresh = ok(&first, "Casemate.ReadAudit", json!({}));
        assert!(!fresh.to_string().contains("CreateKey"), "{fresh}");

        let second = GUEST.launch();
        let admin = admin.at(&second);
        says(
            unsigned(&second, Door::Plain, "AttachVolume", &json!({"VolumeId": id}).to_string()).await,
            200,
            "",
        );
        let attached = place.attach(&second).await;
        assert_eq!(second.tls_certificate().expect("a certificate"), certificate);
        says(admin.kms("DescribeKey", r#"{"KeyId":"alias/kept"}"#).await, 200, &kept);
        let log = log(&admin).await;
        let line =
            |at: usize| (text(&log[at]["eventName"]), log[at]["requestParameters"]["volumeId"].clone());
        let names: Vec<String> = log.iter().map(|line| text(&line["eventName"])).collect();
        assert_eq!(names[..3], ["Claim", "AttachVolume", "DetachVolume"], "{names:?}");
        assert_eq!(line(3), ("AttachVolume".to_owned(), json!(id)), "the new guest's");
        assert_ne!(log[1]["requestID"], log[3]["requestID"]);
        assert!(!text(&log[3]["requestID"]).is_empty());

        // And back, with what it got meanwhile: the first is as good as any.
        let more = create(&second).await;
        says(admin.casemate("DetachVolume", &json!({"VolumeId": id}).to_string()).await, 200, "");
        attached.detached().await;
        assert!(keys(&second).is_empty());
        let attached = place.attach(&first).await;
        assert_eq!(keys(&first).len(), 2);
        says(admin.at(&first).kms("DescribeKey", &json!({"KeyId": more}).to_string()).await, 200, &more);
        attached.kill().await;
    });
}

#[test]
fn what_was_acknowledged_before_a_volume_went_is_on_it() {
    run(async {
        let place = Place::new();
        let first = GUEST.launch();
        let attached = place.attach(&first).await;
        let over = Rc::new(Cell::new(false));
        let work = |at: u64| {
            let (first, over) = (Rc::clone(&first), Rc::clone(&over));
            tokio::task::spawn_local(async move {
                let mut acknowledged = Vec::new();
                let request = json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"});
                loop {
                    // Not all in step: some are to wait for the last commit, some for the end.
                    tokio::time::sleep(Duration::from_micros(at * 150)).await;
                    if over.get() {
                        return acknowledged;
                    }
                    match keep(&first, "CreateKey", request.clone()).await {
                        Ok(created) => acknowledged.push(text(&created["KeyMetadata"]["KeyId"])),
                        Err(error) => assert!(error.message.contains("detached"), "{error}"),
                    }
                }
            })
        };
        let tasks: Vec<_> = (0..16).map(work).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        keep(&first, "Casemate.DetachVolume", json!({})).await.expect("detached");
        over.set(true);
        attached.detached().await;
        let mut acknowledged = Vec::new();
        for task in tasks {
            acknowledged.extend(task.await.expect("no panic"));
        }
        acknowledged.sort();
        let second = GUEST.launch();
        place.attach(&second).await.kill().await;
        let on_it = keys(&second);
        assert!(on_it.len() > 16, "{}", on_it.len());
        // Whoever asked once it had gone asked a new signer.
        let mut found = [on_it, keys(&first)].concat();
        found.sort();
        assert_eq!(found, acknowledged);
    });
}

#[test]
fn connections_end_with_the_volume() {
    run(async {
        let place = Place::new();
        let signer = GUEST.launch();
        let attached = place.attach(&signer).await;
        let (mut idle, theirs) = duplex(1 << 16);
        let served = tokio::task::spawn_local(serve_connection(theirs, Rc::clone(&signer), Door::Plain));
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
        let mut some = [0; 12];
        idle.read_exact(&mut some).await.expect("an answer");
        assert_eq!(&some, b"HTTP/1.1 200");

        // One whose request has only begun when the volume goes.
        let (mut slow, theirs) = duplex(1 << 16);
        let slowly = tokio::task::spawn_local(serve_connection(theirs, Rc::clone(&signer), Door::Plain));
        slow.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.CreateKey\r\nContent-Length: 2\r\n\r\n{")
            .await
            .expect("written");
        tokio::time::sleep(Duration::from_millis(20)).await;
        keep(&signer, "Casemate.DetachVolume", json!({})).await.expect("detached");
        attached.detached().await;
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.expect("the end");
        served.await.expect("no panic").expect("a good end");

        slow.write_all(b"}").await.expect("written");
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.expect("the end");
        assert!(answer.contains("volume was detached"), "{answer}");
        slowly.await.expect("no panic").expect("a good end");
        assert!(keys(&signer).is_empty());
    });
}

/// A host that takes everything until its second commit, and hangs up then.
#[test]
fn a_volume_that_cannot_be_written_does_not_go() {
    run(async {
        let signer = GUEST.launch();
        let kept = create(&signer).await;
        let commits = Cell::new(0);
        let host = converse(&signer, |request| {
            let answer = match request {
                Request::Hello { .. } => Response::Volume { header: None, root: None, anchor: None },
                Request::Commit { .. } => {
                    commits.set(commits.get() + 1);
                    if commits.get() > 1 {
                        return Say::Last(Vec::new());
                    }
                    Response::Committed
                }
                Request::Detached => panic!("it was let go"),
                _ => Response::Noted,
            };
            Say::Then(frame::encode(&answer).expect("a frame"))
        });
        let detach = async {
            while health(&signer).await["volume"] != "attached" {}
            keep(&signer, "Casemate.DetachVolume", json!({})).await.expect_err("detached")
        };
        let ((), error) = tokio::join!(host, detach);
        assert!(error.message.contains("volume is not connected"), "{error}");
        assert_eq!(keys(&signer), std::slice::from_ref(&kept));
        keep(&signer, "DescribeKey", json!({"KeyId": kept})).await.expect("it goes on");
    });
}
