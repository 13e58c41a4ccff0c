//! A platform whose key is in a TPM, end to end: what a verifier concludes who knows nothing but the TPM's maker, and what a
//! changed host cannot do. The TPM is an emulator (swtpm), with its own tools.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_tests::{
    Done, Image, Lab, Running, SwTpm, backend, can_seal, casemate, has_kvm, is_root, not_covered, wait_until,
};
use serde_json::{Value, json};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A host with a TPM, in which its platform key is.
fn platform() -> (SwTpm, Lab) {
    let (tpm, lab) = (SwTpm::new(), Lab::new());
    let made = lab.json(&["platform", "init", "--json", "--tpm", &text(&tpm.socket())]);
    assert_eq!((&made["RootOfTrust"], &made["Usable"]), (&json!("tpm"), &json!(true)), "{made}");
    assert!(!lab.path("home/platform.key").exists(), "there is a key that is a file");
    (tpm, lab)
}

/// What a verifier needs who has had the TPM answer a challenge: the evidence, the authority, the enrolment.
fn prove(tpm: &SwTpm, lab: &Lab) -> [String; 6] {
    let authority = text(&tpm.authority());
    lab.ok(&["platform", "evidence", "--nonce", "mine"]);
    lab.ok(&["platform", "challenge", "platform.evidence", "--tpm-root", &authority]);
    lab.ok(&["platform", "answer", "challenge.json"]);
    lab.ok(&["platform", "enrol", "answer.json"]);
    ["--platform-evidence", "platform.evidence", "--tpm-root", &authority, "--enrolment", "enrolment.json"]
        .map(str::to_owned)
}

/// The launch of a signer with this program.
fn run(lab: &Lab, program: &Path, arguments: &[&str]) -> Command {
    let mut command = lab.command(program);
    command
        .args(["run", "--json"])
        .arg(format!("--backend={}", backend()))
        .arg("--image")
        .arg(Image::Signer.path())
        .args(arguments);
    command
}

/// Tries to launch with this program, and returns what it says.
#[track_caller]
fn refused(lab: &Lab, program: &Path, arguments: &[&str]) -> String {
    let done = Done::new(run(lab, program, arguments).output().unwrap());
    assert_ne!(done.code, 0, "it was launched: {done:?}");
    assert_eq!(done.stdout, "", "it was announced");
    done.stderr
}

#[track_caller]
fn launch_with(lab: &Lab, program: &Path, arguments: &[&str]) -> Running {
    Running::launched_by(&mut run(lab, program, arguments), lab.runtime())
}

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

/// Another VMM: the same with a byte more.
fn other_vmm(lab: &Lab) -> PathBuf {
    let path = lab.path("other-casemate");
    std::fs::copy(casemate(), &path).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"\0").unwrap();
    path
}

