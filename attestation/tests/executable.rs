//! The digest that is remembered is that of the file as it is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_attestation::executable::sha384;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::recall::DIRECTORY;

const NOW: u64 = 1_795_478_400;

fn fresh(name: &str) -> (PathBuf, PlatformKey, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("executable").join(name);
    let _ = fs::remove_dir_all(&folder);
    let platform = PlatformKey::load_or_create(&folder, NOW).unwrap();
    let program = folder.join("program");
    fs::write(&program, vec![7; 700_000]).unwrap();
    (folder, platform, program)
}

/// By a program that is not ours.
fn by_coreutils(file: &Path) -> String {
    let output = Command::new("sha384sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn hex(digest: [u8; 48]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_is_remembered_is_the_digest_and_is_used_again() {
    let (folder, platform, program) = fresh("same");
    let entry = folder.join(DIRECTORY).join("vmm");
    assert_eq!(hex(sha384(&platform, &folder, &program).unwrap()), by_coreutils(&program));
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&entry).unwrap());
    let written = inode();
    assert_eq!(hex(sha384(&platform, &folder, &program).unwrap()), by_coreutils(&program));
    assert_eq!(inode(), written, "it was computed again");
    // Its own program, by the way that the VMM takes.
    let own = std::env::current_exe().unwrap();
    let digest = sha384(&platform, &folder, Path::new("/proc/self/exe")).unwrap();
    assert_eq!(hex(digest), by_coreutils(&own));
}

#[test]
fn a_file_that_changed_is_hashed_again() {
    let (folder, platform, program) = fresh("changed");
    let before = sha384(&platform, &folder, &program).unwrap();
    let times = fs::metadata(&program).unwrap();
    // In place, with the same length; then the old modification time is put back, as an attacker would.
    let mut bytes = fs::read(&program).unwrap();
    bytes[350_000] ^= 1;
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&program, &bytes).unwrap();
    let file = fs::File::options().write(true).open(&program).unwrap();
    file.set_modified(times.modified().unwrap()).unwrap();
    assert_eq!(fs::metadata(&program).unwrap().modified().unwrap(), times.modified().unwrap());
    let after = sha384(&platform, &folder, &program).unwrap();
    assert_ne!(after, before);
    assert_eq!(hex(after), by_coreutils(&program));
    // Another file under the same name.
    let other = folder.join("other");
    fs::write(&other, vec![8; 700_000]).unwrap();
    fs::rename(&other, &program).unwrap();
    assert_eq!(hex(sha384(&platform, &folder, &program).unwrap()), by_coreutils(&program));
}

#[test]
fn entries_that_others_made_are_not_believed() {
    let (folder, platform, program) = fresh("forged");
    let digest = sha384(&platform, &folder, &program).unwrap();
    let entry = folder.join(DIRECTORY).join("vmm");
    let good = fs::read(&entry).unwrap();
    for place in 0..good.len() {
        let mut forged = good.clone();
        forged[place] ^= 1;
        fs::write(&entry, &forged).unwrap();
        assert_eq!(sha384(&platform, &folder, &program).unwrap(), digest, "byte {place}");
    }
    for length in [0, 47, 48, 95, 97] {
        fs::write(&entry, good.iter().copied().cycle().take(length).collect::<Vec<_>>()).unwrap();
        assert_eq!(sha384(&platform, &folder, &program).unwrap(), digest, "{length} bytes");
    }
    // Another platform's.
    let (there, other, _) = fresh("forged-elsewhere");
    let claimed = sha384(&other, &there, &program).unwrap();
    assert_eq!(claimed, digest);
    fs::copy(there.join(DIRECTORY).join("vmm"), &entry).unwrap();
    assert_eq!(sha384(&platform, &folder, &program).unwrap(), digest);
    assert_ne!(fs::read(&entry).unwrap(), fs::read(there.join(DIRECTORY).join("vmm")).unwrap());
}
