//! Images: built from source by anybody, anywhere, to the same measurements; described, signed, run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;

use casemate_tests::{Done, Image, Lab, casemate};
use serde_json::{Value, json};

/// `casemate build` with the crate's own target folder, as a user outside of this checkout has it.
fn build(lab: &Lab, folder: &str, output: &str) -> Done {
    let mut command = lab.command(casemate());
    command
        .args(["build", "--manifest-path", &format!("{folder}/Cargo.toml"), "--output", output])
        .env_remove("CARGO_TARGET_DIR");
    Done::new(command.output().unwrap())
}

/// A guest crate made by `casemate new` at `folder`; all of them share one lock file, as a published source would.
fn new_guest(lab: &Lab, folder: &str) {
    if let Some(parent) = Path::new(folder).parent() {
        std::fs::create_dir_all(lab.path(parent.to_str().unwrap())).unwrap();
    }
    lab.ok(&["new", folder]);
}

#[test]
fn the_same_source_in_two_folders_gives_the_same_image() {
    let lab = Lab::new();
    new_guest(&lab, "here/app");
    new_guest(&lab, "a-longer/path/elsewhere/app");
    let first = build(&lab, "here/app", "first.eif");
    assert_eq!(first.code, 0, "{}", first.stderr);
    std::fs::copy(lab.path("here/app/Cargo.lock"), lab.path("a-longer/path/elsewhere/app/Cargo.lock"))
        .unwrap();
    let second = build(&lab, "a-longer/path/elsewhere/app", "second.eif");
    assert_eq!(second.code, 0, "{}", second.stderr);
    let (first, second): (Value, Value) =
        (serde_json::from_str(&first.stdout).unwrap(), serde_json::from_str(&second.stdout).unwrap());
    assert_eq!(first, second);
    assert_eq!(first["Measurements"]["PCR0"].as_str().unwrap().len(), 96);
    assert!(lab.read("first.eif") == lab.read("second.eif"), "the PCRs are equal but the files are not");

    // What was built runs.
    let guest = lab.launch_file(&lab.path("first.eif"), &[]);
    let mut stream = guest.connect(5000);
    stream.write_all(b"made by casemate new").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "made by casemate new");

    // Another source, or another command line, is another image.
    let main = lab.path("here/app/src/main.rs");
    let source = std::fs::read_to_string(&main).unwrap();
    std::fs::write(&main, source.replace("5000", "5001")).unwrap();
    let changed = build(&lab, "here/app", "changed.eif");
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_ne!(changed["Measurements"]["PCR0"], first["Measurements"]["PCR0"]);

    // A guest that asks for what a sealed guest has not: the build says so in terms of its source.
    std::fs::write(
        &main,
        source.replace("println!(\"listening\");", "std::process::Command::new(\"ls\").spawn()?;"),
    )
    .unwrap();
    let forbidden = build(&lab, "here/app", "forbidden.eif");
    assert_eq!(forbidden.code, 1, "a guest that starts processes was built");
    assert!(forbidden.stderr.contains("does not link"), "{}", forbidden.stderr);
    assert!(forbidden.stderr.contains("process"), "{}", forbidden.stderr);
    assert!(
        !forbidden.stderr.contains("rust-lld") && !forbidden.stderr.contains("collect2"),
        "{}",
        forbidden.stderr
    );
    assert!(!lab.path("forbidden.eif").exists());
}

#[test]
fn the_command_line_is_measured_and_the_guest_sees_it() {
    let lab = Lab::new();
    let manifest = casemate_tests::checkout().join("guest/examples/hello/Cargo.toml");
    let manifest = manifest.to_str().unwrap();
    let build = |cmdline: &str| {
        lab.json(&["build", "--manifest-path", manifest, "--output", "hello.eif", "--cmdline", cmdline])
    };
    let (plain, other) = (build(""), build("who=you"));
    assert_ne!(plain["Measurements"]["PCR0"], other["Measurements"]["PCR0"]);
    if !casemate_tests::can_seal("the console of a guest with a command line") {
        return;
    }
    let guest = lab.launch_file(&lab.path("hello.eif"), &["--attach-console"]);
    let (status, printed) = guest.wait_stdout();
    assert_eq!(status.code(), Some(0));
    assert!(printed.contains("who=you"), "{printed}");
}

