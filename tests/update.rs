//! A signer that is served is updated under its clients: the state moves, the endpoint stays, nothing is lost; and images that
//! may not follow do not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use casemate_attestation::eif::{Builder, Eif};
use casemate_tests::api::{Api, blob, bytes};
use casemate_tests::{Done, Image, Lab, Owned, Running, can_seal, casemate, wait_until};
use serde_json::{Value, json};

const CLIENTS: usize = 8;

/// The signer as an image with this version, signed by `certificate` if that is named.
fn image(lab: &Lab, name: &str, version: &str, signed_by: Option<&str>) -> PathBuf {
    let signer = std::fs::read(Image::Signer.path()).unwrap();
    let cmdline = format!("casemate.version={version}");
    let image = Builder { cmdline: &cmdline, ..Builder::from_image(&Eif::parse(&signer).unwrap()) };
    lab.write(name, &image.build().unwrap());
    if let Some(owner) = signed_by {
        let (certificate, key) = (format!("{owner}.crt"), format!("{owner}.key"));
        lab.ok(&[
            "sign-eif",
            "--eif-path",
            name,
            "--signing-certificate",
            &certificate,
            "--private-key",
            &key,
        ]);
    }
    lab.path(name)
}

/// Keys and certificates of somebody who signs images.
fn signing_key(lab: &Lab, name: &str) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    let subject = format!("/CN={name}");
    lab.openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", &key]);
    lab.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &key,
        "-sha384",
        "-days",
        "30",
        "-subj",
        &subject,
        "-out",
        &certificate,
    ]);
}

/// `policy.json` that demands an image.
fn demand(lab: &Lab, image: &str) {
    let info = lab.json(&["describe-eif", "--eif-path", image]);
    let policy = json!({"pcrs": {"0": info["Measurements"]["PCR0"], "8": info["Measurements"]["PCR8"]},
        "nonce_required": true, "max_age_seconds": 60});
    lab.write("policy.json", policy.to_string().as_bytes());
    std::fs::copy(lab.path("home/root.pem"), lab.path("root.pem")).unwrap();
}

const DEMANDS: [&str; 4] = ["--root", "root.pem", "--policy", "policy.json"];

/// A signed version 1.0.0, served with a volume and claimed.
fn served(lab: &Lab) -> Owned {
    signing_key(lab, "owner");
    image(lab, "v1.eif", "1.0.0", Some("owner"));
    let served = lab.serve_as(&["--eif-path", "v1.eif", "--enclave-name", "kms", "--state", "volume"]);
    demand(lab, "v1.eif");
    lab.claim(served)
}

/// A command as the administrator, through the guest's own socket.
fn as_owner(lab: &Lab, owned: &Owned, arguments: &[&str]) -> Done {
    let mut command = lab.as_administrator(owned, casemate());
    command.env_remove("AWS_ENDPOINT_URL");
    Done::new(command.args(arguments).output().unwrap())
}

/// `update`, which serves if it succeeds.
fn update(lab: &Lab, owned: &Owned, arguments: &[&str]) -> Running {
    let mut command = lab.as_administrator(owned, casemate());
    command.env_remove("AWS_ENDPOINT_URL");
    // It knows which volume the guest has.
    command.args(["update", "--json", "--guest", "kms"]).args(arguments);
    Running::launched_by(&mut command, lab.runtime())
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    reconnected: AtomicU64,
}

