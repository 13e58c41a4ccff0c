//! The commands that talk to a guest, against a guest that is none: a listener in this test that records what it is
//! asked and answers from a script. What the signer answers is tested with the signer.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod cli_support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use casemate::cli::registry::{GuestRecord, Registry, Reservation};
use casemate::isolation::cores::CpuList;
use cli_support::{Scratch, json};
use serde_json::Value;

/// A request as it came in: its target or path, and its body.
type Asked = (String, Value);

struct FakeGuest {
    reservation: Reservation,
    asked: Receiver<Asked>,
}

impl FakeGuest {
    /// A guest of this name that answers each connection with `answer(target)`: a status and a body.
    fn start(scratch: &Scratch, name: &str, pid: u32, answer: fn(&str) -> (u16, String)) -> Self {
        let reservation = Registry::at(&scratch.runtime())
            .unwrap()
            .reserve(Some(name), "x", None, &CpuList::default())
            .unwrap();
        let record = GuestRecord {
            name: reservation.name().to_owned(),
            id: reservation.id().to_owned(),
            module_id: reservation.id().to_owned(),
            pid,
            cid: reservation.cid(),
            cpu_ids: vec![1],
            memory_mib: 64,
            debug: false,
            backend: "kvm".to_owned(),
            measurements: BTreeMap::from([("PCR0".to_owned(), "00".to_owned())]),
            posture: "sealed".to_owned(),
            image_name: Some("sample".to_owned()),
            image_version: None,
            metadata: None,
            started_ms: 1,
            image: "/image.eif".into(),
        };
        let listener = UnixListener::bind(reservation.vsock_path()).unwrap();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &sender, answer);
            }
        });
        reservation.write_evidence("root", b"posture").unwrap();
        reservation.publish(&record).unwrap();
        Self { reservation, asked }
    }

    fn next(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

/// One connection: the handshake, then requests until the client goes.
fn serve(stream: UnixStream, sender: &Sender<Asked>, answer: fn(&str) -> (u16, String)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "CONNECT 8000\n");
    writer.write_all(b"OK 1073741824\n").unwrap();
    loop {
        let (mut target, mut length, mut first) = (String::new(), 0, true);
        let mut signer = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap() == 0 {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if first {
                target = line.split(' ').nth(1).unwrap().to_owned();
            } else if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            } else if lower.starts_with("x-amz-target:") {
                target = line.split_once(':').unwrap().1.trim().replace("TrentService.", "");
            } else if let Some((_, credential)) = line.split_once("Credential=") {
                signer = format!(" (signed by {})", credential.split('/').next().unwrap());
            } else if line == "\r\n" {
                break;
            }
            first = false;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        sender.send((format!("{target}{signer}"), serde_json::from_slice(&body).unwrap())).unwrap();
        let (status, body) = answer(&target);
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        writer.write_all((head + &body).as_bytes()).unwrap();
    }
}

fn signer(target: &str) -> (u16, String) {
    let answer = match target {
        "DescribeKey" => {
            r#"{"KeyMetadata":{"KeyId":"k","KeyUsage":"SIGN_VERIFY","KeySpec":"RSA_2048","KeyState":"Enabled",
            "SigningAlgorithms":["RSASSA_PKCS1_V1_5_SHA_256","RSASSA_PSS_SHA_256"]}}"#
        }
        "CreateKey" => r#"{"KeyMetadata":{"KeyId":"new-key"}}"#,
        "Sign" => r#"{"Signature":"c2lnbmF0dXJl"}"#,
        "Verify" => {
            return (400, r#"{"__type":"KMSInvalidSignatureException","message":"no"}"#.to_owned());
        }
        "Encrypt" => r#"{"CiphertextBlob":"Y2lwaGVy"}"#,
        "Decrypt" => r#"{"Plaintext":"cGxhaW4="}"#,
        "GetPublicKey" => r#"{"PublicKey":"AAAA"}"#,
        "ListKeys" => r#"{"Keys":[{"KeyId":"k"}],"Truncated":false}"#,
        "ScheduleKeyDeletion" => r#"{"KeyId":"k"}"#,
        "/attestation" => r#"{"document":"ZG9jdW1lbnQ="}"#,
        "Garbage" => "<html>",
        "Silent" => "",
        _ => {
            return (
                400,
                r#"{"__type":"com.amazonaws.kms#NotFoundException","message":"no such key"}"#.to_owned(),
            );
        }
    };
    (200, answer.to_owned())
}

