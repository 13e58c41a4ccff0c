//! Keys that outlive their guest: on a volume, through crashes of every process, and for nobody else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_tests::{Done, Image, Lab, Running, backend, can_seal, casemate, wait_until};
use rustix::process::{Pid, Signal, kill_process};

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

/// Launches the signer with a volume.
#[track_caller]
fn launch(lab: &Lab, file: &str) -> Running {
    lab.launch(Image::Signer, &["--state", file])
}

/// Tries to launch a guest with a volume that it must refuse, and returns what was said.
#[track_caller]
fn refused(lab: &Lab, image: Image, file: &str, arguments: &[&str]) -> String {
    let mut command = lab.command(casemate());
    command.arg("run").arg("--json").arg("--image").arg(image.path()).arg("--state").arg(file);
    if !arguments.iter().any(|argument| argument.starts_with("--backend")) {
        command.arg(format!("--backend={}", backend()));
    }
    let done = Done::new(command.args(arguments).output().unwrap());
    assert_ne!(done.code, 0, "it was taken: {done:?}");
    assert_eq!(done.stdout, "", "it was announced");
    done.stderr
}

fn create(lab: &Lab) -> String {
    lab.ok(&["key", "create", "--spec", "ECC_NIST_P256"])
}

/// Signs, and has openssl check it.
#[track_caller]
fn signs(lab: &Lab, key: &str) {
    lab.write("message", b"the message");
    lab.ok(&["public-key", key, "--out", "public.pem"]);
    lab.ok(&[
        "sign",
        "--key",
        key,
        "--message",
        "message",
        "--algorithm",
        "ECDSA_SHA_256",
        "--out",
        "signature",
    ]);
    lab.openssl(&["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "message"]);
}

/// The volume service of this lab.
fn service(lab: &Lab) -> Option<Pid> {
    let file = text(lab.path("volume"));
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        Pid::from_raw(name.to_str()?.parse().ok()?)
    });
    processes.into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1..3) == Some(&[b"volume", b"serve"]) && words.contains(&file.as_bytes())
    })
}

#[track_caller]
fn service_ends(lab: &Lab) {
    wait_until("the volume service ends", || service(lab).is_none());
}

#[test]
fn keys_outlive_a_killed_vmm_and_a_killed_volume_service() {
    let lab = Lab::new();
    let file = text(lab.path("volume"));
    let guest = launch(&lab, &file);
    let first = create(&lab);
    guest.signal(Signal::KILL);
    drop(guest);
    service_ends(&lab);

    let guest = launch(&lab, &file);
    signs(&lab, &first);
    let second = create(&lab);
    kill_process(service(&lab).expect("a volume service"), Signal::KILL).unwrap();
    wait_until("the signer notices", || !lab.casemate(&["key", "create"]).stderr.is_empty());
    let done = lab.casemate(&["key", "create"]);
    assert!(
        done.stderr.contains("KMSInternalException") && done.stderr.contains("volume is not connected"),
        "{done:?}"
    );
    signs(&lab, &first);
    let again = serve(&lab, &file);
    wait_until("the volume is back", || lab.casemate(&["key", "create", "--spec", "HMAC_256"]).code == 0);
    signs(&lab, &second);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    drop(again);

    let guest = launch(&lab, &file);
    signs(&lab, &first);
    signs(&lab, &second);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let info = lab.json(&["volume", "info", "--json", &file]);
    assert_eq!(info["Anchor"], "Current", "{info}");
    assert!(info["Records"].as_u64().unwrap() >= 3, "{info}");
}

/// `volume serve` for the one guest that runs. Killed when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(lab: &Lab, file: &str) -> Serving {
    let mut command = lab.command(casemate());
    Serving(command.args(["volume", "serve", "--file", file]).stdout(Stdio::null()).spawn().unwrap())
}

#[test]
fn everything_that_was_acknowledged_before_a_kill_is_there_after_it() {
    let lab = Lab::new();
    let file = text(lab.path("volume"));
    for round in 0..3 {
        let guest = launch(&lab, &file);
        let (acknowledged, killed) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !killed.load(Ordering::Relaxed) {
                        let done = lab.casemate(&["key", "create", "--spec", "HMAC_256"]);
                        if done.code == 0 {
                            acknowledged.lock().unwrap().push(done.stdout.trim().to_owned());
                        }
                    }
                });
            }
            wait_until("some keys", || acknowledged.lock().unwrap().len() >= 5 * (round + 1));
            match round {
                1 => kill_process(service(&lab).expect("a volume service"), Signal::KILL).unwrap(),
                _ => guest.signal(Signal::KILL),
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            killed.store(true, Ordering::Relaxed);
        });
        drop(guest);
        service_ends(&lab);
        let guest = launch(&lab, &file);
        let listed = lab.ok(&["key", "list"]);
        for key in acknowledged.into_inner().unwrap() {
            assert!(listed.contains(&key), "{key} was acknowledged and is gone");
        }
        assert_eq!(guest.ends_by_terminate(), 143);
        service_ends(&lab);
    }
}

