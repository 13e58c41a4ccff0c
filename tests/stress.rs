//! Many clients at once, and the host's process killed under them: what was acknowledged is there afterwards, and works.
//!
//! `CASEMATE_STRESS_SECONDS` says how long to ask; a dozen seconds if not said, with one kill in their middle.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use casemate_tests::api::{Api, NoResult, blob, bytes};
use casemate_tests::{Image, Lab, can_seal};
use rustix::process::Signal;
use serde_json::{Value, json};

const CLIENTS: usize = 64;
/// Together less than the signer's limit of 10,000.
const KEYS_OF_A_CLIENT: usize = 120;
/// Longest wait for the signer to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of key, and what shows that it works.
#[derive(Clone, Copy)]
enum Kind {
    /// Signs; the public key that was given when it was made verifies.
    Signs { spec: &'static str, algorithm: &'static str, verify: &'static dyn VerificationAlgorithm },
    /// Decrypts what it encrypted when it was made.
    Decrypts,
    /// Gives the same code as when it was made.
    Authenticates,
}

const KINDS: [Kind; 12] = {
    let p256 =
        Kind::Signs { spec: "ECC_NIST_P256", algorithm: "ECDSA_SHA_256", verify: &ECDSA_P256_SHA256_ASN1 };
    let p384 =
        Kind::Signs { spec: "ECC_NIST_P384", algorithm: "ECDSA_SHA_384", verify: &ECDSA_P384_SHA384_ASN1 };
    let ed25519 =
        Kind::Signs { spec: "ECC_NIST_EDWARDS25519", algorithm: "ED25519_SHA_512", verify: &ED25519 };
    let rsa = Kind::Signs {
        spec: "RSA_2048",
        algorithm: "RSASSA_PKCS1_V1_5_SHA_256",
        verify: &RSA_PKCS1_2048_8192_SHA256,
    };
    let (aes, mac) = (Kind::Decrypts, Kind::Authenticates);
    // RSA keys take long to make.
    [p256, ed25519, aes, mac, p384, p256, ed25519, aes, mac, p384, p256, rsa]
};

/// A key whose making was acknowledged.
struct Key {
    id: String,
    kind: Kind,
    /// The public key, the ciphertext or the code.
    token: Vec<u8>,
    /// What else was acknowledged.
    description: Option<String>,
    deleted: bool,
}

const SECRET: &[u8] = b"known before the kill";

impl Key {
    fn make(api: &mut Api, kind: Kind) -> Result<Self, NoResult> {
        let (spec, usage) = match kind {
            Kind::Signs { spec, .. } => (spec, "SIGN_VERIFY"),
            Kind::Decrypts => ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
            Kind::Authenticates => ("HMAC_256", "GENERATE_VERIFY_MAC"),
        };
        let made = api.call("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage}))?;
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let token = match kind {
            Kind::Signs { .. } => bytes(&api.call("GetPublicKey", &json!({"KeyId": id}))?["PublicKey"]),
            Kind::Decrypts => {
                let body = json!({"KeyId": id, "Plaintext": blob(SECRET)});
                bytes(&api.call("Encrypt", &body)?["CiphertextBlob"])
            }
            Kind::Authenticates => mac(api, &id)?,
        };
        Ok(Self { id, kind, token, description: None, deleted: false })
    }

    /// Uses it. It must do what it did when it was made.
    fn check(&self, api: &mut Api, message: &[u8]) -> Result<(), NoResult> {
        match self.kind {
            Kind::Signs { algorithm, verify, .. } => {
                let body = json!({"KeyId": self.id, "Message": blob(message), "SigningAlgorithm": algorithm});
                let signature = bytes(&api.call("Sign", &body)?["Signature"]);
                let public = UnparsedPublicKey::new(verify, &self.token);
                public.verify(message, &signature).expect("another key signed");
            }
            Kind::Decrypts => {
                let body = json!({"KeyId": self.id, "CiphertextBlob": blob(&self.token)});
                assert_eq!(bytes(&api.call("Decrypt", &body)?["Plaintext"]), SECRET);
            }
            Kind::Authenticates => assert_eq!(mac(api, &self.id)?, self.token, "another key"),
        }
        Ok(())
    }

    /// Is as it was acknowledged to be.
    fn check_all(&self, api: &mut Api) {
        let described = api.call("DescribeKey", &json!({"KeyId": self.id})).unwrap();
        let metadata = &described["KeyMetadata"];
        if let Some(description) = &self.description {
            assert_eq!(metadata["Description"], *description);
        }
        if self.deleted {
            assert_eq!(metadata["KeyState"], "PendingDeletion");
        } else {
            self.check(api, b"afterwards").unwrap();
        }
    }
}

fn mac(api: &mut Api, id: &str) -> Result<Vec<u8>, NoResult> {
    let body = json!({"KeyId": id, "Message": blob(SECRET), "MacAlgorithm": "HMAC_SHA_256"});
    Ok(bytes(&api.call("GenerateMac", &body)?["Mac"]))
}

/// What the clients share.
struct World {
    /// Where the signer is now.
    socket: RwLock<PathBuf>,
    end: Instant,
    /// Operations that were acknowledged, those that make keys included.
    done: AtomicU64,
    /// Connections that broke.
    broken: AtomicU64,
}

/// One client's turn, whose result is acknowledged or lost.
fn turn(world: &World, api: &mut Api, keys: &mut Vec<Key>, number: usize) -> Result<(), NoResult> {
    if keys.len() < KEYS_OF_A_CLIENT && number.is_multiple_of(4) {
        keys.push(Key::make(api, KINDS[(number / 4) % KINDS.len()])?);
        world.done.fetch_add(1, Ordering::Relaxed);
    }
    let count = keys.len();
    let Some(key) = keys.get_mut(number.wrapping_mul(7) % count.max(1)) else { return Ok(()) };
    if key.deleted {
        return Ok(());
    }
    match number % 16 {
        3 => {
            let description = format!("described in turn {number}");
            let body = json!({"KeyId": key.id, "Description": description});
            // Not known until the answer comes which of the two it is.
            key.description = None;
            api.call("UpdateKeyDescription", &body)?;
            key.description = Some(description);
        }
        11 if count > KEYS_OF_A_CLIENT / 2 => {
            // If the answer does not come, either state is right, and so the key is not counted.
            let key = keys.swap_remove(number.wrapping_mul(7) % count);
            api.call("ScheduleKeyDeletion", &json!({"KeyId": key.id, "PendingWindowInDays": 7}))?;
            keys.push(Key { deleted: true, ..key });
        }
        _ => key.check(api, &number.to_le_bytes())?,
    }
    world.done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Asks until the end, and returns the keys that it was told it has.
fn client(world: &World, number: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut count = number;
    while Instant::now() < world.end {
        let socket = world.socket.read().unwrap().clone();
        let Some(mut api) = Api::connect(&socket) else {
            assert!(Instant::now() < world.end + PATIENCE, "the signer has not come back");
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        while Instant::now() < world.end {
            count += 1;
            match turn(world, &mut api, &mut keys, count) {
                Ok(()) => {}
                Err(NoResult::Broken(_)) => {
                    world.broken.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(NoResult::Refused(kind, message)) => panic!("client {number}: {kind}: {message}"),
            }
        }
    }
    keys
}

/// Every key that the signer lists.
fn listed(api: &mut Api) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut request = json!({"Limit": 1000});
    loop {
        let page = api.call("ListKeys", &request).unwrap();
        ids.extend(
            page["Keys"].as_array().unwrap().iter().map(|key| key["KeyId"].as_str().unwrap().to_owned()),
        );
        match &page["NextMarker"] {
            Value::String(marker) => request["Marker"] = marker.clone().into(),
            _ => return ids,
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if !can_seal("sixty-four clients, and kill -9 of the host's process") {
        return;
    }
    let seconds = std::env::var("CASEMATE_STRESS_SECONDS").map_or(12, |seconds| seconds.parse().unwrap());
    let span = Duration::from_secs(seconds);
    let lab = Lab::new();
    let state = ["--state", "volume"];
    let first = lab.launch(Image::Signer, &state);
    let start = Instant::now();
    let world = World {
        socket: RwLock::new(first.socket()),
        end: start + span,
        done: AtomicU64::new(0),
        broken: AtomicU64::new(0),
    };
    let world = &world;
    let (keys, second, gap) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(world, number))).collect();
        std::thread::sleep((start + span / 2).saturating_duration_since(Instant::now()));
        first.signal(Signal::KILL);
        let killed = Instant::now();
        drop(first);
        let second = lab.launch(Image::Signer, &state);
        let gap = killed.elapsed();
        *world.socket.write().unwrap() = second.socket();
        let keys: Vec<Key> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (keys, second, gap)
    });
    assert!(world.broken.load(Ordering::Relaxed) > 0, "nobody noticed the kill");
    // And once more, at rest: what the second one acknowledged is on the volume too.
    second.signal(Signal::KILL);
    drop(second);
    let third = lab.launch(Image::Signer, &state);
    let mut api = Api::connect(&third.socket()).unwrap();
    let there = listed(&mut api);
    for key in &keys {
        assert!(there.contains(&key.id), "{} was acknowledged and is gone", key.id);
    }
    std::thread::scope(|scope| {
        for share in keys.chunks(keys.len().div_ceil(8)) {
            scope.spawn(|| {
                let mut api = Api::connect(&third.socket()).unwrap();
                share.iter().for_each(|key| key.check_all(&mut api));
            });
        }
    });
    let done = world.done.load(Ordering::Relaxed);
    println!(
        "{CLIENTS} clients, {seconds} s: {done} operations acknowledged, {} keys, all there; {} connections broke; \
         back after {gap:.0?}",
        keys.len(),
        world.broken.load(Ordering::Relaxed)
    );
    assert!(keys.len() > CLIENTS, "hardly any key was made: {}", keys.len());
}