#[test]
fn key_commands_speak_kms() {
    let scratch = Scratch::new();
    let guest = FakeGuest::start(&scratch, "g", std::process::id(), signer);
    let run = scratch.casemate(&["key", "create", "--spec", "ECC_NIST_P384", "--description", "d"]);
    assert_eq!(run.stdout, "new-key\n", "{}", run.stderr);
    let (target, body) = guest.next();
    assert_eq!(target, "CreateKey");
    assert_eq!(
        body,
        serde_json::json!({"KeySpec": "ECC_NIST_P384", "KeyUsage": "SIGN_VERIFY", "Description": "d"})
    );
    let run = scratch.casemate(&["key", "list"]);
    assert!(
        run.stdout.contains("RSA_2048") && run.stdout.contains("Enabled"),
        "{} {}",
        run.stdout,
        run.stderr
    );
    scratch.casemate(&["key", "delete", "k", "--days", "7"]).succeeds();
    assert_eq!(json(&scratch.casemate(&["kms", "ListKeys", "{\"Limit\":1}"]))["Keys"][0]["KeyId"], "k");
}

#[test]
fn sign_sends_the_message_or_its_digest() {
    let scratch = Scratch::new();
    let guest = FakeGuest::start(&scratch, "g", std::process::id(), signer);
    let short = scratch.write("short", b"hello");
    let long = scratch.write("long", &[7; 5000]);
    let run = scratch.casemate(&["sign", "--key", "k", "--message", &short]);
    assert_eq!(run.stdout, "c2lnbmF0dXJl\n", "{}", run.stderr);
    assert_eq!(guest.next().0, "DescribeKey");
    let (_, body) = guest.next();
    assert_eq!(body["Message"], "aGVsbG8=");
    assert_eq!(body["MessageType"], "RAW");
    assert_eq!(body["SigningAlgorithm"], "RSASSA_PSS_SHA_256");
    scratch.casemate(&["sign", "--key", "k", "--message", &long, "--out", "sig"]).succeeds();
    assert_eq!(std::fs::read(scratch.path("sig")).unwrap(), b"signature");
    guest.next();
    let (_, body) = guest.next();
    assert_eq!((&body["MessageType"], body["Message"].as_str().unwrap().len()), (&"DIGEST".into(), 44));
    let run = scratch.casemate(&["verify", "--key", "k", "--message", &short, "--signature", "sig"]);
    run.fails_with("the signature is not valid");
    scratch.casemate(&["sign", "--key", "k"]).fails_with("--message or --digest");
}

#[test]
fn encrypt_and_decrypt_carry_the_context() {
    let scratch = Scratch::new();
    let guest = FakeGuest::start(&scratch, "g", std::process::id(), signer);
    let input = scratch.write("in", b"hello");
    let run = scratch.casemate(&["decrypt", "--in", &input, "--context", "a=b=c", "--out", "plain"]);
    run.succeeds();
    let (target, body) = guest.next();
    assert_eq!((target.as_str(), &body["EncryptionContext"]), ("Decrypt", &serde_json::json!({"a": "b=c"})));
    assert_eq!(std::fs::read(scratch.path("plain")).unwrap(), b"plain");
    scratch.casemate(&["decrypt", "--in", &input, "--context", "ab"]).fails_with("not NAME=VALUE");
    let run =
        scratch.casemate(&["encrypt", "--key", "k", "--in", &input, "--algorithm", "SYMMETRIC_DEFAULT"]);
    assert_eq!(run.stdout, "Y2lwaGVy\n", "{}", run.stderr);
    let run = scratch.casemate(&["public-key", "k"]);
    assert!(run.stdout.starts_with("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END"), "{}", run.stdout);
}

