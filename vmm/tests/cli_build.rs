//! `casemate build` on real crates: a guest that passes, the same bytes from another folder, and refusals in plain
//! words. Slow: each guest is compiled from nothing, once; the target folder is kept between runs.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod cli_support;

use std::fs;
use std::path::{Path, PathBuf};

use casemate_attestation::eif::Eif;
use cli_support::{Scratch, json};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Copies what cargo needs of the checkout to another folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "target" || name.to_string_lossy().starts_with(".git") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[test]
fn two_folders_give_one_image() {
    let scratch = Scratch::new();
    let other = scratch.path("some/where/else");
    copy(&checkout(), &other);
    let manifest = |root: &Path| root.join("guest/examples/hello/Cargo.toml").to_str().unwrap().to_owned();
    let run = scratch.casemate(&[
        "build",
        "--manifest-path",
        &manifest(&checkout()),
        "--output",
        "a.eif",
        "--cmdline",
        "x=y",
    ]);
    let measurements = json(&run)["Measurements"].clone();
    let image = fs::read(scratch.path("a.eif")).unwrap();
    let parsed = Eif::parse(&image).unwrap();
    assert_eq!(measurements["PCR0"], parsed.measure().unwrap().pcr0.to_string());
    assert_eq!(parsed.cmdline, "x=y");
    for root in [&checkout(), &other] {
        assert!(!contains(parsed.kernel, root.to_str().unwrap()), "the folder's name is in the image");
    }
    assert!(image.len() < 1 << 20, "{} bytes are much for `hello`", image.len());

    // Built anew elsewhere, from nothing.
    let reproduce = ["build", "--manifest-path", &manifest(&other), "--reproduce", "a.eif"];
    let compared = json(&scratch.casemate(&reproduce));
    assert_eq!((&compared["Reproduced"], &compared["Identical"]), (&true.into(), &true.into()), "{compared}");
    assert_eq!((&compared["Image"], &compared["Rebuilt"]), (&measurements, &measurements));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Makes a crate with this `main`, and builds it.
fn build(scratch: &Scratch, name: &str, main: &str) -> cli_support::Run {
    scratch.casemate(&["new", name]).succeeds();
    scratch.write(&format!("{name}/src/main.rs"), main.as_bytes());
    // The crates share what they have in common.
    scratch.casemate_in_target(&["build", "--manifest-path", &format!("{name}/Cargo.toml")])
}

#[test]
fn what_cannot_be_a_guest_is_refused_in_plain_words() {
    let scratch = Scratch::new();
    scratch.casemate(&["new", "fresh"]).succeeds();
    let run = scratch.casemate_in_target(&[
        "build",
        "--manifest-path",
        "fresh/Cargo.toml",
        "--output",
        "fresh.eif",
    ]);
    json(&run);

    let spawns =
        "use casemate_guest as _;\nfn main() { let _ = std::process::Command::new(\"ls\").spawn(); }";
    let run = build(&scratch, "spawns", spawns);
    run.fails_with("[ E48 ] the guest does not link");
    assert!(
        run.stderr.contains("`posix_spawnp`") && run.stderr.contains("there are no processes"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("`spawns`"), "the crate is named: {}", run.stderr);

    let syscall = "use casemate_guest as _;\nfn main() { // SAFETY: never run.\n unsafe { \
        std::arch::asm!(\"syscall\", out(\"rax\") _, out(\"rcx\") _, out(\"r11\") _) } }";
    let run = build(&scratch, "calls", syscall);
    run.fails_with("[ E48 ] the guest contains an instruction that would end it at run time");
    assert!(run.stderr.contains("`syscall` in "), "{}", run.stderr);

    let run = build(&scratch, "broken", "fn main() { let x: u8 = \"\"; }");
    run.fails_with("[ E48 ] the guest does not compile");
    assert!(run.stderr.contains("mismatched types"), "{}", run.stderr);
}

#[test]
fn manifests_that_name_no_guest_are_refused() {
    let scratch = Scratch::new();
    let workspace = checkout().join("Cargo.toml");
    let run = scratch.casemate(&["build", "--manifest-path", workspace.to_str().unwrap()]);
    run.fails_with("is a workspace without a package");
    let library = checkout().join("abi/Cargo.toml");
    let run = scratch.casemate(&["build", "--manifest-path", library.to_str().unwrap()]);
    run.fails_with("has no binary");
    let signer = checkout().join("guest/signer/Cargo.toml");
    let run = scratch.casemate(&["build", "--manifest-path", signer.to_str().unwrap(), "--bin", "nope"]);
    run.fails_with("has no binary `nope`; it has: ");
    scratch
        .casemate(&["build", "--docker-uri", "x:latest", "--output-file", "x.eif"])
        .fails_with("from crates");
}
