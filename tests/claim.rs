//! Claiming: the owner gets the administrator's key, once, from a signer that has proved what it is; nobody else does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use casemate_tests::{
    Done, Image, Lab, Running, can_seal, casemate, checkout, python_programs, relaying_attacker,
};
use serde_json::{Value, json};

fn endpoint(served: &Running) -> &str {
    served.info["Endpoint"].as_str().unwrap()
}

/// A policy that demands this image, sealed on this host; and the root of the lab.
fn demand(lab: &Lab, image: &Path) {
    let info = lab.json(&["describe-eif", "--eif-path", image.to_str().unwrap()]);
    let policy = json!({"pcrs": {"0": info["Measurements"]["PCR0"]}, "nonce_required": true,
        "posture": {"sealed_memory": ["guest_memfd", "anonymous"]}});
    lab.write("policy.json", policy.to_string().as_bytes());
    std::fs::copy(lab.path("home/root.pem"), lab.path("root.pem")).unwrap();
}

/// `claim` at this endpoint, with what the lab trusts and demands.
fn claim<'a>(endpoint: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let claim = ["claim", "--endpoint", endpoint, "--root", "root.pem", "--policy", "policy.json"];
    [&claim[..], more].concat()
}

/// The unmodified AWS CLI, with a profile and nothing else.
fn aws(lab: &Lab, profile: &str, arguments: &[&str]) -> Done {
    let mut command = lab.command(&python_programs().join("aws"));
    Done::new(command.env("AWS_PROFILE", profile).args(arguments).output().unwrap())
}

fn is_claimed(lab: &Lab, served: &Running) -> bool {
    // Without credentials: the profile of a claimed signer would be found, and used.
    let mut command = lab.command(casemate());
    command.args(["kms", "ListKeys", "--guest", served.name()]);
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null").env("AWS_CONFIG_FILE", "/dev/null");
    let done = Done::new(command.output().unwrap());
    assert!(done.code == 0 || done.stderr.contains("MissingAuthenticationToken"), "{done:?}");
    done.code != 0
}