#[test]
fn attest_puts_the_posture_beside_the_document() {
    let scratch = Scratch::new();
    let guest = FakeGuest::start(&scratch, "g", std::process::id(), signer);
    let arguments = ["attest", "--nonce", "hex:0102", "--user-data", "text", "--out", "d", "--root-out", "r"];
    scratch.casemate(&arguments).succeeds();
    assert_eq!(guest.next().1, serde_json::json!({"nonce": "AQI=", "user_data": "dGV4dA=="}));
    let read = |name| std::fs::read(scratch.path(name)).unwrap();
    assert_eq!(
        (read("d"), read("d.posture"), read("r")),
        (b"document".to_vec(), b"posture".to_vec(), b"root".to_vec())
    );
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let scratch = Scratch::new();
    let _guest = FakeGuest::start(&scratch, "g", std::process::id(), signer);
    scratch.casemate(&["kms", "Nothing"]).fails_with("[ E38 ] NotFoundException: no such key");
    scratch.casemate(&["kms", "Garbage"]).fails_with("is not JSON");
    assert_eq!(json(&scratch.casemate(&["kms", "Silent"])), serde_json::json!({}));
    scratch.casemate(&["kms", "No/Such"]).fails_with("is not an operation");
    scratch.casemate(&["kms", "X", "{"]).fails_with("not JSON");
    scratch.casemate(&["console", "--enclave-name", "g"]).fails_with("[ E44 ]");
}

#[test]
fn a_guest_that_hangs_up_is_an_error_at_once() {
    let scratch = Scratch::new();
    let guest = FakeGuest::start(&scratch, "g", std::process::id(), signer);
    std::fs::remove_file(guest.reservation.vsock_path()).unwrap();
    let listener = UnixListener::bind(guest.reservation.vsock_path()).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    scratch.casemate(&["key", "list"]).fails_with("[ E11 ]");
}

#[test]
fn several_guests_are_told_apart_by_name() {
    let scratch = Scratch::new();
    let first = FakeGuest::start(&scratch, "one", std::process::id(), signer);
    let second = FakeGuest::start(&scratch, "two", std::process::id(), signer);
    scratch.casemate(&["key", "create"]).fails_with("2 guests are running (one, two)");
    scratch.casemate(&["key", "create", "--guest", "two"]).succeeds();
    assert_eq!(second.next().0, "CreateKey");
    assert!(first.asked.try_recv().is_err());
    let list = json(&scratch.casemate(&["describe-enclaves"]));
    assert_eq!(list.as_array().unwrap().len(), 2);
    let keys: Vec<&String> = list[0].as_object().unwrap().keys().collect();
    for key in [
        "EnclaveName",
        "EnclaveID",
        "ProcessID",
        "EnclaveCID",
        "NumberOfCPUs",
        "CPUIDs",
        "MemoryMiB",
        "State",
        "Flags",
        "Measurements",
        "ImageName",
    ] {
        assert!(keys.contains(&&key.to_owned()), "{key} is not in {keys:?}");
    }
    assert_eq!((&list[0]["State"], &list[0]["Flags"]), (&"RUNNING".into(), &"NONE".into()));
}

#[test]
fn terminate_ends_the_process_that_the_record_names() {
    let scratch = Scratch::new();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let guest = FakeGuest::start(&scratch, "g", child.id(), signer);
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    let info = json(&scratch.casemate(&["terminate-enclave", "--enclave-name", "g"]));
    assert_eq!(info["EnclaveID"], guest.reservation.id());
    assert_eq!((&info["EnclaveName"], &info["Terminated"]), (&"g".into(), &true.into()));
    assert!(!waiter.join().unwrap().success());
}

#[test]
fn terminate_kills_what_does_not_listen() {
    let scratch = Scratch::new();
    let script = "trap '' TERM; echo ready; while true; do sleep 1; done";
    let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let guest = FakeGuest::start(&scratch, "g", child.id(), signer);
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    let run = scratch.casemate(&["terminate", "--all"]);
    assert!(run.stderr.contains("killing it"), "{}", run.stderr);
    assert_eq!(json(&run)[0]["Terminated"], true);
    waiter.join().unwrap();
    drop(guest);
}