#[test]
fn nobody_else_opens_a_volume() {
    if !can_seal("that volumes are sealed to measurement, mode and platform") {
        return;
    }
    let (lab, elsewhere) = (Lab::new(), Lab::new());
    let file = text(lab.path("volume"));
    let guest = launch(&lab, &file);
    let key = create(&lab);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    std::fs::copy(&file, elsewhere.path("volume")).unwrap();

    let said = refused(&lab, Image::Selftest, &file, &[]);
    assert!(
        said.contains("sealed by another image (PCR0 ") && said.contains("casemate state grant"),
        "{said}"
    );
    for arguments in [&["--debug-mode"][..], &["--backend=process"], &["--backend=process", "--debug-mode"]] {
        let said = refused(&lab, Image::Signer, &file, arguments);
        assert!(said.contains("debug mode or on the process backend"), "{said}");
    }
    let said = refused(&elsewhere, Image::Signer, &text(elsewhere.path("volume")), &[]);
    assert!(said.contains("under another platform key"), "{said}");

    let guest = launch(&lab, &file);
    signs(&lab, &key);
    assert_eq!(guest.ends_by_terminate(), 143);
}

#[test]
fn another_image_opens_a_volume_that_was_granted_to_it() {
    if !can_seal("that a volume changes hands by an upgrade grant") {
        return;
    }
    let lab = Lab::new();
    let file = text(lab.path("volume"));
    let (old, new) = (Image::Signer, Image::Selftest);
    let guest = launch(&lab, &file);
    let key = create(&lab);
    lab.fails(&["state", "grant", "--to", &"0".repeat(96)], "no guest with PCR0");
    // A grant to one image is of no use to another: here the old one itself, which needs none.
    lab.ok(&["state", "grant", "--to", &text(old.path())]);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let said = refused(&lab, new, &file, &[]);
    assert!(said.contains("granted to another image"), "{said}");

    let guest = launch(&lab, &file);
    let granted = lab.json(&["state", "grant", "--json", "--guest", guest.name(), "--to", &text(new.path())]);
    // Its folder goes with the next command, as that of any guest whose VMM is in jail.
    lab.ok(&["describe"]);
    assert_eq!(lab.guest_folders().len(), 1, "the guest that proved the new image is gone");
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let info = lab.json(&["volume", "info", "--json", &file]);
    assert_eq!(info["GrantedTo"], granted["ImageSha384"], "{info}");

    let guest = lab.launch(new, &["--state", &file]);
    signs(&lab, &key);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let said = refused(&lab, old, &file, &[]);
    assert!(said.contains("sealed by another image"), "{said}");
    let info = lab.json(&["volume", "info", "--json", &file]);
    assert_eq!((&info["SealedFor"], info.get("GrantedTo")), (&granted["ImageSha384"], None), "{info}");
}

#[test]
fn old_damaged_and_other_files_are_refused() {
    let lab = Lab::new();
    let file = text(lab.path("volume"));
    let guest = launch(&lab, &file);
    create(&lab);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let old = lab.read("volume");
    let guest = launch(&lab, &file);
    let key = create(&lab);
    let said = refused(&lab, Image::Signer, &file, &[]);
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let newest = lab.read("volume");

    lab.write("volume", &old);
    let said = refused(&lab, Image::Signer, &file, &[]);
    assert!(said.contains("rolled back"), "{said}");
    let info = lab.json(&["volume", "info", "--json", &file]);
    assert!(info["Anchor"]["Ahead"].is_u64(), "{info}");

    lab.write("volume", &newest[..newest.len() / 2]);
    let said = refused(&lab, Image::Signer, &file, &[]);
    assert!(said.contains("volume: it is "), "{said}");
    lab.write("volume", b"something else");
    let said = refused(&lab, Image::Signer, &file, &[]);
    assert!(said.contains("not a volume of Casemate's"), "{said}");
    let said = refused(&lab, Image::Echo, &text(lab.path("new")), &[]);
    assert!(said.contains("keeps no state"), "{said}");

    lab.write("volume", &newest);
    let guest = launch(&lab, &file);
    signs(&lab, &key);
    assert_eq!(guest.ends_by_terminate(), 143);
}

#[test]
fn the_file_holds_only_ciphertext() {
    let lab = Lab::new();
    let file = text(lab.path("volume"));
    let guest = launch(&lab, &file);
    let key = lab.ok(&["key", "create", "--spec", "ECC_NIST_P256", "--description", "a telling description"]);
    assert_eq!(guest.ends_by_terminate(), 143);
    service_ends(&lab);
    let bytes = lab.read("volume");
    for known in ["a telling description", &key, "ECC_NIST", "arn:aws", "BEGIN"] {
        assert!(!casemate_attacks::process::contains(&bytes, known.as_bytes()), "{known} is in the file");
    }
    let guest = launch(&lab, &file);
    let described = lab.ok(&["key", "describe", &key]);
    assert!(described.contains("a telling description"), "the control: {described}");
    assert_eq!(guest.ends_by_terminate(), 143);
}

#[test]
fn a_guest_in_the_background_is_announced_once_it_has_its_volume() {
    let lab = Lab::new();
    let file = text(lab.path("volume"));
    let image = text(Image::Signer.path());
    let backend = format!("--backend={}", backend());
    let arguments = ["run-enclave", "--eif-path", &image, &backend, "--state", &file];
    lab.json(&arguments);
    let key = create(&lab);
    lab.ok(&["terminate", "--all"]);
    service_ends(&lab);
    lab.json(&arguments);
    signs(&lab, &key);
    lab.ok(&["terminate", "--all"]);
    service_ends(&lab);
    lab.write("volume", b"something else");
    let done = lab.casemate(&arguments);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains("not a volume of Casemate's"), "{done:?}");
    assert!(Path::new(&file).exists());
}
