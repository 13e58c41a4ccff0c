//! The platform key's directory: created once whoever comes first, refused when others could read it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_attestation::es384::verify_fixed;
use casemate_attestation::platform::{self, KEY_FILE, PlatformError, PlatformKey, ROOT_FILE};
use casemate_attestation::signing::SigningScalar;

const NOW: u64 = 1_795_478_400;
/// Set in a child process: the directory to create the key in.
const CHILD: &str = "CASEMATE_TEST_PLATFORM_DIRECTORY";

fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("platform").join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_kept() {
    let folder = fresh("kept");
    assert!(matches!(PlatformKey::load(&folder), Err(PlatformError::Io { .. })));
    let made = PlatformKey::load_or_create(&folder, NOW).unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
    let again = PlatformKey::load_or_create(&folder, NOW + 1).unwrap();
    assert_eq!(made.root(), again.root());
    assert_eq!(platform::parse_root(&fs::read(folder.join(ROOT_FILE)).unwrap()).unwrap(), made.root());
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Not a test of its own: what the child processes of the next one run.
#[test]
fn child_creates() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let key = PlatformKey::load_or_create(Path::new(&folder), NOW).unwrap();
        println!("ROOT {:?}", key.root());
    }
}

#[test]
fn processes_that_start_at_once_share_one_key() {
    for round in 0..5 {
        let folder = fresh(&format!("race-{round}"));
        let children: Vec<_> = (0..6)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "child_creates", "--nocapture"])
                    .env(CHILD, &folder)
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut roots: Vec<_> = children
            .into_iter()
            .map(|child| {
                let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
                let root = output.lines().find_map(|line| line.split_once("ROOT ").map(|(_, root)| root));
                root.unwrap_or_else(|| panic!("{output}")).to_owned()
            })
            .collect();
        roots.dedup();
        assert_eq!(roots.len(), 1);
    }
}

#[test]
fn a_crash_between_the_files_is_repaired() {
    let folder = fresh("crash");
    let first = PlatformKey::load_or_create(&folder, NOW).unwrap();
    fs::remove_file(folder.join(KEY_FILE)).unwrap();
    fs::write(folder.join(".platform.key.new"), b"half a k").unwrap();
    let second = PlatformKey::load_or_create(&folder, NOW).unwrap();
    assert_ne!(first.root(), second.root());
    assert_eq!(PlatformKey::load(&folder).unwrap().root(), second.root());
    assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
}

#[test]
fn exposed_damaged_and_mixed_files_are_refused() {
    let (folder, other) = (fresh("refused"), fresh("refused-other"));
    PlatformKey::load_or_create(&folder, NOW).unwrap();
    PlatformKey::load_or_create(&other, NOW).unwrap();
    let (key, root) = (folder.join(KEY_FILE), folder.join(ROOT_FILE));
    let load = || PlatformKey::load_or_create(&folder, NOW).map(|_| ()).unwrap_err();

    for wide in [0o640, 0o604, 0o666] {
        fs::set_permissions(&key, Permissions::from_mode(wide)).unwrap();
        assert!(matches!(load(), PlatformError::Exposed { mode, .. } if mode == wide));
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();

    fs::copy(other.join(ROOT_FILE), &root).unwrap();
    assert!(matches!(load(), PlatformError::Mismatch(_)));
    fs::write(&root, b"-----BEGIN CERTIFICATE-----\n").unwrap();
    assert!(matches!(load(), PlatformError::Root { .. }));
    for damaged in [&b""[..], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        fs::write(&key, damaged).unwrap();
        assert!(matches!(load(), PlatformError::NotAKey(_)));
    }
}

/// openssl reads what we write, and we read what it writes; its verdict on our certificates is ours.
#[test]
fn openssl_agrees() {
    let folder = fresh("openssl");
    let platform = PlatformKey::load_or_create(&folder, NOW).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&folder).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };

    let key = SigningScalar::generate(casemate_attestation::signing::system_random).unwrap();
    let leaf = platform.certify(&key.public().unwrap(), "i-test", None, NOW).unwrap();
    fs::write(folder.join("leaf.pem"), platform::encode_root(&leaf).unwrap()).unwrap();
    let time = NOW.to_string();
    let verdict = openssl(&["verify", "-x509_strict", "-attime", &time, "-CAfile", ROOT_FILE, "leaf.pem"]);
    assert!(verdict.0, "{}", verdict.1);
    let text = openssl(&["x509", "-in", "leaf.pem", "-noout", "-text"]).1;
    for part in ["CN = i-test", "Digital Signature", "CA:FALSE", "ecdsa-with-SHA384", "secp384r1"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(openssl(&["pkey", "-in", KEY_FILE, "-check", "-noout"]).0);

    assert!(openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-out", "sec1.pem"]).0);
    assert!(openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "sec1.pem", "-out", "pkcs8.pem"]).0);
    let read = |name| SigningScalar::from_pem(&fs::read(folder.join(name)).unwrap()).unwrap();
    let (sec1, pkcs8) = (read("sec1.pem"), read("pkcs8.pem"));
    assert!(verify_fixed(&pkcs8.public().unwrap(), b"message", &sec1.sign(b"message").unwrap()));
    assert!(!verify_fixed(&pkcs8.public().unwrap(), b"another", &sec1.sign(b"message").unwrap()));
    assert!(openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", "p256.pem"]).0);
    assert!(SigningScalar::from_pem(&fs::read(folder.join("p256.pem")).unwrap()).is_err());
}

#[test]
fn scalars_outside_the_group_are_no_keys() {
    assert!(SigningScalar::from_bytes(&[0; 48]).is_err());
    assert!(SigningScalar::from_bytes(&[0xff; 48]).is_err());
    let broken = SigningScalar::generate(|bytes| {
        bytes.fill(0);
        Ok::<_, ()>(())
    });
    assert!(broken.is_err());
    assert!(SigningScalar::generate(|_| Err(())).is_err());
}
