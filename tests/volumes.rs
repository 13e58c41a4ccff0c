//! Adding a volume to a running guest: what its owner does, what nobody else can do, and what the host sees of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use casemate_attacks::process::contains;
use casemate_tests::api::{Api, blob, bytes};
use casemate_tests::{Done, Image, Lab, Owned, Running, can_attack, can_seal, casemate, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Key material that the test knows.
const KNOWN: [u8; 32] = *b"\x8f\x02material that the host finds??";
const DESCRIPTION: &str = "a telling description";

/// `casemate` on the owner's behalf.
fn by(lab: &Lab, owned: &Owned, arguments: &[&str]) -> Done {
    Done::new(lab.as_administrator(owned, casemate()).args(arguments).output().unwrap())
}

#[track_caller]
fn owner(lab: &Lab, owned: &Owned, arguments: &[&str]) -> Value {
    let done = by(lab, owned, arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    serde_json::from_str(&done.stdout).unwrap_or(Value::Null)
}

#[track_caller]
fn listed(lab: &Lab, name: &str) -> Value {
    let list = lab.json(&["volume", "list", "--json"]);
    let found = list.as_array().unwrap().iter().find(|volume| volume["Name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
}

/// The process that keeps the volume of a guest.
fn service(guest: &Running) -> Pid {
    let note: Value =
        serde_json::from_slice(&std::fs::read(guest.folder().join("volume.json")).unwrap()).unwrap();
    Pid::from_raw(i32::try_from(note["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

/// Imports [`KNOWN`] as an HMAC key.
fn import(lab: &Lab, owned: &Owned, guest: &str) -> String {
    let kms = |operation: &str, request: Value| {
        owner(lab, owned, &["kms", "--guest", guest, operation, &request.to_string()])
    };
    let key = json!({"Origin": "EXTERNAL", "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC",
        "Description": DESCRIPTION});
    let id = kms("CreateKey", key)["KeyMetadata"]["KeyId"].clone();
    let wrapping =
        json!({"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    let parameters = kms("GetParametersForImport", wrapping);
    let public = PublicEncryptingKey::from_der(&bytes(&parameters["PublicKey"])).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &KNOWN, &mut wrapped, None).unwrap();
    let import = json!({"KeyId": id, "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": blob(&wrapped), "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"});
    kms("ImportKeyMaterial", import);
    let alias = json!({"AliasName": "alias/treasure", "TargetKeyId": id});
    kms("CreateAlias", alias);
    id.as_str().unwrap().to_owned()
}

/// A MAC under the imported key is the one that anybody can compute who knows its bytes.
#[track_caller]
fn uses_the_known_key(lab: &Lab, owned: &Owned, guest: &str) {
    let request = json!({"KeyId": "alias/treasure", "Message": blob("m"), "MacAlgorithm": "HMAC_SHA_256"});
    let made = owner(lab, owned, &["kms", "--guest", guest, "GenerateMac", &request.to_string()]);
    let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KNOWN), b"m");
    assert_eq!(bytes(&made["Mac"]), expected.as_ref());
}

/// Somebody on the host between the guest's socket and whoever connects to it, who writes down what goes over port 8001.
fn listen_in(guest: &Running) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let real = guest.folder().join("real.sock");
    std::fs::rename(guest.socket(), &real).unwrap();
    let listener = UnixListener::bind(guest.socket()).unwrap();
    let notes = Arc::clone(&heard);
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let (mut server, notes) = (UnixStream::connect(&real).unwrap(), Arc::clone(&notes));
            std::thread::spawn(move || {
                let mut from_client = BufReader::new(client.try_clone().unwrap());
                let mut line = String::new();
                let _ = from_client.read_line(&mut line);
                let _ = server.write_all(line.as_bytes());
                let notes = (line == "CONNECT 8001\n").then_some(notes);
                let (back, answers) = (server.try_clone().unwrap(), notes.clone());
                let answering = std::thread::spawn(move || carry(back, client, answers.as_deref()));
                carry(from_client, server, notes.as_deref());
                let _ = answering.join();
            });
        }
    });
    heard
}

fn carry(mut from: impl Read, mut to: UnixStream, notes: Option<&Mutex<Vec<u8>>>) {
    let mut part = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut part) {
        if let Some(notes) = notes {
            notes.lock().unwrap().extend(&part[..length]);
        }
        if to.write_all(&part[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_volume_is_added_to_a_running_guest_and_moves_to_another() {
    if !can_attack("that the host sees nothing of a volume") {
        return;
    }
    let lab = Lab::new();
    let owned = lab.serve_claimed(&[]);
    let first = owned.served.name().to_owned();
    let key = import(&lab, &owned, &first);

    // 1. A volume is made. It is nobody's.
    lab.ok(&["volume", "create", "data"]);
    let empty = listed(&lab, "data");
    assert_eq!(
        (&empty["State"], &empty["Records"], empty.get("SealedFor")),
        (&json!("Empty"), &json!(0), None)
    );

    // 2. The owner asks for it, and nobody else can.
    let attach = ["volume", "attach", "data", "--json", "--guest", &first];
    lab.fails(&attach, "MissingAuthenticationToken");
    let mut api = Api::administrator(&lab, &owned).unwrap();
    for form in ["Action=CreateUser&UserName=ann", "Action=CreateAccessKey&UserName=ann"] {
        let request = api.query("iam", format!("{form}&Version=2010-05-08").as_bytes());
        let answer = api.exchange(&request).unwrap();
        assert_eq!(answer.status, 200);
        let xml = String::from_utf8(answer.body).unwrap();
        let element =
            |name: &str| Some(xml.split_once(&format!("<{name}>"))?.1.split_once('<')?.0.to_owned());
        let Some(id) = element("AccessKeyId") else { continue };
        let mut ann = lab.as_administrator(&owned, casemate());
        ann.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", element("SecretAccessKey").unwrap());
        let done = Done::new(ann.args(attach).output().unwrap());
        assert!(done.code == 1 && done.stderr.contains("casemate:AttachVolume"), "{done:?}");
    }
    let file = empty["File"].as_str().unwrap().to_owned();
    lab.fails(&["volume", "serve", "--guest", &first, "--file", &file], "has not let a volume in");
    assert_eq!(listed(&lab, "data")["State"], "Empty", "nothing was written");

    // 3. It is attached, and what the guest holds goes there, as ciphertext.
    let heard = listen_in(&owned.served);
    let attached = owner(&lab, &owned, &attach);
    assert!(attached["Records"].as_u64().unwrap() > 5, "{attached}");
    let now = listed(&lab, "data");
    assert_eq!((&now["State"], &now["AttachedTo"]), (&json!("Attached"), &json!(first)));
    assert_eq!(now["VolumeId"], attached["VolumeId"]);
    let image = lab.json(&["describe-eif", "--eif-path", Image::Signer.path().to_str().unwrap()]);
    assert_eq!(now["SealedFor"], image["Measurements"]["PCR0"]);
    owner(&lab, &owned, &["key", "create", "--spec", "ECC_NIST_P256", "--guest", &first]);
    let later = listed(&lab, "data");
    assert_eq!(later["Records"].as_u64(), now["Records"].as_u64().map(|records| records + 1), "{later}");

    // What keeps the file has given up everything else.
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", service(&owned.served).as_raw_nonzero())).unwrap();
    let has = |line: &str| status.lines().any(|one| one.split_whitespace().eq(line.split(' ')));
    assert!(has("NoNewPrivs: 1") && has("Seccomp: 2"), "{status}");

    // The keeper is killed, and another one goes on: that takes no consent.
    kill_process(service(&owned.served), Signal::KILL).unwrap();
    wait_until("it is noticed", || listed(&lab, "data")["State"] == "Lost");
    let refused = by(&lab, &owned, &["volume", "detach", "data"]);
    assert!(refused.code == 1 && refused.stderr.contains("volume is not connected"), "{refused:?}");
    lab.fails(&["volume", "delete", "data", "--yes"], "is attached to");
    lab.ok(&attach);
    owner(&lab, &owned, &["key", "create", "--spec", "HMAC_256", "--guest", &first]);
    uses_the_known_key(&lab, &owned, &first);

    // 4. It is detached, by its owner only, and the guest has nothing any more.
    lab.fails(&["volume", "detach", "data"], "MissingAuthenticationToken");
    lab.fails(&attach, "is attached to");
    owner(&lab, &owned, &["volume", "detach", "data", "--json"]);
    let detached = listed(&lab, "data");
    assert_eq!((&detached["State"], detached.get("AttachedTo")), (&json!("Detached"), None));
    assert_eq!(detached["Records"].as_u64(), later["Records"].as_u64().map(|records| records + 1));
    assert_eq!(lab.ok(&["key", "list", "--guest", &first]), "", "and nobody owns it");
    lab.fails(&["key", "describe", &key, "--guest", &first], "NotFoundException");
    lab.fails(&["volume", "detach", "--guest", &first], "has no volume");

    // 5. The host has seen the file, and all that went over the socket.
    let (file, heard) = (std::fs::read(&file).unwrap(), heard.lock().unwrap().clone());
    let id = hex::decode(detached["VolumeId"].as_str().unwrap()).unwrap();
    for (what, bytes) in [("the file", &file), ("the traffic", &heard)] {
        assert!(bytes.len() > 8000 && contains(bytes, &id), "the control: {what} has {} bytes", bytes.len());
        let secret = owned.secret_access_key.as_bytes();
        let known: [&[u8]; 7] = [
            &KNOWN,
            DESCRIPTION.as_bytes(),
            key.as_bytes(),
            secret,
            b"alias/treasure",
            b"arn:aws",
            b"HMAC_256",
        ];
        for known in known {
            assert!(!contains(bytes, known), "{} is in {what}", String::from_utf8_lossy(known));
        }
    }

    // 6. Guests that are not of the same measurement do not open it.
    for (image, arguments, reason) in [
        (Image::Selftest, &[][..], "sealed by another image"),
        (Image::Signer, &["--debug-mode"], "debug mode"),
        (Image::Signer, &["--backend=process"], "debug mode or on the process backend"),
    ] {
        let other = lab.launch(image, arguments);
        lab.fails(&["volume", "attach", "data", "--guest", other.name()], reason);
        assert_eq!(listed(&lab, "data")["State"], "Detached");
        assert_eq!(lab.ok(&["key", "list", "--guest", other.name()]), "");
        other.ends_by_terminate();
    }

    // 7. One that is has everything: the key, the owner, the log.
    let second = lab.launch(Image::Signer, &[]);
    lab.ok(&["volume", "attach", "data", "--guest", second.name()]);
    assert_eq!(listed(&lab, "data")["AttachedTo"], second.name());
    uses_the_known_key(&lab, &owned, second.name());
    lab.fails(&["key", "list", "--guest", second.name()], "the signer has an owner");
    owner(&lab, &owned, &["audit", "fetch", "--guest", second.name(), "--nonce", "now"]);
    lab.ok(&["audit", "verify", "--root", "root.pem", "--policy", "policy.json", "--nonce", "now"]);
    let log = String::from_utf8(lab.read("audit.jsonl")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take());
    let names =
        records.filter(|record| record["errorCode"].is_null()).map(|record| record["eventName"].clone());
    let names: Vec<Value> = names.filter(|name| name.as_str().unwrap().ends_with("Volume")).collect();
    assert_eq!(names, ["AttachVolume", "DetachVolume", "AttachVolume"], "{log}");
    assert!(lab.ok(&["volume", "list"]).contains(&format!("attached to {}", second.name())));
}

#[test]
fn a_volume_that_leaves_under_load_takes_all_that_was_acknowledged() {
    if !can_seal("that a volume is detached under load") {
        return;
    }
    let lab = Lab::new();
    let (first, second) = (lab.launch(Image::Signer, &[]), lab.launch(Image::Signer, &[]));
    lab.ok(&["volume", "create", "data"]);
    lab.ok(&["volume", "attach", "data", "--guest", first.name()]);
    // Which guest has it is settled, also while nobody keeps its file.
    kill_process(service(&first), Signal::KILL).unwrap();
    wait_until("it is noticed", || listed(&lab, "data")["State"] == "Lost");
    let elsewhere = ["volume", "attach", "data", "--guest", second.name()];
    lab.fails(&elsewhere, "though its service has died: attach it");
    lab.ok(&["volume", "attach", "data", "--guest", first.name()]);
    let (acknowledged, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // Connections end with the volume: so does this client.
                    let Some(mut api) = Api::connect(&first.socket()) else { continue };
                    let request = json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"});
                    while let Ok(created) = api.call("CreateKey", &request) {
                        let id = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
                        acknowledged.lock().unwrap().push(id);
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            });
        }
        wait_until("some keys", || acknowledged.lock().unwrap().len() >= 100);
        lab.ok(&["volume", "detach", "data"]);
        over.store(true, Ordering::Relaxed);
    });
    lab.ok(&elsewhere);
    let ids = |guest: &str| lab.ok(&["key", "list", "--guest", guest]);
    let (moved, fresh) = (ids(second.name()), ids(first.name()));
    let acknowledged = acknowledged.into_inner().unwrap();
    let on_it = acknowledged.iter().filter(|id| moved.contains(id.as_str())).count();
    assert!(on_it >= 100, "{on_it} of {}", acknowledged.len());
    for id in &acknowledged {
        // Whoever asked once it had gone asked a new signer.
        assert!(moved.contains(id) != fresh.contains(id), "{id} was acknowledged, and is on one of the two");
    }
    assert_eq!(moved.lines().count(), on_it, "nothing that was not acknowledged but by dying clients");
}

#[test]
fn volumes_have_names_and_mistakes_are_one_line() {
    let lab = Lab::new();
    assert_eq!(lab.json(&["volume", "list", "--json"]), json!([]));
    let created = lab.json(&["volume", "create", "one", "--json"]);
    assert_eq!(created["File"], json!(lab.path("home/volumes/one.volume").canonicalize().unwrap()));
    lab.fails(&["volume", "create", "one"], "there is a volume `one` already");
    lab.fails(&["volume", "create", "../one"], "cannot be a volume's name");
    lab.fails(&["volume", "create", ".hidden"], "cannot be a volume's name");
    lab.fails(&["volume", "attach", "two"], "there is no volume `two`");
    lab.fails(&["volume", "attach", "one"], "no guest is running");
    lab.fails(&["volume", "detach", "one"], "is not attached");
    lab.fails(&["volume", "delete", "one"], "was not deleted");

    let elsewhere = lab.path("elsewhere");
    let dir = ["--dir", elsewhere.to_str().unwrap()];
    lab.ok(&[&["volume", "create", "one"][..], &dir].concat());
    assert!(lab.ok(&[&["volume", "list"][..], &dir].concat()).contains("elsewhere/one.volume"));
    lab.ok(&[&["volume", "delete", "one", "--yes"][..], &dir].concat());
    assert_eq!(lab.json(&[&["volume", "list", "--json"][..], &dir].concat()), json!([]));
    assert_eq!(listed(&lab, "one")["State"], "Empty");

    // A guest that was launched with a volume lets it go like any other, and `--state` takes it again.
    if !can_seal("that a volume goes from `--state` to a name and back") {
        return;
    }
    let file = created["File"].as_str().unwrap();
    let guest = lab.launch(Image::Signer, &["--state", file]);
    let key = lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    assert_eq!(listed(&lab, "one")["AttachedTo"], guest.name());
    lab.fails(&["volume", "attach", "one"], "is attached to");
    lab.fails(&["volume", "delete", "one", "--yes"], "is attached to");
    lab.ok(&["volume", "create", "two"]);
    lab.fails(&["volume", "attach", "two"], "has the volume in");
    lab.ok(&["volume", "detach", "--guest", guest.name()]);
    assert_eq!(lab.ok(&["key", "list"]), "");
    lab.ok(&["volume", "attach", file]);
    assert!(lab.ok(&["key", "list"]).contains(&key));
    assert_eq!(guest.ends_by_terminate(), 143);
    wait_until("the service ends with the guest", || listed(&lab, "one")["State"] == "Detached");
    lab.ok(&["volume", "delete", "one", "--yes"]);
    lab.fails(&["volume", "attach", "one"], "there is no volume `one`");
}