#[test]
fn signing_gives_pcr8_and_the_signed_image_runs() {
    let lab = Lab::new();
    std::fs::copy(Image::Secret.path(), lab.path("app.eif")).unwrap();
    lab.openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-out", "key.pem"]);
    let subject = ["-subj", "/CN=tester", "-out", "certificate.pem"];
    lab.openssl(&[&["req", "-new", "-x509", "-sha384", "-key", "key.pem"][..], &subject].concat());
    let sign = [
        "sign-eif",
        "--eif-path",
        "app.eif",
        "--signing-certificate",
        "certificate.pem",
        "--private-key",
        "key.pem",
    ];
    let before = lab.json(&["describe-eif", "--eif-path", "app.eif"]);
    let signed = lab.json(&sign);
    let after = lab.json(&["describe-eif", "--eif-path", "app.eif"]);
    for pcr in ["PCR0", "PCR1", "PCR2"] {
        assert_eq!(before["Measurements"][pcr], after["Measurements"][pcr], "{pcr}");
    }
    assert_eq!(signed["Measurements"], after["Measurements"]);
    let pcr8 = lab.json(&["pcr", "--signing-certificate", "certificate.pem"]);
    assert_eq!(after["Measurements"]["PCR8"], pcr8["PCR8"]);
    assert_eq!((&after["IsSigned"], &after["SignatureCheck"]), (&json!(true), &json!(true)));
    // PCR8 as openssl sees it: SHA-384 of 48 zero bytes and the digest of the certificate.
    lab.openssl(&["x509", "-in", "certificate.pem", "-outform", "DER", "-out", "certificate.der"]);
    let digest = lab.openssl(&["dgst", "-sha384", "-binary", "certificate.der"]);
    lab.write("extend", &[vec![0; 48], digest].concat());
    let extended = lab.openssl(&["dgst", "-sha384", "-binary", "extend"]);
    assert_eq!(pcr8["PCR8"], hex::encode(extended));

    let guest = lab.launch_file(&lab.path("app.eif"), &[]);
    assert_eq!(guest.ask("PING"), "PONG");
    let list = lab.json(&["describe"]);
    if casemate_tests::has_kvm() {
        assert_eq!(list[0]["Measurements"]["PCR8"], pcr8["PCR8"]);
    }
    // A signature that does not hold: described as such, and not run.
    let mut broken = lab.read("app.eif");
    // The signature section comes last, and in it the signature.
    *broken.last_mut().unwrap() ^= 1;
    fix_crc(&mut broken);
    lab.write("broken.eif", &broken);
    let done =
        lab.casemate(&["run", "--image", "broken.eif", &format!("--backend={}", casemate_tests::backend())]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("signature"), "{done:?}");
}

/// Makes the CRC-32 at offset 544 right again, as somebody would who changes an image on purpose.
fn fix_crc(image: &mut [u8]) {
    let mut crc = u32::MAX;
    for (at, byte) in image.iter().enumerate() {
        if (544..548).contains(&at) {
            continue;
        }
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    image[544..548].copy_from_slice(&(!crc).to_be_bytes());
}

#[test]
fn guests_are_static_executables_without_a_library() {
    let lab = Lab::new();
    let image = std::fs::read(Image::Secret.path()).unwrap();
    let at = image.windows(4).position(|window| window == b"\x7fELF").unwrap();
    lab.write("app.elf", &image[at..]);
    let Ok(output) = Command::new("readelf").args(["-lW"]).arg(lab.path("app.elf")).output() else {
        casemate_tests::not_covered("readelf's view of a guest: binutils is missing");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("EXEC (Executable file)"), "{text}");
    assert!(!text.contains("INTERP") && !text.contains("DYNAMIC"), "{text}");
    let both =
        text.lines().filter(|line| line.trim_start().starts_with("LOAD")).any(|line| line.contains("RWE"));
    assert!(!both, "a segment is writable and executable: {text}");
}

/// A launch copies and measures every byte, and every byte is in the trusted base.
#[test]
fn the_signer_fits_in_four_mebibytes() {
    let length = std::fs::metadata(Image::Signer.path()).unwrap().len();
    assert!(length <= 4 << 20, "{length} bytes");
}