#[test]
fn a_guest_is_proved_from_the_tpm_maker_to_the_document() {
    if !can_seal("the chain from a TPM's maker to a guest") {
        return;
    }
    let (tpm, lab) = platform();
    let _guest = lab.launch(Image::Signer, &[]);
    lab.ok(&["attest", "--nonce", "fresh", "--out", "doc.cbor"]);
    lab.write(
        "policy.json",
        json!({"posture": {"root_of_trust": "tpm"}, "nonce_required": true}).to_string().as_bytes(),
    );
    let chain = prove(&tpm, &lab);
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    let document = ["verify", "doc.cbor", "--policy", "policy.json", "--nonce", "fresh"];
    let whole = [&document[..], &chain].concat();

    let described = lab.json(&["platform", "describe", "--json"]);
    let vmm = described["VmmSha384"].as_str().unwrap();
    let zero = format!("7={}", "0".repeat(64));
    let verified = lab.json(&with(
        &whole,
        &["--json", "--vmm-sha384", vmm, "--tpm-pcr", &zero, "--platform-nonce", "mine"],
    ));
    assert_eq!(verified["verified"], true);
    assert_eq!(verified["platform"]["vmm_sha384"], vmm);
    assert_eq!(verified["established"]["posture"]["vmm_sha384"], vmm);
    assert_eq!(verified["established"]["posture"]["root_of_trust"], "tpm");
    assert_eq!(verified["platform"]["root_sha256"], verified["established"]["root_sha256"]);
    let printed = lab.ok(&whole);
    for line in ["The platform key is in a TPM.", "enrolled as that TPM's", "cannot leave the TPM"] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    // The root certificate, once for all commands.
    let evidence = [&["platform", "verify"], &chain[1..], &["--root-out", "root.pem"]].concat();
    lab.ok(&evidence);
    assert_eq!(lab.read("root.pem"), lab.read("home/root.pem"));
    lab.ok(&[&document[..], &["--root", "root.pem"]].concat());

    // What does not hold is named.
    let (other_vmm, other_value) = ("ab".repeat(48), format!("7={}", "ab".repeat(32)));
    lab.fails(
        &[&whole[..], &["--vmm-sha384", &other_vmm]].concat(),
        "the platform key is for the VMM with SHA-384",
    );
    lab.fails(&[&whole[..], &["--tpm-pcr", &other_value]].concat(), "PCR 7 of the TPM is 0000");
    lab.fails(&with(&whole, &["--platform-nonce", "yours"]), "the quote was not made for this nonce");
    lab.fails(
        &[&document[..], &chain[..4]].concat(),
        "nothing shows that the attestation key is in this TPM",
    );
    lab.fails(&[&document[..], &chain[..2]].concat(), "does not lead to an authority that you trust");
    let (other_tpm, other) = platform();
    let foreign = text(&other_tpm.authority());
    let chain_of = |root: &str, enrolment: &str| {
        let flags =
            ["--platform-evidence", "platform.evidence", "--tpm-root", root, "--enrolment", enrolment];
        [&document[..], &flags].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let fails = |arguments: &[String], reason: &str| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        lab.fails(&arguments, reason);
    };
    fails(&chain_of(&foreign, "enrolment.json"), "does not lead to an authority that you trust");
    prove(&other_tpm, &other);
    let other_enrolment = text(&other.path("enrolment.json"));
    fails(&chain_of(&text(&tpm.authority()), &other_enrolment), "the enrolment is of another TPM");
    // Good evidence of another platform does not speak for this document.
    lab.write("platform.evidence", &other.read("platform.evidence"));
    fails(&chain_of(&foreign, &other_enrolment), "certificate chain: the root certificate");
    let mut damaged = other.read("platform.evidence");
    damaged.push(0);
    lab.write("platform.evidence", &damaged);
    fails(&chain_of(&foreign, &other_enrolment), "not a platform's evidence");
    // An answer to another's challenge enrols nothing.
    lab.fails(
        &["platform", "answer", &text(&other.path("challenge.json"))],
        "the TPM refused to open the challenge",
    );
    lab.fails(
        &["platform", "enrol", &text(&other.path("answer.json"))],
        "is not the answer to this challenge",
    );
}

#[test]
fn another_boot_state_launches_nothing() {
    let (mut tpm, lab) = platform();
    drop(lab.launch(Image::Signer, &[]));
    tpm.extend(4);
    let said = refused(&lab, casemate(), &[]);
    assert!(
        said.contains("the TPM does not let this host use the platform key: PCR 4 of the TPM is"),
        "{said}"
    );
    let described = lab.json(&["platform", "describe", "--json"]);
    assert_eq!(described["Usable"], false);
    assert!(lab.ok(&["platform", "describe"]).contains("not as it is: PCR 4"));
    tpm.restart();
    drop(lab.launch(Image::Signer, &[]));
    // Closed until the next start.
    lab.ok(&["platform", "lock"]);
    let said = refused(&lab, casemate(), &[]);
    assert!(said.contains("PCR 13 holds something else"), "{said}");
    tpm.restart();
    drop(lab.launch(Image::Signer, &[]));
}