/// Signs and makes keys, one request after the other, on a kept connection; the keys that were acknowledged.
fn client(lab: &Lab, owned: &Owned, key: &str, seen: &Seen) -> Vec<String> {
    let (mut api, mut made) = (Api::administrator(lab, owned).unwrap(), Vec::new());
    let mut count = 0_u64;
    while !seen.stop.load(Ordering::Relaxed) {
        count += 1;
        let answer = match count % 16 {
            0 => api.request_once("CreateKey", &json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"})),
            _ => api.request_once(
                "Sign",
                &json!({"KeyId": key, "Message": blob(count.to_be_bytes()), "SigningAlgorithm": "ECDSA_SHA_256"}),
            ),
        };
        // No request that was sent stays without an answer, and no answer is an error.
        let (value, closes): (Value, bool) =
            answer.unwrap_or_else(|error| panic!("request {count}: {error:?}"));
        if let Some(id) = value.pointer("/KeyMetadata/KeyId") {
            made.push(id.as_str().unwrap().to_owned());
        }
        seen.answered.fetch_add(1, Ordering::Relaxed);
        if closes {
            seen.reconnected.fetch_add(1, Ordering::Relaxed);
            api = Api::administrator(lab, owned).unwrap();
        }
    }
    made
}

#[test]
fn a_signer_is_updated_under_its_clients_and_no_request_is_lost() {
    if !can_seal("the update of a sealed signer under load") {
        return;
    }
    let lab = Lab::new();
    let owned = served(&lab);
    let before = lab.json(&["describe"]);
    let certificate = lab.read("ca.pem");
    let done = as_owner(
        &lab,
        &owned,
        &["state", "policy", "--signing-certificate", "owner.crt", "--minimum-version", "1.0.0"],
    );
    assert_eq!(done.code, 0, "{done:?}");
    let mut api = Api::administrator(&lab, &owned).unwrap();
    let made =
        api.call("CreateKey", &json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"})).unwrap();
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let public = bytes(&api.call("GetPublicKey", &json!({"KeyId": key})).unwrap()["PublicKey"]);
    // A client that has nothing on its way is let go; it is no reason to wait.
    let idle = Api::administrator(&lab, &owned).unwrap();

    image(&lab, "v2.eif", "1.1.0", Some("owner"));
    let seen = Seen::default();
    let (updated, keys) = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| client(&lab, &owned, &key, &seen))).collect();
        wait_until("clients are at work", || seen.answered.load(Ordering::Relaxed) > 200);
        let updated = update(&lab, &owned, &["--eif-path", "v2.eif"]);
        let then = seen.answered.load(Ordering::Relaxed);
        wait_until("clients go on", || seen.answered.load(Ordering::Relaxed) > then + 200);
        seen.stop.store(true, Ordering::Relaxed);
        let keys: Vec<String> =
            clients.into_iter().flat_map(|client| client.join().expect("a lost request")).collect();
        (updated, keys)
    });
    drop(idle);
    assert!(seen.reconnected.load(Ordering::Relaxed) >= CLIENTS as u64, "nobody had to connect anew");
    assert!(!keys.is_empty());

    // Another guest, at the same place: the certificate, the owner, the keys are what they were.
    let after = lab.json(&["describe"]);
    assert_ne!(before[0]["EnclaveID"], after[0]["EnclaveID"]);
    assert_eq!(after.as_array().map(Vec::len), Some(1), "{after}");
    assert_eq!(updated.info["Endpoint"], json!(owned.endpoint));
    demand(&lab, "v2.eif");
    lab.ok(&[&["verify", "--tls", &owned.endpoint, "--out", "ca.pem"], &DEMANDS[..]].concat());
    assert_eq!(lab.read("ca.pem"), certificate);
    let mut api = Api::administrator(&lab, &owned).unwrap();
    let still = bytes(&api.call("GetPublicKey", &json!({"KeyId": key})).unwrap()["PublicKey"]);
    assert_eq!(still, public);
    for key in &keys {
        api.call("DescribeKey", &json!({"KeyId": key})).unwrap_or_else(|error| panic!("{key}: {error:?}"));
    }
    let policy = as_owner(&lab, &owned, &["state", "policy"]);
    let policy: Value = serde_json::from_str(&policy.stdout).unwrap();
    assert_eq!((&policy["ImageVersion"], &policy["MinimumVersion"]), (&json!("1.1.0"), &json!("1.0.0")));

    // The old gateway has gone of its own accord, and the new one ends with its guest.
    let Owned { served, .. } = owned;
    let (status, stderr) = served.wait();
    assert!(status.success() && stderr.contains("another gateway's now"), "{status}: {stderr}");
    lab.ok(&["terminate", "--enclave-name", "kms"]);
    let (_, stderr) = updated.wait();
    assert!(stderr.contains("the endpoint was held for"), "{stderr}");
    print!("{stderr}");
}

#[test]
fn an_older_an_unsigned_and_a_broken_image_change_nothing() {
    if !can_seal("the refusal of an update") {
        return;
    }
    let lab = Lab::new();
    let owned = served(&lab);
    signing_key(&lab, "mallory");
    let before = lab.json(&["describe"]);
    let refused = |arguments: &[&str], expected: &str| {
        let all = [&["update", "--guest", "kms", "--state", "volume"], arguments].concat();
        let done = as_owner(&lab, &owned, &all);
        assert!(done.code != 0 && done.stderr.contains(expected), "{done:?}");
    };
    image(&lab, "new.eif", "9.0.0", Some("owner"));
    refused(&["--eif-path", "new.eif"], "no update policy");
    let done = as_owner(
        &lab,
        &owned,
        &["state", "policy", "--signing-certificate", "owner.crt", "--minimum-version", "0.9.0"],
    );
    assert_eq!(done.code, 0, "{done:?}");
    for (version, signed_by, expected) in [
        ("9.0.0", None, "not signed by the certificate"),
        ("9.0.0", Some("mallory"), "not signed by the certificate"),
        ("0.9.9", Some("owner"), "needs 1.0.0 or later"),
    ] {
        let pcr0 = lab.json(&[
            "describe-eif",
            "--eif-path",
            image(&lab, "bad.eif", version, signed_by).to_str().unwrap(),
        ]);
        let pcr0 = pcr0["Measurements"]["PCR0"].as_str().unwrap().to_owned();
        refused(&["--eif-path", "bad.eif"], expected);
        refused(&["--eif-path", "bad.eif", "--image-sha384", &pcr0], expected);
    }
    refused(&["--eif-path", "v1.eif"], "this very image already");
    // Somebody whom no policy lets.
    let mut stranger = lab.command(casemate());
    stranger.args(["update", "--guest", "kms", "--state", "volume", "--eif-path", "new.eif"]);
    let done = Done::new(stranger.output().unwrap());
    assert!(done.code != 0 && done.stderr.contains("casemate claim"), "{done:?}");
    assert_eq!(lab.json(&["describe"]), before);
    let mut api = Api::administrator(&lab, &owned).unwrap();
    api.call("ListKeys", &json!({})).unwrap();
}