#[test]
fn the_claimant_gets_a_profile_that_aws_clients_use() {
    if !can_seal("claiming a sealed signer") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand(&lab, &Image::Signer.path());
    assert!(!is_claimed(&lab, &served));
    let more = ["--account", "123456789012", "--region", "eu-central-1", "--json"];
    let claimed = lab.json(&claim(endpoint(&served), &more));
    assert_eq!(claimed["Account"], "123456789012");
    assert!(claimed["UserArn"].as_str().unwrap().starts_with("arn:aws:iam::123456789012:"), "{claimed}");
    assert!(is_claimed(&lab, &served));

    let mode = std::fs::metadata(lab.path(".aws/credentials")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let config = String::from_utf8(lab.read(".aws/config")).unwrap();
    assert!(config.contains("[profile casemate]") && config.contains("region = eu-central-1"), "{config}");
    // Nothing else says where the signer is, and whose certificate it has.
    let identity = aws(&lab, "casemate", &["sts", "get-caller-identity"]);
    assert_eq!(identity.code, 0, "{identity:?}");
    let identity: Value = serde_json::from_str(&identity.stdout).unwrap();
    assert_eq!(identity["Arn"], claimed["UserArn"]);
    let key = aws(&lab, "casemate", &["kms", "create-key", "--query", "KeyMetadata.Arn", "--output", "text"]);
    assert!(key.stdout.starts_with("arn:aws:kms:eu-central-1:123456789012:key/"), "{key:?}");

    // Our own client finds the same profile, through the gateway and through the guest's own socket.
    let id = key.stdout.trim().rsplit('/').next().unwrap().to_owned();
    assert!(lab.ok(&["key", "list"]).contains(&id));
    assert!(lab.ok(&["key", "list", "--profile", "casemate"]).contains(&id));
    assert!(lab.ok(&["key", "list", "--guest", served.name()]).contains(&id));
    // Another guest, which nobody has claimed, is not asked with these credentials.
    let other = lab.launch(Image::Signer, &[]);
    assert_eq!(lab.ok(&["key", "list", "--guest", other.name()]), "");
    lab.fails(&["key", "list", "--guest", other.name(), "--profile", "casemate"], "it is another signer");

    // Whoever comes second gets nothing.
    let again = claim(endpoint(&served), &["--profile", "other"]);
    lab.fails(&again, "AlreadyClaimed");
    let credentials = String::from_utf8(lab.read(".aws/credentials")).unwrap();
    assert!(!credentials.contains("[other]"), "{credentials}");
    std::fs::remove_dir_all(lab.path(".aws")).unwrap();
    lab.fails(&["key", "list", "--guest", served.name()], "the signer has an owner");
}

#[test]
fn whoever_is_refused_is_in_the_audit_log_and_it_still_verifies() {
    if !can_seal("the audit log of a claimed signer") {
        return;
    }
    let lab = Lab::new();
    let owned = lab.serve_claimed(&[]);
    let aws = |id: &str, secret: &str| {
        let mut command = lab.as_administrator(&owned, &python_programs().join("aws"));
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        Done::new(command.args(["kms", "list-keys", "--region", "us-east-1"]).output().unwrap())
    };
    let (id, secret) = (&owned.access_key_id, &owned.secret_access_key);
    let allowed = aws(id, secret);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(aws("AKIDOESNOTEXIST00000", secret).stderr.contains("UnrecognizedClient"));
    assert!(aws(id, "not the secret").stderr.contains("InvalidSignature"));
    assert!(is_claimed(&lab, &owned.served), "an unsigned request is refused");

    let mut fetch = lab.as_administrator(&owned, casemate());
    fetch.args(["audit", "fetch", "--guest", owned.served.name(), "--nonce", "now"]);
    let fetched = Done::new(fetch.output().unwrap());
    assert_eq!(fetched.code, 0, "{fetched:?}");
    lab.ok(&["audit", "verify", "--root", "root.pem", "--policy", "policy.json", "--nonce", "now"]);
    let log = String::from_utf8(lab.read("audit.jsonl")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take());
    let refused: Vec<Value> = records.filter(|record| !record["errorCode"].is_null()).collect();
    let codes: Vec<&Value> = refused.iter().map(|record| &record["errorCode"]).collect();
    assert_eq!(codes, ["UnrecognizedClient", "InvalidSignature", "MissingAuthenticationToken"], "{log}");
    assert_eq!(refused[0]["userIdentity"], json!({"type": "Unknown", "accessKeyId": "AKIDOESNOTEXIST00000"}));
    assert!(!log.contains(secret.as_str()), "a secret is in the log");
}

#[test]
fn a_signer_that_is_not_what_it_should_be_is_not_claimed() {
    if !can_seal("refusing to claim") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand(&lab, &Image::Signer.path());
    let good = lab.read("policy.json");
    lab.write("policy.json", json!({"pcrs": {"0": "1".repeat(96)}}).to_string().as_bytes());
    lab.fails(&claim(endpoint(&served), &[]), "does not verify, so it was not claimed: PCR0 is");
    lab.write("policy.json", &good);
    // Somebody in between, who passes on a real guest's document and would pass on the claim.
    let attacker = relaying_attacker(&lab, &served.socket());
    lab.fails(&claim(&attacker, &[]), "relays its document");
    assert!(!lab.path(".aws/credentials").exists() && !is_claimed(&lab, &served));
    lab.ok(&claim(endpoint(&served), &[]));
}

#[test]
fn profiles_of_others_are_left_alone() {
    if !can_seal("claiming into a profile") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand(&lab, &Image::Signer.path());
    std::fs::create_dir(lab.path(".aws")).unwrap();
    let mine = "# mine\n[default]\naws_access_key_id = AKIDMINE\naws_secret_access_key = mine\n";
    lab.write(".aws/credentials", mine.as_bytes());
    lab.fails(&claim(endpoint(&served), &["--profile", "default"]), "there is a profile `default` already");
    assert!(!is_claimed(&lab, &served));
    lab.ok(&claim(endpoint(&served), &["--profile", "hsm"]));
    let written = String::from_utf8(lab.read(".aws/credentials")).unwrap();
    assert!(written.starts_with(mine) && written.contains("\n[hsm]\naws_access_key_id = "), "{written}");
    assert_eq!(aws(&lab, "hsm", &["kms", "list-keys"]).code, 0);
}

#[test]
fn a_guest_is_claimed_through_its_own_socket_too() {
    if !can_seal("claiming without a gateway") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Signer, &[]);
    demand(&lab, &Image::Signer.path());
    let arguments =
        ["claim", "--guest", guest.name(), "--root", "root.pem", "--policy", "policy.json", "--print"];
    let key = lab.json(&arguments);
    assert_eq!(key["Version"], 1);
    let mut command = lab.command(casemate());
    command.args(["key", "create", "--guest", guest.name()]);
    command.env("AWS_ACCESS_KEY_ID", key["AccessKeyId"].as_str().unwrap());
    command.env("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"].as_str().unwrap());
    let done = Done::new(command.output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    lab.fails(&["key", "list"], "the signer has an owner");
}

#[test]
fn a_signer_with_keys_is_not_claimed() {
    if !can_seal("claiming a used signer") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand(&lab, &Image::Signer.path());
    lab.ok(&["key", "create", "--guest", served.name()]);
    lab.fails(&claim(endpoint(&served), &[]), "Launch a fresh one");
}

#[test]
fn an_image_that_names_its_owner_is_claimed_by_nobody_else() {
    if !can_seal("claiming by the owner's key") {
        return;
    }
    let lab = Lab::new();
    for name in ["owner", "thief"] {
        let (key, public) = (format!("{name}.pem"), format!("{name}.der"));
        lab.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]);
        lab.openssl(&["pkey", "-in", &key, "-pubout", "-outform", "DER", "-out", &public]);
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &lab.read("owner.der"));
    let image = lab.path("owned.eif");
    let built = Command::new(casemate())
        .args(["build", "--bin", "signer", "--manifest-path"])
        .arg(checkout().join("guest/signer/Cargo.toml"))
        .arg(format!("--cmdline=casemate.owner={}", hex::encode(hash)))
        .arg("--output")
        .arg(&image)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let served = lab.serve_as(&["--eif-path", image.to_str().unwrap()]);
    demand(&lab, &image);
    lab.fails(&claim(endpoint(&served), &[]), "AccessDeniedException");
    lab.fails(&claim(endpoint(&served), &["--owner-key", "thief.pem"]), "AccessDeniedException");
    assert!(!is_claimed(&lab, &served));
    lab.ok(&claim(endpoint(&served), &["--owner-key", "owner.pem"]));
    assert!(is_claimed(&lab, &served));
}