#[test]
fn another_vmm_launches_nothing_until_the_first_hands_over() {
    let (mut tpm, lab) = platform();
    let file = text(&lab.path("volume"));
    let guest = lab.launch(Image::Signer, &["--state", &file]);
    let key = lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    assert_eq!(guest.ends_by_terminate(), 143);
    let other = other_vmm(&lab);
    let said = refused(&lab, &other, &[]);
    assert!(said.contains("the platform key was made for the VMM with SHA-384"), "{said}");
    // It claims to be the right one: its own measurement gives it away.
    let record = lab.read("home/platform.tpm");
    let mut forged: Value = serde_json::from_slice(&record).unwrap();
    let digest = lab.openssl(&["dgst", "-sha384", "-r", "other-casemate"]);
    forged["vmm_sha384"] = json!(std::str::from_utf8(&digest[..96]).unwrap());
    lab.write("home/platform.tpm", forged.to_string().as_bytes());
    tpm.restart();
    let said = refused(&lab, &other, &[]);
    assert!(
        said.contains("the TPM does not let this host use the platform key: PCR 13 of the TPM is"),
        "{said}"
    );
    lab.write("home/platform.tpm", &record);
    tpm.restart();

    let old_root = lab.read("home/root.pem");
    lab.fails(&["platform", "update"], "nothing would change");
    lab.ok(&["platform", "update", "--vmm", "other-casemate"]);
    let said = refused(&lab, casemate(), &[]);
    assert!(said.contains("the platform key was made for the VMM with SHA-384"), "{said}");
    tpm.restart();
    let guest = launch_with(&lab, &other, &["--state", &file]);
    assert!(lab.ok(&["key", "describe", &key]).contains(&key), "what was sealed is lost");
    assert_ne!(old_root, lab.read("home/root.pem"), "the platform key has moved");
    assert_eq!(guest.ends_by_terminate(), 143);
}

/// The volume's file, its anchor and its ratchet, all put back at once: a snapshot of the host's disk.
#[test]
fn a_volume_and_its_anchor_that_are_put_back_together_are_refused() {
    let (_tpm, lab) = platform();
    let file = text(&lab.path("volume"));
    let guest = lab.launch(Image::Signer, &["--state", &file]);
    lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    end(&lab, guest);
    let copied: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(lab.path("home/anchors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([lab.path("volume")])
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    assert_eq!(copied.len(), 3, "volume, anchor, ratchet");

    let guest = lab.launch(Image::Signer, &["--state", &file]);
    lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    end(&lab, guest);
    let current: Vec<Vec<u8>> = copied.iter().map(|(path, _)| std::fs::read(path).unwrap()).collect();
    copied.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let said = refused(&lab, casemate(), &["--state", &file]);
    assert!(said.contains("the volume and its anchor are old copies"), "{said}");
    // The counter's file alone is not taken back either, and what is current is taken.
    copied.iter().zip(&current).for_each(|((path, _), bytes)| std::fs::write(path, bytes).unwrap());
    let guest = lab.launch(Image::Signer, &["--state", &file]);
    end(&lab, guest);

    // The control: without a TPM the same goes through.
    let lab = Lab::new();
    let file = text(&lab.path("volume"));
    let guest = lab.launch(Image::Signer, &["--state", &file]);
    lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    end(&lab, guest);
    let anchor = std::fs::read_dir(lab.path("home/anchors")).unwrap().next().unwrap().unwrap().path();
    let old = (std::fs::read(&file).unwrap(), std::fs::read(&anchor).unwrap());
    let guest = lab.launch(Image::Signer, &["--state", &file]);
    lab.ok(&["key", "create", "--spec", "HMAC_256"]);
    end(&lab, guest);
    std::fs::write(&file, old.0).unwrap();
    std::fs::write(&anchor, old.1).unwrap();
    end(&lab, lab.launch(Image::Signer, &["--state", &file]));
}

/// Ends a guest, and waits for the service of its volume.
#[track_caller]
fn end(lab: &Lab, guest: Running) {
    assert_eq!(guest.ends_by_terminate(), 143);
    let file = text(&lab.path("volume"));
    wait_until("the volume service ends", || processes(&["volume", "serve"], &file).is_empty());
}

/// The processes of `casemate` with these words, one of which is `of`.
fn processes(words: &[&str], of: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        line.get(1..=words.len())
            .is_some_and(|found| found.iter().zip(words).all(|(a, b)| *a == b.as_bytes()))
            && line.contains(&of.as_bytes())
    })
    .collect()
}