#[test]
fn terminate_spares_a_process_that_took_over_the_number() {
    let scratch = Scratch::new();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let guest = FakeGuest::start(&scratch, "g", child.id(), signer);
    // As if the VMM had died: its folder is there, its lock is free, its number belongs to another process.
    let dir = guest.reservation.dir().to_owned();
    let copy = scratch.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["lock", "guest.json"] {
        std::fs::copy(dir.join(name), copy.join(name)).unwrap();
    }
    drop(guest);
    std::fs::rename(&copy, &dir).unwrap();
    scratch.casemate(&["terminate", "--enclave-name", "g"]).fails_with("no guest is running");
    assert!(child.try_wait().unwrap().is_none(), "it still runs");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// An AWS profile of this name in the scratch folder.
fn write_profile(scratch: &Scratch, name: &str) {
    std::fs::create_dir_all(scratch.path("aws")).unwrap();
    let keys = format!("[{name}]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n");
    scratch.write("aws/credentials", keys.as_bytes());
}

#[test]
fn a_profile_that_was_named_signs_and_any_other_does_not() {
    let scratch = Scratch::new();
    // The answer tells how the request was signed.
    let guest = FakeGuest::start(&scratch, "signer", std::process::id(), |_| {
        (
            400,
            r#"{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}"#
                .into(),
        )
    });
    let refused = scratch.casemate(&["key", "list"]);
    assert!(refused.stderr.contains("the signer has an owner") && refused.stderr.contains("--profile"));
    guest.next();
    let unknown = scratch.casemate(&["key", "list", "--profile", "nobody"]);
    assert!(unknown.stderr.contains("there is no AWS profile `nobody`"), "{}", unknown.stderr);
    write_profile(&scratch, "work");
    scratch.casemate(&["key", "list", "--profile", "work"]);
    let (target, _) = guest.next();
    assert_eq!(target, "ListKeys (signed by AKIDEXAMPLE)");
    scratch.casemate(&["key", "list"]);
    assert_eq!(guest.next().0, "ListKeys");
    let mut command = scratch.command(&["key", "list"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIDOTHER").env("AWS_SECRET_ACCESS_KEY", "secret");
    scratch.run(command);
    assert_eq!(guest.next().0, "ListKeys (signed by AKIDOTHER)");
}

#[test]
fn an_endpoint_is_not_talked_to_without_a_known_certificate() {
    let scratch = Scratch::new();
    let refused = scratch.casemate(&["key", "list", "--endpoint-url", "https://127.0.0.1:1"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("--ca-bundle") && refused.stderr.contains("verify --tls"),
        "{}",
        refused.stderr
    );
    let file = scratch.write("ca.pem", b"nothing");
    let refused =
        scratch.casemate(&["key", "list", "--endpoint-url", "https://127.0.0.1:1", "--ca-bundle", &file]);
    assert!(refused.stderr.contains("holds no certificate"), "{}", refused.stderr);
}

#[test]
fn a_claim_looks_before_it_leaps() {
    let scratch = Scratch::new();
    let (root, policy) = (scratch.write("root.pem", b"x"), scratch.write("policy.json", b"{}"));
    let claim = ["claim", "--endpoint", "https://127.0.0.1:1"];
    let refused = scratch.casemate(&claim);
    assert!(refused.stderr.contains("a claim needs --root and --policy"), "{}", refused.stderr);
    let claim = [&claim[..], &["--root", &root, "--policy", &policy]].concat();
    for bad in ["", "two words", "[x]"] {
        let refused = scratch.casemate(&[&claim[..], &["--profile", bad]].concat());
        assert!(refused.stderr.contains("cannot be a profile"), "{}", refused.stderr);
    }
    write_profile(&scratch, "casemate");
    let refused = scratch.casemate(&claim);
    assert!(refused.stderr.contains("there is a profile `casemate` already"), "{}", refused.stderr);
    let key = scratch.write("owner.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let refused = scratch.casemate(&[&claim[..], &["--owner-key", &key]].concat());
    assert!(refused.stderr.contains("is no P-256, P-384 or Ed25519 private key"), "{}", refused.stderr);
    // Only now would it connect.
    let refused = scratch.casemate(&[&claim[..], &["--force"]].concat());
    assert!(refused.stderr.contains("cannot reach https://127.0.0.1:1"), "{}", refused.stderr);
    let written = std::fs::read_to_string(scratch.path("aws/credentials")).unwrap();
    assert!(written.contains("AKIDEXAMPLE") && !scratch.path("aws/config").exists());
}