/// Each of the processes that meet a guest or a chip is alone, in a jail of its own.
#[test]
fn gateway_volume_and_tpm_services_are_separate_processes_each_in_its_own_jail() {
    let (_tpm, lab) = platform();
    let file = text(&lab.path("volume"));
    let home = text(&lab.path("home"));
    let mut served = lab.serve(&["--state", &file]);
    let gateway = i32::try_from(served.child().id()).unwrap();
    let volume = processes(&["volume", "serve"], &file);
    let tpm_services = processes(&["platform", "serve"], &home);
    assert_eq!((volume.len(), tpm_services.len()), (1, 1), "the launch's own TPM service is to be gone");
    let status = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for pid in [gateway, volume[0], tpm_services[0]] {
        // The gateway's closes once it has said where it listens.
        wait_until("a jail closes", || {
            let status = status(pid);
            ["Seccomp:\t2", "NoNewPrivs:\t1"].iter().all(|line| status.contains(line))
        });
    }
    let tpm_service = tpm_services[0];
    let status = status(tpm_service);
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
    let words = std::fs::read_to_string(format!("/proc/{tpm_service}/cmdline")).unwrap();
    assert!(words.contains("volume"), "it works for a volume and signs nothing: {words:?}");
    if is_root() {
        let open: Vec<String> = std::fs::read_dir(format!("/proc/{tpm_service}/fd"))
            .unwrap()
            .map(|entry| text(&std::fs::read_link(entry.unwrap().path()).unwrap()))
            .collect();
        let known = |path: &&String| path.starts_with("socket:") || *path == "/dev/null";
        assert!(open.iter().all(|path| known(&path)), "it has files open: {open:?}");
        // memfd_secret: what it has taken out of the TPM cannot be read, not even by root.
        let maps = std::fs::read_to_string(format!("/proc/{tpm_service}/maps")).unwrap();
        assert!(maps.contains("/secretmem"), "{maps}");
    } else {
        not_covered("descriptors of the TPM service: only root sees them");
    }
    lab.ok(&["terminate", "--all"]);
    wait_until("the TPM service ends", || processes(&["platform", "serve"], &home).is_empty());
}

#[test]
fn without_a_tpm_the_key_is_a_file_and_the_posture_says_so() {
    let lab = Lab::new();
    lab.fails(&["platform", "describe"], "there is no platform key yet");
    lab.fails(&["platform", "evidence"], "is not in a TPM");
    let made = lab.json(&["platform", "init", "--json"]);
    assert_eq!(made["RootOfTrust"], "file", "{made}");
    lab.fails(&["platform", "init"], "has a platform key already");
    lab.fails(&["platform", "init", "--tpm", "/nonexistent"], "has a platform key already");
    assert!(lab.ok(&["platform", "describe"]).contains("whoever reads it can forge documents"));
    if !has_kvm() {
        not_covered("the posture of a guest whose platform key is a file: no /dev/kvm");
        return;
    }
    let _guest = lab.launch(Image::Signer, &[]);
    lab.ok(&["attest", "--nonce", "fresh", "--out", "doc.cbor", "--root-out", "root.pem"]);
    lab.write("policy.json", json!({"posture": {"root_of_trust": "tpm"}}).to_string().as_bytes());
    let verify = ["verify", "doc.cbor", "--root", "root.pem", "--policy", "policy.json"];
    lab.fails(&verify, "posture: `root_of_trust` is file; the policy wants tpm");
}

#[test]
fn wishes_that_make_no_sense_are_refused_in_one_line() {
    let (tpm, lab) = (SwTpm::new(), Lab::new());
    let socket = text(&tpm.socket());
    let init = ["platform", "init", "--tpm", &socket];
    lab.fails(&["platform", "init", "--tpm", "/nonexistent"], "/nonexistent: No such file or directory");
    lab.fails(&[&init[..], &["--vmm-pcr", "23"]].concat(), "PCR 23 can be set back without a restart");
    lab.fails(&[&init[..], &["--vmm-pcr", "7"]].concat(), "PCR 7 cannot be both");
    lab.fails(&[&init[..], &["--pcrs", "0,99"]].concat(), "there is no PCR 99");
    assert_eq!(lab.casemate(&["platform", "init", "--pcrs", "0"]).code, 2, "--pcrs without --tpm");
    lab.ok(&[&init[..], &["--pcrs", "0,7", "--vmm-pcr", "14"]].concat());
    lab.fails(&init, "has a platform key already");
}
